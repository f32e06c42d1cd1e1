package chaos

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/grantd/grantd/bench/strict"
	"github.com/grantd/grantd/client"
	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/tests/witness"
	"github.com/grantd/grantd/wire"
)

const (
	// settleTimeout bounds how long accounts may take to recover in the end: an
	// uncertain claim waits for as long as the token in hand serves.
	settleTimeout = 90 * time.Second
	// homeTime is how long a node that kept an answer may take to bring it home,
	// once it is reached again: it offers it after 1 to 15 seconds.
	homeTime = 20 * time.Second
)

// settle waits until every account has recovered or was given up. The cluster is
// left alone meanwhile.
func (tr *trial) settle() {
	tr.t.Helper()
	tr.load.mend.Store(false)
	end := time.Now().Add(settleTimeout)
	for _, a := range tr.accounts {
		eventually(tr.t, time.Until(end), "the recovery of account "+a.id, func() error { return tr.settled(tr.t.Context(), a) })
	}
}

// settled returns nil for an account that can be refreshed, by which the refresh
// token in the store is proved to be the good one, and has a token that is live
// at the provider; or that waits for a person.
func (tr *trial) settled(ctx context.Context, a *account) error {
	rng := rand.New(rand.NewPCG(tr.rng.Uint64(), 0))
	if err := tr.load.catchUp(ctx, rng, a); err != nil {
		return err
	}
	if err := tr.load.refresh(ctx, rng, a); client.CodeOf(err) != wire.CodeNeedsReauth {
		if err != nil {
			return err
		}
		if err := tr.load.read(ctx, rng, a); err != nil {
			return err
		}
		if !a.provider.TokenLive(credential.NewSecret(a.token.AccessToken.Reveal())) {
			return errors.New("its token is dead at the provider")
		}
	}
	return tr.load.catchUp(ctx, rng, a)
}

// judge says whether the cluster kept its promises, from the provider's record,
// the histories, the counters, and what callers were told.
func (tr *trial) judge() {
	t := tr.t
	t.Helper()
	if report := tr.provider.Report(); report.Forgotten > 0 {
		t.Errorf("the provider forgot %d requests; raise its capacity", report.Forgotten)
	}
	record := tr.provider.refreshes()
	for _, a := range tr.accounts {
		if err := tr.judgeAccount(a, record); err != nil {
			t.Errorf("account %s (%s, shard %d): %v", a.id, a.integration, a.shard, err)
		}
	}
	tr.judgeGrants()
	tr.judgeCounts()
	if n := tr.load.failedReads.Load(); n > 0 && !slices.ContainsFunc(tr.strikes, func(s strike) bool { return s.fault.everywhere }) {
		t.Errorf("%d of %d reads of tokens that had time left failed at two nodes", n, tr.load.reads.Load())
	}
	t.Logf("%d reads of tokens with time left, %d answered by a replica, %d of them older than one that was known; %d refresh requests",
		tr.load.reads.Load(), tr.load.replica.Load(), tr.load.stale.Load(), tr.provider.Report().Refreshes)
}

// judgeAccount judges one account.
func (tr *trial) judgeAccount(a *account, record record) error {
	if err := a.history.CheckGenerations(a.told.Floor()); err != nil {
		return err
	}
	var errs []error
	for _, l := range a.history {
		if l.What == credential.WhatNeedsReauth && l.Reason != credential.ReasonOutcomeLost {
			errs = append(errs, witness.Brokenf("it went to needs_reauth for %q, and nothing was done to its grant: %s", l.Reason, l))
		}
	}
	for i, l := range a.history {
		if l.What == credential.WhatOutcomeLost && a.integration == lasting {
			tr.t.Logf("account %s lost its grant: %s", a.id, a.history[max(0, i-storyLines):i+1])
		}
	}
	if attempt := lostThough(a.history, tr.kept); attempt != "" && a.integration == lasting {
		errs = append(errs, witness.Brokenf("the answer to attempt %s lay in the journal of a node that came back, and it was lost", attempt))
	}
	dead := 0
	for _, id := range a.grants {
		if !tr.provider.GrantAlive(id) {
			dead++
		}
		if err := tr.judgeRepeats(a, record[id]); err != nil {
			errs = append(errs, fmt.Errorf("grant %s: %w", id, err))
		}
	}
	if told := a.history.Count(credential.WhatNeedsReauth); told != dead {
		errs = append(errs, witness.Brokenf("%d of its grants died, and it went to needs_reauth %d times", dead, told))
	}
	return errors.Join(append(errs, tr.judgeHanded(a, record))...)
}

