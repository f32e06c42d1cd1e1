package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/grantd/grantd/feed"
)

const (
	// heartbeat is the longest silence on a stream.
	heartbeat = 15 * time.Second
	// keyCheck is how often it is looked whether the key of a stream still is one.
	keyCheck = time.Second
	// writeLimit is how long a reader may take to make room for more.
	writeLimit = 30 * time.Second
	// maxChunk is about how many bytes are written at once.
	maxChunk = 32 << 10
)

// sse writes a stream of Server-sent events (WHATWG HTML, section 9.2).
type sse struct {
	x    *exchange
	c    *http.ResponseController
	from *feed.Stream
	buf  bytes.Buffer
	last time.Time // of the last write
}

// eventStream writes events as they come, until the reader goes, his key ends or
// the node stops. The reader then connects again, and goes on where he was.
func (x *exchange) eventStream(c *http.ResponseController, s *feed.Stream) error {
	h := x.Header()
	h.Set("Content-Type", "text/event-stream")
	h["Cache-Control"] = valueNoStore
	h.Set("X-Accel-Buffering", "no") // some proxies gather answers otherwise
	if x.r.Method == http.MethodHead {
		x.WriteHeader(http.StatusOK)
		return nil
	}
	w := &sse{x: x, c: c, from: s}
	ctx := x.r.Context()
	// The first position comes at once: who is cut off before anything happens
	// has somewhere to go on.
	w.buf.WriteString("retry: 1000\n")
	if err := w.comment(ctx, "events follow"); err != nil {
		return err
	}
	presented, _ := bearer(x.r.Header.Get("Authorization"))
	for {
		if _, valid := x.a.Keys.Authenticate(presented); !valid {
			return nil
		}
		err := w.more(ctx)
		switch {
		case errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil:
			err = w.idle(ctx)
		case errors.Is(err, feed.ErrClosed):
			return nil
		}
		if err != nil {
			x.a.log.DebugContext(ctx, "event stream ended", x.attrs("err", err)...)
			return nil // nobody reads an answer
		}
	}
}

// more waits for an event, for no longer than keyCheck, and writes it with those
// that were read with it.
func (w *sse) more(ctx context.Context) error {
	brief, cancel := context.WithTimeout(ctx, keyCheck)
	defer cancel()
	item, err := w.from.Next(brief)
	for ok := err == nil; ok; {
		if err = w.event(ctx, item); err != nil {
			return err
		}
		if !w.from.Buffered() || w.buf.Len() >= maxChunk {
			break
		}
		item, ok, err = w.from.TryNext(brief)
	}
	if broken := w.flush(); broken != nil {
		return broken
	}
	return err
}

// event adds an event to what is to be written.
func (w *sse) event(ctx context.Context, item feed.Item) error {
	pos, err := w.from.Position(ctx)
	if err != nil {
		return err
	}
	e := w.x.eventOf(item)
	data, err := json.Marshal(e)
	if err != nil {
		return err
	}
	w.line("id: ", pos)
	w.line("event: ", e.Type)
	w.line("data: ", string(data)) // JSON has no line breaks
	w.buf.WriteByte('\n')
	return nil
}

func (w *sse) line(name, value string) {
	w.buf.WriteString(name)
	w.buf.WriteString(value)
	w.buf.WriteByte('\n')
}

// idle writes a sign of life where it is time.
func (w *sse) idle(ctx context.Context) error {
	if time.Since(w.last) < heartbeat {
		return nil
	}
	return w.comment(ctx, "nothing new")
}

// comment writes a comment and the position, which may have moved on over what
// the reader does not see.
func (w *sse) comment(ctx context.Context, text string) error {
	pos, err := w.from.Position(ctx)
	if err != nil {
		return err
	}
	w.line(": ", text)
	w.line("id: ", pos)
	w.buf.WriteByte('\n')
	return w.flush()
}

// flush writes what has gathered. A reader that makes no room is given up.
func (w *sse) flush() error {
	if w.buf.Len() == 0 {
		return nil
	}
	if err := w.c.SetWriteDeadline(time.Now().Add(writeLimit)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	_, err := w.x.Write(w.buf.Bytes())
	w.buf.Reset()
	if err == nil {
		err = w.c.Flush()
	}
	w.last = time.Now()
	return err
}
