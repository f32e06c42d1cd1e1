package consensus

import (
	"errors"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/grantd/grantd/credential"
)

func TestShardCommitsAccountsByRevision(t *testing.T) {
	n := startNode(t, vfs.NewMem(), config("n1", 1))
	defer n.stop()
	terms := n.lead()
	s := n.host.Shard(0)
	if term, ok := s.Term(); !ok || term != terms[0] {
		t.Errorf("term %d (%v), want %d", term, ok, terms[0])
	}
	if n.host.Shard(1) != nil || n.host.Shard(MetaGroup) != nil {
		t.Error("shards that hold no accounts")
	}
	ref := credential.Ref{Tenant: "acme", ID: "crm"}
	due := time.Unix(1_900_000_000, 0).UTC()
	created := credential.Account{Ref: ref, Kind: credential.KindOAuth2, State: credential.StateActive, Integration: "crm", Generation: 1, NextRefreshAt: due}
	if _, _, err := s.Load(ref); !errors.Is(err, credential.ErrNotFound) {
		t.Errorf("absent account: %v", err)
	}
	rev, err := s.Commit(t.Context(), credential.Change{Ref: ref, After: created, Lines: []credential.Line{{What: credential.WhatCreated}}})
	if err != nil {
		t.Fatal(err)
	}
	before, got, err := s.Load(ref)
	if err != nil || got != rev || before.Generation != 1 {
		t.Fatalf("loaded %+v at %d (%v), want revision %d", before, got, err, rev)
	}
	if _, err := s.Commit(t.Context(), credential.Change{Ref: ref, After: created}); !errors.Is(err, credential.ErrConflict) {
		t.Errorf("created twice: %v", err)
	}
	after := before.Clone()
	after.Generation = 2
	rev2, err := s.Commit(t.Context(), credential.Change{Ref: ref, Expect: rev, Before: &before, After: after, Lines: []credential.Line{{What: credential.WhatRefreshed}}})
	if err != nil || rev2 <= rev {
		t.Fatalf("revision %d after %d (%v)", rev2, rev, err)
	}
	if _, err := s.Commit(t.Context(), credential.Change{Ref: ref, Expect: rev, Before: &before, After: after}); !errors.Is(err, credential.ErrConflict) {
		t.Errorf("committed from an old revision: %v", err)
	}
	if err := s.Barrier(t.Context()); err != nil {
		t.Error(err)
	}
	if h, err := s.History(ref, 0, 10); err != nil || len(h.Lines) != 2 || h.Lines[0].What != credential.WhatRefreshed {
		t.Errorf("history %+v (%v)", h, err)
	}
	if items, err := s.Due(due, credential.Due{}, 10); err != nil || len(items) != 1 || items[0].Ref != ref {
		t.Errorf("due %+v (%v)", items, err)
	}
	if at, ok, err := s.NextDue(credential.Due{}); err != nil || !ok || !at.Equal(due) {
		t.Errorf("next due %v %v (%v)", at, ok, err)
	}
	var all []credential.Ref
	if err := s.Accounts(credential.Ref{}, "", func(a credential.Account) bool { all = append(all, a.Ref); return true }); err != nil || len(all) != 1 {
		t.Errorf("accounts %v (%v)", all, err)
	}
}
