package connect

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/grantd/grantd/credential"
)

func TestRepeatedCallbackIsNeverExchangedTwice(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		s := r.start(r.link(NewLink{}))
		answer := r.consent(s)
		var inside Result
		r.protocol.during = func() { inside = r.Finish(t.Context(), answer, s.Browser.Reveal()) }
		if got := r.Finish(t.Context(), answer, s.Browser.Reveal()); got.Outcome != OutcomeDone {
			t.Fatalf("%+v", got)
		}
		if inside.Outcome != OutcomePending {
			t.Errorf("while it is being exchanged: %+v", inside)
		}
		r.protocol.during = nil
		for range 3 {
			if got := r.Finish(t.Context(), answer, s.Browser.Reveal()); got.Outcome != OutcomeDone {
				t.Errorf("again: %+v", got)
			}
		}
		if r.protocol.exchanged != 1 || len(r.accounts.got) != 1 {
			t.Errorf("%d exchanges, %d imports", r.protocol.exchanged, len(r.accounts.got))
		}
	})
}

func TestAnswerWhoseNodeDiedIsNotPresentedAgain(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		link := r.link(NewLink{})
		s := r.start(link)
		answer := r.consent(s)
		_, name, _ := splitState(answer.Get("state"))
		v := verdict{params: answer, secret: strings.Split(answer.Get("state"), ".")[0], browser: s.Browser.Reveal(), now: time.Now(), id: "the dead node's"}
		if _, err := r.change(t.Context(), name, v.judgeWith(r)); err != nil || v.outcome != outcomeTake {
			t.Fatalf("%s, %v", v.outcome, err)
		} // and there the node dies
		if got := r.Finish(t.Context(), answer, s.Browser.Reveal()); got.Outcome != OutcomePending {
			t.Errorf("at once: %+v", got)
		}
		other := r.start(link)
		if got := r.Finish(t.Context(), r.consent(other), other.Browser.Reveal()); got.Outcome != OutcomePending {
			t.Errorf("another flow, at once: %+v", got)
		}
		time.Sleep(lease)
		if got := r.Finish(t.Context(), answer, s.Browser.Reveal()); got.Outcome != OutcomeInterrupted || r.protocol.exchanged != 0 {
			t.Errorf("later: %+v, %d exchanges", got, r.protocol.exchanged)
		}
		again := r.start(link)
		if got := r.Finish(t.Context(), r.consent(again), again.Browser.Reveal()); got.Outcome != OutcomeDone {
			t.Errorf("a new flow: %+v", got)
		}
		r.wantEvents("link:failed interrupted")
	})
}

func TestOnlyOneFlowOfALinkIsFinished(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		link := r.link(NewLink{})
		one, two := r.start(link), r.start(link)
		first, second := r.consent(one), r.consent(two)
		if got := r.Finish(t.Context(), first, one.Browser.Reveal()); got.Outcome != OutcomeDone {
			t.Errorf("the first: %+v", got)
		}
		if got := r.Finish(t.Context(), second, two.Browser.Reveal()); got.Outcome != OutcomeUsed || r.protocol.exchanged != 1 {
			t.Errorf("the second: %+v", got)
		}
	})
}

func TestGuessedAndMangledStatesOpenNothing(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		link := r.link(NewLink{})
		s := r.start(link)
		answer := r.consent(s)
		state := answer.Get("state")
		secret, name, _ := splitState(state)
		for _, bad := range []string{
			"", "x", secret, name, secret + ".", "." + name, secret + "." + newSecret(), newSecret() + "." + name, name + "." + secret,
			state + "x", state + ".x", strings.ToUpper(state), link, link + "." + name, secret + "." + recordOf(newSecret()), strings.Repeat("a", 1<<16),
		} {
			if got := r.Finish(t.Context(), with(answer, "state", bad), s.Browser.Reveal()); got.Outcome != OutcomeUnknown || got.ReturnURL != "" {
				t.Errorf("state %.100q: %+v", bad, got)
			}
		}
		for _, bad := range []string{"", "x", newSecret(), link[:42], link + "a", name, "../" + link, strings.Repeat("a", 1<<16)} {
			if _, err := r.Start(t.Context(), bad, "", nil); !errors.Is(err, ErrNoLink) {
				t.Errorf("link %.100q: %v", bad, err)
			}
		}
		if r.protocol.exchanged != 0 {
			t.Errorf("%d exchanges", r.protocol.exchanged)
		}
		r.wantEvents()
	})
}

