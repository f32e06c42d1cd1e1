package connect

import (
	"context"
	"errors"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/grantd/grantd/credential"
)

func TestLinkLeadsToAnAccountOnce(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		link := r.link(NewLink{ReturnURL: "https://app.example.com/done?x=1"})
		for range 3 { // looking uses nothing up
			v, err := r.Look(t.Context(), link)
			if err != nil || v.Product != "Acme CRM" || v.Provider != "Demo" || v.Again || !slices.Equal(v.Scopes, []Scope{{"api", "Read your contacts"}}) {
				t.Fatalf("%+v, %v", v, err)
			}
		}
		s := r.start(link)
		u, err := url.Parse(s.URL)
		if err != nil || u.Query().Get("code_challenge_method") != "S256" || u.Query().Get("redirect_uri") != public+"/callback" {
			t.Errorf("sent to %s", s.URL)
		}
		got := r.Finish(t.Context(), r.consent(s), s.Browser.Reveal())
		if got.Outcome != OutcomeDone || got.ReturnURL != "https://app.example.com/done?account=acme%2Fcrm&status=success&x=1" {
			t.Errorf("%+v", got)
		}
		a := r.accounts.all[crm]
		if a.State != credential.StateActive || !slices.Equal(a.RequestedScopes, []string{"api"}) || len(a.Subject) != 32 {
			t.Errorf("account %+v", a)
		}
		if in := r.accounts.got[0]; in.RefreshToken.IsZero() || in.ExpiresAt.IsZero() || !in.Reauthorise {
			t.Errorf("imported %+v", in)
		}
		if _, err := r.Look(t.Context(), link); !errors.Is(err, ErrUsed) {
			t.Errorf("the link is looked at: %v", err)
		}
		if _, err := r.Start(t.Context(), link, "", nil); !errors.Is(err, ErrUsed) {
			t.Errorf("the link is followed: %v", err)
		}
		r.wantEvents()
	})
}

func TestStoreHoldsNothingThatOpensALink(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		link := r.link(NewLink{})
		s := r.start(link)
		state := r.protocol.asked[0].State
		secret, _, _ := strings.Cut(state, ".")
		secrets := map[string]string{
			"link": link, "state": secret, "browser's mark": s.Browser.Reveal(), "verifier": r.protocol.asked[0].Verifier.Reveal(), "nonce": r.protocol.asked[0].Nonce,
		}
		seen := map[string]string{}
		for what, v := range secrets {
			if len(v) != 43 || seen[v] != "" {
				t.Errorf("%s is %q", what, v)
			}
			seen[v] = what
		}
		err := r.kv.Scan("", func(key string, value []byte, _ uint64) error {
			for what, v := range secrets {
				if strings.Contains(key, v) || strings.Contains(string(value), v) {
					t.Errorf("%s holds the %s", key, what)
				}
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
		for _, word := range []string{"acme", "crm", "demo"} {
			if strings.Contains(link+state, word) {
				t.Errorf("link or state tells %s", word)
			}
		}
	})
}

func TestEveryNodeCanGoOn(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		link := r.link(NewLink{})
		second, third := r.nodeOf(r.sealer), r.nodeOf(r.sealer)
		s, err := second.Start(t.Context(), link, "", nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := third.Finish(t.Context(), r.consent(s), s.Browser.Reveal()); got.Outcome != OutcomeDone {
			t.Errorf("%+v", got)
		}
	})
}

func TestWhoAuthorisesAnewIsAskedForAllAndToldWhatIsMissing(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.accounts.all[crm] = credential.Account{
			Ref: crm, Kind: credential.KindOAuth2, Integration: "demo", State: credential.StateNeedsReauth, Scopes: []string{"profile"}, Generation: 7,
		}
		link := r.link(NewLink{Scopes: []string{"email"}})
		v, err := r.Look(t.Context(), link)
		if err != nil || !v.Again || len(v.Scopes) != 2 {
			t.Errorf("%+v, %v", v, err)
		}
		s := r.start(link)
		r.protocol.granted = []string{"profile"}
		got := r.Finish(t.Context(), r.consent(s), s.Browser.Reveal())
		if got.Outcome != OutcomeDone || !slices.Equal(got.Missing, []string{"email"}) {
			t.Errorf("%+v", got)
		}
		if a := r.accounts.all[crm]; a.Generation != 8 || !slices.Equal(a.RequestedScopes, []string{"email", "profile"}) {
			t.Errorf("account %+v", a)
		}
	})
}

