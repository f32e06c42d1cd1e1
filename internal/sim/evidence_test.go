package sim

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/grantd/grantd/bench/strict"
	"github.com/grantd/grantd/credential"
)

// blameless is evidence of a run in which nothing went wrong: an account is
// imported, refreshed twice, revoked, authorised again and refreshed; the
// process crashed once with an answer in its hands, which was named.
func blameless() *Evidence {
	at := func(s int) time.Time { return time.Date(2000, 1, 1, 0, 0, s, 0, time.UTC) }
	ref := credential.Ref{Tenant: "acme", ID: "crm"}
	refresh := func(order int64, process int, grant, presented, access, next string) Exchange {
		s := int(order)
		return Exchange{
			Process: process, Path: "/token", GrantType: grantRefresh, Presented: presented, Grant: grant, Order: order, Reached: true,
			Sent: at(s), Ended: at(s), Got: at(s), Status: 200, Access: access, Refresh: next,
		}
	}
	dead := refresh(30, 1, "g1", "r3", "", "")
	dead.Status, dead.Code = 400, codeDead
	lost := refresh(50, 1, "g2", "q1", "", "")
	lost.Got, lost.Status = time.Time{}, 0
	line := func(n uint64, what credential.What, reason string, generation uint64) credential.NumberedLine {
		return credential.NumberedLine{Number: n, Line: credential.Line{What: what, Reason: reason, Generation: generation}}
	}
	event := func(pos credential.EventPos, id string, t credential.EventType, reason string, generation uint64) credential.StoredEvent {
		return credential.StoredEvent{Pos: pos, Event: credential.Event{ID: id, Type: t, Ref: ref, Reason: reason, Generation: generation}}
	}
	lines := []credential.NumberedLine{
		line(0, credential.WhatCreated, "", 1), line(1, credential.WhatRefreshed, "", 2), line(2, credential.WhatRefreshed, "", 3),
		line(3, credential.WhatNeedsReauth, codeDead, 3), line(4, credential.WhatReactivated, "", 4), line(5, credential.WhatInterrupted, "", 4),
		line(6, credential.WhatRetriedUncertain, "", 4), line(7, credential.WhatRefreshed, "", 5),
	}
	return &Evidence{
		Exchanges: []Exchange{
			refresh(10, 1, "g1", "r1", "a2", "r2"), refresh(20, 1, "g1", "r2", "a3", "r3"), dead, lost, refresh(70, 2, "g2", "q1", "b5", "q2"),
		},
		Processes: []ProcessEnd{{Number: 1, CrashedAt: at(50)}, {Number: 2}},
		Cases: []Case{{
			Ref: ref, Kind: credential.KindOAuth2,
			Book: Book{
				Ops: []Op{
					{Kind: OpImport, Began: 1, Ended: 2, At: at(2), Acked: true, Generation: 1, Grant: "g1", Secret: "a1"},
					{Kind: OpImport, Began: 40, Ended: 41, At: at(41), Acked: true, Generation: 4, Grant: "g2", Secret: "b4"},
				},
				Told: []Told{
					{Began: 1, Ended: 2, At: at(2), Generation: 1}, {Began: 3, Ended: 4, At: at(4), Generation: 1, Token: "a1"},
					{Began: 11, Ended: 12, At: at(12), Generation: 2, Token: "a2"}, {Began: 21, Ended: 22, At: at(22), Generation: 3, Token: "a3", Lines: slices.Clone(lines[:3])},
					{Began: 31, Ended: 32, At: at(32), Dead: true}, {Began: 40, Ended: 41, At: at(41), Generation: 4},
					{Began: 42, Ended: 43, At: at(43), Generation: 4, Token: "b4"}, {Began: 71, Ended: 72, At: at(72), Generation: 5, Token: "b5"},
				},
			},
			Record: &credential.Account{Ref: ref, State: credential.StateActive, Generation: 5, NextRefreshAt: at(100)},
			Lines:  lines,
			Events: []credential.StoredEvent{
				event(1, "e1", credential.EventCreated, "", 1), event(2, "e2", credential.EventAuthError, codeDead, 3), event(3, "e3", credential.EventReactivated, "", 4),
			},
			Final: Final{Generation: 5, Token: "b5", Live: true},
		}},
	}
}

func TestEvidenceWithoutFaultIsNotBlamed(t *testing.T) {
	if problems := blameless().Problems(); len(problems) > 0 {
		t.Errorf("blamed for:\n  %s", strings.Join(problems, "\n  "))
	}
}

