package consensus

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"

	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/storage"
)

func TestRestartKeepsWhatWasAcknowledged(t *testing.T) {
	fs := vfs.NewMem()
	var last map[uint16]uint64
	for start := range 4 {
		n := startNode(t, fs, config("n1", 4))
		terms := n.lead()
		for id, term := range terms {
			if term <= last[id] {
				t.Errorf("start %d: group %d leads in term %d, after %d", start, id, term, last[id])
			}
			g := n.host.Group(id)
			for i := range start {
				if got := read(g, fmt.Sprint("k", i)); got != fmt.Sprint(id, i) {
					t.Errorf("start %d: k%d of group %d is %s", start, i, id, got)
				}
			}
			if _, err := g.Propose(t.Context(), set(t, fmt.Sprint("k", start), fmt.Sprint(id, start))); err != nil {
				t.Fatal(err)
			}
		}
		last = terms
		n.stop()
	}
}

// TestLoneNodeServesAtOnce: 33 groups lead within a second, on the real disk.
func TestLoneNodeServesAtOnce(t *testing.T) {
	dir := t.TempDir()
	db, err := storage.Open(filepath.Join(dir, "db"), storage.Options{})
	if err != nil {
		t.Fatal(err)
	}
	cfg := config("n1", DefaultShards)
	cfg.DB, cfg.SpoolDir = db, filepath.Join(dir, "spool")
	begun := time.Now()
	host, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	n := &node{t: t, db: db, host: host}
	defer n.stop()
	n.lead()
	took := time.Since(begun)
	t.Logf("33 groups lead after %v", took)
	// Waiting for heartbeats that cannot come would take a second at least; the
	// bound leaves room for slow disks and busy machines.
	if took > 10*time.Second {
		t.Errorf("33 groups lead after %v", took)
	}
}

// TestElectionOfALoneVoterTakesNoTime proves it in virtual time, where syncs
// are free and only time-outs count.
func TestElectionOfALoneVoterTakesNoTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := config("n1", DefaultShards)
		cfg.Timing = Timing{Heartbeat: time.Hour, Election: time.Hour}
		begun := time.Now()
		n := startNode(t, vfs.NewMem(), cfg)
		defer n.stop()
		n.lead()
		if took := time.Since(begun); took > 0 {
			t.Errorf("took %v of virtual time", took)
		}
	})
}

// stuck is a node whose shard 0 hangs while it applies entries, until release.
func stuck(t *testing.T, hang func()) *Group {
	n := startNode(t, vfs.NewMem(), config("n1", 1))
	t.Cleanup(n.stop)
	n.lead()
	g := n.host.Group(0)
	g.OnApply(func([][]byte) { hang() })
	return g
}

// TestContextEndsTheWaitForAnAppliedEntry: its batch is in the log, so that
// nobody can say it failed.
func TestContextEndsTheWaitForAnAppliedEntry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		g := stuck(t, func() { <-release })
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := g.Propose(ctx, set(t, "k", "v"))
		if !errors.Is(err, credential.ErrUnknownOutcome) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("outcome: %v", err)
		}
		if len(g.ledger.open) != 0 {
			t.Error("the proposal stays in memory")
		}
		close(release)
		if err := g.Barrier(t.Context()); err != nil {
			t.Error(err)
		}
		if got := read(g, "k"); got != "v" {
			t.Errorf("the batch of unknown outcome was committed, but reads %s", got)
		}
	})
}

// TestDeadLoopLeavesNobodyWaiting: raft's goroutine that applies entries is
// gone for good, its queues fill up, and its futures would never be answered.
func TestDeadLoopLeavesNobodyWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := stuck(t, func() { killGoroutine() })
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		errs := make(chan error, 12_000)
		for i := range cap(errs) {
			go func() {
				_, err := g.Propose(ctx, set(t, fmt.Sprint(i), "v"))
				errs <- err
			}()
		}
		unknown, refused := 0, 0
		for range cap(errs) {
			switch err := <-errs; {
			case errors.Is(err, credential.ErrUnknownOutcome):
				unknown++
			case errors.Is(err, credential.ErrNoQuorum):
				refused++
			default:
				t.Fatalf("a dead loop answers %v", err)
			}
		}
		if unknown == 0 || refused == 0 {
			t.Errorf("%d unknown, %d never sent: both were expected", unknown, refused)
		}
	})
}

func TestEmptyBatchIsRefused(t *testing.T) {
	n := startNode(t, vfs.NewMem(), config("n1", 1))
	defer n.stop()
	n.lead()
	if _, err := n.host.Group(0).Propose(t.Context(), nil); !errors.Is(err, credential.ErrInvalid) {
		t.Errorf("empty batch: %v", err)
	}
}