func TestStateOfAnotherBrowserIsRefusedAndStaysGood(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		link := r.link(NewLink{ReturnURL: "https://app.example.com/"})
		s := r.start(link)
		answer := r.consent(s)
		other := r.start(link)
		for _, mark := range []string{"", "x", newSecret(), other.Browser.Reveal()} {
			if got := r.Finish(t.Context(), answer, mark); got.Outcome != OutcomeBrowser || got.ReturnURL != "" {
				t.Errorf("browser %q: %+v", mark, got)
			}
		}
		r.wantEvents("link:failed wrong_browser") // once
		if got := r.Finish(t.Context(), answer, s.Browser.Reveal()); got.Outcome != OutcomeDone {
			t.Errorf("its own browser: %+v", got)
		}
	})
}

func TestTwoWindowsOfABrowserDoNotTakeEachOthersMark(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		link := r.link(NewLink{})
		one := r.start(link)
		two, err := r.Start(t.Context(), link, one.Browser.Reveal(), nil)
		if err != nil || !two.Browser.Equal(one.Browser) {
			t.Fatalf("another mark, %v", err)
		}
		if got := r.Finish(t.Context(), r.consent(one), two.Browser.Reveal()); got.Outcome != OutcomeDone {
			t.Errorf("%+v", got)
		}
	})
}

func TestLateComersAreToldOnce(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		link := r.link(NewLink{TTL: minutes(10)})
		time.Sleep(minutes(9))
		s := r.start(link) // just in time
		time.Sleep(minutes(10))
		for range 3 {
			if _, err := r.Look(t.Context(), link); !errors.Is(err, ErrExpired) {
				t.Errorf("the link: %v", err)
			}
		}
		if _, err := r.Start(t.Context(), link, "", nil); !errors.Is(err, ErrExpired) {
			t.Errorf("following it: %v", err)
		}
		answer := r.consent(s)
		if got := r.Finish(t.Context(), answer, s.Browser.Reveal()); got.Outcome != OutcomeDone {
			t.Errorf("who set out in time: %+v", got)
		}
		r.wantEvents("link:expired link_expired")

		s = r.start(r.link(NewLink{}))
		answer = r.consent(s)
		time.Sleep(FlowTTL)
		if got := r.Finish(t.Context(), answer, s.Browser.Reveal()); got.Outcome != OutcomeLate || r.protocol.exchanged != 1 {
			t.Errorf("who was away for too long: %+v", got)
		}
		r.wantEvents("link:expired link_expired", "link:failed flow_expired")
	})
}

func TestAnswerOfAnotherIssuerIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		known, sent string
		always      bool
		want        Outcome
	}{
		"the right one":                    {issuerURL, issuerURL, true, OutcomeDone},
		"another one":                      {issuerURL, "https://evil.example", true, OutcomeIssuer},
		"a prefix":                         {issuerURL, issuerURL + "/", true, OutcomeIssuer},
		"none, though it always is":        {issuerURL, "-", true, OutcomeIssuer},
		"none":                             {issuerURL, "-", false, OutcomeDone},
		"an empty one":                     {issuerURL, "", false, OutcomeIssuer},
		"another, where none is known":     {"", "https://evil.example", false, OutcomeIssuer},
		"of the host, where none is known": {"", issuerURL + "/realms/a", false, OutcomeDone},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, r *rig) {
				in := r.integrations["demo"]
				in.Issuer, in.IssuerSent = c.known, c.always
				r.integrations["demo"] = in
				s := r.start(r.link(NewLink{}))
				answer := with(r.consent(s), "iss", c.sent)
				if c.sent == "-" {
					answer.Del("iss")
				}
				got := r.Finish(t.Context(), answer, s.Browser.Reveal())
				if got.Outcome != c.want || c.want != OutcomeDone && r.protocol.exchanged != 0 {
					t.Errorf("%+v, %d exchanges", got, r.protocol.exchanged)
				}
			})
		})
	}
}

