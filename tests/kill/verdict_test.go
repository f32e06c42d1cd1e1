package kill

import (
	"cmp"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/grantd/grantd/bench/strict"
	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/storage"
	"github.com/grantd/grantd/tests/witness"
)

// stored is what the node's store holds of an account in the end.
type stored struct {
	account credential.Account
	events  []credential.Event
}

// openStore reads what the stopped node left, and brings the histories up to
// date with it.
func (tr *trial) openStore() map[string]stored {
	t := tr.t
	t.Helper()
	db, err := storage.Open(filepath.Join(tr.node.dataDir(), "store"), storage.Options{Fatal: func(reason string) { panic(reason) }})
	must(t, err)
	defer func() { must(t, db.Close()) }()
	must(t, db.Journal().Each(func(attempt string, _ []byte) (bool, error) {
		t.Errorf("the answer of attempt %s is still in the journal", attempt)
		return true, nil
	}))
	all := map[string]stored{}
	for shard := range uint16(shards) {
		g := db.Group(shard)
		must(t, g.Accounts(credential.Ref{}, "", func(a credential.Account) bool {
			all[a.ID] = stored{account: a}
			return true
		}))
		events, err := g.Events(0, storage.OutboxEvents)
		must(t, err)
		for _, e := range events {
			s := all[e.Event.Ref.ID]
			s.events = append(s.events, e.Event)
			all[e.Event.Ref.ID] = s
		}
		for _, a := range tr.accounts {
			page, err := g.History(credential.Ref{Tenant: tenant, ID: a.id}, 0, storage.HistoryLines)
			must(t, err)
			for _, l := range slices.Backward(page.Lines) {
				if err := a.history.Add(l.Number, witness.FromStore(l.Line)); err != nil {
					t.Errorf("account %s: %v", a.id, err)
				}
			}
		}
	}
	return all
}

// checkAccount judges one account by what the store holds of it, what callers
// were told, and what the provider knows of its grants.
func (tr *trial) checkAccount(a *account, s stored, record record) error {
	rec := s.account
	switch {
	case rec.ID != a.id:
		return witness.Brokenf("it is not in the store")
	case rec.Claim != nil:
		return witness.Brokenf("the store still holds the claim of attempt %s", rec.Claim.Attempt)
	case rec.HistoryNext != a.history.Next():
		return witness.Brokenf("the store counts %d lines of history, there are %d", rec.HistoryNext, a.history.Next())
	}
	if err := a.told.Heard(a.told.Floor(), rec.Generation); err != nil {
		return err
	}
	if err := a.history.CheckGenerations(rec.Generation); err != nil {
		return err
	}
	if err := checkEvents(a.history, s.events); err != nil {
		return err
	}
	dead := 0
	for _, id := range a.grants {
		if !tr.provider.GrantAlive(id) {
			dead++
		}
		if err := tr.checkRepeats(a, record[id]); err != nil {
			return fmt.Errorf("grant %s: %w", id, err)
		}
	}
	if told := a.history.Count(credential.WhatNeedsReauth); told != dead {
		return witness.Brokenf("%d of its grants died, and it went to needs_reauth %d times", dead, told)
	}
	return a.checkHanded(record)
}

// told are the changes of state that subscribers are told of.
func told(w credential.What) (credential.EventType, bool) {
	switch w {
	case credential.WhatCreated:
		return credential.EventCreated, true
	case credential.WhatReactivated:
		return credential.EventReactivated, true
	case credential.WhatNeedsReauth:
		return credential.EventAuthError, true
	case credential.WhatDisconnected:
		return credential.EventDisconnected, true
	}
	return "", false
}

// checkEvents sees that the outbox tells of each change of state once, in order (I5).
func checkEvents(h witness.History, events []credential.Event) error {
	ids := map[string]bool{}
	for _, l := range h {
		want, ok := told(l.What)
		if !ok {
			continue
		}
		if len(events) == 0 {
			return witness.Brokenf("I5: nobody was told of the line %q", l)
		}
		e := events[0]
		if e.Type != want || e.Generation != l.Generation || want == credential.EventAuthError && e.Reason != l.Reason || ids[e.ID] {
			return witness.Brokenf("I5: the line %q was told as %+v", l, e)
		}
		ids[e.ID], events = true, events[1:]
	}
	if len(events) > 0 {
		return witness.Brokenf("I5: %+v was told, and the history has no line of it", events[0])
	}
	return nil
}

