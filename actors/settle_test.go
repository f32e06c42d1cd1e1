package actors

import (
	"testing"
	"time"

	"github.com/grantd/grantd/credential"
)

// inFlight is an account whose refresh is under way.
func inFlight() credential.Account {
	return credential.Account{
		Ref: credential.Ref{Tenant: "acme", ID: "crm"}, Kind: credential.KindOAuth2, Integration: "demo",
		State: credential.StateActive, Generation: 7, RefreshGeneration: 7,
		AccessToken: credential.Sealed("old access"), RefreshToken: credential.Sealed("old refresh"),
		LastRefreshAt: t0.Add(-time.Hour), ExpiresAt: t0.Add(time.Minute), NextRefreshAt: t0.Add(15 * time.Second),
		Claim: &credential.Claim{Attempt: "a1", Generation: 7, Lifetime: 15 * time.Second},
	}
}

func given() circumstances {
	return circumstances{
		policy: Policy{}.WithDefaults(), integration: Integration{ID: "demo", Rotates: true},
		now: t0, draw: 0.5, eventID: "e1", node: "n1", claimEnds: t0.Add(10 * time.Second),
	}
}

func success() answer {
	return answer{
		Attempt: "a1", Generation: 8, At: t0, AccessToken: credential.Sealed("new access"),
		RefreshToken: credential.Sealed("new refresh"), TokenType: "Bearer", ExpiresAt: t0.Add(time.Hour),
	}
}

func failure(c credential.Class) answer {
	return answer{Attempt: "a1", Generation: 8, At: t0, Failure: &credential.Failure{Class: c, Code: "code"}}
}

func mustSettle(t *testing.T, rec credential.Account, ans answer, c circumstances) settlement {
	t.Helper()
	s, ok := settle(rec, ans, c)
	if !ok {
		t.Fatal("the answer was taken for somebody else's")
	}
	if s.after.Claim != nil && !s.after.Claim.Uncertain {
		t.Error("the claim outlives its outcome without being uncertain")
	}
	return s
}

func TestSuccessBringsNewGenerationAndSchedule(t *testing.T) {
	s := mustSettle(t, inFlight(), success(), given())
	a := s.after
	if a.Generation != 8 || a.RefreshGeneration != 8 || string(a.RefreshToken) != "new refresh" || a.Failures != 0 || a.Claim != nil {
		t.Errorf("record after success: %+v", a)
	}
	if before := a.ExpiresAt.Sub(a.NextRefreshAt); before < time.Minute || before > 3*time.Minute {
		t.Errorf("next refresh %v before expiry", before)
	}
	if len(s.events) != 0 {
		t.Errorf("a refresh told subscribers %v; it is off by default", s.events)
	}
}

func TestRefreshTokenThatIsNotRotatedIsKept(t *testing.T) {
	ans := success()
	ans.RefreshToken = nil
	a := mustSettle(t, inFlight(), ans, given()).after
	if string(a.RefreshToken) != "old refresh" || a.RefreshGeneration != 7 || a.Generation != 8 {
		t.Errorf("refresh token %q of generation %d, account generation %d", a.RefreshToken, a.RefreshGeneration, a.Generation)
	}
}

func TestTerminalErrorStopsEverything(t *testing.T) {
	s := mustSettle(t, inFlight(), failure(credential.Terminal), given())
	if s.after.State != credential.StateNeedsReauth || s.after.Reason != "code" || !s.after.NextRefreshAt.IsZero() || s.after.Claim != nil {
		t.Errorf("after a terminal error: %+v", s.after)
	}
	if len(s.events) != 1 || s.events[0].Type != credential.EventAuthError {
		t.Errorf("events: %+v", s.events)
	}
}

func TestAnswerOfAnotherClaimChangesNothing(t *testing.T) {
	none := inFlight()
	none.Claim = nil
	other := inFlight()
	other.Claim.Attempt = "a2"
	for name, rec := range map[string]credential.Account{"no claim": none, "another claim": other} {
		if _, ok := settle(rec, success(), given()); ok {
			t.Errorf("%s: the answer was taken", name)
		}
	}
}

