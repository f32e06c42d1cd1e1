package placement

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/registry/registrytest"
)

func TestANodeThatDoesNotFitIsRefusedWithAReason(t *testing.T) {
	inLand(t, 4, func(t *testing.T, w *land) {
		w.three()
		leader := w.homes["n1"].placement
		gone := active("old")[0]
		gone.State = Removed
		value, err := gone.encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.kv.Put(t.Context(), nodeKey("old"), 0, value); err != nil {
			t.Fatal(err)
		}
		if _, err := w.kv.Put(t.Context(), nodeKey("future"), 0, []byte(`{"format":2,"name":"future"}`)); err != nil {
			t.Fatal(err)
		}
		good := (&home{land: w, name: "n9"}).joining()
		for what, c := range map[string]struct {
			spoil func(j *Joining)
			why   string
		}{
			"other data":        {func(j *Joining) { j.Node.Name = "n2" }, "must not come back under its old name"},
			"other shards":      {func(j *Joining) { j.Shards = 5 }, "configured for 5 shards and the cluster has 4"},
			"another key":       {func(j *Joining) { j.Proof = []byte("other") }, "another key-encryption key"},
			"no key":            {func(j *Joining) { j.Proof = nil }, "another key-encryption key"},
			"a bad name":        {func(j *Joining) { j.Node.Name = "n/9" }, "node name has '/'"},
			"no name":           {func(j *Joining) { j.Node.Name = "" }, "node name is empty"},
			"no data":           {func(j *Joining) { j.Node.DataID = "" }, "does not say which data it has"},
			"another cluster":   {func(j *Joining) { j.Cluster = "y" }, "this is cluster x"},
			"removed":           {func(j *Joining) { j.Node.Name, j.Node.DataID = "old", "old-data" }, "removed from the cluster for good"},
			"of a newer record": {func(j *Joining) { j.Node.Name = "future" }, "newer version"},
		} {
			j := good
			c.spoil(&j)
			before := len(w.view().nodes)
			got, err := leader.Admit(t.Context(), j)
			if expelled := what == "removed"; got.Expelled != expelled {
				t.Errorf("%s: expelled: %v", what, got.Expelled)
			}
			if err != nil || !strings.Contains(got.Refused, c.why) || strings.Contains(got.Refused, "\n") || got.Cluster != "" {
				t.Errorf("%s: %+v, %v", what, got, err)
			}
			if after := len(w.view().nodes); after != before {
				t.Errorf("%s: %d nodes are registered, %d before", what, after, before)
			}
		}
		for i := len(w.view().Nodes()); i < MaxNodes; i++ {
			j := (&home{land: w, name: fmt.Sprintf("m%d", i)}).joining()
			if got, err := leader.Admit(t.Context(), j); err != nil || got.Refused != "" {
				t.Fatalf("node %d: %+v, %v", i, got, err)
			}
		}
		if got, err := leader.Admit(t.Context(), good); err != nil || !strings.Contains(got.Refused, "full") {
			t.Errorf("beyond the limit: %+v, %v", got, err)
		}
		again := w.homes["n2"].joining()
		if got, err := leader.Admit(t.Context(), again); err != nil || got.Cluster != "x" {
			t.Errorf("a member, when the cluster is full: %+v, %v", got, err)
		}
	})
}

func TestJoiningAgainBringsAddressesUpToDateAndNothingElse(t *testing.T) {
	inLand(t, 4, func(t *testing.T, w *land) {
		w.three()
		before, _ := w.view().Record("n2")
		j := w.homes["n2"].joining()
		j.Node.RPC, j.Node.State, j.Node.JoinedAt = "elsewhere:7", Leaving, time.Time{}
		if got, err := w.homes["n3"].placement.Admit(t.Context(), j); err != nil || got.Cluster != "x" {
			t.Fatalf("%+v, %v", got, err)
		}
		after, _ := w.view().Record("n2")
		if after.RPC != "elsewhere:7" || after.State != Active || !after.JoinedAt.Equal(before.JoinedAt) {
			t.Errorf("%+v", after)
		}
		// The node says itself where it is, without being asked.
		time.Sleep(10 * time.Second)
		if after, _ = w.view().Record("n2"); after.RPC != "n2:7" {
			t.Errorf("after a while: %+v", after)
		}
	})
}

func TestARequestIsPassedOnOnce(t *testing.T) {
	inLand(t, 4, func(t *testing.T, w *land) {
		w.three()
		j := (&home{land: w, name: "n9"}).joining()
		j.Carried = true
		for _, h := range w.homes {
			leader, _ := w.leader(MetaGroup)
			leads := leader == h.name
			if _, err := h.placement.Admit(t.Context(), j); (err == nil) != leads || err != nil && !errors.Is(err, credential.ErrNotOwner) {
				t.Errorf("%s: %v", h.name, err)
			}
		}
	})
}

