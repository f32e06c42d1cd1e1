package actors

import (
	"context"

	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/credential/listing"
)

// ShardAccounts returns a page of one shard's accounts as this node has them:
// on a replica that does not own the shard they may lag.
func (s *System) ShardAccounts(_ context.Context, shard int, q credential.Query) (credential.Page, error) {
	if shard < 0 || shard >= len(s.shards) {
		return credential.Page{}, credential.ErrNotFound
	}
	return listing.Scan(q, s.shards[shard].store.Accounts)
}

// Accounts returns a page of accounts, in order of tenant and id over all
// shards, as this node has them.
func (s *System) Accounts(ctx context.Context, q credential.Query) (credential.Page, error) {
	sources := make([]listing.Source, len(s.shards))
	for i := range sources {
		sources[i] = func(ctx context.Context, q credential.Query) (credential.Page, error) {
			return s.ShardAccounts(ctx, i, q)
		}
	}
	return listing.Merge(ctx, q, sources)
}