func TestFailureNeverOverwritesNewerCredential(t *testing.T) {
	for _, ans := range []answer{success(), failure(credential.Terminal), failure(credential.Ambiguous), failure(credential.Transient)} {
		rec := inFlight()
		rec.Generation, rec.AccessToken, rec.RefreshToken = 8, credential.Sealed("imported"), credential.Sealed("imported refresh")
		rec.ExpiresAt = t0.Add(time.Hour)
		a := mustSettle(t, rec, ans, given()).after
		if a.State != credential.StateActive || a.Generation != 8 || string(a.AccessToken) != "imported" || string(a.RefreshToken) != "imported refresh" || a.Claim != nil || a.Failures != 0 {
			t.Errorf("an import was overwritten by %+v: %+v", ans, a)
		}
	}
}

func TestTransientErrorBacksOffAndHonoursRetryAfter(t *testing.T) {
	a := mustSettle(t, inFlight(), failure(credential.Transient), given()).after
	if wait := a.NextRefreshAt.Sub(t0); wait < 500*time.Millisecond || wait > time.Second || a.State != credential.StateActive || a.Failures != 1 {
		t.Errorf("after one failure: wait %v, %+v", wait, a)
	}
	ans := failure(credential.Transient)
	ans.Failure.RetryAfter = 90 * time.Second
	if wait := mustSettle(t, inFlight(), ans, given()).after.NextRefreshAt.Sub(t0); wait != 90*time.Second {
		t.Errorf("Retry-After of 90 s: waits %v", wait)
	}
	ans.Failure.RetryAfter = 1000 * time.Hour
	if wait := mustSettle(t, inFlight(), ans, given()).after.NextRefreshAt.Sub(t0); wait != time.Hour {
		t.Errorf("absurd Retry-After: waits %v, want the bound of 1 h", wait)
	}
}

func TestUnrecognisedRefusalEndsAfterAFewTries(t *testing.T) {
	rec, c := inFlight(), given()
	for try := 1; ; try++ {
		s := mustSettle(t, rec, failure(credential.Unrecognised), c)
		if s.after.State == credential.StateNeedsReauth {
			if try != c.policy.Refusals || s.after.Reason != credential.ReasonUnrecognised {
				t.Errorf("needs_reauth at try %d with reason %q", try, s.after.Reason)
			}
			return
		}
		if wait := s.after.NextRefreshAt.Sub(t0); wait < 15*time.Second || wait > 5*time.Minute {
			t.Errorf("try %d: waits %v, want tries spread over minutes", try, wait)
		}
		if try > 10 {
			t.Fatal("never ends")
		}
		rec = s.after
		rec.Claim = inFlight().Claim
	}
}

func TestMisconfigurationEndsNoGrant(t *testing.T) {
	s := mustSettle(t, inFlight(), failure(credential.Misconfigured), given())
	if s.after.State != credential.StateActive || len(s.events) != 0 {
		t.Errorf("after invalid_client: %s, events %v", s.after.State, s.events)
	}
	if wait := s.after.NextRefreshAt.Sub(t0); wait <= 0 || wait > time.Second {
		t.Errorf("the account itself waits %v; it must go on as soon as its integration is mended", wait)
	}
}

func TestAmbiguousAnswerKeepsTheClaimAsUncertain(t *testing.T) {
	s := mustSettle(t, inFlight(), failure(credential.Ambiguous), given())
	a := s.after
	if a.Claim == nil || !a.Claim.Uncertain || a.State != credential.StateActive {
		t.Fatalf("after an ambiguous answer: %+v", a)
	}
	if a.NextRefreshAt.Before(a.ExpiresAt) {
		t.Errorf("a rotating token is tried again at %v, while the access token serves until %v", a.NextRefreshAt, a.ExpiresAt)
	}
}

func TestLostOutcomeIsNamed(t *testing.T) {
	rec := inFlight()
	rec.Claim.Uncertain = true
	s := mustSettle(t, rec, failure(credential.Terminal), given())
	if s.after.Reason != credential.ReasonOutcomeLost || s.lines[0].What != credential.WhatOutcomeLost {
		t.Errorf("reason %q, lines %+v", s.after.Reason, s.lines)
	}
	s = mustSettle(t, rec, failure(credential.Transient), given())
	if s.after.Claim == nil || !s.after.Claim.Uncertain {
		t.Error("a transient failure of the second try forgot that the token may be spent")
	}
	if s = mustSettle(t, rec, success(), given()); s.after.Claim != nil || s.lines[0].Detail == "" {
		t.Errorf("success of the second try: %+v", s)
	}
}

func TestLongOutageLeavesRoomInTheHistory(t *testing.T) {
	rec, lines := inFlight(), 0
	for range 1000 {
		s := mustSettle(t, rec, failure(credential.Transient), given())
		lines += len(s.lines)
		rec = s.after
		rec.Claim = inFlight().Claim
	}
	if lines != 10 {
		t.Errorf("1000 failures wrote %d lines, want 10 (1, 2, 4, ... 512)", lines)
	}
}