// TestUnreadableBatchIsRefusedByAll: it is committed and changes nothing.
func TestUnreadableBatchIsRefusedByAll(t *testing.T) {
	n := startNode(t, vfs.NewMem(), config("n1", 1))
	defer n.stop()
	n.lead()
	if _, err := n.host.Group(0).Propose(t.Context(), []byte("garbage")); !errors.Is(err, storage.ErrBadBatch) {
		t.Errorf("garbage: %v", err)
	}
	if _, err := n.host.Group(0).Propose(t.Context(), set(t, "k", "v")); err != nil {
		t.Errorf("after garbage: %v", err)
	}
}

// TestEntryOfANewerVersionStopsTheProcess: applying it in part, or not at all,
// would make this replica differ from the others.
func TestEntryOfANewerVersionStopsTheProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := vfs.NewMem()
		reasons := make(chan string, 1)
		db, err := storage.Open("data", storage.Options{FS: fs, Fatal: func(reason string) {
			reasons <- reason
			killGoroutine()
		}})
		if err != nil {
			t.Fatal(err)
		}
		cfg := config("n1", 1)
		cfg.DB, cfg.FS = db, fs
		host, err := Open(cfg)
		if err != nil {
			t.Fatal(err)
		}
		n := &node{t: t, fs: fs, db: db, host: host}
		defer n.stop()
		n.lead()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		newer := append(set(t, "k", "v"), 0xf8, 0x7f, 1) // a field that this version does not know
		if _, err := host.Group(0).Propose(ctx, newer); !errors.Is(err, credential.ErrUnknownOutcome) {
			t.Errorf("outcome: %v", err)
		}
		if reason := <-reasons; !strings.Contains(reason, "newer version") {
			t.Errorf("stopped with: %s", reason)
		}
		if got := read(host.Group(0), "k"); got == "v" {
			t.Error("the entry was applied in part")
		}
	})
}

func TestBarrierShowsEarlierEntries(t *testing.T) {
	n := startNode(t, vfs.NewMem(), config("n1", 1))
	defer n.stop()
	n.lead()
	g := n.host.Group(0)
	before, err := g.State().Applied()
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Barrier(t.Context()); err != nil {
		t.Error(err)
	}
	if after, err := g.State().Applied(); err != nil || after.Index <= before.Index {
		t.Errorf("applied %d, before the barrier %d (%v)", after.Index, before.Index, err)
	}
}

// TestOpeningThatFailsLeavesNothingRunning: goleak sees what does. The group can
// be opened when the cause is gone.
func TestOpeningThatFailsLeavesNothingRunning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		refused := errors.New("no such wire")
		for _, c := range []struct {
			name  string
			trans func() (raft.Transport, error)
			want  string
		}{
			{"no transport", func() (raft.Transport, error) { return nil, refused }, "no such wire"},
			{"another address", func() (raft.Transport, error) { return newNetwork().open("n2", 0), nil }, `address is "n2"`},
		} {
			broken := true
			cfg := config("n1", 3)
			cfg.Transport = func(group uint16) (raft.Transport, error) {
				if broken {
					return c.trans()
				}
				return newNetwork().open("n1", group), nil
			}
			n := startNode(t, vfs.NewMem(), cfg)
			if _, err := n.host.OpenGroup(2, Start{Voters: []string{"n1"}}); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: error %v, want %q", c.name, err, c.want)
			}
			if n.host.Group(2) != nil {
				t.Errorf("%s: the group is open", c.name)
			}
			broken = false
			if _, err := n.host.OpenGroup(2, Start{}); err != nil {
				t.Errorf("%s: at the second attempt: %v", c.name, err)
			}
			n.stop()
		}
	})
}

func TestConfigSaysWhatIsWrong(t *testing.T) {
	db := new(storage.DB)
	good := Config{Node: "n1", DB: db, SpoolDir: "spool"}
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
	for word, change := range map[string]func(*Config){
		"node name": func(c *Config) { c.Node = "" },
		"shards":    func(c *Config) { c.Shards = 1 << 20 },
		"store":     func(c *Config) { c.DB = nil },
		"directory": func(c *Config) { c.SpoolDir = "" },
	} {
		bad := good
		change(&bad)
		if err := bad.Validate(); err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("%s: %v", word, err)
		}
		if _, err := Open(bad); err == nil {
			t.Errorf("%s: opened", word)
		}
	}
}
