package consensus

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/storage"
)

// event is a batch that adds one event to a group's outbox.
func event(t testing.TB, id string) []byte {
	t.Helper()
	b, err := storage.Batch{Appends: []storage.Append{storage.AppendEvent(&credential.Event{ID: id, Type: credential.EventCreated})}}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func rung(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func ids(t *testing.T, o *Outbox, after credential.EventPos) string {
	t.Helper()
	events, err := o.Events(after, 100)
	if err != nil {
		t.Error(err)
	}
	s := ""
	for i, e := range events {
		if e.Pos != after+credential.EventPos(i)+1 {
			t.Errorf("event %s is at %d", e.Event.ID, e.Pos)
		}
		s += e.Event.ID
	}
	return s
}

func TestOutboxTellsOfEventsAndOfNothingElse(t *testing.T) {
	n := startNode(t, vfs.NewMem(), config("n1", 2))
	defer n.stop()
	n.lead()
	shard, other, meta := n.host.Outbox(0), n.host.Outbox(1), n.host.Outbox(MetaGroup)
	grown, elsewhere, inMeta := shard.Grown(), other.Grown(), meta.Grown()
	if _, err := n.host.Group(0).Propose(t.Context(), set(t, "k", "v")); err != nil {
		t.Fatal(err)
	}
	conflict, err := storage.Batch{
		Checks:  []storage.Check{{Key: []byte("k"), Revision: 1 << 40}},
		Appends: []storage.Append{storage.AppendEvent(&credential.Event{ID: "never"})},
	}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := n.host.Group(0).Propose(t.Context(), conflict); !errors.Is(err, credential.ErrConflict) {
		t.Fatal(err)
	}
	if rung(grown) {
		t.Error("told of a write without events")
	}
	for i := range 5 {
		if _, err := n.host.Group(0).Propose(t.Context(), event(t, fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
	}
	if !rung(grown) || rung(shard.Grown()) {
		t.Error("events were not told, or told before they came")
	}
	if got := ids(t, shard, 0); got != "01234" {
		t.Errorf("the outbox has %q", got)
	}
	if got := ids(t, shard, 3); got != "34" {
		t.Errorf("after the third it has %q", got)
	}
	if rung(elsewhere) || rung(inMeta) {
		t.Error("told of events of another group")
	}
	if n.host.Outbox(2) != nil {
		t.Error("there is an outbox of a group that is not")
	}
}

func TestKeysAndEventsOfTheMetaGroupAreWrittenTogether(t *testing.T) {
	n := startNode(t, vfs.NewMem(), config("n1", 1))
	defer n.stop()
	n.lead()
	kv, outbox, ctx := n.host.KV(), n.host.Outbox(MetaGroup), t.Context()
	// Keys that sort around the outbox are not taken for events.
	for _, key := range []string{"e\xff\xff\xff\xff\xff\xff\xff\xff\xff", "export/1", "d", "f"} {
		if _, err := kv.Put(ctx, key, 0, []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	grown := outbox.Grown()
	rev, err := kv.PutAndTell(ctx, "integration/crm", 0, []byte("broken"), []credential.Event{{ID: "a"}, {ID: "b"}})
	if err != nil || !rung(grown) {
		t.Fatal("not told", err)
	}
	if v, have, err := kv.Get("integration/crm"); string(v) != "broken" || have != rev || err != nil {
		t.Errorf("the key reads as %q at %d, %v", v, have, err)
	}
	if _, err := kv.PutAndTell(ctx, "integration/crm", rev-1, nil, []credential.Event{{ID: "never"}}); !errors.Is(err, credential.ErrConflict) {
		t.Errorf("at another revision: %v", err)
	}
	if err := kv.Emit(ctx, credential.Event{ID: "c"}); err != nil {
		t.Error(err)
	}
	if err := kv.Emit(ctx); err != nil {
		t.Error(err)
	}
	if got := ids(t, outbox, 0); got != "abc" {
		t.Errorf("the outbox has %q", got)
	}
	first, last, err := outbox.Bounds()
	if first != 1 || last != 3 || err != nil {
		t.Errorf("bounds %d to %d, %v", first, last, err)
	}
}

// TestEveryReplicaTellsOfTheSameEvents: also one that gets them in a snapshot,
// and one that was closed meanwhile.
func TestEveryReplicaTellsOfTheSameEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, Timing{SnapshotInterval: time.Second, SnapshotThreshold: 20, TrailingLogs: 5}, "n1", "n2", "n3")
		defer c.stopAll()
		c.start("n1", false)
		c.start("n2", false)
		leader := c.leader(0, "")
		follower := c.nodes["n1"]
		if leader.node == "n1" {
			follower = c.nodes["n2"]
		}
		grown := follower.host.Outbox(0).Grown()
		for i := range 100 {
			if _, err := leader.Propose(t.Context(), event(t, fmt.Sprintf("%02d", i))); err != nil {
				t.Fatal(err)
			}
		}
		want := ids(t, c.nodes[leader.node].host.Outbox(0), 0)
		<-grown
		eventually(t, "the follower has all", func() bool { return ids(t, follower.host.Outbox(0), 0) == want })
		awaitTruncated(t, leader, 50)

		late := c.boot("n3")
		outbox := late.host.Outbox(0)
		if _, err := outbox.Events(0, 1); !errors.Is(err, credential.ErrNotOwner) {
			t.Errorf("before the group is open: %v", err)
		}
		opened := outbox.Grown()
		if _, err := late.host.OpenGroup(0, Start{Voters: c.voters}); err != nil {
			t.Fatal(err)
		}
		<-opened
		for have := ""; have != want; {
			grown := outbox.Grown()
			if have = ids(t, outbox, 0); have != want {
				<-grown // the test ends by its deadline if nobody tells
			}
		}
	})
}
