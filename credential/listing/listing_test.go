package listing_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/credential/listing"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// shard is a shard's accounts in order.
type shard []credential.Account

func (s shard) each(after credential.Ref, tenant string, fn func(credential.Account) bool) error {
	for _, a := range s {
		if after != (credential.Ref{}) && compare(a.Ref, after) <= 0 || tenant != "" && a.Tenant != tenant {
			continue
		}
		if !fn(a) {
			break
		}
	}
	return nil
}

func compare(a, b credential.Ref) int {
	return cmpOr(strings.Compare(a.Tenant, b.Tenant), strings.Compare(a.ID, b.ID))
}

func cmpOr(a, b int) int {
	if a != 0 {
		return a
	}
	return b
}

func (s shard) source(_ context.Context, q credential.Query) (credential.Page, error) {
	return listing.Scan(q, s.each)
}

// cluster spreads n accounts over shards.
func cluster(draw *rand.Rand, n, shards int) ([]shard, []listing.Source) {
	all := make([]shard, shards)
	for i := range n {
		a := credential.Account{Ref: credential.Ref{Tenant: fmt.Sprint("t", i%3), ID: fmt.Sprintf("%06d", i)}, State: credential.StateActive, Integration: "a"}
		if draw.IntN(10) == 0 {
			a.Integration, a.State = "b", credential.StateNeedsReauth
		}
		if draw.IntN(40) == 0 {
			a.Scopes = []string{strings.Repeat("x", 200<<10)}
		}
		at := draw.IntN(shards)
		all[at] = append(all[at], a)
	}
	var sources []listing.Source
	for _, s := range all {
		slices.SortFunc(s, func(a, b credential.Account) int { return compare(a.Ref, b.Ref) })
		sources = append(sources, s.source)
	}
	return all, sources
}

// pages follows a list to its end.
func pages(t *testing.T, q credential.Query, sources []listing.Source) (refs []credential.Ref, n int) {
	t.Helper()
	for {
		page, err := listing.Merge(t.Context(), q, sources)
		if err != nil {
			t.Fatal(err)
		}
		if n++; len(page.Accounts) > q.Limit || n > 10_000 {
			t.Fatalf("page %d has %d accounts", n, len(page.Accounts))
		}
		for _, a := range page.Accounts {
			refs = append(refs, a.Ref)
		}
		if page.Next == (credential.Ref{}) {
			return refs, n
		}
		if q.After != (credential.Ref{}) && compare(page.Next, q.After) <= 0 {
			t.Fatalf("the list goes back from %s to %s", q.After, page.Next)
		}
		q.After = page.Next
	}
}

func TestPagesShowEveryMatchOnceInOrder(t *testing.T) {
	draw := rand.New(rand.NewPCG(7, 7))
	for range 60 {
		all, sources := cluster(draw, draw.IntN(600), 1+draw.IntN(9))
		q := credential.Query{Limit: 1 + draw.IntN(40)}
		if draw.IntN(2) == 0 {
			q.Tenant = "t1"
		}
		switch draw.IntN(4) {
		case 0:
			q.State = credential.StateNeedsReauth
		case 1:
			q.Integration = "b"
		case 2:
			q.Allow = func(a credential.Account) bool { return a.Integration == "b" }
		}
		var want []credential.Ref
		for _, a := range slices.Concat(all...) {
			if (q.Tenant == "" || a.Tenant == q.Tenant) && (q.State == "" || a.State == q.State) && (q.Integration == "" || a.Integration == q.Integration) && (q.Allow == nil || q.Allow(a)) {
				want = append(want, a.Ref)
			}
		}
		slices.SortFunc(want, compare)
		if got, _ := pages(t, q, sources); !slices.Equal(got, want) {
			t.Fatalf("%+v: got %d accounts, want %d", q, len(got), len(want))
		}
	}
}

func TestAPageLooksAtABoundedNumberOfRecords(t *testing.T) {
	const n = 50_000
	_, sources := cluster(rand.New(rand.NewPCG(1, 1)), 0, 3)
	big := make(shard, n)
	for i := range big {
		big[i] = credential.Account{Ref: credential.Ref{Tenant: "t", ID: fmt.Sprintf("%06d", i)}, State: credential.StateActive}
	}
	big[n-1].State = credential.StateDisconnected
	looked := 0
	sources = append(sources, func(_ context.Context, q credential.Query) (credential.Page, error) {
		return listing.Scan(q, func(after credential.Ref, tenant string, fn func(credential.Account) bool) error {
			return big.each(after, tenant, func(a credential.Account) bool {
				looked++
				return fn(a)
			})
		})
	})
	for name, q := range map[string]credential.Query{
		"a filter":       {Limit: 10, State: credential.StateDisconnected},
		"a scope of key": {Limit: 10, Allow: func(a credential.Account) bool { return a.State == credential.StateDisconnected }},
	} {
		refs, pages := pages(t, q, sources)
		if len(refs) != 1 || refs[0] != big[n-1].Ref || pages < 2 {
			t.Errorf("%s: %d found on %d pages", name, len(refs), pages)
		}
		if per := looked / pages; per > 25_000 {
			t.Errorf("%s: %d records looked at for a page", name, per)
		}
		looked = 0
	}
}

func TestAShardThatFailsFailsTheList(t *testing.T) {
	_, sources := cluster(rand.New(rand.NewPCG(1, 1)), 100, 4)
	broken := errors.New("broken")
	for name, source := range map[string]listing.Source{
		"at once": func(context.Context, credential.Query) (credential.Page, error) { return credential.Page{}, broken },
		"later": func(_ context.Context, q credential.Query) (credential.Page, error) {
			if q.After == (credential.Ref{}) {
				return credential.Page{Next: credential.Ref{Tenant: "t0", ID: "0"}}, nil
			}
			return credential.Page{}, broken
		},
	} {
		if _, err := listing.Merge(t.Context(), credential.Query{Limit: 50}, append(slices.Clone(sources), source)); !errors.Is(err, broken) {
			t.Errorf("%s: %v", name, err)
		}
	}
	loops := func(context.Context, credential.Query) (credential.Page, error) {
		return credential.Page{Next: credential.Ref{Tenant: "a", ID: "a"}}, nil
	}
	if _, err := listing.Merge(t.Context(), credential.Query{Limit: 50}, append(sources, loops)); err == nil {
		t.Error("a shard that stays where it is was believed")
	}
}
