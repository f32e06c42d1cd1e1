package storage

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/grantd/grantd/credential"
)

// openMem opens a store in memory, closed at the end of the test.
func openMem(t testing.TB) *DB {
	t.Helper()
	return openOn(t, vfs.NewMem())
}

func openOn(t testing.TB, fs vfs.FS) *DB {
	t.Helper()
	db, err := Open("data", Options{FS: fs})
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return db
}

func mustEncode(t testing.TB, b Batch) []byte {
	t.Helper()
	data, err := b.Encode()
	if err != nil {
		t.Fatalf("Encode: %v", err)
	}
	return data
}

// apply applies one batch as the entry of the index.
func apply(t testing.TB, g *Group, index uint64, b Batch) Result {
	t.Helper()
	return applyBytes(t, g, index, mustEncode(t, b))
}

func applyBytes(t testing.TB, g *Group, index uint64, batch []byte) Result {
	t.Helper()
	results, err := g.Apply([]Command{{Index: index, Term: 1, Batch: batch}})
	if err != nil {
		t.Fatalf("Apply: %v", err)
	}
	return results[0]
}

// change applies a change as the entry of the index and returns the record as
// it was written.
func change(t testing.TB, g *Group, index uint64, c credential.Change) credential.Account {
	t.Helper()
	batch, err := Encode(c)
	if err != nil {
		t.Fatalf("Encode: %v", err)
	}
	if r := applyBytes(t, g, index, batch); r.Conflict || r.Err != nil {
		t.Fatalf("Apply of %s at %d: %+v", c.Ref, index, r)
	}
	a, rev, err := g.Account(c.Ref)
	if err != nil || rev != index {
		t.Fatalf("Account(%s) = revision %d, %v; want %d", c.Ref, rev, err, index)
	}
	return a
}

var t0 = time.Date(2026, 3, 1, 12, 0, 0, 123456789, time.UTC)

func ref(i int) credential.Ref {
	return credential.Ref{Tenant: fmt.Sprintf("acme-%d", i%7), ID: fmt.Sprintf("acct_%06d", i)}
}

func account(r credential.Ref, next time.Time) credential.Account {
	return credential.Account{Ref: r, Kind: credential.KindOAuth2, Integration: "crm", State: credential.StateActive, NextRefreshAt: next}
}

// randomAccount fills every field, or leaves it zero, at random.
func randomAccount(rng *rand.Rand, r credential.Ref) credential.Account {
	a := credential.Account{
		Ref:               r,
		Kind:              credential.Kind(word(rng)),
		Integration:       word(rng),
		Provider:          word(rng),
		State:             credential.State(word(rng)),
		Reason:            word(rng),
		Generation:        number(rng),
		TokenType:         word(rng),
		Username:          word(rng),
		AccessToken:       blob(rng),
		RefreshToken:      blob(rng),
		RefreshGeneration: number(rng),
		ExpiresAt:         instant(rng),
		RefreshExpiresAt:  instant(rng),
		NextRefreshAt:     instant(rng),
		LastRefreshAt:     instant(rng),
		CreatedAt:         instant(rng),
		UpdatedAt:         instant(rng),
		Failures:          rng.IntN(3) * rng.IntN(1000),
		Refusals:          rng.IntN(3) * rng.IntN(10),
		ExpiryAssumed:     rng.IntN(2) == 0,
		LearnedLifetime:   time.Duration(rng.Int64N(2) * rng.Int64N(1e12)),
	}
	for range rng.IntN(4) {
		a.Scopes = append(a.Scopes, word(rng))
		a.RequestedScopes = append(a.RequestedScopes, word(rng))
	}
	for i := range rng.IntN(4) {
		if i == 0 {
			a.Variables, a.Facts, a.Subject = map[string]string{}, map[string]string{}, blob(rng)
		}
		a.Variables[word(rng)], a.Facts[word(rng)] = word(rng), word(rng)
	}
	if rng.IntN(2) == 0 {
		a.Claim = &credential.Claim{
			Attempt: word(rng), Generation: number(rng), Node: word(rng), Boot: word(rng), Term: number(rng),
			At: instant(rng), Lifetime: time.Duration(rng.Int64N(1e12)), Uncertain: rng.IntN(2) == 0, Interrupted: rng.IntN(2) == 0,
		}
	}
	return a
}

func word(rng *rand.Rand) string {
	return []string{"", "a", "invalid_grant", "käse 🧀", "x\x00y", fmt.Sprint(rng.Uint64())}[rng.IntN(6)]
}

func number(rng *rand.Rand) uint64 {
	return []uint64{0, 1, rng.Uint64(), ^uint64(0)}[rng.IntN(4)]
}

func blob(rng *rand.Rand) credential.Sealed {
	b := make(credential.Sealed, rng.IntN(3)*rng.IntN(900))
	if len(b) == 0 {
		return nil
	}
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}

// instant is a time in any year, zero among them, also before 1970 and beyond
// what fits into nanoseconds.
func instant(rng *rand.Rand) time.Time {
	switch rng.IntN(5) {
	case 0:
		return time.Time{}
	case 1:
		return time.Unix(0, 0).UTC()
	case 2:
		return time.Unix(rng.Int64N(400_000_000_000)-60_000_000_000, rng.Int64N(1e9)).UTC()
	default:
		return t0.Add(time.Duration(rng.Int64N(1e15)))
	}
}

// dump returns the whole state of a group.
func dump(t testing.TB, g *Group) map[string]string {
	t.Helper()
	m := map[string]string{}
	err := g.Scan(nil, nil, func(key, value []byte, rev uint64) (bool, error) {
		m[string(key)] = fmt.Sprintf("%d:%s", rev, value)
		return true, nil
	})
	if err != nil {
		t.Fatalf("Scan: %v", err)
	}
	return m
}

// Put notes a value without a sync, as what a crash between the two leaves.
func (j *Journal) Put(key string, value []byte) error {
	return j.db.Set(journalKey(key), value, pebble.NoSync)
}

// Sync returns when everything put before is safe.
func (j *Journal) Sync() error { return j.db.LogData(nil, pebble.Sync) }
