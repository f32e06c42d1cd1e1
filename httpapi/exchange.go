package httpapi

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/wire"
)

// exchange is one request on its way through the API. It is its own
// http.ResponseWriter, to know what was answered. It lives as long as the
// request and belongs to its goroutine.
type exchange struct {
	http.ResponseWriter
	a   *api
	r   *http.Request
	ctx requestContext // ends with the request or its time
	key *Key           // who asks; nil on open routes

	route  *route    // nil: no path matched
	status int       // 0: nothing was answered yet
	id     [1]string // the value of the header with the request's id
	// For the log.
	account credential.Ref
	code    wire.Code
}

// WriteHeader remembers the status.
func (x *exchange) WriteHeader(status int) {
	if x.status == 0 {
		x.status = status
	}
	x.ResponseWriter.WriteHeader(status)
}

// Write sends a part of the body.
func (x *exchange) Write(b []byte) (int, error) {
	if x.status == 0 {
		x.status = http.StatusOK
	}
	return x.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController reach the connection.
func (x *exchange) Unwrap() http.ResponseWriter { return x.ResponseWriter }

// ServeHTTP answers any request.
func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	x := &exchange{ResponseWriter: w, a: a, r: r}
	x.id[0] = requestIDOf(r.Header.Get(headerRequestID))
	w.Header()[headerRequestID] = x.id[:]
	x.ctx.Context, x.ctx.id, x.ctx.deadline = r.Context(), x.id[0], start.Add(a.timeout)
	defer x.ctx.end()
	defer x.finish(start)
	if !tidy(r.URL.EscapedPath()) || r.Method == http.MethodConnect {
		noRoute(x, r)
		return
	}
	a.mux.ServeHTTP(x, r)
}

// serve authenticates and runs the route.
func (x *exchange) serve(rt *route) {
	x.route = rt
	if !rt.open {
		if err := x.authenticate(); err != nil {
			x.fail(err)
			return
		}
	}
	if err := rt.handle(x); err != nil {
		x.fail(err)
	}
}

// fail answers err by the table of problems.
func (x *exchange) fail(err error) {
	p := problemOf(err)
	x.code = p.code
	if p.status == http.StatusInternalServerError {
		x.a.log.ErrorContext(&x.ctx, "request failed", x.attrs(slog.Any("error", p.cause))...)
	}
	if x.status != 0 {
		panic(http.ErrAbortHandler) // half an answer went out: break the connection off
	}
	p.write(x)
}

// finish ends a request: it answers a panic, counts and logs. It is deferred.
func (x *exchange) finish(start time.Time) {
	abort := false
	if v := recover(); v != nil {
		abort = x.panicked(v)
	}
	elapsed := time.Since(start)
	x.a.metrics.observe(x.route, x.status, elapsed)
	x.access(elapsed)
	if abort {
		panic(http.ErrAbortHandler)
	}
}

// panicked logs a panic and answers it where that is still possible; else it
// reports that the connection is to be broken off. The value of a panic could
// hold anything, a secret too, so that only what the runtime says is logged.
func (x *exchange) panicked(v any) (abort bool) {
	if v == http.ErrAbortHandler {
		return true
	}
	what := fmt.Sprintf("panic with a %T", v)
	if re, ok := v.(runtime.Error); ok {
		what = re.Error()
	}
	x.a.log.ErrorContext(&x.ctx, "handler panicked",
		x.attrs(slog.String("panic", what), slog.String("stack", string(debug.Stack())))...)
	if x.status != 0 {
		return true
	}
	x.code = wire.CodeInternal
	(&problem{kind: kindInternal, detail: detailInternal}).write(x)
	return false
}

// access writes the access log: what changed something at info, the rest at
// debug. Paths are logged as patterns and queries never: both can hold what a
// caller put there by mistake.
func (x *exchange) access(elapsed time.Duration) {
	level := slog.LevelDebug
	if x.route != nil && x.route.audit && x.key != nil {
		level = slog.LevelInfo
	}
	if !x.a.log.Enabled(&x.ctx, level) {
		return
	}
	x.a.log.Log(&x.ctx, level, "request",
		x.attrs(slog.Int("status", x.status), slog.Duration("took", elapsed))...)
}

// attrs tells what the request was, for a line of the log.
func (x *exchange) attrs(more ...any) []any {
	attrs := []any{slog.String("method", methodLabel(x.r.Method))}
	if x.route != nil {
		attrs = append(attrs, slog.String("route", x.route.path))
	}
	if x.key != nil {
		attrs = append(attrs, slog.String("key", x.key.ID))
		if x.key.Agent != "" {
			attrs = append(attrs, slog.String("agent", x.key.Agent))
		}
	}
	if x.account != (credential.Ref{}) {
		attrs = append(attrs, slog.String("account", x.account.String()))
	}
	if x.code != "" {
		attrs = append(attrs, slog.String("code", string(x.code)))
	}
	return append(attrs, more...)
}

// Values of headers that are the same every time; never changed.
var (
	valueJSON    = []string{"application/json"}
	valueNoStore = []string{"no-store"}
)

// json answers v. Nothing of the API is to be kept by caches.
func (x *exchange) json(status int, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("answer does not encode: %w", err)
	}
	x.raw(status, body)
	return nil
}

// raw answers a JSON text.
func (x *exchange) raw(status int, body []byte) {
	h := x.Header()
	h["Content-Type"] = valueJSON
	h["Cache-Control"] = valueNoStore
	if len(body) > 1024 { // net/http itself tells the length of shorter ones
		h["Content-Length"] = []string{strconv.Itoa(len(body))}
	}
	x.WriteHeader(status)
	_, _ = x.Write(body) // a client that went away needs no answer
}

// methodLabel keeps the number of metrics and the text of log lines bounded.
func methodLabel(m string) string {
	switch m {
	case "GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "CONNECT", "TRACE":
		return m
	}
	return "other"
}

// decodeBody reads the body into v, strictly.
func (x *exchange) decodeBody(v any) error {
	body, err := readBody(x.ResponseWriter, x.r)
	if err != nil {
		return err
	}
	return decode(body, v)
}

// bearer returns the API key that the caller presents.
func bearer(header string) (string, bool) {
	const scheme = "bearer "
	if len(header) <= len(scheme) || !strings.EqualFold(header[:len(scheme)], scheme) {
		return "", false
	}
	return strings.TrimSpace(header[len(scheme):]), true
}

func (x *exchange) authenticate() error {
	presented, ok := bearer(x.r.Header.Get("Authorization"))
	if !ok {
		return &problem{kind: kindUnauthorized, detail: "Send an API key in the header Authorization: Bearer <key>."}
	}
	if x.key, ok = x.a.Keys.Authenticate(presented); !ok {
		x.key = nil
		return &problem{kind: kindUnauthorized, detail: "This API key is not valid here: it was mistyped, deleted, or belongs to another installation."}
	}
	return nil
}
