package httpapi

import (
	"log/slog"
	"net/http"
	"time"

	"github.com/grantd/grantd/wire"
)

// Starting is the handler of a node that is not up yet, which may have to wait
// for other nodes: it lives, is not ready, and asks everybody else to come back.
func Starting(log *slog.Logger) http.Handler {
	a := &api{log: log, timeout: defaultRequestTimeout, metrics: newMetrics(nil, log)}
	a.mux = http.NewServeMux()
	live := &route{method: http.MethodGet, path: "/livez", open: true, handle: a.live}
	live.metrics = a.metrics.route(live)
	byMethod := map[string]*route{http.MethodGet: live}
	a.mux.Handle(live.path, &pathRoutes{byMethod: byMethod, allow: allowed(byMethod)})
	a.mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		w.(*exchange).fail(&problem{
			kind:   kind{wire.CodeNotReady, http.StatusServiceUnavailable, "Not ready", time.Second},
			detail: "This node is starting, and may be waiting for other nodes. Try again after Retry-After, or ask another node.",
		})
	})
	return a
}
