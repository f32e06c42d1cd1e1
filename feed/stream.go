package feed

import (
	"context"
	"time"

	"github.com/grantd/grantd/credential"
)

// Item is an event, or a gap.
type Item struct {
	Event credential.Event
	// Lost is not 0 in a gap: so many events of one group, of whatever accounts,
	// were dropped before this stream read them. Event is empty then.
	Lost uint64
}

// Stream is one reader's stream. It has one reader at a time.
type Stream struct {
	feed   *Feed
	reader string
	match  func(*credential.Event) bool
	news   chan struct{} // capacity 1: some outbox has grown

	pos     position // behind what was handed out, or passed over
	group   int      // that pending is of
	pending []credential.StoredEvent
	turn    int // the group that is looked at first
	retry   []retry
}

// retry is a group of which nothing could be read.
type retry struct {
	failures int
	at       time.Time // zero: now
}

// Close ends the stream. It may be called more than once.
func (s *Stream) Close() { s.feed.dismiss(s) }

// Position is behind the last item that was handed out, and behind all that was
// passed over: a stream that is opened after it misses nothing.
func (s *Stream) Position(ctx context.Context) (string, error) { return s.feed.seal(ctx, s.pos) }

// Buffered reports whether the next item may be there without reading.
func (s *Stream) Buffered() bool { return len(s.pending) > 0 }

// Next returns the next item, and waits for it. Errors: ErrClosed, and the
// context's; what an outbox that cannot be read holds comes when it can.
func (s *Stream) Next(ctx context.Context) (Item, error) {
	for {
		item, ok, err := s.TryNext(ctx)
		if ok || err != nil {
			return item, err
		}
		if err := s.wait(ctx); err != nil {
			return Item{}, err
		}
	}
}

// TryNext returns the next item if there is one now.
func (s *Stream) TryNext(ctx context.Context) (item Item, ok bool, err error) {
	ctx, leave, err := s.feed.enter(ctx)
	if err != nil {
		return Item{}, false, err
	}
	defer leave()
	for {
		if item, ok = s.take(); ok {
			return item, true, nil
		}
		if ctx.Err() != nil {
			return Item{}, false, s.feed.why(ctx.Err())
		}
		group, behind := s.behind()
		if !behind {
			return Item{}, false, nil
		}
		s.fill(ctx, group)
	}
}

// wait returns when there may be something to read.
func (s *Stream) wait(ctx context.Context) error {
	var again <-chan time.Time
	if at := s.nextRetry(); !at.IsZero() {
		t := time.NewTimer(time.Until(at))
		defer t.Stop()
		again = t.C
	}
	select {
	case <-s.news:
		return nil
	case <-again:
		return nil
	case <-s.feed.ctx.Done():
		return ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
}

// take hands out what was read already.
func (s *Stream) take() (Item, bool) {
	for len(s.pending) > 0 {
		e, at := &s.pending[0], &s.pos[s.group]
		if e.Pos > *at+1 { // the event itself comes next
			lost := uint64(e.Pos - *at - 1)
			*at = e.Pos - 1
			s.feed.counters.Gaps.Add(1)
			s.feed.counters.Lost.Add(int64(lost))
			return Item{Lost: lost}, true
		}
		s.pending = s.pending[1:]
		if e.Pos <= *at {
			continue
		}
		*at = e.Pos
		if s.match == nil || s.match(&e.Event) {
			s.feed.counters.Sent.Add(1)
			return Item{Event: e.Event}, true
		}
	}
	s.pending = nil // the page can go
	return Item{}, false
}

// behind returns a group that has more events, each in its turn.
func (s *Stream) behind() (group int, ok bool) {
	for i := range s.pos {
		group = (s.turn + i) % len(s.pos)
		if s.lags(group) && !time.Now().Before(s.retry[group].at) {
			s.turn = (group + 1) % len(s.pos)
			return group, true
		}
	}
	return 0, false
}

// lags reports whether a group has events that were not read.
func (s *Stream) lags(group int) bool {
	return s.feed.last[group].Load() > uint64(s.pos[group])
}

// fill reads a page of a group.
func (s *Stream) fill(ctx context.Context, group int) {
	p, err := s.feed.read(ctx, group, s.pos[group], page, 0)
	r := &s.retry[group]
	if err != nil || len(p.Events) == 0 { // it may be a replica that lags behind the one asked before
		r.failures++
		r.at = time.Now().Add(backoff(r.failures))
		return
	}
	*r = retry{}
	s.group, s.pending = group, p.Events
}

// nextRetry is when a group that could not be read is read again; zero: all
// could.
func (s *Stream) nextRetry() (at time.Time) {
	for group := range s.retry {
		if r := s.retry[group].at; !r.IsZero() && s.lags(group) && (at.IsZero() || r.Before(at)) {
			at = r
		}
	}
	return at
}
