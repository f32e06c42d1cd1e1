package feed_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/feed"
	"github.com/grantd/grantd/feed/feedtest"
)

func TestAStreamGoesOnAtAnyNodeFromAnyOfItsPositions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := feedtest.NewWorld(3)
		f, other := node(t, w, feed.Config{}), node(t, w, feed.Config{})
		for i := range 200 {
			w.Add(i%3, event(fmt.Sprint("a", i%3), i))
		}
		s := open(t, f, feed.Options{After: feed.Start})
		var seen, positions []string
		for range 200 {
			seen, positions = append(seen, next(t, s)), append(positions, position(t, s))
		}
		if n := len(slices.Compact(slices.Sorted(slices.Values(seen)))); n != 200 {
			t.Fatalf("%d different events", n)
		}
		for at := 0; at < 200; at += 13 {
			resumed := open(t, other, feed.Options{After: positions[at]})
			var rest []string
			for range 199 - at {
				rest = append(rest, next(t, resumed))
			}
			want := slices.Sorted(slices.Values(seen[at+1:]))
			if slices.Sort(rest); !slices.Equal(rest, want) {
				t.Errorf("after event %d came %v, want %v", at, rest, want)
			}
			if _, more, err := resumed.TryNext(t.Context()); more || err != nil {
				t.Errorf("after event %d there is more, %v", at, err)
			}
			resumed.Close()
		}
	})
}

func TestAStreamBeginsNowOrWithTheOldest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := feedtest.NewWorld(2)
		w.Add(0, event("a", 1))
		w.Change(1, func(o *feedtest.Outbox) { o.First, o.All = 41, []credential.Event{event("b", 41), event("b", 42)} })
		f := node(t, w, feed.Config{})
		now, start := open(t, f, feed.Options{}), open(t, f, feed.Options{After: feed.Start})
		var all []string
		for range 3 {
			all = append(all, next(t, start))
		}
		if slices.Sort(all); !slices.Equal(all, []string{"a-1", "b-41", "b-42"}) {
			t.Errorf("from the start: %v", all)
		}
		if got := next(t, now); got != "nothing" {
			t.Errorf("from now on: %s", got)
		}
		w.Add(1, event("b", 43))
		if got := next(t, now); got != "b-43" {
			t.Errorf("then: %s", got)
		}
	})
}

func TestWhatWasDroppedIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := feedtest.NewWorld(2)
		f := node(t, w, feed.Config{})
		s := open(t, f, feed.Options{})
		w.Add(0, event("a", 1))
		if got := next(t, s); got != "a-1" {
			t.Fatal(got)
		}
		after := position(t, s)
		s.Close()
		for i := range 10 {
			w.Add(0, event("a", 2+i))
		}
		w.Change(0, func(o *feedtest.Outbox) { o.First, o.All = 8, o.All[7:] })
		s = open(t, f, feed.Options{After: after, Match: func(e *credential.Event) bool { return e.Generation != 8 }})
		for _, want := range []string{"6 lost", "a-9", "a-10", "a-11", "nothing"} {
			if got := next(t, s); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
			if want == "6 lost" { // a gap is told once, wherever the stream goes on
				again := open(t, f, feed.Options{After: position(t, s)})
				if got := next(t, again); got != "a-8" {
					t.Errorf("after the gap: %s", got)
				}
				again.Close()
			}
		}
		if c := f.Counters(); c.Gaps.Load() != 1 || c.Lost.Load() != 6 {
			t.Errorf("counted %d gaps, %d lost", c.Gaps.Load(), c.Lost.Load())
		}
	})
}

