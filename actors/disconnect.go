package actors

import (
	"time"

	"github.com/grantd/grantd/credential"
)

// disconnect destroys the tokens at once. With the same write the grant is noted
// as one to be revoked, which the shard's revoker does in its own time.
func (a *account) disconnect(m disconnect) {
	var ended bool
	err := a.anew(func() error {
		switch {
		case !a.exists:
			return credential.ErrNotFound
		case a.rec.State == credential.StateDisconnected:
			return nil
		}
		ended = true
		return a.destroyTokens()
	})
	if err != nil {
		m.reply <- result{err: err}
		return
	}
	m.reply <- result{account: a.rec}
	if ended {
		a.answerWaiters(nil)
	}
}

func (a *account) destroyTokens() error {
	now := time.Now().UTC()
	after := a.rec.Clone()
	after.State, after.Reason = credential.StateDisconnected, ""
	after.AccessToken, after.RefreshToken, after.Claim = nil, nil, nil
	after.ExpiresAt, after.NextRefreshAt, after.RefreshExpiresAt = time.Time{}, time.Time{}, time.Time{}
	after.UpdatedAt = now
	return a.write(credential.Change{
		After: after, Lines: a.lines(credential.WhatDisconnected, "", ""), Events: a.events(credential.EventDisconnected, &after),
		Revoke: toRevoke(newID(), a.rec, now),
	})
}

// toRevoke is what is to be revoked of a record; nil: it holds no grant.
func toRevoke(id string, rec credential.Account, now time.Time) []credential.Revocation {
	if !rec.Kind.Refreshes() || len(rec.AccessToken)+len(rec.RefreshToken) == 0 {
		return nil
	}
	rec = rec.Clone()
	rec.Claim = nil
	return []credential.Revocation{{ID: id, Account: rec, Since: now, At: now}}
}

// late is what a refresh brought after its account was disconnected, to be
// revoked like the rest; nil: nothing. It is the same whenever it is asked for,
// so that a write which may have succeeded can be repeated.
func (a *account) late(j *job) []credential.Revocation {
	ans := j.done
	if ans.Failure != nil || !a.exists || a.rec.State != credential.StateDisconnected {
		return nil
	}
	rec := a.rec
	rec.Generation, rec.AccessToken = ans.Generation, ans.AccessToken
	rec.RefreshGeneration, rec.RefreshToken = ans.Generation, ans.RefreshToken
	return toRevoke(ans.Attempt, rec, ans.At)
}

// revocationOver notes what became of a grant that was to be revoked, whatever
// the account is by now.
func (a *account) revocationOver(m revocationOver) {
	if !a.exists {
		m.reply <- result{err: credential.ErrNotFound}
		return
	}
	lines := a.lines(m.what, m.code, m.detail)
	lines[0].Generation, lines[0].Attempt = m.revocation.Account.Generation, ""
	err := a.write(credential.Change{After: a.rec.Clone(), Lines: lines, Revoked: []credential.Revocation{m.revocation}})
	m.reply <- result{err: err}
}
