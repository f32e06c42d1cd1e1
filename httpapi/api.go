package httpapi

import (
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Options are the knobs of the API. The zero value is usable.
type Options struct {
	// Logger gets the lines of the API; nil: slog.Default. Wrap its handler in
	// [LogHandler] to see the ids of requests.
	Logger *slog.Logger
	// Registerer gets the API's own metrics; nil: they are counted nowhere.
	Registerer prometheus.Registerer
	// RequestTimeout bounds the work on one request; 0: 30 s.
	RequestTimeout time.Duration
}

const defaultRequestTimeout = 30 * time.Second

// api is the whole of the handler: immutable once made but for the pool, used
// concurrently.
type api struct {
	Deps
	log     *slog.Logger
	timeout time.Duration
	metrics *metrics
	mux     *http.ServeMux
	buffers sync.Pool // of *tokenBuffer
}

// New makes the handler of the whole HTTP API. It starts nothing and holds no
// resources.
func New(d Deps, o Options) http.Handler {
	a := &api{Deps: d, log: o.Logger, timeout: o.RequestTimeout}
	if a.log == nil {
		a.log = slog.Default()
	}
	if a.timeout <= 0 {
		a.timeout = defaultRequestTimeout
	}
	a.metrics = newMetrics(o.Registerer, a.log)
	a.mux = newMux(a.routes(), a.metrics)
	return a
}

// Server puts the handler into a server with limits that suit it. The caller
// listens, serves and shuts it down. It speaks HTTP/1.1 and HTTP/2, the latter
// also without TLS to clients that know that they may.
//
// ReadTimeout bounds slow bodies; it is longer than the default
// [Options.RequestTimeout], because net/http ends a request's context with it.
// WriteTimeout is not set. Streams live longer than any one value: their
// handlers set their own limits by http.ResponseController.
func Server(h http.Handler) *http.Server {
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(true)
	return &http.Server{
		Handler:           h,
		Protocols:         &protocols,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       time.Minute,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    32 << 10,
	}
}
