package actors_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/grantd/grantd/credential"
)

func TestHandoutStandsInTheHistoryOnceForEachTokenAndKey(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		ref, _ := r.account("crm")
		bot := credential.Handout{Agent: "bot", Key: "k1", Generation: 1}
		other := credential.Handout{Agent: "bot", Key: "k2", Generation: 1}
		before := r.get(ref)
		for _, to := range []credential.Handout{bot, bot, other, bot} {
			if err := r.system.NoteHandout(t.Context(), ref, to); err != nil {
				t.Fatal(err)
			}
		}
		h, err := r.system.History(t.Context(), ref, 0, 10)
		if err != nil {
			t.Fatal(err)
		}
		var details []string
		for _, l := range h.Lines {
			if l.What == credential.WhatHandedOut {
				details = append(details, l.Detail)
				if l.Generation != 1 {
					t.Errorf("the line is about generation %d", l.Generation)
				}
			}
		}
		if want := []string{"to agent bot, key k2", "to agent bot, key k1"}; !slices.Equal(details, want) {
			t.Errorf("the history has %q, want %q", details, want)
		}
		after := r.get(ref)
		after.HistoryNext = before.HistoryNext
		if !after.NextRefreshAt.Equal(before.NextRefreshAt) || after.Generation != before.Generation || after.State != before.State {
			t.Errorf("noting changed the account: %+v", after)
		}
		r.token(ref)
	})
}

func TestHandoutThatCannotBeNotedIsAnError(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		ref, _ := r.account("crm")
		to := credential.Handout{Agent: "bot", Key: "k1", Generation: 1}
		failOnce(&r.faults, func(c credential.Change) bool {
			return len(c.Lines) == 1 && c.Lines[0].What == credential.WhatHandedOut
		}, credential.ErrNoQuorum)
		if err := r.system.NoteHandout(t.Context(), ref, to); !errors.Is(err, credential.ErrNoQuorum) {
			t.Errorf("the caller was told %v", err)
		}
		time.Sleep(time.Second)
		if err := r.system.NoteHandout(t.Context(), ref, to); err != nil {
			t.Errorf("once it could be: %v", err)
		}
		if !slices.Contains(r.whats(ref), credential.WhatHandedOut) {
			t.Error("it was taken for noted though it was not")
		}
		if err := r.system.NoteHandout(t.Context(), credential.Ref{Tenant: "acme", ID: "none"}, to); !errors.Is(err, credential.ErrNotFound) {
			t.Errorf("of no account: %v", err)
		}
	})
}
