package chaos

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/grantd/grantd/storage"
)

// trial is a cluster in use that is broken and mended several times, and judged
// in the end.
type trial struct {
	*cluster
	t        *testing.T
	rng      *rand.Rand
	load     *load
	accounts []*account
	counts   counts

	mu       sync.Mutex
	troubles []trouble
	strikes  []strike
	kept     map[string]bool // attempts whose answers lay in the journal of a dead node that came back
}

// trouble is what was done to a node, and when.
type trouble struct {
	node        string
	from, until time.Time
	died        bool
}

// strike is one round, for the table.
type strike struct {
	fault       fault
	owned       []int // shards of those to whom it was done
	from, until time.Time
	failedReads int64
}

// roundTimeout bounds a strike and the recovery from it.
const roundTimeout = 3 * time.Minute

// breakAndJudge runs a trial with the faults in turn.
func breakAndJudge(t *testing.T, seed uint64, rounds ...fault) *trial {
	t.Helper()
	t.Logf("CHAOS_SEED=%d", seed)
	small := slices.ContainsFunc(rounds, func(f fault) bool { return f.smallDisks })
	tr := &trial{cluster: newCluster(t, seed, small), t: t, rng: rand.New(rand.NewPCG(seed, 0)), kept: map[string]bool{}}
	tr.accounts = newAccounts(tr.provider)
	tr.load = &load{t: t, nodes: tr.nodes, key: tr.callers}
	for _, a := range tr.accounts {
		must(t, tr.load.authorise(t.Context(), tr.rng, a))
	}
	tr.use(func() {
		for _, f := range rounds {
			if tr.round(f); t.Failed() {
				return
			}
		}
	})
	if t.Failed() {
		t.FailNow()
	}
	tr.settle()
	tr.counts.scrape(t.Context(), tr.nodes, tr.admin)
	for _, n := range tr.nodes { // the last ones are without a majority
		n.http.CloseIdleConnections() // it would wait for those that were never used
		p, _ := n.process()
		if err := p.Stop(syscall.SIGTERM); err != nil {
			t.Errorf("%s did not end well after SIGTERM: %v", n.name, err)
		}
	}
	tr.judge()
	return tr
}

// use lets callers use every account while fn runs.
func (tr *trial) use(fn func()) {
	ctx, stop := context.WithCancel(tr.t.Context())
	var all sync.WaitGroup
	defer all.Wait()
	defer stop()
	tr.load.mend.Store(true)
	for _, a := range tr.accounts {
		rng := rand.New(rand.NewPCG(tr.rng.Uint64(), 0))
		all.Go(func() { tr.load.run(ctx, rng, a) })
	}
	all.Go(func() { tr.counts.run(ctx, tr.nodes, tr.admin) })
	fn()
}

// round strikes once and waits until the cluster is as it was before.
func (tr *trial) round(f fault) {
	t := tr.t
	ctx, cancel := context.WithTimeoutCause(t.Context(), roundTimeout, fmt.Errorf("the round took longer than %v", roundTimeout))
	defer cancel()
	tr.steady(t)
	r := &round{trial: tr, ctx: ctx, victim: tr.nodes[tr.rng.IntN(len(tr.nodes))]}
	owners, err := tr.owners(ctx, r.victim)
	must(t, err)
	var owned []int
	for shard, owner := range owners {
		if owner == r.victim.name || f.everywhere {
			owned = append(owned, shard)
		}
	}
	must(t, r.pass(r.between(time.Second, 2*time.Second)))
	failed := tr.load.failedReads.Load()
	r.began = time.Now()
	if err := f.strike(r); err != nil {
		t.Errorf("%s of %s: %v", f.name, r.victim.name, err)
		return
	}
	tr.steady(t)
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.strikes = append(tr.strikes, strike{f, owned, r.began, time.Now(), tr.load.failedReads.Load() - failed})
}

// trouble notes that something was done to a node from the beginning of the round
// until now.
func (r *round) trouble(n *node, died bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.troubles = append(r.troubles, trouble{n.name, r.began, time.Now(), died})
}

// look notes which answers a dead node has in its journal. It reads a copy: what
// is there is for the node to recover.
func (r *round) look(n *node) error {
	dir, err := os.MkdirTemp(r.dir, "copy-of-"+n.name+"-")
	if err != nil {
		return err
	}
	store := filepath.Join(dir, "store")
	if err := os.CopyFS(store, os.DirFS(filepath.Join(n.dataDir(), "store"))); err != nil {
		return err
	}
	db, err := storage.Open(store, storage.Options{Fatal: func(reason string) { panic(reason) }})
	if err != nil {
		return err
	}
	r.mu.Lock()
	err = db.Journal().Each(func(attempt string, _ []byte) (bool, error) {
		r.kept[attempt] = true
		return true, nil
	})
	r.mu.Unlock()
	return errors.Join(err, db.Close(), os.RemoveAll(dir))
}
