package node

import (
	"log/slog"
	"maps"
	"testing"

	"github.com/grantd/grantd/cluster/gossip"
	"github.com/grantd/grantd/cluster/placement"
	"github.com/grantd/grantd/storage"
	"github.com/grantd/grantd/storage/storagetest"
)

func TestWhereNodesWereSeenIsKeptForThoseThatAreRegistered(t *testing.T) {
	before := seen{"n2": "10.0.0.2:1", "n3": "10.0.0.3:1", "n4": "10.0.0.4:1"}
	members := []gossip.Member{
		{Name: "n1", Addr: "10.0.0.1:1", State: gossip.Alive},
		{Name: "n2", Addr: "10.0.9.2:1", State: gossip.Alive}, // at another address now
		{Name: "n3", Addr: "10.0.9.3:1", State: gossip.Dead},
		{Name: "n5", Addr: "10.0.0.5:1", State: gossip.Alive}, // new
		{Name: "n6", Addr: "10.0.0.6:1", State: gossip.Alive}, // not let in
	}
	registered := []placement.Node{{Name: "n1"}, {Name: "n2"}, {Name: "n3"}, {Name: "n5"}} // n4 is removed
	want := seen{"n2": "10.0.9.2:1", "n3": "10.0.0.3:1", "n5": "10.0.0.5:1"}
	if got := before.after("n1", members, registered); !maps.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestWhereNodesWereSeenIsLoadedAsSaved(t *testing.T) {
	db, err := storage.Open("store", storage.Options{FS: storagetest.NewDisk().FS()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}()
	local, log := db.Local(), slog.New(slog.DiscardHandler)
	if got, err := loadSeen(local, log); err != nil || len(got) > 0 {
		t.Errorf("of a new store: %v %v", got, err)
	}
	want := seen{"n2": "10.0.0.2:1"}
	if err := want.save(local); err != nil {
		t.Fatal(err)
	}
	if got, err := loadSeen(local, log); err != nil || !maps.Equal(got, want) {
		t.Errorf("%v %v, want %v", got, err, want)
	}
	for _, bad := range []string{"", "nonsense", `{"format":2,"nodes":{"n2":"x"}}`, `{"format":1}`} {
		if err := local.Save(recordSeen, []byte(bad)); err != nil {
			t.Fatal(err)
		}
		if got, err := loadSeen(local, log); err != nil || len(got) > 0 {
			t.Errorf("of %q: %v %v", bad, got, err)
		}
	}
}
