package route

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/credential/listing"
)

// leads reports whether this node leads the shard, as far as it knows.
func (r *Router) leads(shard int) bool {
	node, _ := r.cfg.Leader(shard)
	return node == r.cfg.Self && node != ""
}

// Token returns the account's token, from its owner. Where that one is not
// known, not reached or not heard of within Config.Reach, a replica is asked:
// this node's own, else another's; a token that lives for minTTL more is
// answered, marked. Where no replica has one the owner is waited for.
func (r *Router) Token(ctx context.Context, ref credential.Ref, minTTL time.Duration) (credential.Token, error) {
	shard := r.cfg.ShardOf(ref)
	if r.leads(shard) {
		t, err := r.cfg.Local.Token(ctx, ref, minTTL)
		if err == nil || judge(err, twice) == final {
			return t, err
		}
	}
	ctx, cancel := r.bounded(ctx)
	defer cancel()
	q := &request[credential.Token]{
		shard: shard, repeat: twice, impatient: true,
		local: func(ctx context.Context) (credential.Token, error) { return r.cfg.Local.Token(ctx, ref, minTTL) },
		remote: func(ctx context.Context, node string) (credential.Token, error) {
			return r.cfg.Peers.Token(ctx, node, ref, minTTL)
		},
	}
	t, err := reach(ctx, r, q)
	if !isUnreached(err) || ctx.Err() != nil {
		return t, r.told(err)
	}
	if t, ok := r.replicaToken(ctx, shard, ref, minTTL); ok {
		r.counters.Replica.Add(1)
		return t, nil
	}
	q.impatient = false
	t, err = ask(ctx, r, q)
	return t, r.told(err)
}

// reach asks the owner for as long as it may take before a replica is asked.
func reach[T any](ctx context.Context, r *Router, q *request[T]) (T, error) {
	ctx, cancel := r.within(ctx)
	defer cancel()
	return ask(ctx, r, q)
}

// replicaToken asks the replicas, this node's own first, one after the other.
func (r *Router) replicaToken(ctx context.Context, shard int, ref credential.Ref, minTTL time.Duration) (credential.Token, bool) {
	if r.cfg.LocalReplica(shard) {
		if t, err := r.cfg.Local.ReplicaToken(ctx, ref, minTTL); err == nil {
			return t, true
		}
	}
	ask := func(node string) (credential.Token, error) {
		ctx, cancel := r.within(ctx)
		defer cancel()
		return r.cfg.Peers.ReplicaToken(ctx, node, ref, minTTL)
	}
	nodes := r.cfg.Replicas(shard)
	if leader, _ := r.cfg.Leader(shard); leader != "" {
		nodes = append(without(nodes, leader), leader) // it did not answer just now
	}
	for _, node := range nodes {
		if node == r.cfg.Self || ctx.Err() != nil {
			continue
		}
		if t, err := ask(node); err == nil {
			t.Replica = true
			return t, true
		}
	}
	return credential.Token{}, false
}

// Refresh gets a new token from the owner, which it waits for until ctx ends;
// see [repeat].
func (r *Router) Refresh(ctx context.Context, ref credential.Ref, stale *uint64) (credential.Account, error) {
	return change(ctx, r, &request[credential.Account]{
		shard: r.cfg.ShardOf(ref), repeat: stale != nil,
		local: func(ctx context.Context) (credential.Account, error) { return r.cfg.Local.Refresh(ctx, ref, stale) },
		remote: func(ctx context.Context, node string) (credential.Account, error) {
			return r.cfg.Peers.Refresh(ctx, node, ref, stale)
		},
	})
}

// imported is the answer to an import.
type imported struct {
	account credential.Account
	created bool
}

// Import makes an account at its owner, or brings new credentials to one.
func (r *Router) Import(ctx context.Context, in credential.Import) (credential.Account, bool, error) {
	i, err := change(ctx, r, &request[imported]{
		shard: r.cfg.ShardOf(in.Ref), repeat: once,
		local: func(ctx context.Context) (i imported, err error) {
			i.account, i.created, err = r.cfg.Local.Import(ctx, in)
			return i, err
		},
		remote: func(ctx context.Context, node string) (i imported, err error) {
			i.account, i.created, err = r.cfg.Peers.Import(ctx, node, in)
			return i, err
		},
	})
	return i.account, i.created, err
}

// Disconnect has the owner revoke the grant and destroy the tokens.
func (r *Router) Disconnect(ctx context.Context, ref credential.Ref) (credential.Account, error) {
	return change(ctx, r, &request[credential.Account]{
		shard: r.cfg.ShardOf(ref), repeat: once,
		local: func(ctx context.Context) (credential.Account, error) { return r.cfg.Local.Disconnect(ctx, ref) },
		remote: func(ctx context.Context, node string) (credential.Account, error) {
			return r.cfg.Peers.Disconnect(ctx, node, ref)
		},
	})
}

// NoteHandout has the owner write into the account's history that an agent is
// about to get a token. No replica can stand in for it: where there is no owner,
// agents get no tokens.
func (r *Router) NoteHandout(ctx context.Context, ref credential.Ref, to credential.Handout) error {
	_, err := change(ctx, r, &request[struct{}]{
		shard: r.cfg.ShardOf(ref), repeat: twice,
		local: func(ctx context.Context) (struct{}, error) {
			return struct{}{}, r.cfg.Local.NoteHandout(ctx, ref, to)
		},
		remote: func(ctx context.Context, node string) (struct{}, error) {
			return struct{}{}, r.cfg.Peers.NoteHandout(ctx, node, ref, to)
		},
	})
	return err
}

