package oauth

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/grantd/grantd/credential"
)

// site is an MCP server and its host, over plain HTTP on this machine.
type site struct {
	*httptest.Server
	// handle answers by method and path.
	handle map[string]http.HandlerFunc
	mu     sync.Mutex
	asked  []string
}

// requests are those that were made, by method and path.
func (s *site) requests() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.asked)
}

func newSite(t *testing.T) *site {
	s := &site{handle: map[string]http.HandlerFunc{}}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.asked = append(s.asked, r.Method+" "+r.URL.Path)
		s.mu.Unlock()
		if r.Header.Get("Authorization") != "" {
			t.Error("a token was sent")
		}
		if h := s.handle[r.Method+" "+r.URL.Path]; h != nil {
			h(w, r)
			return
		}
		http.NotFound(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

// refuse has the server answer requests without a token with this challenge.
func (s *site) refuse(method, path, challenge string) {
	s.handle[method+" "+path] = func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("WWW-Authenticate", challenge)
		w.WriteHeader(http.StatusUnauthorized)
	}
}

// tell puts a document at a path; URL in it is the site's.
func (s *site) tell(path, document string) {
	s.handle["GET "+path] = func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, strings.ReplaceAll(document, "URL", s.URL))
	}
}

// local is a client that may reach this machine.
func local(t *testing.T) *Client {
	rt := NewTransport(TransportOptions{Allow: []Exception{{Prefix: netip.MustParsePrefix("127.0.0.0/8")}}})
	t.Cleanup(rt.CloseIdleConnections)
	return New(rt, Options{Timeout: 2 * time.Second})
}

const someResource = `{"resource":"URL/mcp","authorization_servers":["https://as.example"],"scopes_supported":["b","a","a","two words"],"resource_name":"Files"}`

func TestResourceIsFoundWhereItSaysElseAtTheWellKnownPlaces(t *testing.T) {
	for name, c := range map[string]struct {
		prepare func(s *site)
		asked   []string
		scopes  []string
	}{
		"where the challenge says": {func(s *site) {
			s.refuse("GET", "/mcp", `Bearer resource_metadata="`+s.URL+`/elsewhere", scope="x y"`)
			s.tell("/elsewhere", someResource)
		}, []string{"GET /mcp", "GET /elsewhere"}, []string{"x", "y"}},
		"by path": {func(s *site) {
			s.refuse("GET", "/mcp", "Bearer")
			s.tell("/.well-known/oauth-protected-resource/mcp", someResource)
		}, []string{"GET /mcp", "GET /.well-known/oauth-protected-resource/mcp"}, nil},
		"at the root": {func(s *site) {
			s.tell("/.well-known/oauth-protected-resource", someResource)
		}, []string{"GET /mcp", "GET /.well-known/oauth-protected-resource/mcp", "GET /.well-known/oauth-protected-resource"}, nil},
		"where the answer to a message says, if a GET is not allowed": {func(s *site) {
			s.handle["GET /mcp"] = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusMethodNotAllowed) }
			s.refuse("POST", "/mcp", `Bearer resource_metadata="`+s.URL+`/elsewhere"`)
			s.tell("/elsewhere", someResource)
		}, []string{"GET /mcp", "POST /mcp", "GET /elsewhere"}, nil},
		"though the server answers with a stream without an end": {func(s *site) {
			s.handle["GET /mcp"] = func(w http.ResponseWriter, r *http.Request) {
				w.WriteHeader(http.StatusOK)
				_ = http.NewResponseController(w).Flush()
				<-r.Context().Done()
			}
			s.tell("/.well-known/oauth-protected-resource/mcp", someResource)
		}, []string{"GET /mcp", "GET /.well-known/oauth-protected-resource/mcp"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			c.prepare(s)
			got, err := local(t).FindResource(t.Context(), s.URL+"/mcp")
			if err != nil {
				t.Fatal(err)
			}
			if got.Resource != s.URL+"/mcp" || !slices.Equal(got.AuthorizationServers, []string{"https://as.example"}) || !slices.Equal(got.Scopes, []string{"b", "a"}) || got.Name != "Files" {
				t.Errorf("found %+v", got)
			}
			if !slices.Equal(got.Asked, c.scopes) || !slices.Equal(s.requests(), c.asked) {
				t.Errorf("scopes %q, asked %q", got.Asked, s.requests())
			}
		})
	}
}