func TestDecommissionRefusesWhatMakesNoSense(t *testing.T) {
	inLand(t, 4, func(t *testing.T, w *land) {
		w.found("n1")
		w.settle(10 * time.Second)
		p := w.homes["n1"].placement
		if err := p.Decommission(t.Context(), "n1"); !errors.Is(err, ErrLastNode) {
			t.Errorf("the last node: %v", err)
		}
		if err := p.Decommission(t.Context(), "n7"); !errors.Is(err, credential.ErrNotFound) {
			t.Errorf("no node: %v", err)
		}
	})
}

// TestAllNodesDismissedAtOnceLeaveOne writes what two dismissals write that do
// not see each other.
func TestAllNodesDismissedAtOnceLeaveOne(t *testing.T) {
	inLand(t, 4, func(t *testing.T, w *land) {
		w.found("n1")
		w.join("n2", "n1")
		w.settle(time.Minute)
		p := w.homes["n1"].placement
		for _, name := range []string{"n1", "n2"} {
			n, _ := p.View().Record(name)
			n.State = Leaving
			if err := put(t.Context(), p.cfg.KV, Change{Key: nodeKey(name), Rev: n.rev, Node: &n}); err != nil {
				t.Fatal(err)
			}
		}
		w.settle(time.Minute)
		if one, two := w.view().nodes["n1"].State, w.view().nodes["n2"].State; one != Active || two != Removed {
			t.Errorf("n1 is %s, n2 is %s", one, two)
		}
	})
}

func TestDismissTellsHowFarItIs(t *testing.T) {
	inLand(t, 4, func(t *testing.T, w *land) {
		w.found("n1")
		w.join("n2", "n1")
		w.settle(time.Minute)
		p := w.homes["n2"].placement
		if s, err := p.Dismiss(t.Context(), "n1"); s != Leaving || err != nil {
			t.Fatalf("at first: %q, %v", s, err)
		}
		w.settle(time.Minute)
		for range 2 {
			if s, err := p.Dismiss(t.Context(), "n1"); s != Removed || err != nil {
				t.Fatalf("in the end: %q, %v", s, err)
			}
		}
		if _, err := p.Dismiss(t.Context(), "n2"); !errors.Is(err, ErrLastNode) {
			t.Errorf("the last one: %v", err)
		}
		if _, err := w.homes["n1"].placement.Dismiss(t.Context(), "n1"); !errors.Is(err, credential.ErrNoQuorum) {
			t.Errorf("the one that went, which hears of no leader any more: %v", err)
		}
	})
}

func TestEstablishWritesWhatAClusterBeginsWith(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, ownData := range []bool{false, true} {
			l := &memLocal{}
			if err := saveMembership(l, Membership{Format: format, Cluster: "x", Founded: true, OwnData: ownData}); err != nil {
				t.Fatal(err)
			}
			refuse := 3 // it leads only after a while
			kv := &registrytest.KV{Before: func(string) error {
				if refuse--; refuse >= 0 {
					return credential.ErrNotOwner
				}
				return nil
			}}
			open := func() *Former {
				f, err := NewFormer(FormConfig{Self: Node{Name: "n1", DataID: "d"}, Shards: 300, Proof: []byte("key"), Local: l})
				if err != nil {
					t.Fatal(err)
				}
				return f
			}
			f := open()
			if err := f.Establish(t.Context(), kv); err != nil {
				t.Fatal(err)
			}
			for key, want := range map[string]string{keyCluster: "x", keyShards: string(binary.BigEndian.AppendUint16(nil, 300)), keyProof: "key"} {
				if got, _, err := kv.Get(key); string(got) != want || err != nil {
					t.Errorf("%s = %q, %v", key, got, err)
				}
			}
			v, err := read(kv, quiet)
			if err != nil {
				t.Fatal(err)
			}
			if n, ok := v.Record("n1"); !ok || n.State != Active || n.JoinedAt.IsZero() {
				t.Errorf("own record: %+v", n)
			}
			want := 0
			if ownData {
				want = 300
			}
			if len(v.shards) != want {
				t.Errorf("own data %v: %d shards have a record", ownData, len(v.shards))
			}
			for _, s := range v.shards {
				if len(s.Found) != 1 || s.Owner != "n1" || s.Epoch != 1 {
					t.Errorf("%+v", s)
				}
			}
			f.Close()
			// Once is enough, also for the next start.
			refuse = 1 << 30
			f = open()
			if err := f.Establish(t.Context(), kv); err != nil {
				t.Errorf("again: %v", err)
			}
			f.Close()
		}
	})
}

func TestEstablishEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &memLocal{}
		if err := saveMembership(l, Membership{Format: format, Cluster: "x", Founded: true}); err != nil {
			t.Fatal(err)
		}
		f, err := NewFormer(FormConfig{Self: Node{Name: "n1"}, Local: l})
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		kv := &registrytest.KV{Before: func(string) error { return credential.ErrNotOwner }}
		if err := f.Establish(ctx, kv); !errors.Is(err, credential.ErrNotOwner) {
			t.Errorf("without a leader: %v", err)
		}
	})
}
