package storage

import (
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/grantd/grantd/credential"
)

// toRevoke is a grant of an account, to be revoked some time after t0.
func toRevoke(id string, r credential.Ref, after time.Duration) credential.Revocation {
	a := account(r, t0)
	a.HistoryNext = 0
	return credential.Revocation{ID: id, Account: a, Since: t0, At: t0.Add(after), Tries: 3}
}

func revocations(t *testing.T, g *Group, limit int) (ids string, all []credential.Revocation) {
	t.Helper()
	all, err := g.Revocations(limit)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range all {
		ids += r.ID
	}
	return ids, all
}

func TestRevocationsComeAndGoWithTheRecord(t *testing.T) {
	g := openMem(t).Group(1)
	one, two := ref(1), ref(2)
	a := change(t, g, 1, credential.Change{Ref: one, After: account(one, t0), Revoke: []credential.Revocation{toRevoke("b", one, time.Hour), toRevoke("c", one, 2*time.Hour)}})
	change(t, g, 2, credential.Change{Ref: two, After: account(two, t0), Revoke: []credential.Revocation{toRevoke("a", two, time.Minute)}})
	ids, all := revocations(t, g, 10)
	if ids != "abc" {
		t.Fatalf("in order of time come %q", ids)
	}
	want := toRevoke("b", one, time.Hour)
	want.Revision = 1
	if !reflect.DeepEqual(all[1], want) {
		t.Errorf("\n got %+v\nwant %+v", all[1], want)
	}
	if ids, _ := revocations(t, g, 2); ids != "ab" {
		t.Errorf("of two come %q", ids)
	}
	before := a
	change(t, g, 3, credential.Change{Ref: one, Expect: 1, Before: &before, After: a.Clone(), Revoked: all[1:2]})
	if ids, _ := revocations(t, g, 10); ids != "ac" {
		t.Errorf("after the second is over come %q", ids)
	}
}

func TestARevocationIsPutOffOnce(t *testing.T) {
	g := openMem(t).Group(1)
	r := ref(1)
	change(t, g, 1, credential.Change{Ref: r, After: account(r, t0), Revoke: []credential.Revocation{toRevoke("a", r, time.Minute), toRevoke("b", r, time.Hour)}})
	_, all := revocations(t, g, 10)
	later := all[0]
	later.At, later.Tries = t0.Add(2*time.Hour), 4
	batch, err := EncodeRetry(all[0], later)
	if err != nil {
		t.Fatal(err)
	}
	results, err := g.Apply([]Command{{Index: 2, Term: 1, Batch: batch}, {Index: 3, Term: 1, Batch: batch}})
	if err != nil || results[0].Conflict || !results[1].Conflict {
		t.Errorf("put off twice: %+v, %v", results, err)
	}
	ids, all := revocations(t, g, 10)
	if ids != "ba" || all[1].Tries != 4 || !all[1].At.Equal(later.At) || all[1].Revision != 2 {
		t.Errorf("then come %q: %+v", ids, all)
	}
}

func TestRevocationsOfOthersAreRefused(t *testing.T) {
	r := ref(1)
	for name, bad := range map[string]credential.Revocation{"of another account": toRevoke("a", ref(2), 0), "without an id": toRevoke("", r, 0), "with a bad id": toRevoke("a\x00b", r, 0)} {
		for _, c := range []credential.Change{{Revoke: []credential.Revocation{bad}}, {Revoked: []credential.Revocation{bad}}} {
			c.Ref, c.After = r, account(r, t0)
			if _, err := Encode(c); !errors.Is(err, ErrBadChange) {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}
