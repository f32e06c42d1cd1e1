package client_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/grantd/grantd/client"
	"github.com/grantd/grantd/wire"
)

// streams answers each request for events with the next of its scripts.
type streams struct {
	mu      sync.Mutex
	scripts []func(w *io.PipeWriter) *wire.Problem // nil after the last: the test has ended
	asked   []url.Values
	at      []time.Time
	open    sync.WaitGroup
}

func (s *streams) RoundTrip(req *http.Request) (*http.Response, error) {
	s.mu.Lock()
	n := len(s.asked)
	s.asked, s.at = append(s.asked, req.URL.Query()), append(s.at, time.Now())
	s.mu.Unlock()
	if n >= len(s.scripts) {
		<-req.Context().Done()
		return nil, req.Context().Err()
	}
	if strings.Contains(req.Header.Get("Accept"), "application/json") {
		return nil, errors.New("a stream was not asked for")
	}
	r, w := io.Pipe()
	context.AfterFunc(req.Context(), func() { _ = w.CloseWithError(req.Context().Err()) })
	refused := make(chan *wire.Problem, 1)
	s.open.Go(func() { refused <- s.scripts[n](w) })
	select {
	case p := <-refused:
		if p != nil {
			return answerOf(req, p.Status, p), nil
		}
		refused <- nil
	case <-time.After(time.Millisecond):
	}
	return &http.Response{StatusCode: 200, Header: http.Header{"Content-Type": {"text/event-stream"}}, Body: r, Request: req}, nil
}

// say writes messages and ends the connection: "p1 e1" is event e1 at position
// p1, "p1" a position alone, "silence" that nothing comes for an hour.
func say(messages ...string) func(w *io.PipeWriter) *wire.Problem {
	return func(w *io.PipeWriter) *wire.Problem {
		time.Sleep(2 * time.Millisecond)
		for _, m := range messages {
			if m == "silence" {
				time.Sleep(time.Hour)
				continue
			}
			pos, id, _ := strings.Cut(m, " ")
			text := ": comment\nid: " + pos + "\n\n"
			if id != "" {
				text = fmt.Sprintf("id: %s\nevent: x\ndata: {\"id\":%q,\ndata: \"type\":\"x\",\"data\":{\"account\":\"acme/gh\"}}\n\n", pos, id)
			}
			if _, err := io.WriteString(w, text); err != nil {
				return nil
			}
		}
		_ = w.Close()
		return nil
	}
}

func refuse(status int, code wire.Code) func(w *io.PipeWriter) *wire.Problem {
	return func(*io.PipeWriter) *wire.Problem { return &wire.Problem{Status: status, Code: code, Detail: "d"} }
}

func TestWatchGoesOnWhereItWasAndDropsDoubles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &streams{scripts: []func(*io.PipeWriter) *wire.Problem{
			say("p0", "p1 e1", "p2 e2"),
			refuse(503, wire.CodeNotReady),
			say("p2 e2", "p3 e3", "p4", "silence"),
			say("p5 e5", "p6 e6", "p7 e7"),
		}}
		c := newClient(t, s)
		enough := errors.New("enough")
		var got, positions []string
		start := time.Now()
		err := c.Watch(t.Context(), client.EventFilter{Types: []string{"x", "y"}, Tenant: "acme", Account: "acme/gh", Integration: "github"}, func(e client.Event) error {
			if e.ID == "e6" {
				return enough
			}
			got, positions = append(got, e.ID), append(positions, e.Position)
			return nil
		})
		took := time.Since(start)
		s.open.Wait()
		if err != enough || !slices.Equal(got, []string{"e1", "e2", "e3", "e5"}) || !slices.Equal(positions, []string{"p1", "p2", "p3", "p5"}) {
			t.Errorf("events %v at %v, %v", got, positions, err)
		}
		var after []string
		for _, q := range s.asked {
			after = append(after, q.Get("after"))
		}
		if !slices.Equal(after, []string{"", "p2", "p2", "p4"}) {
			t.Errorf("asked for what comes after %q", after)
		}
		if q := s.asked[1]; q.Get("types") != "x,y" || q.Get("tenant") != "acme" || q.Get("account") != "acme/gh" || q.Get("integration") != "github" {
			t.Errorf("asked %v", q)
		}
		if d := s.at[2].Sub(s.at[1]); d < 7*time.Second {
			t.Errorf("asked again after %v, where Retry-After said 7 s", d)
		}
		if took < 52*time.Second || took > time.Minute {
			t.Errorf("took %v: a silent stream is given up after 45 s", took)
		}
	})
}

func TestWatchEndsWithWhatDoesNotPass(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &streams{scripts: []func(*io.PipeWriter) *wire.Problem{say("p1 e1"), refuse(401, wire.CodeUnauthorized)}}
		n := 0
		err := newClient(t, s).Watch(t.Context(), client.EventFilter{}, func(client.Event) error { n++; return nil })
		if client.CodeOf(err) != wire.CodeUnauthorized || n != 1 {
			t.Errorf("%v after %d events", err, n)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		s = &streams{}
		for range 100 {
			s.scripts = append(s.scripts, refuse(500, wire.CodeInternal))
		}
		if err := newClient(t, s).Watch(ctx, client.EventFilter{}, nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("at its end: %v", err)
		}
		if n := len(s.asked); n < 20 || n > 50 {
			t.Errorf("asked %d times in ten minutes in which nothing went", n)
		}
	})
}

func TestEventsAreAskedForAsAList(t *testing.T) {
	var asked string
	c := newClient(t, roundTripper(func(req *http.Request) (*http.Response, error) {
		asked = req.Method + " " + req.URL.RequestURI() + " " + req.Header.Get("Accept")
		return answerOf(req, 200, wire.EventList{Events: []wire.Event{{ID: "e1"}}, Next: "p1"}), nil
	}))
	l, err := c.Events(t.Context(), client.EventFilter{After: client.EventsFromStart, Account: "acme/gh"}, 30*time.Second, 5)
	if err != nil || l.Next != "p1" || len(l.Events) != 1 {
		t.Errorf("%+v, %v", l, err)
	}
	if want := "GET /v1/events?account=acme%2Fgh&after=start&limit=5&wait=30s application/json, application/problem+json"; asked != want {
		t.Errorf("asked %s\n want %s", asked, want)
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