func TestAnotherIdentityIsRefusedUnlessTheLinkAllowsIt(t *testing.T) {
	for allowed, want := range map[bool]Outcome{false: OutcomeOtherIdentity, true: OutcomeDone} {
		bubble(t, func(t *testing.T, r *rig) {
			s := r.start(r.link(NewLink{}))
			if got := r.Finish(t.Context(), r.consent(s), s.Browser.Reveal()); got.Outcome != OutcomeDone {
				t.Fatalf("%+v", got)
			}
			before := r.accounts.all[crm]
			r.protocol.user = "mallory"
			link := r.link(NewLink{AllowOtherIdentity: allowed, ReturnURL: "https://app.example.com/"})
			s = r.start(link)
			got := r.Finish(t.Context(), r.consent(s), s.Browser.Reveal())
			if got.Outcome != want {
				t.Errorf("allowed %v: %+v", allowed, got)
			}
			if allowed {
				return
			}
			if !strings.Contains(got.ReturnURL, "reason=other_identity") || !strings.Contains(got.ReturnURL, "status=error") {
				t.Errorf("sent to %s", got.ReturnURL)
			}
			if a := r.accounts.all[crm]; a.Generation != before.Generation {
				t.Errorf("the account changed to %+v", a)
			}
			r.wantEvents("link:failed other_identity")
			r.protocol.user = "ada" // the link is still good for the right one
			s = r.start(link)
			if got := r.Finish(t.Context(), r.consent(s), s.Browser.Reveal()); got.Outcome != OutcomeDone {
				t.Errorf("the right user afterwards: %+v", got)
			}
		})
	}
}

func TestGrantIsKeptThoughTheShardHasNoOwnerForAWhile(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		s := r.start(r.link(NewLink{}))
		r.accounts.fail = []error{credential.ErrNoQuorum, credential.ErrUnknownOutcome, credential.ErrNotOwner, credential.ErrOverloaded}
		ctx, cancel := context.WithCancel(t.Context())
		r.protocol.during = cancel // the browser goes away meanwhile
		if got := r.Finish(ctx, r.consent(s), s.Browser.Reveal()); got.Outcome != OutcomeDone || r.protocol.exchanged != 1 {
			t.Errorf("%+v after %d exchanges", got, r.protocol.exchanged)
		}
		s = r.start(r.link(NewLink{}))
		r.protocol.during, r.accounts.fail = nil, []error{errAny}
		if got := r.Finish(t.Context(), r.consent(s), s.Browser.Reveal()); got.Outcome != OutcomeNotStored {
			t.Errorf("a fault: %+v", got)
		}
		r.wantEvents("link:failed not_stored")
	})
}

func TestProvidersErrorsEndTheFlowAndNotTheLink(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		link := r.link(NewLink{ReturnURL: "https://app.example.com/"})
		for _, c := range []struct {
			code, status string
			want         Outcome
		}{
			{"access_denied", "status=denied", OutcomeDenied}, {"server_error", "status=error", OutcomeRefused}, {"<script>", "reason=_script_", OutcomeRefused},
		} {
			s := r.start(link)
			got := r.Finish(t.Context(), url.Values{"error": {c.code}, "iss": {issuerURL}, "state": {r.lastState()}}, s.Browser.Reveal())
			if got.Outcome != c.want || !strings.Contains(got.ReturnURL, c.status) {
				t.Errorf("%s: %+v", c.code, got)
			}
			if got := r.Finish(t.Context(), url.Values{"code": {"x"}, "iss": {issuerURL}, "state": {r.lastState()}}, s.Browser.Reveal()); got.Outcome != OutcomeRepeated {
				t.Errorf("a code after %s: %+v", c.code, got)
			}
		}
		r.wantEvents("link:denied access_denied", "link:failed server_error", "link:failed _script_")
		s := r.start(link)
		if got := r.Finish(t.Context(), r.consent(s), s.Browser.Reveal()); got.Outcome != OutcomeDone {
			t.Errorf("afterwards: %+v", got)
		}
	})
}