func TestAReaderThatDoesNotReadCostsNoMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := feedtest.NewWorld(2)
		f := node(t, w, feed.Config{})
		slow, fast := open(t, f, feed.Options{Reader: "slow"}), open(t, f, feed.Options{Reader: "fast"})
		const many = 20_000
		w.Add(0, event("a", 0))
		if got := next(t, slow); got != "a-0" {
			t.Fatal(got)
		}
		if got := next(t, fast); got != "a-0" {
			t.Fatal(got)
		}
		before := w.Reads.Load()
		for i := range many {
			w.Add(0, event("a", i+1))
		}
		synctest.Wait()
		time.Sleep(time.Minute)
		if n := w.Reads.Load() - before; n != 0 {
			t.Errorf("nobody reads, and the outbox was read %d times", n)
		}
		for i := range many {
			if got := next(t, fast); got != fmt.Sprintf("a-%d", i+1) {
				t.Fatalf("the fast reader got %s as event %d", got, i+1)
			}
		}
		if n := w.Widest.Load(); n > feed.PageSize {
			t.Errorf("%d events were read at once", n)
		}
		if got := next(t, slow); got != "a-1" {
			t.Errorf("the slow reader got %s", got)
		}
		if n := slow.Held(); n >= feed.PageSize {
			t.Errorf("the slow reader's stream holds %d events", n)
		}
	})
}

func TestAGroupThatCannotBeReadHoldsUpNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := feedtest.NewWorld(2)
		f := node(t, w, feed.Config{})
		s := open(t, f, feed.Options{})
		start := position(t, s)
		down := errors.New("no replica answers")
		w.Change(0, func(o *feedtest.Outbox) { o.Err = down })
		w.Add(0, event("a", 1))
		w.Add(1, event("b", 1))
		if got := next(t, s); got != "b-1" {
			t.Errorf("got %s", got)
		}
		if got := next(t, s); got != "nothing" {
			t.Errorf("got %s", got)
		}
		// A stream that goes on does not need it, either; one that begins does.
		resumed := open(t, f, feed.Options{After: start})
		if got := next(t, resumed); got != "b-1" {
			t.Errorf("a resumed stream got %s", got)
		}
		if _, err := f.Open(t.Context(), feed.Options{}); !errors.Is(err, credential.ErrNoQuorum) || !errors.Is(err, down) {
			t.Errorf("a new stream: %v", err)
		}
		// Back again, with a replica that lags at first.
		w.Change(0, func(o *feedtest.Outbox) { o.Err, o.Lag = nil, 1 })
		if got := next(t, s); got != "nothing" {
			t.Errorf("got %s", got)
		}
		w.Change(0, func(o *feedtest.Outbox) { o.Lag = 0 })
		for _, r := range []*feed.Stream{s, resumed} {
			if got := next(t, r); got != "a-1" {
				t.Errorf("when it is back: %s", got)
			}
		}
	})
}

func TestStreamsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := node(t, feedtest.NewWorld(1), feed.Config{MaxStreams: 3, MaxPerReader: 2})
		one, _ := open(t, f, feed.Options{Reader: "k1"}), open(t, f, feed.Options{Reader: "k1"})
		if _, err := f.Open(t.Context(), feed.Options{Reader: "k1"}); !errors.Is(err, feed.ErrTooMany) {
			t.Errorf("a third stream of one key: %v", err)
		}
		open(t, f, feed.Options{Reader: "k2"})
		if _, err := f.Open(t.Context(), feed.Options{Reader: "k3"}); !errors.Is(err, credential.ErrOverloaded) {
			t.Errorf("a fourth stream: %v", err)
		}
		one.Close()
		one.Close()
		if n := f.Counters().Open.Load(); n != 2 {
			t.Errorf("%d are open", n)
		}
		open(t, f, feed.Options{Reader: "k1"})
		if _, err := f.Open(t.Context(), feed.Options{Reader: "k1"}); err == nil {
			t.Error("closed twice, one stream made room for two")
		}
		// A place is given back by an Open that fails, too.
		if _, err := f.Open(t.Context(), feed.Options{Reader: "k2", After: "nonsense"}); err == nil {
			t.Error("nonsense was taken")
		}
		if n := f.Counters().Open.Load(); n != 3 {
			t.Errorf("%d are open", n)
		}
	})
}

func TestTheEndOfAFeedEndsItsStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := feedtest.NewWorld(2)
		f := node(t, w, feed.Config{})
		s := open(t, f, feed.Options{})
		ended := make(chan error, 1)
		go func() {
			_, err := s.Next(context.Background())
			ended <- err
		}()
		synctest.Wait()
		f.Close()
		if err := <-ended; !errors.Is(err, feed.ErrClosed) {
			t.Errorf("a reader that waits: %v", err)
		}
		if _, _, err := s.TryNext(t.Context()); !errors.Is(err, feed.ErrClosed) {
			t.Errorf("a reader that comes: %v", err)
		}
		if _, err := f.Open(t.Context(), feed.Options{}); !errors.Is(err, feed.ErrClosed) {
			t.Errorf("a new stream: %v", err)
		}
		s.Close()
	})
}

func TestPositionsThatWereNotGivenOutAreRefused(t *testing.T) {
	w := feedtest.NewWorld(2)
	f := node(t, w, feed.Config{})
	given := position(t, open(t, f, feed.Options{}))
	elsewhere := position(t, open(t, node(t, w, feed.Config{Sealer: feedtest.Sealer{Word: "other"}}), feed.Options{}))
	larger := position(t, open(t, node(t, feedtest.NewWorld(3), feed.Config{}), feed.Options{}))
	for name, after := range map[string]string{
		"nonsense": "nonsense!", "cut off": given[:len(given)-2], "prolonged": given + "AA", "of another cluster": elsewhere,
		"of other groups": larger, "huge": strings.Repeat("A", 1<<20), "a number": "17",
	} {
		if _, err := f.Open(t.Context(), feed.Options{After: after}); !errors.Is(err, feed.ErrPosition) {
			t.Errorf("%s: %v", name, err)
		}
	}
	s := open(t, f, feed.Options{After: given})
	w.Add(0, event("a", 1))
	if got := next(t, s); got != "a-1" {
		t.Errorf("after the one given out: %s", got)
	}
}

// TestAThousandAccountsAtOnce: readers that break off and go on at another node
// all the time miss nothing, and see each account's events in order.
func TestAThousandAccountsAtOnce(t *testing.T) {
	const accounts, each, groups, readers = 1000, 5, 8, 3
	w := feedtest.NewWorld(groups)
	nodes := []*feed.Feed{node(t, w, feed.Config{}), node(t, w, feed.Config{})}
	var writers, reading sync.WaitGroup
	for r := range readers {
		s := open(t, nodes[0], feed.Options{Reader: fmt.Sprint(r)})
		reading.Go(func() {
			defer func() { s.Close() }()
			seen := map[string]uint64{}
			for total := 0; total < accounts*each; {
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				item, err := s.Next(ctx)
				cancel()
				if err != nil || item.Lost > 0 {
					t.Errorf("reader %d after %d events: %+v, %v", r, total, item, err)
					return
				}
				if e := item.Event; e.Generation != seen[e.Ref.ID]+1 {
					t.Errorf("reader %d: event %d of %s after %d", r, e.Generation, e.Ref.ID, seen[e.Ref.ID])
					return
				}
				seen[item.Event.Ref.ID]++
				total++
				if rand.N(100) == 0 {
					pos, err := s.Position(t.Context())
					s.Close()
					if err == nil {
						s, err = nodes[rand.N(len(nodes))].Open(t.Context(), feed.Options{Reader: fmt.Sprint(r), After: pos})
					}
					if err != nil {
						t.Error(err)
						return
					}
				}
			}
		})
	}
	for a := range accounts {
		writers.Go(func() {
			for i := range each {
				w.Add(a%groups, event(fmt.Sprint("a", a), i+1))
			}
		})
	}
	writers.Wait()
	reading.Wait()
}
