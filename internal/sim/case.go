package sim

import (
	"errors"
	"slices"
	"time"

	"github.com/grantd/grantd/credential"
)

// durable is I2: generations never go back, a generation is one token, and
// once a token was handed out the refresh token that was spent for it is not
// needed any more.
func (c *caseReport) durable() {
	type step struct {
		ended int64
		at    time.Time
		newer uint64
	}
	var steps []step // newest generation told so far, by the time of telling
	told := slices.Clone(c.Book.Told)
	slices.SortFunc(told, func(a, b Told) int { return int(a.Ended - b.Ended) })
	for _, t := range told {
		newest := t.Generation
		if len(steps) > 0 {
			newest = max(newest, steps[len(steps)-1].newer)
		}
		steps = append(steps, step{t.Ended, t.At, newest})
	}
	tokens := make(map[uint64]string)
	for _, t := range told {
		if t.Generation == 0 {
			continue
		}
		i, _ := slices.BinarySearchFunc(steps, t.Began, func(s step, began int64) int { return int(s.ended - began) })
		for c.Lag > 0 && i > 0 && steps[i-1].at.Add(c.Lag).After(t.From) {
			i--
		}
		if i > 0 && t.Generation < steps[i-1].newer && !t.Replica {
			c.add("I2: generation %d was told at %v after generation %d", t.Generation, t.At, steps[i-1].newer)
		}
		if t.Token == "" {
			continue
		}
		if before, ok := tokens[t.Generation]; ok && before != t.Token {
			c.add("I2: generation %d was handed out with two tokens", t.Generation)
		}
		tokens[t.Generation] = t.Token
		c.notSpentAgain(t)
	}
	for _, op := range c.Book.Ops {
		if got := tokens[op.Generation]; op.Acked && op.Kind == OpImport && op.Secret != "" && got != "" && got != op.Secret {
			c.add("I2: generation %d was imported with one token and handed out with another", op.Generation)
		}
	}
	if n := len(steps); n > 0 && steps[n-1].newer > 0 {
		switch newest := steps[n-1].newer; {
		case c.Record == nil:
			c.add("I2: generation %d was told, and there is no record", newest)
		case c.Record.Generation < newest:
			c.add("I2: generation %d was told, and the record has %d", newest, c.Record.Generation)
		case tokens[c.Final.Generation] != c.Final.Token && c.Final.Token != "":
			c.add("I2: generation %d is another token in the end", c.Final.Generation)
		}
	}
}

// notSpentAgain: a token that was handed out came with a new refresh token,
// which was durable then; so the old one is never presented after that.
func (c *caseReport) notSpentAgain(t Told) {
	i := slices.IndexFunc(c.exchanges, func(x Exchange) bool { return x.Access == t.Token && x.rotated() })
	if i < 0 {
		return
	}
	spent := c.exchanges[i].Presented
	for _, x := range c.exchanges {
		if x.Presented == spent && x.Order > t.Ended {
			c.add("I2: generation %d was handed out at %v, and the refresh token spent for it was presented again at %v", t.Generation, t.At, x.Sent)
		}
	}
}

// The default times of actors.Policy: how long a request may take, and when the
// request of a claim has surely ended.
const (
	callTime  = 10 * time.Second
	claimLife = 15 * time.Second
)

// told compares other answers with what happened: an account that exists is
// found, a dead one is left alone, lines of history stay what they are.
func (c *caseReport) told() {
	stored := make(map[uint64]credential.Line)
	for _, l := range c.Lines {
		stored[l.Number] = l.Line
	}
	for _, t := range c.Book.Told {
		for _, op := range c.Book.Ops {
			// No replica, however old, may say this: it is no proof of anything there.
			if op.Kind == OpImport && op.Acked && t.Absent && op.Ended < t.Began {
				c.add("I2: the import at %v was acknowledged, and at %v there was no such account", op.At, t.At)
			}
			if op.Grant == "" || !t.Dead || op.Ended == 0 || op.Ended > t.Began || c.old(t, op) {
				continue
			}
			for _, x := range c.exchanges {
				if x.Grant == op.Grant && x.Sent.After(t.At.Add(claimLife)) {
					c.add("I4: a caller was told at %v that the account needs to be authorised again, and at %v its grant was refreshed", t.At, x.Sent)
				}
			}
		}
		for _, l := range t.Lines {
			if got, ok := stored[l.Number]; (ok || !c.truncated()) && got != l.Line {
				c.add("I2: line %d of the history was told as %s and is %s", l.Number, l.What, got.What)
			}
		}
	}
}

// old reports whether an answer may be of a time before an operation that had
// ended when it was asked for.
func (c *caseReport) old(t Told, op Op) bool {
	return t.Replica || c.Lag > 0 && op.At.Add(c.Lag).After(t.From)
}

// truncated reports whether the oldest lines of the history are gone.
func (c *caseReport) truncated() bool { return len(c.Lines) > 0 && c.Lines[0].Number > 0 }