func TestUncertainTokenIsTriedAgainOnlyWhenItIsSafeOrNothingIsLeft(t *testing.T) {
	ends := t0.Add(15 * time.Second)
	p := Policy{}.WithDefaults()
	tok := credential.Sealed{1}
	for _, tc := range []struct {
		name string
		a    credential.Account
		in   Integration
		want time.Time
	}{
		{"not rotating", credential.Account{AccessToken: tok, ExpiresAt: t0.Add(time.Hour)}, Integration{}, ends},
		{"grace", credential.Account{AccessToken: tok, ExpiresAt: t0.Add(time.Hour)}, Integration{Rotates: true, ReuseGrace: time.Minute}, ends},
		{"client credentials", credential.Account{Kind: credential.KindClientCredentials, AccessToken: tok, ExpiresAt: t0.Add(time.Hour)}, Integration{Rotates: true}, ends},
		{"access token still serves", credential.Account{AccessToken: tok, ExpiresAt: t0.Add(5 * time.Minute)}, Integration{Rotates: true}, t0.Add(5 * time.Minute)},
		{"it serves longer than the bound", credential.Account{AccessToken: tok, ExpiresAt: t0.Add(time.Hour)}, Integration{Rotates: true}, ends.Add(p.UncertainHold)},
		{"it never expires", credential.Account{AccessToken: tok}, Integration{Rotates: true}, ends.Add(p.UncertainHold)},
		{"nothing left to lose", credential.Account{AccessToken: tok, ExpiresAt: t0.Add(-time.Second)}, Integration{Rotates: true}, ends},
		{"never had an access token", credential.Account{}, Integration{Rotates: true}, ends},
	} {
		got := p.retryUncertainAt(&tc.a, tc.in, ends)
		if !got.Equal(tc.want) {
			t.Errorf("%s: tried again %v after the claim's end, want %v", tc.name, got.Sub(ends), tc.want.Sub(ends))
		}
	}
}

func FuzzSettleKeepsItsPromises(f *testing.F) {
	f.Add(uint8(1), false, int64(3600), 0.3, 0, 0)
	f.Add(uint8(4), true, int64(-5), 0.9, 3, 2)
	f.Fuzz(func(t *testing.T, class uint8, uncertain bool, expires int64, draw float64, failures, refusals int) {
		if !(draw >= 0 && draw < 1) || expires > 1e9 || expires < -1e9 || failures < 0 || failures > 1e6 || refusals < 0 || refusals > 1e6 {
			t.Skip()
		}
		rec, c := inFlight(), given()
		rec.Claim.Uncertain, rec.Failures, rec.Refusals, c.draw = uncertain, failures, refusals, draw
		ans := success()
		ans.ExpiresAt = t0.Add(time.Duration(expires) * time.Second)
		if class > 0 {
			ans = failure(credential.Class(class%5 + 1))
		}
		s, ok := settle(rec, ans, c)
		if !ok {
			t.Fatal("refused its own claim's answer")
		}
		a := s.after
		switch {
		case a.State == credential.StateNeedsReauth && (!a.NextRefreshAt.IsZero() || len(s.events) != 1):
			t.Errorf("needs_reauth with a schedule or without its event: %+v %v", a, s.events)
		case a.State == credential.StateActive && a.NextRefreshAt.IsZero():
			t.Errorf("an active account that can be refreshed left the schedule: %+v", a)
		case a.State == credential.StateActive && a.NextRefreshAt.Before(t0):
			t.Errorf("scheduled into the past: %v", a.NextRefreshAt)
		case ans.Failure != nil && a.Generation != rec.Generation:
			t.Errorf("a failure made generation %d of %d", a.Generation, rec.Generation)
		}
	})
}

func TestTokensThatAreOverWhenTheyComeAreNotFetchedAllTheTime(t *testing.T) {
	ans := success()
	ans.ExpiresAt = t0
	if wait := mustSettle(t, inFlight(), ans, given()).after.NextRefreshAt.Sub(t0); wait < breath {
		t.Errorf("the next one is fetched after %v", wait)
	}
	c := given()
	c.policy.BackoffMin = time.Hour // has nothing to do with it
	if s := mustSettle(t, inFlight(), success(), c).after; s.NextRefreshAt.After(s.ExpiresAt.Add(-time.Minute)) {
		t.Errorf("the next one is fetched %v before the token ends", s.ExpiresAt.Sub(s.NextRefreshAt))
	}
}

