package actors

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/grantd/grantd/credential"
)

func TestAttemptIsSentOnlyIfNobodyWasToldThatItIsNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ref, soon := credential.Ref{Tenant: "acme", ID: "crm"}, time.Now().Add(time.Minute)
		for _, tc := range []struct {
			name   string
			before func(*attempts)
			sends  bool
			unsent bool // afterwards
		}{
			{"claimed", func(a *attempts) { a.begin("a", ref, soon) }, true, false},
			{"asked for before it was claimed", func(a *attempts) { a.forbid("a"); a.begin("a", ref, soon) }, true, false},
			{"asked for", func(a *attempts) { a.begin("a", ref, soon); a.forbid("a") }, false, true},
			{"its claim failed", func(a *attempts) { a.begin("a", ref, soon); a.forget("a") }, false, true},
			{"its job is over", func(a *attempts) { a.begin("a", ref, soon); a.leave("a") }, false, true},
			{"sent already", func(a *attempts) { a.begin("a", ref, soon); a.send("a", soon, time.Second) }, false, false},
			{"sent, and its job is over", func(a *attempts) { a.begin("a", ref, soon); a.send("a", soon, time.Second); a.leave("a") }, false, false},
			{"others were forgotten", func(a *attempts) { a.expire("b") }, false, false},
		} {
			var a attempts
			tc.before(&a)
			if got := a.send("a", soon, time.Second); got != tc.sends {
				t.Errorf("%s: sends: %v", tc.name, got)
			}
			if got := a.unsent("a"); got != tc.unsent {
				t.Errorf("%s: unsent: %v", tc.name, got)
			}
		}
		var late attempts
		late.begin("a", ref, soon)
		if late.send("a", time.Now(), 0) || !late.unsent("a") {
			t.Error("sent at its deadline")
		}
		var tight attempts
		tight.begin("a", ref, soon)
		if tight.send("a", time.Now().Add(time.Second), 2*time.Second) || !tight.unsent("a") {
			t.Error("sent with less time than it takes")
		}
	})
}

func TestRequestsWithoutAnAnswerAreForgottenInTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var a attempts
		soon := time.Now().Add(time.Minute)
		for _, id := range []string{"a", "b"} {
			a.begin(id, credential.Ref{}, soon)
			a.send(id, soon, 0)
		}
		if !a.leave("a") || len(a.leftovers(soon.Add(1), 10)) != 1 || len(a.leftovers(soon, 10)) != 0 {
			t.Errorf("left over: %v", a.leftovers(soon.Add(1), 10))
		}
		if !a.underWay("b") || a.underWay("a") || a.underWay("c") {
			t.Error("under way is what has a job")
		}
		a.forget("a")
		a.leave("b")
		a.forget("b")
		if len(a.byID) != 0 || a.leave("a") {
			t.Errorf("%v is left", a.byID)
		}
	})
}