// lostThough returns an attempt that was interrupted and lost although its answer
// was kept; "": there is none.
func lostThough(h witness.History, kept map[string]bool) string {
	open := ""
	for _, l := range h {
		switch l.What {
		case credential.WhatInterrupted:
			open = l.Attempt
		case credential.WhatRefreshed, credential.WhatReactivated:
			open = ""
		case credential.WhatOutcomeLost:
			if kept[open] {
				return open
			}
		}
	}
	return ""
}

// judgeRepeats sees that a refresh token came again after the provider had
// answered it only where the node that had asked was in trouble, or the answer
// was lost on the way; and not where that node could have brought it.
func (tr *trial) judgeRepeats(a *account, requests []request) error {
	for i, again := range requests[min(1, len(requests)):] {
		r := requests[i]
		rule := ""
		switch r.Outcome {
		case strict.OutcomeGranted, strict.OutcomeGrace:
			if again.Sequence <= r.Sequence {
				rule = "I3"
			}
		case strict.OutcomeReplay, strict.OutcomeDead:
			rule = "I4"
		}
		if rule == "I3" && impatient(a.integration, requests[:i+1], again.Received) {
			return witness.Brokenf("I3: request %d was answered, and request %d came after it while the access token in hand still served:\n%s", r.Number, again.Number, tr.story(a, requests, r.Received, again.Received))
		}
		if rule == "" || r.Lost || wasAmbiguous(a.history, r.Received, again.Received) {
			continue
		}
		found, ok := tr.troubleOf(r.node, r.Received, again.Received)
		switch {
		case !ok:
			return witness.Brokenf("%s: request %d was answered %q, which could be read, and request %d came after it:\n%s", rule, r.Number, r.Outcome, again.Number, tr.story(a, requests, r.Received, again.Received))
		case !found.died && again.Received.After(found.until.Add(homeTime)):
			return witness.Brokenf("%s: %s had the answer to request %d, was reached again at %s, and request %d came after it all the same:\n%s",
				rule, r.node, r.Number, found.until.Format(time.StampMilli), again.Number, tr.story(a, requests, r.Received, again.Received))
		}
	}
	return nil
}

// impatient says whether the refresh token of the last of these requests, whose
// answer may yet turn up, is presented again too soon: it is to wait for as long
// as the access token in hand serves, which the request before brought, but not
// longer than uncertain_hold.
func impatient(integration string, requests []request, again time.Time) bool {
	last := requests[len(requests)-1]
	if integration == forgiving || len(requests) < 2 || last.Outcome != strict.OutcomeGranted {
		return false
	}
	serves := requests[len(requests)-2].Received.Add(lifetime(integration))
	held := last.Received.Add(uncertainHold)
	return again.Before(serves.Add(-roundingTime)) && again.Before(held)
}

// lifetime is how long an access token lives.
func lifetime(integration string) time.Duration {
	if integration == lasting {
		return lastingTTL
	}
	return briefTTL
}

const (
	uncertainHold = 20 * time.Second // as the nodes are configured
	roundingTime  = time.Second
)

// troubleOf finds what was done to a node between two times.
func (tr *trial) troubleOf(node string, from, to time.Time) (found trouble, ok bool) {
	for _, x := range tr.troubles {
		if (x.node == node || node == "") && x.from.Before(to) && x.until.After(from) {
			found, ok = x, true
			if x.died {
				break
			}
		}
	}
	return found, ok
}

// wasAmbiguous says whether the history tells of a request without an answer
// between the two times.
func wasAmbiguous(h witness.History, from, to time.Time) bool {
	return slices.ContainsFunc(h, func(l witness.Line) bool {
		return isAmbiguous(l) && !l.At.Before(from.Truncate(time.Millisecond)) && l.At.Before(to)
	})
}

// isAmbiguous tells the failure of a request that was sent and not answered.
func isAmbiguous(l witness.Line) bool {
	class, _, _ := strings.Cut(l.Reason, ":")
	return l.What == credential.WhatRefreshFailed && class == credential.Ambiguous.String()
}