// record is what the provider was asked to refresh, by grant, in order.
type record map[string][]strict.Request

func (p *provider) refreshes() record {
	r := record{}
	for _, req := range p.Record() {
		if req.Endpoint == strict.EndpointToken && req.GrantType == "refresh_token" {
			r[req.Grant] = append(r[req.Grant], req)
		}
	}
	return r
}

// checkRepeats sees that a grant's refresh token came again after it was
// answered only where that answer was lost: on the way, or with a process that
// was killed since.
func (tr *trial) checkRepeats(a *account, requests []strict.Request) error {
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
		death, died := tr.deathBefore(again.Received)
		switch {
		case rule == "" || r.Lost || died && death.ended.After(r.Received):
		case a.wasAmbiguous(r.Received, again.Received): // the node gave up in the moment when the answer was sent
		default:
			return witness.Brokenf("%s: request %d was answered %q, which could be read, and request %d came after it:\n%s", rule, r.Number, r.Outcome, again.Number, tr.story(a, requests, r.Received, again.Received))
		}
	}
	return nil
}

// story tells what happened to an account around the two times, for the report
// of a failed test.
func (tr *trial) story(a *account, requests []strict.Request, from, to time.Time) string {
	type happening struct {
		at   time.Time
		what string
	}
	var all []happening
	for _, l := range a.history {
		all = append(all, happening{l.At, l.String()})
	}
	for _, r := range requests {
		all = append(all, happening{r.Received, fmt.Sprintf("request %d presents token %d: %s, HTTP %d after %v, lost %v", r.Number, r.Sequence, r.Outcome, r.Status, r.Answered.Sub(r.Received), r.Lost)})
	}
	for _, l := range tr.lives {
		all = append(all, happening{l.ended, "the node died of: " + string(l.cause)})
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

const storyTime = 3 * time.Second

// wasAmbiguous says whether the history tells of a request without an answer
// between the two times.
func (a *account) wasAmbiguous(from, to time.Time) bool {
	return slices.ContainsFunc(a.history, func(l witness.Line) bool {
		class, _, _ := strings.Cut(l.Reason, ":")
		return l.What == credential.WhatRefreshFailed && class == credential.Ambiguous.String() && !l.At.Before(from.Truncate(time.Millisecond)) && l.At.Before(to)
	})
}

// checkHanded sees that the refresh token that came with an access token was
// kept before a caller got that (I2): no older one is ever presented again.
func (a *account) checkHanded(record record) error {
	for _, h := range a.told.Handed() {
		kept, ok := a.provider.tokens.CameWith(h.Place)
		if !ok {
			return witness.Brokenf("a token of grant %s was handed out that the provider never gave", h.Grant)
		}
		requests := record[h.Grant]
		later, _ := slices.BinarySearchFunc(requests, h.At, func(r strict.Request, at time.Time) int { return cmp.Or(r.Received.Compare(at), -1) })
		for _, r := range requests[later:] {
			if r.Sequence < kept {
				return witness.Brokenf("I2: a caller had access token %d of grant %s, and later refresh token %d was presented, which is older than the one that came with it", h.Sequence, h.Grant, r.Sequence)
			}
		}
	}
	return nil
}

// checkJudge compares the provider's own verdict (I1, I3, I4) with the
// histories. The provider cannot know that a client that was killed never read
// an answer, so a grant may have been refreshed again after its end if the
// account's history names that.
func (tr *trial) checkJudge() {
	tr.t.Helper()
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

// checkReasons sees that no account was given up for another reason than a
// lost answer.
func (a *account) checkReasons() error {
	for _, l := range a.history {
		if l.What == credential.WhatNeedsReauth && l.Reason != credential.ReasonOutcomeLost {
			return witness.Brokenf("it went to needs_reauth for %q at %v, and nothing was done to its grant", l.Reason, l.At)
		}
	}
	return nil
}
