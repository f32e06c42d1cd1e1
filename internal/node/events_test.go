package node_test

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/feed"
	"github.com/grantd/grantd/internal/node/nodetest"
)

// follower reads the events of a cluster at one node after the other.
type follower struct {
	t     *testing.T
	c     *nodetest.Cluster
	pos   string
	seen  map[string]credential.Event // by id
	order map[credential.Ref][]string // ids as they came, doubles dropped
	moves int
}

// follow reads until ctx ends. Whenever a node ends it goes on at another one.
func (f *follower) follow(ctx context.Context, at string) {
	for ctx.Err() == nil {
		f.read(ctx, at)
		f.moves++
		for _, name := range f.c.Names() {
			if name != at {
				at = name
				break
			}
		}
	}
}

func (f *follower) read(ctx context.Context, at string) {
	core, ok := f.c.Running(at)
	if !ok {
		return
	}
	s, err := core.Feed.Open(ctx, feed.Options{Reader: "test", After: f.pos})
	if err != nil {
		f.t.Logf("at %s: %v", at, err)
		time.Sleep(100 * time.Millisecond)
		return
	}
	defer s.Close()
	for {
		if f.pos, err = s.Position(ctx); err != nil {
			f.t.Errorf("position at %s: %v", at, err)
			return
		}
		item, err := s.Next(ctx)
		if err != nil {
			if ctx.Err() == nil && !errors.Is(err, feed.ErrClosed) {
				f.t.Errorf("at %s: %v", at, err)
			}
			return
		}
		if item.Lost > 0 {
			f.t.Errorf("at %s: %d events lost", at, item.Lost)
		}
		e := item.Event
		if _, twice := f.seen[e.ID]; !twice {
			f.seen[e.ID] = e
			f.order[e.Ref] = append(f.order[e.Ref], e.ID)
		}
	}
}

func newFollower(t *testing.T, c *nodetest.Cluster) *follower {
	return &follower{t: t, c: c, seen: map[string]credential.Event{}, order: map[credential.Ref][]string{}}
}

// everything reads all that the outboxes hold, at one node.
func everything(t *testing.T, c *nodetest.Cluster, at string) *follower {
	t.Helper()
	f := newFollower(t, c)
	f.pos = feed.Start
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	f.read(ctx, at)
	return f
}

// live makes an account, ends it and brings it back, through whatever node
// answers, until ctx ends.
func live(ctx context.Context, t *testing.T, c *nodetest.Cluster, i int) {
	ref := nodetest.Ref(i)
	for turn := i; ctx.Err() == nil; turn++ {
		names := c.Names()
		core, ok := c.Running(names[turn%len(names)])
		if !ok {
			continue
		}
		call, cancel := context.WithTimeout(ctx, 5*time.Second)
		var err error
		if turn%2 == i%2 {
			_, _, err = core.Accounts().Import(call, c.Grant(ref))
		} else {
			_, err = core.Accounts().Disconnect(call, ref)
		}
		cancel()
		if err != nil && ctx.Err() == nil && !errors.Is(err, credential.ErrNotFound) {
			t.Logf("account %d: %v", i, err) // nothing that is not told of matters here
		}
		select {
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
		}
	}
}

// TestTheStreamLosesNothingWhenItsNodeDies: not every node has a replica of
// every shard, and the node at which events are read is killed, as others are.
func TestTheStreamLosesNothingWhenItsNodeDies(t *testing.T) {
	const accounts = 20
	synctest.Test(t, func(t *testing.T) {
		c := nodetest.New(t, nodetest.Options{Shards: 5, Expect: 5})
		c.Start("n1", "n2", "n3", "n4", "n5")
		c.Settle()
		time.Sleep(20 * time.Second)
		if err := c.PutIntegration(t.Context(), "n1"); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		reading, stop := context.WithCancel(t.Context())
		defer cancel()
		defer stop()
		f := newFollower(t, c)
		var reader, writers sync.WaitGroup
		reader.Go(func() { f.follow(reading, "n3") })
		synctest.Wait()
		for i := range accounts {
			writers.Go(func() { live(ctx, t, c, i) })
		}
		time.Sleep(3 * time.Second)
		for _, victim := range []string{"n3", "n1", "n2"} {
			c.Kill(victim)
			time.Sleep(5 * time.Second)
			if err := c.Core("n4").Registry.MarkBroken(t.Context(), nodetest.Integration, 1, victim); err != nil {
				t.Error(err)
			}
			if err := c.Core("n5").Registry.MarkRecovered(t.Context(), nodetest.Integration, 1); err != nil {
				t.Error(err)
			}
			c.Start(victim)
			time.Sleep(5 * time.Second)
		}
		cancel()
		writers.Wait()
		time.Sleep(10 * time.Second)
		stop()
		reader.Wait()

		for _, at := range []string{"n1", "n5"} {
			all := everything(t, c, at)
			if len(all.seen) < 200 || f.moves < 2 {
				t.Errorf("there are %d events, and the reader moved %d times: too few to tell", len(all.seen), f.moves)
			}
			if !maps.Equal(all.seen, f.seen) {
				t.Errorf("%d events are kept at %s, the reader has %d of them", len(all.seen), at, len(f.seen))
			}
			for ref, want := range all.order {
				if !slices.Equal(f.order[ref], want) {
					t.Errorf("events of %q came as %v; they are kept as %v", ref, f.order[ref], want)
				}
			}
			if n := len(f.order[credential.Ref{}]); n != 6 {
				t.Errorf("%d events of the integration, want 6", n)
			}
		}
	})
}