// judgeHanded sees that the refresh token that came with an access token was
// kept before a caller got that (I2): no older one is ever presented again.
func (tr *trial) judgeHanded(a *account, record record) error {
	for _, h := range a.told.Handed() {
		kept, ok := tr.provider.tokens.CameWith(h.Place)
		if !ok {
			return witness.Brokenf("a token of grant %s was handed out that the provider never gave", h.Grant)
		}
		requests := record[h.Grant]
		later, _ := slices.BinarySearchFunc(requests, h.At, func(r request, at time.Time) int { return cmp.Or(r.Received.Compare(at), -1) })
		for _, r := range requests[later:] {
			if r.Sequence < kept {
				return witness.Brokenf("I2: a caller had access token %d of grant %s, and later refresh token %d was presented, which is older than the one that came with it:\n%s",
					h.Sequence, h.Grant, r.Sequence, tr.story(a, requests, h.At, r.Received))
			}
		}
	}
	return nil
}

// judgeGrants compares the provider's own verdict with the histories. It does
// not know what was done to its clients, so a grant may have been refreshed with
// a used token if the account's history names that; never twice at once (I1).
func (tr *trial) judgeGrants() {
	owner := map[string]*account{}
	for _, a := range tr.accounts {
		for _, id := range a.grants {
			owner[id] = a
		}
	}
	for _, v := range tr.provider.Judge() {
		a := owner[v.Grant]
		switch {
		case a == nil:
			tr.t.Errorf("%s: %s: grant %s, of no account", v.Rule, v.What, v.Grant)
		case v.Rule == "I1" || a.history.Count(credential.WhatOutcomeLost) == 0 || tr.provider.GrantAlive(v.Grant):
			tr.t.Errorf("%s: %s: grant %s of account %s", v.Rule, v.What, v.Grant, a.id)
		}
	}
}

// judgeCounts compares what the nodes counted with what the histories tell.
// What a process counted right before its death is not known, and a write that a
// node gave up may have been made all the same.
func (tr *trial) judgeCounts() {
	unknown := tr.counts.sum("grantd_commit_failures_total")
	if slices.ContainsFunc(tr.troubles, func(x trouble) bool { return x.died }) {
		unknown = math.MaxInt
	}
	for _, c := range []struct {
		metric string
		words  []credential.What
	}{
		{"grantd_refresh_interrupted_total", []credential.What{credential.WhatInterrupted}},
		{"grantd_refresh_salvaged_total", []credential.What{credential.WhatSalvaged}},
		{"grantd_refresh_uncertain_retries_total", []credential.What{credential.WhatRetriedUncertain}},
		{"grantd_refresh_outcomes_lost_total", []credential.What{credential.WhatOutcomeLost}},
		{"grantd_accounts_needs_reauth_total", []credential.What{credential.WhatNeedsReauth}},
	} {
		told := 0
		for _, a := range tr.accounts {
			told += a.history.Count(c.words...)
		}
		if counted := tr.counts.sum(c.metric); counted > told || told-counted > unknown {
			tr.t.Errorf("%s counted %d, the histories tell of %d", c.metric, counted, told)
		}
	}
	if n := tr.counts.sum("grantd_actor_panics_total"); n > 0 {
		tr.t.Errorf("%d panics in account actors", n)
	}
	if n := tr.counts.sum("grantd_refresh_answers_dropped_total"); n > 0 {
		tr.t.Errorf("%d answers were dropped", n)
	}
}

// How much before and after is told, in time and in lines of history.
const (
	storyTime  = 3 * time.Second
	storyLines = 3
)

// story tells what happened to an account around the two times, for the report
// of a failed test.
func (tr *trial) story(a *account, requests []request, from, to time.Time) string {
	type happening struct {
		at   time.Time
		what string
	}
	var all []happening
	for _, l := range a.history {
		all = append(all, happening{l.At.Local(), l.String()})
	}
	for _, r := range requests {
		all = append(all, happening{r.Received, fmt.Sprintf("%s: request %d presents token %d: %s, HTTP %d after %v, lost %v", r.node, r.Number, r.Sequence, r.Outcome, r.Status, r.Answered.Sub(r.Received), r.Lost)})
	}
	for _, x := range tr.troubles {
		all = append(all, happening{x.from, "trouble of " + x.node}, happening{x.until, fmt.Sprintf("end of the trouble of %s, died %v", x.node, x.died)})
	}
	slices.SortStableFunc(all, func(a, b happening) int { return a.at.Compare(b.at) })
	var b strings.Builder
	for _, h := range all {
		if h.at.After(from.Add(-storyTime)) && h.at.Before(to.Add(storyTime)) {
			fmt.Fprintf(&b, "%s  %s\n", h.at.Format(time.StampMilli), h.what)
		}
	}
	return b.String()
}
