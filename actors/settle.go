package actors

import (
	"time"

	"github.com/grantd/grantd/credential"
)

// answer is what came of one attempt, with its tokens sealed: what the journal
// holds, and what [settle] turns into the account's next record.
type answer struct {
	Attempt    string         `json:"attempt"`
	Ref        credential.Ref `json:"ref"`
	Generation uint64         `json:"generation"` // the one that it brings
	At         time.Time      `json:"at"`

	AccessToken      credential.Sealed `json:"access_token,omitempty"`
	RefreshToken     credential.Sealed `json:"refresh_token,omitempty"`
	TokenType        string            `json:"token_type,omitempty"`
	Scopes           []string          `json:"scopes,omitempty"`
	ExpiresAt        time.Time         `json:"expires_at,omitzero"`
	ExpiryAssumed    bool              `json:"expiry_assumed,omitempty"`
	RefreshExpiresAt time.Time         `json:"refresh_expires_at,omitzero"`
	Facts            map[string]string `json:"facts,omitempty"`

	Failure *credential.Failure `json:"failure,omitempty"` // nil: the tokens above
}

// conclusive reports whether the answer must not be lost: it changed what the
// provider knows, or told that there is nothing left to ask for.
func (a *answer) conclusive() bool {
	return a.Failure == nil || a.Failure.Class == credential.Terminal
}

// harmless reports whether the refresh token is surely as good as before.
func (a *answer) harmless() bool {
	return a.Failure != nil && a.Failure.Class != credential.Ambiguous
}

// settlement is what an answer makes of an account.
type settlement struct {
	after  credential.Account
	lines  []credential.Line
	events []credential.Event
}

// circumstances are the facts that a settlement depends on besides the record
// and the answer.
type circumstances struct {
	policy      Policy
	integration Integration
	now         time.Time
	draw        float64 // of [0,1), for jitter
	eventID     string
	node        string
	salvaged    bool      // the answer comes from a journal
	idle        bool      // no request of the record's claim is under way
	claimEnds   time.Time // when the claim's request has surely ended
	told        bool      // somebody wants to hear of refreshes
}

// settle decides what the answer means for the record: the next record, the
// schedule, the history and the events. It is a pure function. ok is false
// where the answer belongs to a claim that the record no longer holds: then it
// must change nothing.
func settle(rec credential.Account, ans answer, c circumstances) (s settlement, ok bool) {
	late := c.idle && belated(&rec, &ans)
	if !late && (rec.Claim == nil || rec.Claim.Attempt != ans.Attempt) {
		return settlement{}, false
	}
	s.after = rec
	s.after.Claim = nil
	s.after.UpdatedAt = c.now
	if rec.Claim.Generation != rec.Generation || rec.State != credential.StateActive {
		s.discard(rec, c)
		return s, true
	}
	if c.salvaged {
		detail := "the answer of the interrupted refresh was found in the journal"
		switch from := rec.Claim.Node; {
		case late:
			detail = "the answer of the interrupted refresh came after its refresh token had been presented once more"
		case from != c.node:
			detail = "the answer of the interrupted refresh came from node " + from + ", which had it in its journal"
		}
		s.line(credential.WhatSalvaged, "", detail, ans.Attempt, c)
	}
	if ans.Failure == nil {
		s.succeed(rec, ans, c)
	} else {
		s.fail(rec, ans, c)
	}
	return s, true
}

// secondTry reports whether the claim presents a refresh token that may be
// spent: an earlier claim did, and its answer was lost.
func secondTry(c *credential.Claim) bool { return c.Uncertain && !c.Interrupted }

// belated reports whether the answer is to an earlier attempt than the one that
// the record's claim is about, which presented the same refresh token once more
// and has brought no other.
func belated(rec *credential.Account, ans *answer) bool {
	c := rec.Claim
	return c != nil && c.Attempt != ans.Attempt && secondTry(c) && rec.State == credential.StateActive &&
		ans.Failure == nil && c.Generation == rec.Generation && ans.Generation == rec.Generation+1
}

func (s *settlement) line(what credential.What, reason, detail, attempt string, c circumstances) {
	s.lines = append(s.lines, credential.Line{
		At: c.now, What: what, Reason: reason, Detail: detail,
		Generation: s.after.Generation, Attempt: attempt, Node: c.node,
	})
}

func (s *settlement) event(t credential.EventType, reason string, c circumstances) {
	s.events = append(s.events, credential.Event{
		ID: c.eventID, Type: t, Ref: s.after.Ref, At: c.now, Reason: reason,
		Generation: s.after.Generation, Integration: s.after.Integration,
	})
}

// discard drops an answer to a credential that was replaced meanwhile. The
// newer credential stays as it is; only the claim is over.
func (s *settlement) discard(rec credential.Account, c circumstances) {
	s.after.NextRefreshAt = nextRefresh(&s.after, c)
	s.line(credential.WhatAnswerDiscarded, "superseded", "the credential was replaced while the refresh was under way", rec.Claim.Attempt, c)
}

// breath is the least time between a refresh that succeeded and the next that
// the schedule asks for.
const breath = 500 * time.Millisecond