func TestPersonIsAskedForWhatTheLinkDoesNotTell(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		in := r.integrations["demo"]
		in.Facts.AuthorizationURL, in.Facts.TokenURL = "https://{shop}.example.com/auth", "https://{shop}.example.com/token"
		in.Facts.URLVariables = map[string]string{"shop": ""}
		r.integrations["demo"] = in
		link := r.link(NewLink{})
		v, err := r.Look(t.Context(), link)
		if err != nil || len(v.Missing) != 1 || v.Missing[0] != (Variable{Name: "shop", After: ".example.com"}) {
			t.Fatalf("%+v, %v", v, err)
		}
		var missing *MissingVariables
		if _, err := r.Start(t.Context(), link, "", nil); !errors.As(err, &missing) || !slices.Equal(missing.Names, []string{"shop"}) {
			t.Errorf("nothing told: %v", err)
		}
		for _, bad := range []string{"a@evil.com", "evil.com/", "evil.com#", "a:8443", "évil", "evil。com", "a b", "..", "evil.com?", `evil\`} {
			if _, err := r.Start(t.Context(), link, "", map[string]string{"shop": bad}); !errors.Is(err, credential.ErrInvalid) {
				t.Errorf("%q: %v", bad, err)
			}
			if _, err := r.Create(t.Context(), NewLink{Ref: crm, Integration: "demo", Variables: map[string]string{"shop": bad}}); !errors.Is(err, credential.ErrInvalid) {
				t.Errorf("a link with %q: %v", bad, err)
			}
		}
		s, err := r.Start(t.Context(), link, "", map[string]string{"shop": " acme ", "tenant": "other"})
		if err != nil || !strings.HasPrefix(s.URL, "https://acme.example.com/auth?") {
			t.Errorf("sent to %s, %v", s.URL, err)
		}
		told := r.link(NewLink{Variables: map[string]string{"shop": "acme"}})
		if s, err = r.Start(t.Context(), told, "", map[string]string{"shop": "evil"}); err != nil || !strings.HasPrefix(s.URL, "https://acme.example.com/") {
			t.Errorf("what the link says was replaced: %s, %v", s.URL, err)
		}
	})
}

func TestLinksThatCannotBeAreRefused(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		bare := r.integrations["demo"]
		bare.Facts.AuthorizationURL, bare.Issuer = "", ""
		r.integrations["bare"] = bare
		r.accounts.all[credential.Ref{Tenant: "acme", ID: "key"}] = credential.Account{Kind: credential.KindAPIKey, Integration: "demo"}
		for name, c := range map[string]struct {
			n    NewLink
			want error
		}{
			"no such integration":   {NewLink{Integration: "nobody"}, credential.ErrNotFound},
			"no authorization page": {NewLink{Integration: "bare"}, credential.ErrInvalid},
			"a short ttl":           {NewLink{TTL: time.Second}, credential.ErrInvalid},
			"a long ttl":            {NewLink{TTL: 25 * time.Hour}, credential.ErrInvalid},
			"an unknown variable":   {NewLink{Variables: map[string]string{"shop": "x"}}, credential.ErrInvalid},
			"an account with a key": {NewLink{Ref: credential.Ref{Tenant: "acme", ID: "key"}}, credential.ErrExists},
			"an origin not allowed": {NewLink{ReturnURL: "https://evil.example/"}, credential.ErrInvalid},
		} {
			if c.n.Ref == (credential.Ref{}) {
				c.n.Ref = crm
			}
			if c.n.Integration == "" {
				c.n.Integration = "demo"
			}
			if _, err := r.Create(t.Context(), c.n); !errors.Is(err, c.want) {
				t.Errorf("%s: %v", name, err)
			}
		}
		plain := New(Config{KV: r.kv, Integrations: r, Accounts: r.accounts, PublicURL: "http://grants.example.com"})
		if _, err := plain.Create(t.Context(), NewLink{Ref: crm, Integration: "demo"}); !errors.Is(err, credential.ErrInvalid) || !strings.Contains(err.Error(), "public_url") {
			t.Errorf("links over plain http: %v", err)
		}
	})
}

func TestTenThousandAbandonedLinksVanish(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		const n = 10_000
		for i := range n {
			link := r.link(NewLink{TTL: minutes(5)})
			if i%100 == 0 {
				r.start(link)
			}
		}
		kept := r.link(NewLink{TTL: MaxTTL})
		ctx, cancel := context.WithCancel(t.Context())
		var leads atomic.Bool
		leads.Store(true)
		swept := make(chan struct{})
		go func() { r.Sweep(ctx, leads.Load); close(swept) }()
		time.Sleep(minutes(30))
		if r.count() != n+1 {
			t.Errorf("%d links, while people may still ask what became of theirs", r.count())
		}
		time.Sleep(minutes(36)) // an hour after their time is over, and a round
		synctest.Wait()
		left := r.count()
		if left != 1+n/100 { // those whose flows were begun are kept for longer
			t.Errorf("%d links are left", left)
		}
		time.Sleep(minutes(30))
		synctest.Wait()
		if _, err := r.Look(t.Context(), kept); err != nil {
			t.Errorf("the link that is still good: %v", err)
		}
		leads.Store(false)
		time.Sleep(48 * time.Hour)
		if r.count() != 1 {
			t.Error("a node that does not lead swept")
		}
		cancel()
		<-swept
		if slices.Max(r.kv.deletes) > sweepBatch || len(r.kv.deletes) < n/sweepBatch {
			t.Errorf("writes of %v", r.kv.deletes)
		}
	})
}

func TestLinksHaveALimit(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.maxLinks = 3
		for range 3 {
			r.link(NewLink{})
		}
		if _, err := r.Create(t.Context(), NewLink{Ref: crm, Integration: "demo"}); !errors.Is(err, credential.ErrOverloaded) {
			t.Errorf("one too many: %v", err)
		}
		if _, err := r.sweep(t.Context(), time.Now().Add(48*time.Hour)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		r.link(NewLink{})
	})
}