func TestEveryBrokenPromiseIsSeen(t *testing.T) {
	for _, tc := range []struct {
		name  string
		spoil func(e *Evidence, c *Case)
		says  string
	}{
		{"two requests at once", func(e *Evidence, _ *Case) { e.Exchanges[0].Ended = e.Exchanges[1].Sent.Add(time.Millisecond) }, "I1"},
		{"a token comes again while its first request may be on its way", func(e *Evidence, _ *Case) {
			x := &e.Exchanges[4]
			x.Sent = e.Exchanges[3].Ended.Add(14 * time.Second)
		}, "I1"},
		{"the provider saw two at once", func(e *Evidence, _ *Case) { e.Violations = []strict.Violation{{Rule: "I1", Grant: "g2"}} }, "I1"},
		{"the provider saw a replay that nothing excuses", func(e *Evidence, _ *Case) { e.Violations = []strict.Violation{{Rule: "I3", Grant: "g1"}} }, "I3"},
		{"a generation goes back", func(_ *Evidence, c *Case) { c.Book.Told[3].Generation, c.Book.Told[3].Token = 1, "" }, "I2: generation 1 was told"},
		{"one generation is two tokens", func(_ *Evidence, c *Case) { c.Book.Told[2].Generation = 1 }, "two tokens"},
		{"an imported token is another", func(_ *Evidence, c *Case) { c.Book.Ops[0].Secret = "x" }, "imported with one token"},
		{"the record is older than what was told", func(_ *Evidence, c *Case) { c.Record.Generation = 4 }, "the record has 4"},
		{"the record is gone", func(_ *Evidence, c *Case) { c.Record = nil }, "there is no record"},
		{"the last generation is another token", func(_ *Evidence, c *Case) { c.Final.Token = "b4" }, "another token in the end"},
		{"a spent token comes again after its successor was handed out", func(e *Evidence, _ *Case) { e.Exchanges[1].Presented = "r1" }, "I2: generation 2 was handed out"},
		{"a spent token comes again", func(e *Evidence, _ *Case) { e.Exchanges[1].Presented = "r1" }, "I3"},
		{"an answer that the journal held was not salvaged", func(e *Evidence, c *Case) {
			x := &e.Exchanges[3]
			x.Got, x.Access, x.Refresh = x.Ended, "b6", "q9"
			e.Processes[0].Journal = []Note{{c.Ref, x.Got}}
		}, "I3"},
		{"an answer was had well before the crash", func(e *Evidence, _ *Case) {
			x := &e.Exchanges[3]
			x.Got, x.Access, x.Refresh = x.Ended, "b6", "q9"
			e.Processes[0].CrashedAt = x.Got.Add(time.Millisecond)
		}, "I3"},
		{"a retry that is not named", func(_ *Evidence, c *Case) { c.Lines[6].What = credential.WhatRefreshFailed }, "the history names 0"},
		{"a loss that is not named", func(e *Evidence, _ *Case) {
			x := &e.Exchanges[4]
			x.Status, x.Code, x.Access, x.Refresh = 400, codeDead, "", ""
		}, "lost with an answer"},
		{"a request after the grant's death", func(e *Evidence, _ *Case) { e.Exchanges[4].Grant = "g1" }, "I4"},
		{"a request long after a caller was told of it", func(e *Evidence, c *Case) {
			c.Book.Told[4].Ended, c.Book.Told[4].Began = 45, 44
		}, "I4: a caller was told"},
		{"a change without its event", func(_ *Evidence, c *Case) { c.Events = c.Events[:2] }, "I5"},
		{"an event without its change", func(_ *Evidence, c *Case) { c.Lines = c.Lines[:4] }, "I5"},
		{"events in another order", func(_ *Evidence, c *Case) { c.Events[0], c.Events[1] = c.Events[1], c.Events[0] }, "I5"},
		{"one id for two events", func(_ *Evidence, c *Case) { c.Events[1].Event.ID = "e1" }, "I5"},
		{"a state without its line", func(_ *Evidence, c *Case) { c.Record.State = credential.StateDisconnected }, "I5"},
		{"an acknowledged import is lost", func(_ *Evidence, c *Case) { c.Book.Ops[1].Generation = 9 }, "is not in the history"},
		{"an acknowledged import is undone", func(_ *Evidence, c *Case) { c.Final.Token = "a3" }, "follows from none"},
		{"an acknowledged disconnection is undone", func(_ *Evidence, c *Case) {
			c.Book.Ops = append(c.Book.Ops, Op{Kind: OpDisconnect, Began: 80, Ended: 81, Acked: true, Generation: 5})
		}, "follows from none"},
		{"an account is gone for a caller", func(_ *Evidence, c *Case) { c.Book.Told[4].Absent = true }, "no such account"},
		{"a line of history is another", func(_ *Evidence, c *Case) { c.Lines[1].Reason = "x" }, "line 1 of the history"},
		{"a dead token at the end", func(_ *Evidence, c *Case) { c.Final.Live = false }, "is dead"},
		{"an account that nothing will refresh", func(_ *Evidence, c *Case) { c.Record.NextRefreshAt = time.Time{} }, "nothing will refresh it"},
		{"an account that is stuck", func(_ *Evidence, c *Case) { c.Final.Err = credential.ErrProviderUnavailable }, "cannot be had"},
		{"requests without end", func(e *Evidence, _ *Case) {
			e.Quiet = e.Exchanges[4].Sent
			for i := range 9 {
				x := e.Exchanges[4]
				x.Sent, x.Ended, x.Order, x.Access = x.Sent.Add(time.Second), x.Ended.Add(time.Second), int64(80+i), ""
				e.Exchanges = append(e.Exchanges, x)
			}
		}, "9 requests were made for 0 tokens"},
		{"needs_reauth that the provider did not cause", func(_ *Evidence, c *Case) {
			c.Record.State, c.Record.Reason, c.Final.Err = credential.StateNeedsReauth, credential.ReasonUnrecognised, credential.ErrNeedsReauth
		}, "explains"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			e := blameless()
			tc.spoil(e, &e.Cases[0])
			problems := strings.Join(e.Problems(), "\n  ")
			if !strings.Contains(problems, tc.says) {
				t.Errorf("seen was only:\n  %s", problems)
			}
		})
	}
}
