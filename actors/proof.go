package actors

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/grantd/grantd/credential"
)

// A node that stood still, or was cut off, may have been replaced as a shard's
// owner before it knows. What it reads then is what was, and it must not say so
// in the owner's name: a token that has been replaced, or that an account does
// not exist. So each read is preceded by a look at the lease, which costs next to
// nothing; only where that has run out does the shard's leadership have to be
// proved.

// proof proves a shard's ownership, once for all who ask meanwhile.
type proof struct {
	mu      sync.Mutex
	running bool
	next    *proving // begins after the one under way; nil: nobody asks
}

// proving is one proof, for those who asked before it was begun.
type proving struct {
	done chan struct{}
	err  error
}

// proofLimit bounds a proof. A majority that can be reached needs milliseconds.
const proofLimit = time.Second

// sure returns nil if this node owned the shard at now, or after it. Else the
// error is credential.ErrNotOwner, or credential.ErrNoQuorum where nobody can say
// in time.
func (sh *shard) sure(ctx context.Context, now time.Time) error {
	term := sh.term.Load()
	switch {
	case term == 0:
		return credential.ErrNotOwner
	case sh.store.Holds(term, now):
		return nil
	}
	sh.sys.counters.Proofs.Add(1)
	p := sh.prove()
	select {
	case <-p.done:
		return p.err
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", credential.ErrNoQuorum, context.Cause(ctx))
	}
}

// prove returns a proof that is begun after the call. A proof under way may have
// been settled before it.
func (sh *shard) prove() *proving {
	sh.proof.mu.Lock()
	defer sh.proof.mu.Unlock()
	p := sh.proof.next
	if p == nil {
		p = &proving{done: make(chan struct{})}
	}
	switch {
	case sh.proof.running:
	case sh.sys.ctx.Err() != nil: // a system that has stopped owns nothing
		p.err = credential.ErrNotOwner
		close(p.done)
		return p
	default:
		sh.proof.running = true
		sh.sys.calls.Go(sh.proveAll)
	}
	sh.proof.next = p
	return p
}

// proveAll proves until nobody asks any more. It ends soon after the system does:
// the store is waited for no longer than that.
func (sh *shard) proveAll() {
	for {
		sh.proof.mu.Lock()
		p := sh.proof.next
		sh.proof.next = nil
		sh.proof.running = p != nil
		sh.proof.mu.Unlock()
		if p == nil {
			return
		}
		ctx, cancel := context.WithTimeout(sh.sys.ctx, proofLimit)
		p.err = credential.ErrNotOwner
		if term := sh.term.Load(); term != 0 {
			p.err = sh.store.Prove(ctx, term)
		}
		cancel()
		close(p.done)
	}
}