func (c *caseReport) count(what credential.What) (n int) {
	for _, l := range c.Lines {
		if l.What == what {
			n++
		}
	}
	return n
}

// named is the rest of I3: a token that is presented again after an answer was
// lost is named in the history, and so is the loss, if it was one.
func (c *caseReport) named() {
	if c.truncated() || c.Kind == credential.KindClientCredentials {
		return // the lines are gone; or there is no refresh token to lose
	}
	unsure := make(map[string]bool) // tokens that were presented without an answer
	before := make(map[string]Exchange)
	again, losses := 0, make(map[string]bool)
	for _, x := range c.exchanges {
		// Whether an answer that came in the instant of a crash was lost is told by
		// the request that follows only where it spent the token.
		if b, ok := before[x.Presented]; ok && b.Reached && c.astray(b, x.Sent) && (b.Got.IsZero() || b.rotated()) {
			again++
			unsure[x.Presented] = true
			c.waited(b, x)
		}
		if unsure[x.Presented] && x.Code == codeDead && !c.lost(x) && !c.disconnectedSince(x.Order) {
			losses[x.Grant] = true // of which another node may not have heard, and asks again
		}
		if x.granted() {
			delete(unsure, x.Presented) // where tokens do not rotate
		}
		before[x.Presented] = x
	}
	if n := c.count(credential.WhatRetriedUncertain); again > n {
		c.add("I3: refresh tokens were presented again %d times after an answer was lost; the history names %d", again, n)
	}
	if n := c.count(credential.WhatOutcomeLost) + c.count(credential.WhatAnswerDiscarded); len(losses) > n {
		c.add("I3: %d grants were lost with an answer; the history names %d", len(losses), n)
	}
}

// waited: a token whose answer was lost is presented again only when the first
// request has surely ended, whatever became of the process that sent it. One that
// stood still may have sent it in the last moment.
func (c *caseReport) waited(first, again Exchange) {
	if c.held(first) {
		return
	}
	since, wait := first.Sent, claimLife-callTime
	if first.Process != again.Process && c.Lag == 0 { // which does not know when that was
		since, wait = first.Ended, claimLife
	}
	if since.Add(wait).After(again.Sent) {
		c.add("I1: a request of process %d at %v was given up, and at %v process %d made it again; it may still have been on its way", first.Process, first.Sent, again.Sent, again.Process)
	}
}

// held reports whether a process stood still while a request was under way, or
// about to be.
func (c *caseReport) held(x Exchange) bool {
	return slices.ContainsFunc(c.Processes, func(p ProcessEnd) bool {
		return p.Number == x.Process && slices.ContainsFunc(p.Holds, func(s Span) bool {
			return !s.To.Before(x.Sent) && !s.From.After(x.Ended)
		})
	})
}

func (c *caseReport) disconnectedSince(order int64) bool {
	return slices.ContainsFunc(c.Book.Ops, func(op Op) bool {
		return op.Kind == OpDisconnect && (op.Ended > order || !op.Acked)
	})
}

// changes are the lines of history that change the state, and the events that
// tell of them.
var changes = map[credential.What]struct {
	event credential.EventType
	state credential.State
}{
	credential.WhatCreated:      {credential.EventCreated, credential.StateActive},
	credential.WhatReactivated:  {credential.EventReactivated, credential.StateActive},
	credential.WhatNeedsReauth:  {credential.EventAuthError, credential.StateNeedsReauth},
	credential.WhatDisconnected: {credential.EventDisconnected, credential.StateDisconnected},
}

// subscribers is I5: each change of state has its event, in the same order, and
// no event comes without one.
func (c *caseReport) subscribers() {
	events := c.Events
	var last credential.State
	var lines []credential.NumberedLine
	for _, l := range c.Lines {
		if ch, ok := changes[l.What]; ok {
			lines, last = append(lines, l), ch.state
		}
	}
	if c.truncated() { // the lines of the oldest events are gone
		events = events[max(0, len(events)-len(lines)):]
	}
	if len(lines) != len(events) {
		c.add("I5: the history has %d changes of state and the outbox %d events", len(lines), len(events))
		return
	}
	ids := make(map[string]bool)
	for i, l := range lines {
		e := events[i].Event
		if e.Type != changes[l.What].event || e.Reason != l.Reason || e.Generation != l.Generation || ids[e.ID] {
			c.add("I5: line %d (%s %s, generation %d) is told as %s %s, generation %d", l.Number, l.What, l.Reason, l.Generation, e.Type, e.Reason, e.Generation)
		}
		ids[e.ID] = true
	}
	if c.Record != nil && last != "" && c.Record.State != last {
		c.add("I5: the account is %s, and its history ends as %s", c.Record.State, last)
	}
}

