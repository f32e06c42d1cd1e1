// Package listing makes one list of many: pages of accounts, in order of tenant
// and id, of shards that each keep theirs in that order.
//
// It promises that following the pages shows every account once that was there
// all the while, and that a page costs a bounded number of records looked at,
// however few of them match. It does not know where the shards are.
package listing

import (
	"container/heap"
	"context"
	"errors"
	"sync"

	"github.com/grantd/grantd/credential"
)

const (
	// lookAtMost bounds how many records one merged page looks at, and scanAtMost
	// one page of one shard.
	lookAtMost = 20_000
	scanAtMost = 1000
	// maxPageBytes bounds the size of one shard's page, roughly: it travels
	// between nodes.
	maxPageBytes = 1 << 20
	// leastBatch is the least that a shard is asked for at once.
	leastBatch = 16
	// atOnce is how many shards are asked at the same time.
	atOnce = 8
)

// Source returns a page of one shard's accounts for a query; see [Scan]. It may
// leave the query's Allow to [Merge].
type Source func(ctx context.Context, q credential.Query) (credential.Page, error)

// Scan returns a page of one shard. accounts calls fn with the accounts of a
// tenant (empty: of all) after after, in order, until it returns false.
func Scan(q credential.Query, accounts func(after credential.Ref, tenant string, fn func(credential.Account) bool) error) (credential.Page, error) {
	var page credential.Page
	var last credential.Ref
	looked, size, more := 0, 0, false
	err := accounts(q.After, q.Tenant, func(a credential.Account) bool {
		if more = looked == scanAtMost || len(page.Accounts) == q.Limit || size > maxPageBytes; more {
			return false
		}
		looked++
		last = a.Ref
		if (q.State == "" || a.State == q.State) && (q.Integration == "" || a.Integration == q.Integration) && allows(&q, &a) {
			page.Accounts = append(page.Accounts, a)
			size += weight(&a)
		}
		return true
	})
	if err != nil {
		return credential.Page{}, err
	}
	if more {
		page.Next = last
	}
	return page, nil
}

// weight is about what an account takes on its way to another node.
func weight(a *credential.Account) int {
	const fixed = 256 // names, states and times
	n := fixed
	for _, s := range a.Scopes {
		n += len(s)
	}
	return n
}

func allows(q *credential.Query, a *credential.Account) bool { return q.Allow == nil || q.Allow(*a) }

// Merge returns a page over all sources. It fails if one of them does, for a
// list with holes is none.
func Merge(ctx context.Context, q credential.Query, sources []Source) (credential.Page, error) {
	m, err := begin(ctx, q, sources)
	if err != nil {
		return credential.Page{}, err
	}
	heap.Init(&m)
	var page credential.Page
	for looked := 0; len(m) > 0; {
		if looked >= lookAtMost || len(page.Accounts) == q.Limit {
			return page, nil
		}
		f := m[0]
		page.Next = f.at() // nothing of any shard up to here is left out
		if len(f.buf) == 0 {
			if err := f.fill(ctx); err != nil {
				return credential.Page{}, err
			}
			if len(f.buf) == 0 {
				looked += scanAtMost
			}
		} else {
			if allows(&q, &f.buf[0]) {
				page.Accounts = append(page.Accounts, f.buf[0])
			}
			f.buf = f.buf[1:]
			looked++
		}
		if f.over() {
			heap.Pop(&m)
		} else {
			heap.Fix(&m, 0)
		}
	}
	page.Next = credential.Ref{}
	return page, nil
}

// begin reads the first page of each source, a few at a time.
func begin(ctx context.Context, q credential.Query, sources []Source) (merge, error) {
	feeds := make([]*feed, len(sources))
	errs := make([]error, len(sources))
	places := make(chan struct{}, atOnce)
	var wg sync.WaitGroup
	for i, source := range sources {
		f := &feed{source: source, q: q, next: q.After}
		f.q.Limit = min(max(2*q.Limit/len(sources), leastBatch), max(q.Limit, 1))
		feeds[i] = f
		places <- struct{}{}
		wg.Go(func() {
			errs[i] = f.fill(ctx)
			<-places
		})
	}
	wg.Wait()
	var m merge
	for _, f := range feeds {
		if !f.over() {
			m = append(m, f)
		}
	}
	return m, errors.Join(errs...)
}

// feed reads one source, a page at a time.
type feed struct {
	source Source
	q      credential.Query
	buf    []credential.Account
	next   credential.Ref // where the source goes on
	ended  bool           // there is nothing after buf
}

func (f *feed) fill(ctx context.Context) error {
	f.q.After = f.next
	page, err := f.source(ctx, f.q)
	if err != nil {
		return err
	}
	f.buf, f.next, f.ended = page.Accounts, page.Next, page.Next == credential.Ref{}
	if !f.ended && !before(f.q.After, f.next) {
		return errors.New("a shard's list does not go on")
	}
	return nil
}

func (f *feed) over() bool { return f.ended && len(f.buf) == 0 }

// at is the place in the order that the feed has come to: its next account, or
// where it has to be read on from.
func (f *feed) at() credential.Ref {
	if len(f.buf) > 0 {
		return f.buf[0].Ref
	}
	return f.next
}

// before is the order of lists.
func before(a, b credential.Ref) bool {
	return a.Tenant < b.Tenant || a.Tenant == b.Tenant && a.ID < b.ID
}

// merge is a heap of feeds by where they are.
type merge []*feed

// Len implements heap.Interface.
func (m merge) Len() int { return len(m) }

// Less implements heap.Interface.
func (m merge) Less(i, j int) bool { return before(m[i].at(), m[j].at()) }

// Swap implements heap.Interface.
func (m merge) Swap(i, j int) { m[i], m[j] = m[j], m[i] }

// Push implements heap.Interface; a merge never grows.
func (m *merge) Push(any) {}

// Pop implements heap.Interface.
func (m *merge) Pop() any {
	last := len(*m) - 1
	f := (*m)[last]
	*m = (*m)[:last]
	return f
}