// TestResourceMustBeTheOneAskedFor: else a server has tokens made for another.
func TestResourceMustBeTheOneAskedFor(t *testing.T) {
	const wellKnown, own = "/.well-known/oauth-protected-resource/team/mcp", "/team/metadata"
	for _, c := range []struct {
		place, resource string
		ok              bool
	}{
		{wellKnown, "URL/team/mcp", true},
		{wellKnown, "URL/team/mcp/", true},
		{wellKnown, "URL/team", true}, // the host says so itself
		{wellKnown, "URL", true},
		{wellKnown, "URL/", true},
		{wellKnown, "URL/tea", false},
		{wellKnown, "URL/other", false},
		{wellKnown, "URL/team/mcp/more", false},
		{wellKnown, "https://bank.example/team/mcp", false},
		{wellKnown, "https://URL/team/mcp", false},
		{wellKnown, "URL/team/mcp?x=1", false},
		{wellKnown, "URL/team/mcp#x", false},
		{wellKnown, "", false},
		{own, "URL/team/mcp", true},
		{own, "URL/team", false}, // who has one path has not the host
		{own, "URL", false},
	} {
		s := newSite(t)
		s.refuse("GET", "/team/mcp", `Bearer resource_metadata="`+s.URL+c.place+`"`)
		s.tell(c.place, `{"resource":"`+c.resource+`","authorization_servers":["https://as.example"]}`)
		got, err := local(t).FindResource(t.Context(), s.URL+"/team/mcp")
		if f, _ := errors.AsType[*credential.Failure](err); c.ok != (err == nil) || !c.ok && (f == nil || f.Code != "resource_mismatch" || f.Class != credential.Misconfigured) {
			t.Errorf("%s at %s: %+v, %v", c.resource, c.place, got, err)
		}
	}
}