func (s *settlement) succeed(rec credential.Account, ans answer, c circumstances) {
	a := &s.after
	a.Generation = ans.Generation
	a.AccessToken, a.TokenType = ans.AccessToken, ans.TokenType
	a.ExpiresAt, a.ExpiryAssumed = ans.ExpiresAt, ans.ExpiryAssumed
	if len(ans.RefreshToken) > 0 {
		a.RefreshToken, a.RefreshGeneration = ans.RefreshToken, ans.Generation
		a.RefreshExpiresAt = ans.RefreshExpiresAt
	}
	if ans.Scopes != nil {
		a.Scopes = ans.Scopes
	}
	a.Facts = credential.MergeFacts(a.Facts, ans.Facts)
	a.LastRefreshAt = ans.At
	a.Failures, a.Refusals = 0, 0
	a.NextRefreshAt = nextRefresh(a, c)
	if soonest := c.now.Add(breath); !a.NextRefreshAt.IsZero() && a.NextRefreshAt.Before(soonest) {
		a.NextRefreshAt = soonest // a provider whose tokens are over when they come is not asked all the time
	}
	detail := ""
	if secondTry(rec.Claim) && rec.Claim.Attempt == ans.Attempt {
		detail = "the old refresh token still worked after a refresh whose answer was lost"
	}
	s.line(credential.WhatRefreshed, "", detail, ans.Attempt, c)
	if c.told {
		s.event(credential.EventRefreshed, "", c)
	}
	warnFrom := a.RefreshExpiresAt.Add(-c.policy.RefreshTokenWarning)
	if !a.RefreshExpiresAt.IsZero() && rec.LastRefreshAt.Before(warnFrom) && !c.now.Before(warnFrom) {
		s.line(credential.WhatRefreshTokenEnds, "", "the refresh token ends at "+a.RefreshExpiresAt.UTC().Format(time.RFC3339), ans.Attempt, c)
	}
}

func (s *settlement) fail(rec credential.Account, ans answer, c circumstances) {
	a, f := &s.after, ans.Failure
	a.Failures++
	if f.Class == credential.Unrecognised {
		a.Refusals++
	} else {
		a.Refusals = 0
	}
	switch {
	case f.Class == credential.Terminal:
		s.needsReauth(rec, f.Code, f, ans.Attempt, c)
		return
	case f.Class == credential.Unrecognised && a.Refusals >= c.policy.Refusals:
		s.needsReauth(rec, credential.ReasonUnrecognised, f, ans.Attempt, c)
		return
	}
	if isPowerOfTwo(a.Failures) { // a long outage must not push everything else out of the history
		s.line(credential.WhatRefreshFailed, f.Class.String()+":"+f.Code, f.Detail, ans.Attempt, c)
	}
	wait := c.policy.backoff(a.Failures, c.draw)
	switch f.Class {
	case credential.Unrecognised:
		wait = c.policy.refusalBackoff(a.Refusals, c.draw)
	case credential.Misconfigured:
		// It is the integration that waits, in its lane; when that is mended, its
		// accounts go on at once.
		wait = c.policy.backoff(1, c.draw)
	}
	a.NextRefreshAt = c.now.Add(max(wait, min(f.RetryAfter, c.policy.MaxRetryAfter)))
	if secondTry(rec.Claim) || f.Class == credential.Ambiguous {
		// The token may be spent. The claim stays, as the mark of it, until it is
		// tried once more.
		claim := *rec.Claim
		claim.Uncertain, claim.Interrupted = true, false
		a.Claim = &claim
		if at := onWallClock(c.policy.retryUncertainAt(a, c.integration, c.claimEnds), c.now); at.After(a.NextRefreshAt) {
			a.NextRefreshAt = at
		}
	}
}

// needsReauth ends the grant's life until a person authorises again.
func (s *settlement) needsReauth(rec credential.Account, reason string, f *credential.Failure, attempt string, c circumstances) {
	a := &s.after
	if secondTry(rec.Claim) {
		s.line(credential.WhatOutcomeLost, reason, "an earlier refresh was sent and its answer never came; the refresh token is spent", attempt, c)
		reason = credential.ReasonOutcomeLost
	}
	a.State, a.Reason = credential.StateNeedsReauth, reason
	a.NextRefreshAt = time.Time{}
	s.line(credential.WhatNeedsReauth, reason, f.Detail, attempt, c)
	s.event(credential.EventAuthError, reason, c)
}

// nextRefresh is the schedule entry of an account that holds a token.
func nextRefresh(a *credential.Account, c circumstances) time.Time {
	if !a.Kind.Refreshes() || a.State != credential.StateActive {
		return time.Time{}
	}
	canRefresh := len(a.RefreshToken) > 0 || a.Kind.FetchesAnew()
	var at time.Time
	switch {
	case !canRefresh:
		return a.ExpiresAt // the time to say needs_reauth; zero where it never ends
	case len(a.AccessToken) == 0:
		return c.now
	case !a.ExpiresAt.IsZero():
		issued := a.LastRefreshAt
		if issued.IsZero() || issued.After(a.ExpiresAt) {
			issued = c.now
		}
		at = c.policy.refreshAt(issued, a.ExpiresAt, c.draw)
	}
	if len(a.RefreshToken) > 0 {
		at = keepAlive(at, c.now, c.integration.RefreshIdle)
	}
	if at.Before(c.now) && !at.IsZero() {
		return c.now
	}
	return at
}

func isPowerOfTwo(n int) bool { return n > 0 && n&(n-1) == 0 }
