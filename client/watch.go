package client

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"

	"github.com/grantd/grantd/wire"
)

// Event is an event of the stream.
type Event struct {
	wire.Event
	// Position is behind the event: EventFilter.After to go on there.
	Position string
}

const (
	// silence is how long a stream that lives is silent at most, with some to spare.
	silence = 45 * time.Second
	// After a break the stream is opened again after watchMin, then after twice as
	// long, up to watchMax; the upper half of each wait is drawn.
	watchMin = 250 * time.Millisecond
	watchMax = 30 * time.Second
	// maxLine bounds a line of the stream, in bytes.
	maxLine = 1 << 20
	// remembered is of how many events doubles are dropped.
	remembered = 4096
)

// Watch calls fn with each event from f.After on, one after the other, until ctx
// ends or fn returns an error, which Watch then returns. When the connection
// breaks it goes on where it was, at whatever node answers, and drops what comes
// twice. An event whose fn has returned nil does not come again; keep its
// Position to go on there in another process.
//
// Other errors are what grantd answers that does not pass: the key is refused
// (or was deleted meanwhile), or f cannot be. Of an event of the type
// wire.EventGap, whatever lay in the gap is lost: look at what matters yourself.
func (c *Client) Watch(ctx context.Context, f EventFilter, fn func(Event) error) error {
	w := &watch{c: c, f: f, fn: fn, seen: make(map[string]struct{})}
	for failures := 1; ; failures++ {
		err := w.stream(ctx)
		var stopped *stop
		switch {
		case errors.As(err, &stopped):
			return stopped.err
		case ctx.Err() != nil:
			return ctx.Err()
		case final(err):
			return err
		}
		if w.alive {
			failures, w.alive = 1, false
		}
		pause := time.NewTimer(watchPause(failures, err))
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return ctx.Err()
		}
	}
}

// watchPause is the wait before the stream is opened again.
func watchPause(failures int, err error) time.Duration {
	d := min(watchMin<<min(failures-1, 10), watchMax)
	d = d/2 + rand.N(d/2)
	var e *Error
	if errors.As(err, &e) {
		d = max(d, e.RetryAfter)
	}
	return d
}

// watch is one Watch under way.
type watch struct {
	c     *Client
	f     EventFilter // After moves on
	fn    func(Event) error
	alive bool // something came since the last break
	// seen are the ids of the last events, and order has them in a ring.
	seen  map[string]struct{}
	order []string
	turn  int
}

// stop is what ended a Watch from inside.
type stop struct{ err error }

// Error is the error of the caller's function.
func (s *stop) Error() string { return s.err.Error() }

// errSilent is the cause of a stream's end that says nothing any more.
var errSilent = errors.New("grantd: the event stream fell silent")

// stream reads one connection until it breaks.
func (w *watch) stream(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	quiet := time.AfterFunc(silence, func() { cancel(errSilent) })
	defer quiet.Stop()
	req, err := w.c.request(ctx, "GET", "/v1/events", w.f.query(), nil)
	if err != nil {
		return err
	}
	req.Header.Set("Accept", "text/event-stream, "+wire.ProblemType)
	res, err := withTimeout(w.c.http, func(time.Duration) time.Duration { return 0 }).Do(req)
	if err != nil {
		return fmt.Errorf("grantd: %w", err)
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK || !strings.HasPrefix(res.Header.Get("Content-Type"), "text/event-stream") {
		answer, err := io.ReadAll(io.LimitReader(res.Body, maxDrain))
		if err != nil {
			return fmt.Errorf("grantd: answer of GET /v1/events broke off: %w", err)
		}
		return errorOf(res, answer)
	}
	lines := bufio.NewScanner(res.Body)
	lines.Buffer(make([]byte, 0, 4096), maxLine)
	var m message
	for lines.Scan() {
		quiet.Reset(silence)
		if len(lines.Bytes()) > 0 {
			m.line(lines.Bytes())
			continue
		}
		if err := w.take(m); err != nil {
			return err
		}
		m = message{}
	}
	return fmt.Errorf("grantd: the event stream broke off: %w", errors.Join(lines.Err(), context.Cause(ctx)))
}

// message is one message of Server-sent events; fields that are not needed are
// left out.
type message struct {
	id   string
	data []byte
}

func (m *message) line(b []byte) {
	name, value, _ := bytes.Cut(b, []byte(":"))
	value = bytes.TrimPrefix(value, []byte(" "))
	switch string(name) {
	case "id":
		m.id = string(value)
	case "data":
		if m.data != nil {
			m.data = append(m.data, '\n')
		}
		m.data = append(m.data, value...)
	}
}

// take hands an event on, and moves the position.
func (w *watch) take(m message) error {
	w.alive = true
	if m.data != nil {
		e := Event{Position: m.id}
		if err := json.Unmarshal(m.data, &e.Event); err != nil {
			return errors.New("grantd: an event of the stream is not what it should be")
		}
		if !w.known(e.ID) {
			if err := w.fn(e); err != nil {
				return &stop{err}
			}
			w.remember(e.ID)
		}
	}
	if m.id != "" {
		w.f.After = m.id
	}
	return nil
}

func (w *watch) known(id string) bool {
	_, seen := w.seen[id]
	return seen
}

func (w *watch) remember(id string) {
	if id == "" {
		return // a gap
	}
	w.seen[id] = struct{}{}
	if len(w.order) < remembered {
		w.order = append(w.order, id)
		return
	}
	delete(w.seen, w.order[w.turn])
	w.order[w.turn] = id
	w.turn = (w.turn + 1) % remembered
}
