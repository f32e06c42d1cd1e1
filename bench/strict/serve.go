package strict

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// endlessLimit ends even an endless body, for a client that has no limit.
const endlessLimit = 1 << 30

// shutdownTime is how long requests may take to finish when the server stops.
const shutdownTime = 2 * time.Second

// Handler returns the whole provider, admin API and all, as an HTTP handler.
// Delays that faults cause end when the provider is closed.
func (p *Provider) Handler() http.Handler { return p.handler(p.closed) }

func (p *Provider) handler(stop <-chan struct{}) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
		if err != nil {
			a := errorAnswer(http.StatusRequestEntityTooLarge, OutcomeBadRequest, "invalid_request", "the body could not be read, or is longer than 2 MiB")
			_ = a.write(w, stop)
			return
		}
		ep, ok := route(r.URL.Path)
		if !ok {
			a := p.other(r, body)
			_ = a.write(w, stop)
			return
		}
		v := p.admit(r.Context(), stop, ep, r, body)
		a := v.run()
		if a.drop {
			panic(http.ErrAbortHandler) // net/http's way to cut the connection without an answer
		}
		if err := a.write(w, stop); err != nil {
			v.lost()
		}
	})
}

// other answers what is not an end point of the provider: the admin API, or nothing.
func (p *Provider) other(r *http.Request, body []byte) answer {
	if strings.HasPrefix(r.URL.Path, "/admin/") {
		return p.admin(r, body)
	}
	return errorAnswer(http.StatusNotFound, OutcomeBadRequest, "invalid_request", "unrecognized route or not allowed method")
}

// write sends the answer. stop ends one without an end.
func (a answer) write(w http.ResponseWriter, stop <-chan struct{}) error {
	for name, values := range a.header {
		w.Header()[name] = values
	}
	if !a.endless {
		w.Header().Set("Content-Length", strconv.Itoa(len(a.body)))
		w.WriteHeader(a.status)
		_, err := w.Write(a.body)
		return err
	}
	w.WriteHeader(a.status)
	chunk := make([]byte, 64<<10)
	for i := range chunk {
		chunk[i] = a.body[i%len(a.body)]
	}
	for sent := 0; sent < endlessLimit; sent += len(chunk) {
		select {
		case <-stop:
			return net.ErrClosed
		default:
		}
		if _, err := w.Write(chunk); err != nil {
			return err
		}
	}
	return nil
}

// Serve answers on ln, which it closes, until ctx ends; then it lets requests
// finish for a moment, cuts off the rest and returns nil. Requests that a
// fault delays are cut off at once, without having been looked at. All its
// goroutines have ended when it returns, so the hooks of the options must not
// block for ever. It can be called again, with another listener, to come back
// after an outage.
func (p *Provider) Serve(ctx context.Context, ln net.Listener) error {
	// stop ends when Serve returns, too: nothing outlives it.
	stop, cancel := context.WithCancel(ctx)
	defer cancel()
	var conns sync.WaitGroup // counted up in the accept loop, down when a connection's goroutine ends
	srv := &http.Server{
		Handler: p.handler(stop.Done()),
		ConnState: func(_ net.Conn, state http.ConnState) {
			switch state {
			case http.StateNew:
				conns.Add(1)
			case http.StateClosed, http.StateHijacked:
				conns.Done()
			}
		},
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		ErrorLog:          slog.NewLogLogger(p.o.Logger.Handler(), slog.LevelWarn),
	}
	failed := make(chan error, 1)
	go func() { failed <- srv.Serve(ln) }()
	var err error
	select {
	case err = <-failed:
		cancel()
		_ = srv.Close()
	case <-ctx.Done():
		grace, done := context.WithTimeout(context.WithoutCancel(ctx), shutdownTime)
		defer done()
		if srv.Shutdown(grace) != nil {
			_ = srv.Close()
		}
		if err = <-failed; errors.Is(err, http.ErrServerClosed) {
			err = nil
		}
	}
	conns.Wait()
	return err
}
