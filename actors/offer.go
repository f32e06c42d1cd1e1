package actors

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/grantd/grantd/credential"
)

// An answer of a provider that could not be committed where it came in stays in
// that node's journal, which offers it to whoever owns the account now.

// lateAnswer is an answer out of a journal, and what its ciphertexts hold.
type lateAnswer struct {
	answer answer
	grant  *credential.Grant // with Failure == nil
}

// errForged is wrapped by errors about entries that no node would have written.
var errForged = fmt.Errorf("%w: journal entry", credential.ErrInvalid)

// maxEntry is the largest entry that is looked at.
const maxEntry = 1 << 20

// parseAnswer reads a journal's entry. It says nothing about its ciphertexts.
func parseAnswer(b []byte) (ans answer, err error) {
	if len(b) > maxEntry {
		return ans, fmt.Errorf("%w of %d bytes is too large", errForged, len(b))
	}
	if err = json.Unmarshal(b, &ans); err != nil {
		return ans, fmt.Errorf("%w is not an answer: %w", errForged, err)
	}
	if ans.Attempt == "" || ans.Generation == 0 || !ans.conclusive() || ans.Ref.Validate() != nil {
		return ans, fmt.Errorf("%w is not an answer", errForged)
	}
	return ans, nil
}

// Offer takes an answer from the journal of another node, or of this one before
// it was restarted, for an account that is owned here. taken: it is committed,
// or nobody will ever want it, and its owner may forget it. Where it is not
// taken, err says why, and it may be offered again: credential.ErrNotOwner, an
// error of Commit, or credential.ErrInvalid or credential.ErrSealed for an
// entry that is damaged or forged. Offering twice does no harm.
func (s *System) Offer(ctx context.Context, entry []byte) (taken bool, err error) {
	s.counters.OffersReceived.Add(1)
	if s.ctx.Err() != nil {
		return false, &credential.Unavailable{Err: credential.ErrNoQuorum, Reason: "the node is stopping"}
	}
	ans, err := parseAnswer(entry)
	if err != nil {
		return false, err
	}
	sh := s.of(ans.Ref)
	wanted, err := sh.wants(&ans)
	if err != nil {
		return false, err
	}
	if !wanted {
		return true, nil
	}
	late, err := sh.examine(ctx, entry)
	if err != nil {
		s.log.Warn("answer from a journal cannot be used", "account", ans.Ref.String(), "attempt", ans.Attempt, "err", err)
		return false, err
	}
	r := s.ask(ctx, sh, func(req request) message { return offered{req, late} }, ans.Ref)
	return r.err == nil, r.err
}

// wants reports whether an answer is of any use: its claim is open, or its
// account is disconnected and the tokens in it are to be revoked.
func (sh *shard) wants(ans *answer) (bool, error) {
	if !sh.owned() {
		return false, credential.ErrNotOwner
	}
	rec, _, err := sh.store.Load(ans.Ref)
	switch {
	case errors.Is(err, credential.ErrNotFound):
		return false, nil
	case err != nil:
		return false, err
	case rec.State == credential.StateDisconnected:
		return ans.Failure == nil, nil
	}
	return rec.Claim != nil && rec.Claim.Attempt == ans.Attempt || belated(&rec, ans), nil
}

// examine opens an entry. It must be an answer that a journal would hold, and
// its ciphertexts those of its account and generation, so that garbage never
// replaces a good record.
func (sh *shard) examine(ctx context.Context, entry []byte) (*lateAnswer, error) {
	ans, err := parseAnswer(entry)
	if err != nil {
		return nil, err
	}
	if ans.Failure != nil {
		return &lateAnswer{answer: ans}, nil
	}
	refresh, access, err := sh.openBoth(ctx, credential.Account{
		Ref: ans.Ref, Kind: credential.KindOAuth2, Generation: ans.Generation, RefreshGeneration: ans.Generation,
		AccessToken: ans.AccessToken, RefreshToken: ans.RefreshToken,
	})
	switch {
	case err != nil:
		return nil, err
	case access.IsZero():
		return nil, fmt.Errorf("%w of %s brings no access token", errForged, ans.Ref)
	}
	return &lateAnswer{ans, &credential.Grant{AccessToken: access, RefreshToken: refresh, TokenType: ans.TokenType, Scopes: ans.Scopes}}, nil
}

// offered settles an answer of another node's journal.
func (a *account) offered(m offered) {
	m.reply <- result{err: a.settleLate(m.late, fromOffer)}
}

// idle reports whether no request of the record's claim is under way.
func (a *account) idle() bool {
	c, sys := a.rec.Claim, a.shard.sys
	if c == nil || a.job != nil {
		return false
	}
	return c.Boot == sys.boot && !sys.attempts.underWay(c.Attempt) || time.Now().After(a.claimEnds)
}

// settleLate commits an answer that another keeps until it is. nil: it is
// committed, or the record has moved on.
func (a *account) settleLate(late *lateAnswer, from source) error {
	c, sys := a.rec.Claim, a.shard.sys
	if c != nil && c.Attempt == late.answer.Attempt && c.Generation+1 != late.answer.Generation {
		return fmt.Errorf("%w of %s is of another generation than its claim", errForged, a.ref)
	}
	if belated(&a.rec, &late.answer) && !a.idle() {
		return &credential.Unavailable{Err: credential.ErrProviderUnavailable, Reason: "the refresh token is being presented once more", RetryAfter: time.Second}
	}
	if !sys.jobs.add() {
		return &credential.Unavailable{Err: credential.ErrNoQuorum, Reason: "the node is stopping"}
	}
	in, _ := sys.integrations.Lookup(a.rec.Integration)
	j := &job{integration: in, done: &late.answer, grant: late.grant, from: from}
	a.settle(j)
	return j.err
}