// Two integrations at two servers: what one server answers is not taken for an
// answer to a request that went to the other.
func TestMixUpBetweenTwoServersIsRefused(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		evil := r.integrations["demo"]
		evil.ID, evil.Issuer = "evil", "http://127.0.0.1:9999"
		evil.Facts.AuthorizationURL, evil.Facts.TokenURL = evil.Issuer+"/auth", evil.Issuer+"/token"
		r.integrations["evil"] = evil
		// The person means to connect evil, whose server sends them on to the honest
		// one with its own state: the honest server's code comes back for evil's flow,
		// and must not be presented to evil's token end point.
		atEvil := r.start(r.link(NewLink{Integration: "evil"}))
		u, err := url.Parse(atEvil.URL)
		if err != nil {
			t.Fatal(err)
		}
		honest := Started{URL: issuerURL + "/auth?" + u.RawQuery}
		if got := r.Finish(t.Context(), r.consent(honest), atEvil.Browser.Reveal()); got.Outcome != OutcomeIssuer || r.protocol.exchanged != 0 {
			t.Errorf("%+v, %d exchanges", got, r.protocol.exchanged)
		}
	})
}

func TestInjectedCodeIsWorthNothing(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		victim := r.start(r.link(NewLink{}))
		stolen := r.consent(victim).Get("code")
		attacker := r.start(r.link(NewLink{Ref: credential.Ref{Tenant: "acme", ID: "crm"}}))
		answer := with(r.consent(attacker), "code", stolen) // own state, own browser, another's code
		if got := r.Finish(t.Context(), answer, attacker.Browser.Reveal()); got.Outcome != OutcomeExchange || got.Reason != "invalid_grant" || len(r.accounts.got) != 0 {
			t.Errorf("%+v, %d imports", got, len(r.accounts.got))
		}
		if one, two := r.protocol.asked[0], r.protocol.asked[1]; one.Nonce == two.Nonce || one.Verifier.Equal(two.Verifier) {
			t.Error("two flows share a nonce or a verifier")
		}
		r.wantEvents("link:failed invalid_grant")
	})
}

func TestAnswerThatSaysSomethingTwiceIsRefused(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		s := r.start(r.link(NewLink{}))
		answer := r.consent(s)
		for _, name := range []string{"code", "state", "iss", "error", "anything"} {
			twice := with(answer, "x", "1")
			twice[name] = []string{answer.Get(name), answer.Get(name)}
			if got := r.Finish(t.Context(), twice, s.Browser.Reveal()); got.Outcome != OutcomeTwice {
				t.Errorf("%s twice: %+v", name, got)
			}
		}
		if got := r.Finish(t.Context(), answer, s.Browser.Reveal()); got.Outcome != OutcomeDone {
			t.Errorf("the answer itself: %+v", got)
		}
		s = r.start(r.link(NewLink{}))
		answer = r.consent(s)
		answer.Del("code")
		if got := r.Finish(t.Context(), answer, s.Browser.Reveal()); got.Outcome != OutcomeNoCode {
			t.Errorf("no code: %+v", got)
		}
	})
}

func TestNobodyIsSentToAnOriginThatIsNotAllowed(t *testing.T) {
	origins := []string{"https://app.example.com", "http://localhost:3000"}
	for _, bad := range []string{
		"https://evil.example/", "//app.example.com/", "/done", "app.example.com", "https:app.example.com", "https:///app.example.com", "http://app.example.com/",
		"https://app.example.com.evil.example/", "https://app.example.com@evil.example/", "https://user:pw@app.example.com/", "https://evil.example/https://app.example.com/",
		"https://app.example.com:8443/", `https://app.example.com\@evil.example/`, `https://evil.example\.app.example.com`, "https://app.example.com\t/", " https://app.example.com/",
		"https://app.example.com/#x", "javascript:alert(1)//https://app.example.com", "data:text/html,x", "https://аpp.example.com/", "http://localhost:3001/", "http://127.0.0.1:3000/",
		"https://app.example.com/\r\nSet-Cookie: x", "https://app.example.com%2eevil.example/", "https://%61pp.example.com:443@evil.example", "https://app.example.com/" + strings.Repeat("a", 3000),
	} {
		if got, err := returnURL(bad, origins); !errors.Is(err, credential.ErrInvalid) {
			t.Errorf("%q: %q, %v", bad, got, err)
		}
	}
	for _, good := range []string{"https://app.example.com", "https://app.example.com/a?b=c&status=x", "https://APP.example.com:443/", "http://localhost:3000/x", "https://app.example.com/?to=https://evil.example"} {
		if _, err := returnURL(good, origins); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	if got, _ := url.Parse(back("https://app.example.com/?status=success&account=x", crm, "denied", "access_denied")); got.Query().Get("status") != "denied" || got.Query().Get("account") != "acme/crm" || len(got.Query()["status"]) != 1 {
		t.Errorf("sent to %s", got)
	}
}

func FuzzReturnURLStaysAtAnAllowedOrigin(f *testing.F) {
	for _, s := range []string{"https://app.example.com/", "https://app.example.com@evil", `https://app.example.com\x`, "//app.example.com", "https://app.example.com:443/?a#b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, err := returnURL(s, []string{"https://app.example.com"})
		if err != nil || s == "" {
			return
		}
		to := back(got, crm, "success", "")
		rest, ok := strings.CutPrefix(strings.ToLower(to), "https://app.example.com")
		rest = strings.TrimPrefix(rest, ":443")
		if !ok || rest == "" || !strings.ContainsRune("/?", rune(rest[0])) {
			t.Errorf("%q leads to %q", s, to)
		}
	})
}