func TestBadResourceMetadataAreRefused(t *testing.T) {
	for name, c := range map[string]struct {
		document, code string
	}{
		"not JSON":                           {"<html>", "bad_resource_metadata"},
		"JSON of another shape":              {`{"resource":["URL/mcp"]}`, "bad_resource_metadata"},
		"no authorization server":            {`{"resource":"URL/mcp"}`, "no_authorization_server"},
		"too many":                           {`{"resource":"URL/mcp","authorization_servers":["https://a.example"` + strings.Repeat(`,"https://a.example"`, 100) + `]}`, "no_authorization_server"},
		"an authorization server over HTTP":  {`{"resource":"URL/mcp","authorization_servers":["http://as.example"]}`, "bad_resource_metadata"},
		"an authorization server of no host": {`{"resource":"URL/mcp","authorization_servers":["https:///x"]}`, "bad_resource_metadata"},
		"an authorization server with a user": {`{"resource":"URL/mcp","authorization_servers":["https://u:p@as.example"]}`,
			"bad_resource_metadata"},
	} {
		s := newSite(t)
		s.tell("/.well-known/oauth-protected-resource/mcp", c.document)
		_, err := local(t).FindResource(t.Context(), s.URL+"/mcp")
		if f, ok := errors.AsType[*credential.Failure](err); !ok || f.Code != c.code || f.Class != credential.Misconfigured {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestEndlessAndSlowResourceMetadataEnd(t *testing.T) {
	s := newSite(t)
	s.handle["GET /.well-known/oauth-protected-resource/mcp"] = func(w http.ResponseWriter, _ *http.Request) {
		for {
			if _, err := fmt.Fprint(w, strings.Repeat(" ", 4096)); err != nil {
				return
			}
		}
	}
	_, err := local(t).FindResource(t.Context(), s.URL+"/mcp")
	if f, ok := errors.AsType[*credential.Failure](err); !ok || f.Code != "bad_resource_metadata" {
		t.Errorf("endless: %v", err)
	}
	s.handle["GET /.well-known/oauth-protected-resource/mcp"] = func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	_, err = local(t).FindResource(t.Context(), s.URL+"/mcp")
	if f, ok := errors.AsType[*credential.Failure](err); !ok || f.Class != credential.Transient || f.Code != codeTimeout {
		t.Errorf("silent: %v", err)
	}
}

// TestResourceCannotSendRequestsInside: neither its own address, nor where it says
// that its metadata are, leads to what is not public.
func TestResourceCannotSendRequestsInside(t *testing.T) {
	s, inside := newSite(t), newSite(t)
	rt := NewTransport(TransportOptions{})
	t.Cleanup(rt.CloseIdleConnections)
	_, err := New(rt, Options{}).FindResource(t.Context(), s.URL+"/mcp")
	if f, ok := errors.AsType[*credential.Failure](err); !ok || f.Code != "address_refused" || len(s.requests()) != 0 {
		t.Errorf("%v, asked %q", err, s.requests())
	}
	s.refuse("GET", "/mcp", `Bearer resource_metadata="`+inside.URL+`/secret"`)
	port := netip.MustParseAddrPort(s.Listener.Addr().String()).Port()
	rt = NewTransport(TransportOptions{Allow: []Exception{{Prefix: netip.MustParsePrefix("127.0.0.0/8"), Port: port}}})
	t.Cleanup(rt.CloseIdleConnections)
	_, err = New(rt, Options{}).FindResource(t.Context(), s.URL+"/mcp")
	if f, ok := errors.AsType[*credential.Failure](err); !ok || f.Code != "address_refused" || len(inside.requests()) != 0 {
		t.Errorf("%v, asked inside: %q", err, inside.requests())
	}
	s.handle["GET /mcp"] = func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, inside.URL, http.StatusFound) }
	_, err = New(rt, Options{}).FindResource(t.Context(), s.URL+"/mcp")
	if f, ok := errors.AsType[*credential.Failure](err); !ok || f.Code != "no_resource_metadata" || len(inside.requests()) != 0 {
		t.Errorf("a redirect: %v, asked inside: %q", err, inside.requests())
	}
}

func TestAddressesOfResourcesAreChecked(t *testing.T) {
	for address, ok := range map[string]bool{
		"https://mcp.example.com/mcp": true, "https://mcp.example.com": true, "https://mcp.example.com:8443/a/b": true,
		"http://127.0.0.1:1/mcp": true, "http://localhost/mcp": true, "http://[::1]:2/": true,
		"http://mcp.example.com/mcp": false, "mcp.example.com": false, "ftp://mcp.example.com": false, "https://": false,
		"https://u@mcp.example.com/": false, "https://mcp.example.com/mcp#x": false, "https://mcp.example.com/mcp?x": false, "https://mcp.example.com/mcp?": false,
		"https://{host}/mcp": false, "": false, "https://mcp.example.com/" + strings.Repeat("x", 3000): false,
	} {
		if err := CheckResource(address); (err == nil) != ok || err != nil && !errors.Is(err, credential.ErrInvalid) {
			t.Errorf("%.60q: %v", address, err)
		}
	}
}

// FuzzResourceNames: whatever a document at one path of a host names, tokens are
// asked for nothing beyond what was asked for.
func FuzzResourceNames(f *testing.F) {
	for _, s := range []string{"https://mcp.example.com/team/mcp", "https://mcp.example.com", "https://MCP.example.com:443/team/", "https://mcp.example.com/te", "https://mcp.example.com@evil.example/team", "//mcp.example.com", "https://mcp.example.com/team/../x"} {
		f.Add(s, true)
		f.Add(s, false)
	}
	asked, failure := resourceURL("https://mcp.example.com/team/mcp")
	if failure != nil {
		f.Fatal(failure)
	}
	f.Fuzz(func(t *testing.T, named string, hosts bool) {
		place := "https://mcp.example.com/team/metadata"
		if hosts {
			place = "https://mcp.example.com/.well-known/oauth-protected-resource/team/mcp"
		}
		r := Resource{Resource: named, AuthorizationServers: []string{"https://as.example"}}
		if r.check(asked, place) != nil {
			return
		}
		u, err := url.Parse(named)
		if err != nil || !strings.EqualFold(u.Scheme, "https") || !strings.EqualFold(u.Hostname(), "mcp.example.com") || u.Port() != "" && u.Port() != "443" || u.User != nil {
			t.Fatalf("%q is another host's", named)
		}
		switch path := strings.TrimSuffix(u.EscapedPath(), "/"); path {
		case "/team/mcp":
		case "/team", "":
			if !hosts {
				t.Fatalf("%q is more than one path of the host", named)
			}
		default:
			t.Fatalf("%q is not what was asked for", named)
		}
	})
}
