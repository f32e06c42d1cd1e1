package actors

import (
	"container/heap"
	"context"

	"github.com/grantd/grantd/credential"
)

// lookAtMost bounds how many records one page of a list reads.
const lookAtMost = 20_000

// Accounts returns a page of accounts, in order of tenant and id over all
// shards.
func (s *System) Accounts(ctx context.Context, q credential.Query) (credential.Page, error) {
	m := merge{}
	for _, sh := range s.shards {
		c := &feed{store: sh.store, tenant: q.Tenant, after: q.After}
		if err := c.fill(); err != nil {
			return credential.Page{}, err
		}
		if len(c.buf) > 0 {
			m = append(m, c)
		}
	}
	heap.Init(&m)
	var page credential.Page
	for looked := 0; len(m) > 0; looked++ {
		a := m[0].buf[0]
		if looked == lookAtMost || len(page.Accounts) == q.Limit || ctx.Err() != nil {
			return page, ctx.Err()
		}
		if matches(&q, &a) {
			page.Accounts = append(page.Accounts, a)
		}
		page.Next = a.Ref
		if err := m[0].advance(); err != nil {
			return credential.Page{}, err
		}
		if len(m[0].buf) == 0 {
			heap.Pop(&m)
		} else {
			heap.Fix(&m, 0)
		}
	}
	page.Next = credential.Ref{}
	return page, nil
}

func matches(q *credential.Query, a *credential.Account) bool {
	return (q.State == "" || a.State == q.State) && (q.Integration == "" || a.Integration == q.Integration) && (q.Allow == nil || q.Allow(*a))
}

// feed reads one shard's accounts in order, a few at a time.
type feed struct {
	store  Store
	tenant string
	after  credential.Ref
	buf    []credential.Account
	ended  bool
}

const feedBatch = 32

func (f *feed) fill() error {
	f.buf = nil
	err := f.store.Accounts(f.after, f.tenant, func(a credential.Account) bool {
		f.buf = append(f.buf, a)
		return len(f.buf) < feedBatch
	})
	if len(f.buf) > 0 {
		f.after = f.buf[len(f.buf)-1].Ref
	}
	f.ended = len(f.buf) < feedBatch
	return err
}

func (f *feed) advance() error {
	f.buf = f.buf[1:]
	if len(f.buf) == 0 && !f.ended {
		return f.fill()
	}
	return nil
}

// merge is a heap of feeds by their first account.
type merge []*feed

func (m merge) Len() int { return len(m) }
func (m merge) Less(i, j int) bool {
	a, b := m[i].buf[0].Ref, m[j].buf[0].Ref
	return a.Tenant < b.Tenant || a.Tenant == b.Tenant && a.ID < b.ID
}
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