func TestFlowsOfALinkAreBounded(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		link := r.link(NewLink{})
		var last Started
		for range 3 * maxFlows {
			last = r.start(link)
		}
		rec, _, err := r.load(recordOf(link))
		if err != nil || len(rec.Flows) != maxFlows {
			t.Errorf("%d flows, %v", len(rec.Flows), err)
		}
		if got := r.Finish(t.Context(), r.consent(last), last.Browser.Reveal()); got.Outcome != OutcomeDone {
			t.Errorf("the last: %+v", got)
		}
	})
}

func TestRecordThatChangesMeanwhileIsJudgedAnew(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		s := r.start(r.link(NewLink{}))
		answer := r.consent(s)
		conflicts := 0
		r.kv.Before = func(key string) error {
			if conflicts++; conflicts <= 2 {
				return fmt.Errorf("%w: %s", credential.ErrConflict, key)
			}
			return nil
		}
		if got := r.Finish(t.Context(), answer, s.Browser.Reveal()); got.Outcome != OutcomeDone || r.protocol.exchanged != 1 {
			t.Errorf("%+v", got)
		}
	})
}

// Every write is made, and its answer lost, once.
func TestWriteWhoseAnswerIsLostIsRecognised(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		lost := map[string]bool{}
		r.kv.after = func(value string) error {
			if lost[value] {
				return nil
			}
			lost[value] = true
			return credential.ErrUnknownOutcome
		}
		link := r.link(NewLink{})
		s := r.start(link)
		denied := url.Values{"error": {"access_denied"}, "iss": {issuerURL}, "state": {r.lastState()}}
		if got := r.Finish(t.Context(), denied, s.Browser.Reveal()); got.Outcome != OutcomeDenied {
			t.Errorf("no: %+v", got)
		}
		s = r.start(link)
		if got := r.Finish(t.Context(), r.consent(s), s.Browser.Reveal()); got.Outcome != OutcomeDone || r.protocol.exchanged != 1 {
			t.Errorf("yes: %+v, %d exchanges", got, r.protocol.exchanged)
		}
		rec, _, err := r.load(recordOf(link))
		if err != nil || len(rec.Flows) != 2 {
			t.Errorf("flows %+v, %v", rec.Flows, err)
		}
		r.wantEvents("link:denied access_denied")
		if len(lost) < 6 {
			t.Errorf("only %d answers were lost", len(lost))
		}
	})
}

func TestFinishGivesUpWhereNothingCanBeWritten(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		s := r.start(r.link(NewLink{ReturnURL: "https://app.example.com/"}))
		answer := r.consent(s)
		r.kv.Before = func(string) error { return credential.ErrNoQuorum }
		if got := r.Finish(t.Context(), answer, s.Browser.Reveal()); got.Outcome != OutcomeTryAgain || r.protocol.exchanged != 0 || got.ReturnURL != "" {
			t.Errorf("%+v, %d exchanges", got, r.protocol.exchanged)
		}
		r.kv.Before = nil
		if got := r.Finish(t.Context(), answer, s.Browser.Reveal()); got.Outcome != OutcomeDone {
			t.Errorf("afterwards: %+v", got)
		}
	})
}
