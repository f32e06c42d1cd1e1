package actors

import (
	"time"

	"github.com/grantd/grantd/credential"
)

// An uncertain claim is one whose request may have been sent and whose answer
// nobody knows. Presenting its refresh token again is a replay where the
// provider rotates and did answer, and the whole grant may be revoked for it.
// So the token is tried once more only when that is known to be harmless, or
// when nothing is left to lose.

// retryUncertainAt is when the refresh token of an uncertain claim may be
// presented once more. claimEnds is when the interrupted request has surely
// ended; before it, never. It is a pure function of the record, so that asking
// again later gives the same time.
//
//   - The provider does not rotate, or forgives reuse for a while: at once, the
//     sooner the better the chance.
//   - It rotates, and the access token in hand still serves: when it no longer
//     does, or after Policy.UncertainHold, for the answer may yet turn up in the
//     journal of the node that got it.
//   - It rotates, and the access token is gone: at once, nothing is left to lose.
func (p Policy) retryUncertainAt(a *credential.Account, in Integration, claimEnds time.Time) time.Time {
	if !in.Rotates || in.ReuseGrace > 0 || a.Kind.FetchesAnew() || len(a.AccessToken) == 0 {
		return claimEnds
	}
	latest := claimEnds.Add(p.UncertainHold)
	switch {
	case a.ExpiresAt.IsZero() || a.ExpiresAt.After(latest):
		return latest
	case a.ExpiresAt.After(claimEnds):
		return a.ExpiresAt
	default:
		return claimEnds
	}
}
