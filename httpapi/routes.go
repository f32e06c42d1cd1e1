package httpapi

import (
	"net/http"
	"slices"
	"strings"
)

// route is one method of one path.
type route struct {
	method string
	path   string // a pattern of http.ServeMux, without method and host
	// open routes need no API key.
	open bool
	// audit routes change something and are logged at info.
	audit  bool
	handle func(*exchange) error

	metrics *routeMetrics // set when the mux is made
}

// routes is the list of all that the API answers; the OpenAPI document lists
// the same, and a test compares the two.
func (a *api) routes() []*route {
	return []*route{
		{method: "PUT", path: "/v1/integrations/{id}", audit: true, handle: a.putIntegration},
		{method: "GET", path: "/v1/integrations/{id}", handle: a.getIntegration},
		{method: "DELETE", path: "/v1/integrations/{id}", audit: true, handle: a.deleteIntegration},
		{method: "GET", path: "/v1/integrations/{id}/jwks.json", open: true, handle: a.publicKeys},
		{method: "GET", path: "/oauth/client/{id}", open: true, handle: a.clientDocument},
		{method: "GET", path: "/v1/integrations", handle: a.listIntegrations},

		{method: "POST", path: "/v1/accounts", audit: true, handle: a.createAccount},
		{method: "GET", path: "/v1/accounts", handle: a.listAccounts},
		{method: "GET", path: "/v1/accounts/{tenant}/{account}", handle: a.getAccount},
		{method: "DELETE", path: "/v1/accounts/{tenant}/{account}", audit: true, handle: a.disconnect},
		{method: "GET", path: "/v1/accounts/{tenant}/{account}/token", handle: a.token},
		{method: "POST", path: "/v1/accounts/{tenant}/{account}/refresh", handle: a.refresh},
		{method: "GET", path: "/v1/accounts/{tenant}/{account}/history", handle: a.history},

		{method: "GET", path: "/v1/events", handle: a.events},
		{method: "POST", path: "/v1/links", audit: true, handle: a.createLink},
		{method: "GET", path: "/connect/{link}", open: true, handle: a.openLink},
		{method: "POST", path: "/connect/{link}", open: true, handle: a.followLink},
		{method: "GET", path: "/callback", open: true, handle: a.callback},
		{method: "POST", path: "/callback", open: true, handle: a.postedCallback},

		{method: "PUT", path: "/v1/webhooks/{id}", audit: true, handle: a.putWebhook},
		{method: "GET", path: "/v1/webhooks/{id}", handle: a.getWebhook},
		{method: "DELETE", path: "/v1/webhooks/{id}", audit: true, handle: a.deleteWebhook},
		{method: "GET", path: "/v1/webhooks", handle: a.listWebhooks},
		{method: "POST", path: "/v1/webhooks/{id}/rotate", audit: true, handle: a.rotateWebhook},
		{method: "POST", path: "/v1/webhooks/{id}/test", audit: true, handle: a.testWebhook},
		{method: "GET", path: "/v1/webhooks/{id}/deliveries", handle: a.deliveries},
		{method: "POST", path: "/v1/webhooks/{id}/replay", audit: true, handle: a.replay},

		{method: "POST", path: "/v1/keys", audit: true, handle: a.createKey},
		{method: "GET", path: "/v1/keys", handle: a.listKeys},
		{method: "DELETE", path: "/v1/keys/{id}", audit: true, handle: a.deleteKey},

		{method: "GET", path: "/v1/providers", handle: a.listProviders},
		{method: "GET", path: "/v1/providers/{id}", handle: a.getProvider},
		{method: "PUT", path: "/v1/providers/{id}", audit: true, handle: a.putProvider},
		{method: "DELETE", path: "/v1/providers/{id}", audit: true, handle: a.deleteProvider},
		{method: "GET", path: "/v1/cluster", handle: a.cluster},
		{method: "DELETE", path: "/v1/cluster/nodes/{id}", audit: true, handle: a.removeNode},

		{method: "GET", path: "/metrics", open: true, handle: a.serveMetrics},
		{method: "GET", path: "/livez", open: true, handle: a.live},
		{method: "GET", path: "/readyz", open: true, handle: a.ready},
		{method: "GET", path: "/openapi.json", open: true, handle: a.openAPI},
		{method: "GET", path: "/ui/{$}", open: true, handle: a.page},
		{method: "GET", path: "/ui/{file}", open: true, handle: a.page},
		{method: "GET", path: "/ui", open: true, handle: a.toPage},
		{method: "GET", path: "/{$}", open: true, handle: a.toPage},
	}
}

// newMux groups the routes by path, so that a method that a path lacks is a
// problem document and not a line of text.
func newMux(routes []*route, m *metrics) *http.ServeMux {
	mux := http.NewServeMux()
	paths := map[string]*pathRoutes{}
	for _, rt := range routes {
		rt.metrics = m.route(rt)
		p := paths[rt.path]
		if p == nil {
			p = &pathRoutes{byMethod: map[string]*route{}}
			paths[rt.path] = p
			mux.Handle(rt.path, p)
		}
		p.byMethod[rt.method] = rt
	}
	for _, p := range paths {
		p.allow = allowed(p.byMethod)
	}
	mux.HandleFunc("/", noRoute)
	return mux
}

func allowed(byMethod map[string]*route) string {
	var methods []string
	for method := range byMethod {
		methods = append(methods, method)
		if method == http.MethodGet {
			methods = append(methods, http.MethodHead)
		}
	}
	slices.Sort(methods)
	return strings.Join(methods, ", ")
}

// pathRoutes are the methods of one path.
type pathRoutes struct {
	byMethod map[string]*route
	allow    string
}

// ServeHTTP runs the route of the request's method. The mux is only ever
// called with an *exchange, so that the matched path need not be looked up
// twice.
func (p *pathRoutes) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x, ok := w.(*exchange)
	if !ok {
		return
	}
	x.r = r
	method := r.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	rt := p.byMethod[method]
	if rt == nil {
		x.fail(&problem{kind: kindMethod, allow: p.allow,
			detail: "This path does not answer this method. Use one of: " + p.allow + "."})
		return
	}
	x.serve(rt)
}

func noRoute(w http.ResponseWriter, _ *http.Request) {
	if x, ok := w.(*exchange); ok {
		x.fail(&problem{kind: kindNotFound, detail: detailNoRoute})
	}
}

const detailNoRoute = "Nothing is at this path. GET /openapi.json lists all that there is."

// tidy reports whether the path is one that http.ServeMux would not redirect:
// without empty, "." and ".." segments. A redirect answers nobody's question
// here, and would be the one answer that is not JSON.
func tidy(path string) bool {
	if path == "" || path[0] != '/' {
		return false
	}
	for rest := path[1:]; ; {
		segment, after, more := strings.Cut(rest, "/")
		if segment == "." || segment == ".." || segment == "" && more {
			return false
		}
		if !more {
			return true
		}
		rest = after
	}
}
