package storage

import (
	"errors"
	"fmt"

	"github.com/grantd/grantd/credential"
)

// Account returns an account's record and its revision. The error is both
// credential.ErrNotFound and ErrNotFound where there is none.
func (g *Group) Account(ref credential.Ref) (a credential.Account, rev uint64, err error) {
	err = g.view(accountKey(ref), func(v []byte, r uint64) (err error) {
		rev = r
		a, err = decodeAccount(ref, v)
		return err
	})
	if errors.Is(err, ErrNotFound) {
		return credential.Account{}, 0, errNoAccount
	}
	return a, rev, err
}

// Accounts calls fn with the accounts that come after the given one, in order
// of tenant and id, until fn returns false. tenant limits them to one tenant;
// empty: all tenants of the shard. A zero after: from the first.
func (g *Group) Accounts(after credential.Ref, tenant string, fn func(credential.Account) (more bool)) error {
	lo, hi := accountSpan(after, tenant)
	err := g.Scan(lo, hi, func(key, value []byte, _ uint64) (bool, error) {
		ref, err := parseRef(key[1:])
		if err != nil {
			return false, err
		}
		a, err := decodeAccount(ref, value)
		if err != nil {
			return false, err
		}
		return fn(a), nil
	})
	if err != nil {
		return fmt.Errorf("list accounts: %w", err)
	}
	return nil
}

func accountSpan(from credential.Ref, tenant string) (lo, hi []byte) {
	lo, hi = []byte{tagAccount}, []byte{tagAccount + 1}
	if tenant != "" {
		lo = accountKey(credential.Ref{Tenant: tenant})
		hi = prefixEnd(lo)
	}
	if from != (credential.Ref{}) {
		if next := after(accountKey(from)); string(next) > string(lo) {
			lo = next
		}
	}
	if string(lo) > string(hi) {
		lo = hi
	}
	return lo, hi
}