// Offer brings an answer from this node's journal to the owner of its account.
func (r *Router) Offer(ctx context.Context, ref credential.Ref, entry []byte) (taken bool, err error) {
	return change(ctx, r, &request[bool]{
		shard: r.cfg.ShardOf(ref), repeat: twice,
		local: func(ctx context.Context) (bool, error) { return r.cfg.Local.Offer(ctx, entry) },
		remote: func(ctx context.Context, node string) (bool, error) {
			return r.cfg.Peers.Offer(ctx, node, ref, entry)
		},
	})
}

// change asks the owner, and waits for one until ctx ends.
func change[T any](ctx context.Context, r *Router, q *request[T]) (T, error) {
	ctx, cancel := r.bounded(ctx)
	defer cancel()
	v, err := ask(ctx, r, q)
	return v, r.told(err)
}

// Account returns the record as the owner has it, so that a caller reads his own
// writes; where the owner is not heard of within Config.Reach, as this node's
// replica has it. Of another node it comes without sealed values and claim.
func (r *Router) Account(ctx context.Context, ref credential.Ref) (credential.Account, error) {
	return read(ctx, r, &request[credential.Account]{
		shard: r.cfg.ShardOf(ref), repeat: twice,
		local: func(ctx context.Context) (credential.Account, error) { return r.cfg.Local.Account(ctx, ref) },
		remote: func(ctx context.Context, node string) (credential.Account, error) {
			return r.cfg.Peers.Account(ctx, node, ref)
		},
	}, func(ctx context.Context) (credential.Account, error) { return r.cfg.Local.ReplicaAccount(ctx, ref) })
}

// History returns a page of history, from whom [Router.Account] would.
func (r *Router) History(ctx context.Context, ref credential.Ref, below uint64, limit int) (credential.History, error) {
	return read(ctx, r, &request[credential.History]{
		shard: r.cfg.ShardOf(ref), repeat: twice,
		local: func(ctx context.Context) (credential.History, error) {
			return r.cfg.Local.History(ctx, ref, below, limit)
		},
		remote: func(ctx context.Context, node string) (credential.History, error) {
			return r.cfg.Peers.History(ctx, node, ref, below, limit)
		},
	}, func(ctx context.Context) (credential.History, error) {
		return r.cfg.Local.ReplicaHistory(ctx, ref, below, limit)
	})
}

// read asks the owner, then this node's replica, then waits for the owner. That
// a replica has never heard of an account proves nothing: it may lag.
func read[T any](ctx context.Context, r *Router, q *request[T], replica func(context.Context) (T, error)) (T, error) {
	ctx, cancel := r.bounded(ctx)
	defer cancel()
	if r.cfg.LocalReplica(q.shard) {
		v, err := reach(ctx, r, q)
		if !isUnreached(err) || ctx.Err() != nil {
			return v, r.told(err)
		}
		if v, err = replica(ctx); !errors.Is(err, credential.ErrNotFound) {
			return v, err
		}
	}
	v, err := ask(ctx, r, q)
	return v, r.told(err)
}

// Accounts returns a page of all shards' accounts, in order of tenant and id:
// from this node's replicas, else from the owner, else from another replica.
func (r *Router) Accounts(ctx context.Context, q credential.Query) (credential.Page, error) {
	ctx, cancel := r.bounded(ctx)
	defer cancel()
	sources := make([]listing.Source, r.cfg.Shards)
	for shard := range sources {
		sources[shard] = func(ctx context.Context, q credential.Query) (credential.Page, error) {
			return r.shardAccounts(ctx, shard, q)
		}
	}
	page, err := listing.Merge(ctx, q, sources)
	return page, r.told(err)
}

// shardAccounts returns a page of one shard: of its owner, so that a caller
// finds what he has just made, else of a replica, this node's own first.
func (r *Router) shardAccounts(ctx context.Context, shard int, q credential.Query) (credential.Page, error) {
	nodes := r.cfg.Replicas(shard)
	if r.cfg.LocalReplica(shard) {
		nodes = append([]string{r.cfg.Self}, without(nodes, r.cfg.Self)...)
	} else {
		nodes = without(nodes, r.cfg.Self)
	}
	if leader, _ := r.cfg.Leader(shard); leader != "" {
		nodes = append([]string{leader}, without(nodes, leader)...)
	}
	ask := func(node string) (credential.Page, error) {
		if node == r.cfg.Self {
			return r.cfg.Local.ShardAccounts(ctx, shard, q)
		}
		ctx, cancel := r.within(ctx)
		defer cancel()
		r.counters.Forwarded.Add(1)
		return r.cfg.Peers.ShardAccounts(ctx, node, shard, q)
	}
	err := errNoOwner
	for _, node := range nodes {
		var page credential.Page
		if page, err = ask(node); err == nil {
			return page, nil
		}
		if ctx.Err() != nil {
			break
		}
	}
	return credential.Page{}, &unreached{err}
}

// without is a copy of nodes without one of them.
func without(nodes []string, node string) []string {
	return slices.DeleteFunc(slices.Clone(nodes), func(n string) bool { return n == node })
}
