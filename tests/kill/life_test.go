package kill

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/grantd/grantd/actors"
)

// cause is a way to be killed: the name of a point of a refresh, at which the
// node kills itself, or one of those below, when the test kills it.
type cause string

const (
	requestArrived cause = "request arrived"   // at the provider, before anything is done about it
	tokenRotated   cause = "token rotated"     // at the provider, before the answer is sent
	journalled     cause = "answer journalled" // and nothing done about it yet
	anyTime        cause = "any time"          // from the start of the process on
)

// causes are all of them, in the order of a refresh.
func causes() []cause {
	var all []cause
	for _, p := range actors.Points() {
		all = append(all, cause(p))
		switch p {
		case actors.PointSending:
			all = append(all, requestArrived, tokenRotated)
		case actors.PointSettling:
			all = append(all, journalled)
		}
	}
	return append(all, anyTime)
}

// schedule is the order in which a node dies of all causes, each so many times.
func schedule(rng *rand.Rand, each int) []cause {
	var deaths []cause
	for range each {
		deaths = append(deaths, causes()...)
	}
	rng.Shuffle(len(deaths), func(i, j int) { deaths[i], deaths[j] = deaths[j], deaths[i] })
	return deaths
}

const (
	// passes bounds how often a point is passed before the node dies at it,
	// longest how long a node lives that dies at any time.
	passes  = 60
	longest = 1500 * time.Millisecond
	// journalTime is enough to write a line of the journal.
	journalTime = 50 * time.Millisecond
	// lifeTimeout bounds the time until a point is passed often enough.
	lifeTimeout = time.Minute
)

// life is a life of the node, for the table and the verdict.
type life struct {
	cause cause
	ended time.Time
}

// trial is a run of the test: the node, the provider and the accounts.
type trial struct {
	t        *testing.T
	rng      *rand.Rand
	provider *provider
	node     *node
	accounts []*account
	lives    []life
}

// dieOf has the node live until it dies of the cause, in use all the time.
func (tr *trial) dieOf(why cause) {
	tr.t.Helper()
	ctx, cancel := context.WithTimeoutCause(tr.t.Context(), lifeTimeout, fmt.Errorf("the node did not get to %q within %v", why, lifeTimeout))
	defer cancel()
	var env []string
	snare, n := (*trap)(nil), 1+tr.rng.IntN(passes)
	switch why {
	case requestArrived:
		snare = &tr.provider.arrived
	case tokenRotated:
		snare = &tr.provider.rotated
	case anyTime:
		var stop context.CancelFunc
		ctx, stop = context.WithTimeoutCause(ctx, time.Duration(tr.rng.Int64N(int64(longest))), errTimeToDie)
		defer stop()
	case journalled: // the journal is written while the account stands before its commit
		env = append(env, fmt.Sprintf("GRANTD_TEST_KILL_AT=%s:%d:%v", actors.PointSettling, n, journalTime))
	default:
		env = append(env, fmt.Sprintf("GRANTD_TEST_KILL_AT=%s:%d", why, n))
	}
	err := tr.node.start(ctx, env...)
	if err == nil {
		if proc := tr.node.proc; snare != nil {
			snare.set(n, func() { _ = proc.Stop(os.Kill) }) // the one who is caught waits until the node is gone
			defer snare.clear()
		}
		err = tr.used(ctx)
	}
	if !wasKilled(err) && !errors.Is(err, errTimeToDie) {
		tr.t.Fatalf("the node was to die of %q: %v", why, err)
	}
	tr.lives = append(tr.lives, life{why, time.Now()})
}

var errTimeToDie = errors.New("time to die")

// used lets callers use every account until the node is dead, and returns how
// it ended. It is killed when ctx ends.
func (tr *trial) used(ctx context.Context) error {
	died := tr.node.proc.Ended()
	api := tr.node.as(tr.t, tr.node.callers)
	var calling sync.WaitGroup
	for _, a := range tr.accounts {
		for i := range callersEach {
			c := caller{t: tr.t, account: a, api: api, died: died, rng: rand.New(rand.NewPCG(tr.rng.Uint64(), 0)), first: i == 0}
			calling.Go(func() { c.run(tr.t.Context()) })
		}
	}
	var cause error
	select {
	case <-died:
	case <-ctx.Done():
		cause = context.Cause(ctx)
	}
	err := tr.node.proc.Stop(os.Kill) // where it did not end by itself
	calling.Wait()
	if cause != nil && !errors.Is(cause, errTimeToDie) {
		return cause
	}
	return err
}

// deathBefore is the last life that had ended by then.
func (tr *trial) deathBefore(t time.Time) (life, bool) {
	i, _ := slices.BinarySearchFunc(tr.lives, t, func(l life, t time.Time) int { return l.ended.Compare(t) })
	if i == 0 {
		return life{}, false
	}
	return tr.lives[i-1], true
}
