package nodetest

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/internal/node"
)

// Load is callers that ask for everything all the time.
type Load struct {
	c    *Cluster
	stop context.CancelFunc
	all  sync.WaitGroup

	mu     sync.Mutex
	done   int
	errs   []string
	marked int // tokens that a replica gave
	slow   time.Duration
}

// pace is the pause of a caller between two requests.
const pace = 50 * time.Millisecond

// callTime is how long a caller waits for an answer.
const callTime = 10 * time.Second

// Load begins to ask, through all nodes that run, for accounts 0 to n-1, one
// caller each: for tokens, for refreshes, for the record. Every caller imports
// accounts of his own, too.
func (c *Cluster) Load(n int) *Load {
	l := &Load{c: c}
	ctx, cancel := context.WithCancel(context.Background())
	l.stop = cancel
	for i := range n {
		l.all.Go(func() { l.call(ctx, i) })
	}
	c.t.Cleanup(func() { l.stop(); l.all.Wait() })
	return l
}

// call is one caller.
func (l *Load) call(ctx context.Context, i int) {
	ref := Ref(i)
	for turn := 0; ctx.Err() == nil; turn++ {
		names := l.c.Names()
		if len(names) > 0 {
			at := names[(i+turn)%len(names)]
			if core, leave, ok := l.c.enter(at); ok {
				begun := time.Now()
				err := l.ask(core, ref, turn, i)
				leave()
				l.note(at, turn, ref, time.Since(begun), err)
			}
		}
		t := time.NewTimer(pace)
		select {
		case <-t.C:
		case <-ctx.Done():
		}
		t.Stop()
	}
}

func (l *Load) ask(core *node.Core, ref credential.Ref, turn, i int) error {
	ctx, cancel := context.WithTimeout(context.Background(), callTime)
	defer cancel()
	accounts := core.Accounts()
	switch turn % 4 {
	case 0:
		a, err := accounts.Account(ctx, ref)
		if err == nil {
			_, err = accounts.Refresh(ctx, ref, &a.Generation)
		}
		return err
	case 1:
		_, err := accounts.Account(ctx, ref)
		return err
	case 2:
		in := l.c.Grant(credential.Ref{Tenant: Tenant, ID: fmt.Sprintf("new-%d-%d", i, turn)})
		_, _, err := accounts.Import(ctx, in)
		return err
	default:
		tok, err := accounts.Token(ctx, ref, 0)
		if err == nil && tok.Replica {
			l.mu.Lock()
			l.marked++
			l.mu.Unlock()
		}
		return err
	}
}

func (l *Load) note(at string, turn int, ref credential.Ref, took time.Duration, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.done++
	if took > time.Second {
		l.c.t.Logf("request %d for %s through %s took %v: %v", turn%4, ref, at, took, err)
	}
	l.slow = max(l.slow, took)
	if err != nil && len(l.errs) < 20 {
		l.errs = append(l.errs, fmt.Sprintf("request %d for %s through %s, after %v: %v", turn%4, ref, at, took, err))
	}
}

// Stop ends the callers and returns how many requests there were, how long the
// slowest took, and what went wrong.
func (l *Load) Stop() (done int, slowest time.Duration, errs []string) {
	l.stop()
	l.all.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.done, l.slow, l.errs
}