// operations: what was acknowledged survives, and the account is as the last
// of it left it, or as one left it whose outcome nobody was told.
func (c *caseReport) operations() {
	last := -1
	for i, op := range c.Book.Ops {
		if !op.Acked {
			continue
		}
		last = i
		if op.Kind == OpImport && !c.truncated() && !c.imported(op.Generation) {
			c.add("the import of generation %d was acknowledged at %v and is not in the history", op.Generation, op.At)
		}
	}
	if c.Record == nil {
		if last >= 0 {
			c.add("%s was acknowledged, and there is no record", c.Book.Ops[last].Kind)
		}
		return
	}
	for _, op := range c.Book.Ops[:max(last, 0)] { // one that nobody has heard of may be carried out late
		if c.Lag > 0 && !op.Acked && c.follows(op) {
			return
		}
	}
	if !slices.ContainsFunc(c.Book.Ops[max(last, 0):], c.follows) {
		c.add("the account is %s and holds %s, which follows from none of %+v", c.Record.State, c.Final.Token, c.Book.Ops[max(last, 0):])
	}
}

func (c *caseReport) imported(generation uint64) bool {
	return slices.ContainsFunc(c.Lines, func(l credential.NumberedLine) bool {
		return l.Generation == generation && (l.What == credential.WhatCreated || l.What == credential.WhatImported || l.What == credential.WhatReactivated)
	})
}

// follows reports whether the account can be as it is after this operation.
func (c *caseReport) follows(op Op) bool {
	switch {
	case op.Kind == OpDisconnect || c.Record.State == credential.StateDisconnected:
		return op.Kind == OpDisconnect && c.Record.State == credential.StateDisconnected
	case op.Grant != "" && c.Final.Token != "":
		return c.Final.Token == op.Secret || slices.ContainsFunc(c.exchanges, func(x Exchange) bool { return x.Grant == op.Grant && x.Access == c.Final.Token })
	case c.Final.Token != "" && op.Secret != "":
		return c.Final.Token == op.Secret
	}
	return true
}

// explained: in the end an account has a live token, or what its state says is
// what the provider says.
func (c *caseReport) explained() {
	rec, err := c.Record, c.Final.Err
	if rec == nil {
		return
	}
	switch rec.State {
	case credential.StateActive:
		switch {
		case err != nil:
			c.add("the account is active, and its token cannot be had: %v", err)
		case !c.Final.Live:
			c.add("the account is active, and its token (generation %d, expires %v) is dead; next refresh %v, claim %+v", rec.Generation, rec.ExpiresAt, rec.NextRefreshAt, rec.Claim)
		case c.Kind.Refreshes() && rec.NextRefreshAt.IsZero():
			c.add("the account is active, and nothing will refresh it")
		}
	case credential.StateNeedsReauth:
		if !errors.Is(err, credential.ErrNeedsReauth) {
			c.add("the account needs to be authorised again, and a caller was told %v", err)
		}
		if !c.explains(rec.Reason) {
			c.add("needs_reauth for %q, which nothing that the provider said explains", rec.Reason)
		}
	case credential.StateDisconnected:
		if !errors.Is(err, credential.ErrDisconnected) {
			c.add("the account is disconnected, and a caller was told %v", err)
		}
		if len(rec.AccessToken)+len(rec.RefreshToken) > 0 || rec.Claim != nil || !rec.NextRefreshAt.IsZero() {
			c.add("the account is disconnected, and its record still holds tokens, a claim or a schedule")
		}
	default:
		c.add("state %q", rec.State)
	}
}

// refusals is how many unrecognised answers it takes to end a grant.
const refusals = 4

// explains reports whether the provider gave the reason.
func (c *caseReport) explains(reason string) bool {
	dead, lost, odd := false, false, 0
	for _, x := range c.exchanges {
		switch {
		case x.Code == codeDead && !x.Got.IsZero():
			dead = true
		case x.Reached && (c.astray(x, c.next(x)) || x.Access == "" && x.Status < 300):
			lost = true
		case !x.Got.IsZero() && x.Access == "":
			odd++
		}
	}
	switch reason {
	case codeDead:
		return dead
	case credential.ReasonOutcomeLost:
		return dead && lost
	case credential.ReasonUnrecognised:
		return odd >= refusals
	case credential.ReasonNoRefreshToken:
		return slices.ContainsFunc(c.Book.Ops, func(op Op) bool { return op.Bare })
	}
	return false
}

// patient: when nothing goes wrong any more, the provider is asked once for each
// token, give or take what was under way before.
func (c *caseReport) patient() {
	if c.Quiet.IsZero() || c.Record == nil {
		return
	}
	n, brought := 0, 0
	for _, x := range c.exchanges {
		if x.Sent.After(c.Quiet) {
			n++
			if x.granted() {
				brought++
			}
		}
	}
	if n > brought+refusals {
		c.add("when nothing went wrong any more, %d requests were made for %d tokens", n, brought)
	}
}
