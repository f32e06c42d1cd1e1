package consensus

import (
	"errors"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/grantd/grantd/credential"
)

func TestProposedBatchIsAppliedWhenProposeReturns(t *testing.T) {
	n := startNode(t, vfs.NewMem(), config("n1", 2))
	defer n.stop()
	n.lead()
	g := n.host.Group(1)
	r, err := g.Propose(t.Context(), put(t, "k", 0, "v1"))
	if err != nil {
		t.Fatal(err)
	}
	v, rev, err := g.State().Get([]byte("k"))
	if string(v) != "v1" || rev != r.Index || err != nil {
		t.Errorf("read %q at %d (%v), want v1 at %d", v, rev, err, r.Index)
	}
	if _, err := g.Propose(t.Context(), put(t, "k", 0, "v2")); !errors.Is(err, credential.ErrConflict) {
		t.Errorf("a batch from an old revision: %v, want a conflict", err)
	}
	if got := read(g, "k"); got != "v1" {
		t.Errorf("after the conflict the value is %q", got)
	}
	if _, err := g.Propose(t.Context(), put(t, "k", r.Index, "v2")); err != nil {
		t.Error(err)
	}
	if got := read(n.host.Group(0), "k"); got == "v2" {
		t.Error("groups share a key")
	}
}