func TestInterruptedClaimIsSettledByItsOwnAnswer(t *testing.T) {
	rec, c := inFlight(), given()
	rec.Claim.Uncertain, rec.Claim.Interrupted, rec.Claim.Node, c.salvaged = true, true, "n2", true
	s := mustSettle(t, rec, success(), c)
	if s.after.Claim != nil || len(s.lines) != 2 || s.lines[0].What != credential.WhatSalvaged || s.lines[1].Detail != "" {
		t.Errorf("lines %+v", s.lines)
	}
	s = mustSettle(t, rec, failure(credential.Terminal), c)
	if s.after.Reason != "code" {
		t.Errorf("the grant was dead before, and the reason is %q", s.after.Reason)
	}
	s = mustSettle(t, rec, failure(credential.Ambiguous), c)
	if s.after.Claim == nil || s.after.Claim.Interrupted {
		t.Errorf("the claimant itself does not know, and the claim is %+v", s.after.Claim)
	}
	if s = mustSettle(t, rec, failure(credential.Transient), c); s.after.Claim != nil {
		t.Errorf("the token is good, and the claim is %+v", s.after.Claim)
	}
}

func TestBelatedAnswerIsTakenOnlyInPlaceOfALostOne(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(*credential.Account, *answer, *circumstances)
		taken  bool
	}{
		{"after a second try", func(*credential.Account, *answer, *circumstances) {}, true},
		{"in the middle of it", func(_ *credential.Account, _ *answer, c *circumstances) { c.idle = false }, false},
		{"beside a first try", func(a *credential.Account, _ *answer, _ *circumstances) { a.Claim.Uncertain = false }, false},
		{"beside a first try that was interrupted", func(a *credential.Account, _ *answer, _ *circumstances) { a.Claim.Interrupted = true }, false},
		{"after it had brought a token", func(a *credential.Account, _ *answer, _ *circumstances) { a.Claim = nil; a.Generation++ }, false},
		{"after an import", func(a *credential.Account, _ *answer, _ *circumstances) { a.Generation++ }, false},
		{"of an earlier generation", func(_ *credential.Account, ans *answer, _ *circumstances) { ans.Generation-- }, false},
		{"a failure", func(_ *credential.Account, ans *answer, _ *circumstances) {
			ans.Failure = &credential.Failure{Class: credential.Terminal}
		}, false},
		{"of a dead grant", func(a *credential.Account, _ *answer, _ *circumstances) { a.State = credential.StateNeedsReauth }, false},
	} {
		rec, ans, c := inFlight(), success(), given()
		rec.Claim.Attempt, rec.Claim.Uncertain, c.idle, c.salvaged = "a2", true, true, true
		tc.change(&rec, &ans, &c)
		s, ok := settle(rec, ans, c)
		if ok != tc.taken || ok && (s.after.Generation != 8 || s.after.Claim != nil || s.after.State != credential.StateActive || s.lines[1].Detail != "") {
			t.Errorf("%s: taken: %v, %+v", tc.name, ok, s)
		}
	}
}

func FuzzEntryOfAJournalIsAnAnswerOrAnError(f *testing.F) {
	f.Add([]byte(`{"attempt":"a","ref":{"Tenant":"t","ID":"i"},"generation":2,"access_token":"eA=="}`))
	f.Add([]byte(`{"attempt":"a","ref":{"Tenant":"t","ID":"i"},"generation":2,"failure":{"Class":2}}`))
	f.Add([]byte(`{"failure":{}}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, b []byte) {
		ans, err := parseAnswer(b)
		if err == nil && (ans.Attempt == "" || ans.Generation == 0 || !ans.conclusive() || ans.Ref.Validate() != nil) {
			t.Errorf("%q is taken for %+v", b, ans)
		}
	})
}

func TestARefreshIsToldToWhoWantsToHearOfIt(t *testing.T) {
	for _, told := range []bool{false, true} {
		c := given()
		c.told = told
		s, ok := settle(inFlight(), success(), c)
		if !ok || len(s.events) > 1 || (len(s.events) == 1) != told {
			t.Fatalf("told %v: %+v", told, s.events)
		}
		if told && (s.events[0].Type != credential.EventRefreshed || s.events[0].Generation != s.after.Generation) {
			t.Errorf("%+v", s.events[0])
		}
	}
}
