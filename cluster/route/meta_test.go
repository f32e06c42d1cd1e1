package route_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/grantd/grantd/cluster/route"
	"github.com/grantd/grantd/cluster/rpc"
	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/registry"
	"github.com/grantd/grantd/registry/registrytest"
	"github.com/grantd/grantd/wire/exchange"
)

var _ registry.KV = (*route.Meta)(nil)

// follower is a copy of the leader's keys that shows what is written a while
// later, and does not write itself.
type follower struct {
	*registrytest.KV
	behind time.Duration
	from   time.Time // of the last write at the leader
}

func (f *follower) Get(key string) ([]byte, uint64, error) {
	if time.Since(f.from) < f.behind {
		return nil, 0, credential.ErrNotFound
	}
	return f.KV.Get(key)
}

func (f *follower) Put(context.Context, string, uint64, []byte) (uint64, error) {
	return 0, credential.ErrNotOwner
}

func (f *follower) PutAndTell(context.Context, string, uint64, []byte, []credential.Event) (uint64, error) {
	return 0, credential.ErrNotOwner
}

func (f *follower) Emit(context.Context, ...credential.Event) error { return credential.ErrNotOwner }

func (f *follower) Delete(context.Context, string, uint64) error { return credential.ErrNotOwner }

// leader is the other node.
type leader struct {
	f     *follower
	err   error
	tries int
}

func (l *leader) Put(ctx context.Context, node, key string, expect uint64, value []byte) (uint64, error) {
	if l.tries++; l.err != nil || node != "n2" {
		return 0, l.err
	}
	l.f.from = time.Now()
	return l.f.KV.Put(ctx, key, expect, value)
}

func (l *leader) PutAndTell(ctx context.Context, node, key string, expect uint64, value []byte, events []credential.Event) (uint64, error) {
	if l.tries++; l.err != nil || node != "n2" {
		return 0, l.err
	}
	l.f.from = time.Now()
	return l.f.KV.PutAndTell(ctx, key, expect, value, events)
}

func (l *leader) Emit(ctx context.Context, node string, events ...credential.Event) error {
	if l.tries++; l.err != nil && l.tries == 1 || node != "n2" {
		return l.err
	}
	return l.f.KV.Emit(ctx, events...)
}

func (l *leader) Delete(ctx context.Context, node, key string, expect uint64) error {
	if l.tries++; l.err != nil || node != "n2" {
		return l.err
	}
	return l.f.KV.Delete(ctx, key, expect)
}

func TestAnyNodeWritesToTheMetaGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &follower{KV: &registrytest.KV{}, behind: 700 * time.Millisecond}
		l := &leader{f: f}
		m := route.NewMeta(route.MetaConfig{Self: "n1", Store: f, Peers: l, Leader: func() (string, uint64) { return "n2", 3 }})
		start := time.Now()
		rev, err := m.Put(t.Context(), "setting/x", 0, []byte("one"))
		if err != nil || rev == 0 {
			t.Fatal(err)
		}
		if v, have, err := m.Get("setting/x"); err != nil || string(v) != "one" || have != rev || time.Since(start) < f.behind {
			t.Errorf("the write returned after %v and reads as %q, %v", time.Since(start), v, err)
		}
		if _, err := m.Put(t.Context(), "setting/x", rev+5, nil); !errors.Is(err, credential.ErrConflict) {
			t.Errorf("at another revision: %v", err)
		}
		if err := m.Delete(t.Context(), "setting/x", rev); err != nil {
			t.Error(err)
		}
		if _, _, err := m.Get("setting/x"); !errors.Is(err, credential.ErrNotFound) {
			t.Errorf("deleted: %v", err)
		}
		// A copy that does not catch up does not make a committed write fail.
		f.behind = time.Hour
		if _, err := m.Put(t.Context(), "setting/y", 0, nil); err != nil {
			t.Error(err)
		}
	})
}

func TestAnyNodeAddsEventsToTheMetaGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &follower{KV: &registrytest.KV{}, behind: 700 * time.Millisecond}
		l := &leader{f: f}
		m := route.NewMeta(route.MetaConfig{Self: "n1", Store: f, Peers: l, Leader: func() (string, uint64) { return "n2", 3 }})
		one, two := credential.Event{ID: "1", Type: credential.EventMisconfigured}, credential.Event{ID: "2", Type: credential.EventRecovered}
		rev, err := m.PutAndTell(t.Context(), "setting/x", 0, []byte("one"), []credential.Event{one})
		if err != nil {
			t.Fatal(err)
		}
		if v, have, err := m.Get("setting/x"); err != nil || string(v) != "one" || have != rev {
			t.Errorf("the write returned and reads as %q at %d, %v", v, have, err)
		}
		if _, err := m.PutAndTell(t.Context(), "setting/x", rev+5, nil, []credential.Event{two}); !errors.Is(err, credential.ErrConflict) {
			t.Errorf("at another revision: %v", err)
		}
		if got := f.Events(); !slices.Equal(got, []credential.Event{one}) {
			t.Errorf("events: %v", got)
		}
		// An answer that was lost is no reason not to try again: doubles are dropped.
		l.tries, l.err = 0, fmt.Errorf("%w: x", exchange.ErrLost)
		if err := m.Emit(t.Context(), two); err != nil || l.tries != 2 {
			t.Errorf("emit: %v after %d tries", err, l.tries)
		}
		if got := f.Events(); !slices.Equal(got, []credential.Event{one, two}) {
			t.Errorf("events: %v", got)
		}
		// A leader of an older version does neither, and says so.
		l.tries, l.err = 0, rpc.ErrUnimplemented
		if _, err := m.PutAndTell(t.Context(), "k", 0, nil, []credential.Event{two}); !errors.Is(err, rpc.ErrUnimplemented) || l.tries != 1 {
			t.Errorf("an older leader: %v after %d tries", err, l.tries)
		}
	})
}

func TestAWriteToTheMetaGroupIsMadeOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &follower{KV: &registrytest.KV{}}
		for _, c := range []struct {
			err, want error
			once      bool
		}{
			{fmt.Errorf("%w: x", exchange.ErrLost), credential.ErrUnknownOutcome, true},
			{credential.ErrUnknownOutcome, credential.ErrUnknownOutcome, true},
			{credential.ErrConflict, credential.ErrConflict, true},
			{fmt.Errorf("%w: x", exchange.ErrNotSent), credential.ErrNoQuorum, false},
			{&rpc.NotOwner{Node: "n2"}, credential.ErrNoQuorum, false},
		} {
			l := &leader{f: f, err: c.err}
			m := route.NewMeta(route.MetaConfig{Self: "n1", Store: f, Peers: l, Leader: func() (string, uint64) { return "n2", 3 }, Wait: 3 * time.Second})
			if _, err := m.Put(t.Context(), "k", 0, nil); !errors.Is(err, c.want) || (l.tries == 1) != c.once {
				t.Errorf("put, %v: %v after %d tries", c.err, err, l.tries)
			}
			l.tries = 0
			if _, err := m.PutAndTell(t.Context(), "k", 0, nil, nil); !errors.Is(err, c.want) || (l.tries == 1) != c.once {
				t.Errorf("put and tell, %v: %v after %d tries", c.err, err, l.tries)
			}
			l.tries = 0
			if err := m.Delete(t.Context(), "k", 0); !errors.Is(err, c.want) || (l.tries == 1) != c.once {
				t.Errorf("delete, %v: %v after %d tries", c.err, err, l.tries)
			}
		}
	})
}
