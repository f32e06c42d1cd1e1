package actors

import (
	"context"
	"time"

	"github.com/grantd/grantd/credential"
)

// fateAgain is for how long it is not worth asking again where the request has
// ended and what came of it is not written down yet.
const fateAgain = 200 * time.Millisecond

// Fate tells another node, which found the claim of an attempt of this one,
// what became of it. An attempt whose request is not written yet never will be
// once Fate was asked for it.
func (s *System) Fate(q credential.FateQuery) credential.Fate {
	var at attempt
	var known bool
	if q.Boot == s.boot {
		at, known = s.attempts.forbid(q.Attempt) // before the journal is read: see its order in call
	}
	entry, err := s.journal.Get(q.Attempt)
	if err != nil {
		s.log.Error("journal could not be read", "attempt", q.Attempt, "err", err)
		return credential.Fate{State: credential.FateInFlight, Remaining: fateAgain}
	}
	if entry != nil {
		if ans, err := parseAnswer(entry); err == nil && ans.answers(q) {
			return credential.Fate{State: credential.FateAnswered, Entry: entry}
		}
		return credential.Fate{State: credential.FateUnknown}
	}
	switch {
	case q.Boot != s.boot:
		return credential.Fate{State: credential.FateUnknown}
	case known && at.step == sent:
		return credential.Fate{State: credential.FateInFlight, Remaining: max(time.Until(at.ends), fateAgain)}
	case s.attempts.unsent(q.Attempt):
		return credential.Fate{State: credential.FateNeverSent}
	}
	return credential.Fate{State: credential.FateUnknown} // sent, and its job is over without an answer
}

// answers reports whether the answer is one to the attempt that is asked for.
func (a *answer) answers(q credential.FateQuery) bool {
	return a.Attempt == q.Attempt && a.Ref == q.Ref && a.Generation == q.Generation+1
}

// fateTimeout ends the wait for another node's word.
const fateTimeout = 2 * time.Second

// maxAsking bounds how many other nodes' words are waited for at once: who
// takes a shard over may find many claims.
const maxAsking = 128

// inform asks another node what became of its attempt. The answer, if it has
// one, comes opened, so that it is known to be genuine.
func (sh *shard) inform(node string, q credential.FateQuery) (f credential.Fate, late *lateAnswer, err error) {
	sys := sh.sys
	ctx, cancel := context.WithTimeout(sys.ctx, fateTimeout)
	defer cancel()
	select {
	case sys.asking <- struct{}{}:
		defer func() { <-sys.asking }()
	case <-ctx.Done():
		return f, nil, ctx.Err()
	}
	f, err = sys.peers.Fate(ctx, node, q)
	if err == nil && f.State == credential.FateAnswered {
		late, err = sh.examine(sys.ctx, f.Entry)
		if err == nil && !late.answer.answers(q) {
			err = errForged
		}
	}
	sys.counters.countFate(f, err)
	return f, late, err
}
