package actors_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/grantd/grantd/credential"
)

// reads is every way to be told something in the owner's name.
func reads(ctx context.Context, r *rig, ref credential.Ref) map[string]error {
	stale, errs := uint64(0), map[string]error{}
	_, errs["token"] = r.system.Token(ctx, ref, 0)
	_, errs["account"] = r.system.Account(ctx, ref)
	_, errs["history"] = r.system.History(ctx, ref, 0, 1)
	_, errs["refresh"] = r.system.Refresh(ctx, ref, &stale)
	return errs
}

// A node that stood still may have been replaced without knowing.
func TestNothingIsToldInTheOwnersNameWithoutALeaseOrAProof(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		ref, _ := r.account("crm")
		none := credential.Ref{Tenant: "acme", ID: "none"}
		for what, err := range reads(t.Context(), r, ref) {
			if err != nil {
				t.Errorf("%s with a lease: %v", what, err)
			}
		}
		if n := r.system.Counters().Proofs.Load(); n > 0 {
			t.Errorf("%d proofs while the lease held", n)
		}
		r.faults.set(func(f *faults) { f.expired = true })
		for what, err := range reads(t.Context(), r, ref) {
			if err != nil {
				t.Errorf("%s with a proof: %v", what, err)
			}
		}
		r.faults.set(func(f *faults) { f.prove = func() error { return credential.ErrNotOwner } })
		for _, ref := range []credential.Ref{ref, none} { // "there is no such account" is told by the owner as well
			for what, err := range reads(t.Context(), r, ref) {
				if !errors.Is(err, credential.ErrNotOwner) {
					t.Errorf("%s of %s without either: %v", what, ref.ID, err)
				}
			}
		}
		if _, err := r.system.Disconnect(t.Context(), none); !errors.Is(err, credential.ErrNotOwner) {
			t.Errorf("disconnect without either: %v", err)
		}
	})
}

// A proof that is under way may have been settled before the next reader asked;
// all who ask meanwhile share the one after it.
func TestReadersShareTheProofThatBeginsAfterTheyAsked(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		ref, _ := r.account("crm")
		begun, end := make(chan struct{}), make(chan error)
		proofs := 0
		r.faults.set(func(f *faults) {
			f.expired = true
			f.prove = func() error { proofs++; begun <- struct{}{}; return <-end }
		})
		var readers sync.WaitGroup
		read := func(ctx context.Context, want error) {
			readers.Go(func() {
				if _, err := r.system.Account(ctx, ref); !errors.Is(err, want) {
					t.Errorf("%v, want %v", err, want)
				}
			})
		}
		read(t.Context(), nil)
		<-begun
		for range 50 {
			read(t.Context(), credential.ErrNotOwner)
		}
		hasty, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		read(hasty, credential.ErrNoQuorum)
		synctest.Wait()
		time.Sleep(2 * time.Millisecond)
		end <- nil
		<-begun
		end <- credential.ErrNotOwner
		readers.Wait()
		if proofs != 2 {
			t.Errorf("%d proofs for 52 readers", proofs)
		}
	})
}
