package envelope

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/grantd/grantd/credential"
)

// slow is Keysets whose Load takes a second, and says how often it was called.
type slow struct {
	*memory
	loads atomic.Int32
	// fail, where set, is what Load answers.
	fail func(call int32) error
}

func (s *slow) Load(ctx context.Context, tenant string) ([]byte, error) {
	call := s.loads.Add(1)
	if s.fail != nil {
		if err := s.fail(call); err != nil {
			return nil, err
		}
	}
	wrapped, err := s.memory.Load(ctx, tenant) // as it stood when the call began
	select {
	case <-time.After(time.Second):
		return wrapped, err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// newSlow returns a Sealer over slow Keysets and something that it sealed.
func newSlow(t *testing.T) (*Sealer, *slow, credential.Sealed) {
	t.Helper()
	s, keysets := newSealer(t)
	sealed, err := s.Seal(t.Context(), label, credential.NewSecret("x"))
	if err != nil {
		t.Fatal(err)
	}
	k := &slow{memory: keysets}
	return New(s.kek, k), k, sealed
}

func TestManyWhoMissAKeysetFetchItOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, keysets, sealed := newSlow(t)
		for range 100 {
			go func() {
				if _, err := s.Open(t.Context(), label, sealed); err != nil {
					t.Error(err)
				}
			}()
		}
		time.Sleep(1500 * time.Millisecond)
		if n := keysets.loads.Load(); n != 1 {
			t.Errorf("%d fetches", n)
		}
	})
}

func TestFetchGivenUpByOneIsTakenOverByTheNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, keysets, sealed := newSlow(t)
		hasty, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer cancel()
		gone := make(chan error, 2)
		go func() { _, err := s.Open(hasty, label, sealed); gone <- err }()
		synctest.Wait()
		go func() { _, err := s.Open(hasty, label, sealed); gone <- err }()
		done := make(chan error, 1)
		go func() { _, err := s.Open(t.Context(), label, sealed); done <- err }()
		for range 2 {
			if err := <-gone; !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("the hasty caller: %v", err)
			}
		}
		if err := <-done; err != nil {
			t.Errorf("the patient caller: %v", err)
		}
		if n := keysets.loads.Load(); n != 2 {
			t.Errorf("%d fetches", n)
		}
	})
}

func TestFailedFetchIsNotKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, keysets, sealed := newSlow(t)
		broken := errors.New("broken")
		keysets.fail = func(call int32) error {
			if call == 1 {
				return broken
			}
			return nil
		}
		if _, err := s.Open(t.Context(), label, sealed); !errors.Is(err, broken) || errors.Is(err, credential.ErrSealed) {
			t.Errorf("first: %v", err)
		}
		if _, err := s.Open(t.Context(), label, sealed); err != nil {
			t.Errorf("second: %v", err)
		}
	})
}

func TestKeysetReadBeforeARotationIsNotKeptAfterIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, keysets, sealed := newSlow(t)
		done := make(chan error, 1)
		go func() { _, err := s.Open(t.Context(), label, sealed); done <- err }()
		synctest.Wait() // it has read the old keyset and is not back yet
		if err := New(s.kek, keysets.memory).Rotate(t.Context(), "acme"); err != nil {
			t.Fatal(err)
		}
		s.Forget("acme")
		if err := <-done; err != nil {
			t.Error(err)
		}
		if s.cache.get("acme") != nil {
			t.Error("the old keyset is in the cache: new secrets would be sealed with the old key")
		}
	})
}

func TestFetchThatPanicsDoesNotHangOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, keysets, sealed := newSlow(t)
		keysets.fail = func(call int32) error {
			if call == 1 {
				time.Sleep(time.Second)
				panic("broken")
			}
			return nil
		}
		go func() {
			defer func() { _ = recover() }()
			_, _ = s.Open(t.Context(), label, sealed)
		}()
		synctest.Wait()
		if _, err := s.Open(t.Context(), label, sealed); err != nil {
			t.Error(err)
		}
	})
}

func TestCacheIsBoundedAndKeepsWhatIsInUse(t *testing.T) {
	c := newCache(8)
	add := func(tenant string) {
		_, f, _ := c.join(tenant, false)
		f.opened = &opened{tenant: tenant}
		c.land(f)
	}
	add("busy")
	for i := range 100 {
		if c.get("busy") == nil {
			t.Fatalf("the tenant in use was dropped after %d others", i)
		}
		add(fmt.Sprintf("idle%d", i))
		if i%7 == 0 {
			c.forget(fmt.Sprintf("idle%d", i))
		}
		if len(c.open) > 8 || len(c.clock) != len(c.open) {
			t.Fatalf("%d keysets, %d on the clock", len(c.open), len(c.clock))
		}
	}
	for i, o := range c.clock {
		if o.at != i || c.open[o.tenant] != o {
			t.Errorf("%s is at %d, not %d", o.tenant, i, o.at)
		}
	}
	if len(c.flights) != 0 {
		t.Errorf("%d flights are left", len(c.flights))
	}
}
