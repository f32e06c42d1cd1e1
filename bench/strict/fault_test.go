package strict_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/grantd/grantd/bench/strict"
)

// faultCase is what one fault does to a refresh request.
type faultCase struct {
	fault   strict.Fault
	status  int    // 0: the connection is lost
	error   string // OAuth error
	rotated bool   // the refresh token was used up
	check   func(t *testing.T, a answer)
}

func faultCases() map[string]faultCase {
	return map[string]faultCase{
		"500": {fault: strict.Fault{Kind: strict.FaultStatus500}, status: 500, error: "server_error"},
		"503": {fault: strict.Fault{Kind: strict.FaultStatus503, RetryAfter: 1500 * time.Millisecond}, status: 503, error: "temporarily_unavailable",
			check: header("Retry-After", "2")},
		"503 without Retry-After": {fault: strict.Fault{Kind: strict.FaultStatus503}, status: 503, error: "temporarily_unavailable",
			check: header("Retry-After", "")},
		"429": {fault: strict.Fault{Kind: strict.FaultStatus429, RetryAfter: 7 * time.Second}, status: 429, error: "rate_limited",
			check: header("Retry-After", "7")},
		"HTML":           {fault: strict.Fault{Kind: strict.FaultHTML}, status: 200, check: contains("<h1>")},
		"HTML with 502":  {fault: strict.Fault{Kind: strict.FaultHTML, Status: 502}, status: 502, check: header("Content-Type", "text/html; charset=utf-8")},
		"endless body":   {fault: strict.Fault{Kind: strict.FaultEndless}, status: 200, check: func(t *testing.T, a answer) { wantLen(t, a.Raw, 1<<20) }},
		"error with 200": {fault: strict.Fault{Kind: strict.FaultError200, Code: "bad_refresh_token"}, status: 200, error: "bad_refresh_token"},
		"redirect": {fault: strict.Fault{Kind: strict.FaultRedirect, Location: "https://evil.example/token"}, status: 307,
			check: header("Location", "https://evil.example/token")},
		"invalid_client":     {fault: strict.Fault{Kind: strict.FaultInvalidClient}, status: 401, error: "invalid_client"},
		"unrecognised":       {fault: strict.Fault{Kind: strict.FaultUnrecognised}, status: 400, error: "computer_says_no"},
		"unrecognised body":  {fault: strict.Fault{Kind: strict.FaultUnrecognised, Body: "nope", Status: 403}, status: 403, check: contains("nope")},
		"chosen OAuth error": {fault: strict.Fault{Kind: strict.FaultErrorCode, Code: "slow_down"}, status: 400, error: "slow_down"},
		"empty body":         {fault: strict.Fault{Kind: strict.FaultEmpty}, status: 200, check: func(t *testing.T, a answer) { wantLen(t, a.Raw, 0) }},
		"dropped request":    {fault: strict.Fault{Kind: strict.FaultDropRequest}},
		"refused connection": {fault: strict.Fault{Kind: strict.FaultRefused}},
		"dropped answer":     {fault: strict.Fault{Kind: strict.FaultDropAnswer}, rotated: true},
		"truncated token": {fault: strict.Fault{Kind: strict.FaultTruncated}, status: 200, rotated: true,
			check: func(t *testing.T, a answer) {
				if json.Valid([]byte(a.Raw)) || !strings.Contains(a.Raw, "access_token") {
					t.Errorf("not a truncated answer: %s", a.Raw)
				}
			}},
		"no expires_in": {fault: strict.Fault{Kind: strict.FaultNoExpiresIn}, status: 200, rotated: true,
			check: func(t *testing.T, a answer) { wantLen(t, string(a.ExpiresIn), 0) }},
		"expires_in as a string": {fault: strict.Fault{Kind: strict.FaultStringExpiresIn}, status: 200, rotated: true,
			check: func(t *testing.T, a answer) {
				if string(a.ExpiresIn) != `"60"` {
					t.Errorf("expires_in is %s", a.ExpiresIn)
				}
			}},
		"huge tokens": {fault: strict.Fault{Kind: strict.FaultHugeToken}, status: 200, rotated: true,
			check: func(t *testing.T, a answer) {
				wantLen(t, a.AccessToken, 64<<10)
				wantLen(t, a.RefreshToken, 64<<10)
			}},
		"no refresh token": {fault: strict.Fault{Kind: strict.FaultNoRefreshToken}, status: 200,
			check: func(t *testing.T, a answer) { wantLen(t, a.RefreshToken, 0) }},
	}
}

func header(name, want string) func(*testing.T, answer) {
	return func(t *testing.T, a answer) {
		if got := a.Header.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
}

func contains(want string) func(*testing.T, answer) {
	return func(t *testing.T, a answer) {
		if !strings.Contains(a.Raw, want) {
			t.Errorf("the answer has no %q: %.200q", want, a.Raw)
		}
	}
}

func wantLen(t *testing.T, s string, n int) {
	t.Helper()
	if len(s) != n {
		t.Errorf("has %d bytes, want %d", len(s), n)
	}
}

func TestFaultsDoWhatTheySayInProcess(t *testing.T) {
	for name, tc := range faultCases() {
		t.Run(name, func(t *testing.T) {
			p := newProvider(t, strict.Options{})
			tc.run(t, p, inProcess(t, p))
		})
	}
}

func TestFaultsDoWhatTheySayOverASocket(t *testing.T) {
	for name, tc := range faultCases() {
		t.Run(name, func(t *testing.T) {
			p := newProvider(t, strict.Options{})
			tc.run(t, p, serve(t, p))
		})
	}
}

// run strikes one refresh with the fault and looks at the answer, at the grant
// and at the record; afterwards everything works again.
func (tc faultCase) run(t *testing.T, p *strict.Provider, c caller) {
	g := newGrant(t, p, "demo-basic")
	f := tc.fault
	f.Count = 1
	id, err := p.AddFault(f)
	if err != nil {
		t.Fatal(err)
	}
	a, err := c.tryPost(context.Background(), "/token", "demo-basic", refreshForm(g.RefreshToken.Reveal()))
	if (err != nil) != (tc.status == 0) {
		t.Fatalf("answered %d, %v; want status %d", a.Status, err, tc.status)
	}
	if err == nil {
		wantStatus(t, a, tc.status, tc.error)
	}
	if tc.check != nil {
		tc.check(t, a)
	}
	if f.Kind != strict.FaultRefused {
		if r := last(t, p); len(r.Faults) != 1 || r.Faults[0] != f.Kind || r.Grant != g.Grant || r.Status != tc.status {
			t.Errorf("the record says %+v", r)
		}
	} else if len(p.Record()) != 0 {
		t.Error("a request that never arrived was recorded")
	}
	s, err := p.Grant(g.Grant)
	if err != nil || s.Sequence == 2 != tc.rotated || !s.Alive {
		t.Fatalf("the grant stands at %+v, %v; rotated should be %v", s, err, tc.rotated)
	}
	if st := p.Faults(); len(st) != 1 || st[0].ID != id || st[0].Struck != 1 {
		t.Errorf("the fault says %+v", st)
	}
	token := g.RefreshToken.Reveal()
	if a.RefreshToken != "" {
		token = a.RefreshToken
	}
	after, err := c.tryPost(context.Background(), "/token", "demo-basic", refreshForm(token))
	wantLost := tc.rotated && a.RefreshToken == ""
	if err != nil || after.Status == 200 == wantLost {
		t.Errorf("the request after it: %d %q, %v", after.Status, after.Error, err)
	}
	if r := last(t, p); r.Replay != wantLost || r.AfterLoss != wantLost {
		t.Errorf("the request after it is recorded as %+v", r)
	}
	if v := p.Judge(); len(v) != 0 {
		t.Errorf("the judge blames the client: %v", v)
	}
}

func TestFaultsStrikeWhomTheyShould(t *testing.T) {
	p := newProvider(t, strict.Options{})
	c, g, other := inProcess(t, p), newGrant(t, p, "demo-basic"), newGrant(t, p, "demo-post")
	machine := func() int {
		return c.post("/token", "demo-basic", url.Values{"grant_type": {"client_credentials"}}).Status
	}
	refresh := func(client string, tokens *strict.Tokens) int {
		a := c.refresh(client, tokens.RefreshToken.Reveal())
		if a.Status == 200 {
			tokens.RefreshToken = secret(a.RefreshToken)
		}
		return a.Status
	}
	for name, tc := range map[string]struct {
		f                                strict.Fault
		basic, post, machine, introspect int
	}{
		"everybody":    {strict.Fault{}, 500, 500, 500, 200},
		"one client":   {strict.Fault{Client: "demo-post"}, 200, 500, 200, 200},
		"one grant":    {strict.Fault{Grant: g.Grant}, 500, 200, 200, 200},
		"a grant type": {strict.Fault{GrantType: "client_credentials"}, 200, 200, 500, 200},
		"an end point": {strict.Fault{Endpoint: strict.EndpointIntrospect}, 200, 200, 200, 500},
	} {
		tc.f.Kind = strict.FaultStatus500
		if err := p.SetFaults(tc.f); err != nil {
			t.Fatal(err)
		}
		if got := refresh("demo-basic", &g); got != tc.basic {
			t.Errorf("%s: demo-basic got %d", name, got)
		}
		if got := refresh("demo-post", &other); got != tc.post {
			t.Errorf("%s: demo-post got %d", name, got)
		}
		if got := machine(); got != tc.machine {
			t.Errorf("%s: client credentials got %d", name, got)
		}
		if got := c.post("/introspect", "demo-basic", url.Values{"token": {"x"}}).Status; got != tc.introspect {
			t.Errorf("%s: introspection got %d", name, got)
		}
	}
}

func TestFaultsSkipAndCountExactly(t *testing.T) {
	p := newProvider(t, strict.Options{})
	c := inProcess(t, p)
	id, err := p.AddFault(strict.Fault{Kind: strict.FaultStatus503, Skip: 2, Count: 3})
	if err != nil {
		t.Fatal(err)
	}
	var got []int
	for range 7 {
		got = append(got, c.refresh("demo-basic", "x").Status)
	}
	want := []int{400, 400, 503, 503, 503, 400, 400}
	for i := range want {
		if got[i] != want[i] {
			t.Fatalf("answered %v, want %v", got, want)
		}
	}
	if !p.RemoveFault(id) || p.RemoveFault(id) {
		t.Fatal("a fault can be removed once")
	}
}

func TestChanceIsAFunctionOfTheSeed(t *testing.T) {
	run := func(seed uint64) (pattern string) {
		p := newProvider(t, strict.Options{})
		c := inProcess(t, p)
		if err := p.SetFaults(strict.Fault{Kind: strict.FaultStatus500, Probability: 0.3, Seed: seed}); err != nil {
			t.Fatal(err)
		}
		for range 1000 {
			if c.refresh("demo-basic", "x").Status == 500 {
				pattern += "x"
			} else {
				pattern += "."
			}
		}
		return pattern
	}
	a, b, other := run(7), run(7), run(8)
	if a != b || a == other {
		t.Fatal("the same seed must strike the same requests, another seed others")
	}
	if n := strings.Count(a, "x"); n < 250 || n > 350 {
		t.Fatalf("%d of 1000 were struck with probability 0.3", n)
	}
}

func TestDelaysAddUpAndLeaveTheRestAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProvider(t, strict.Options{})
		c, g := inProcess(t, p), newGrant(t, p, "demo-basic")
		if err := p.SetFaults(
			strict.Fault{Kind: strict.FaultLatency, Delay: 3 * time.Second, Client: "demo-basic"},
			strict.Fault{Kind: strict.FaultSlowAnswer, Delay: 2 * time.Second, Client: "demo-basic"},
		); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		wantStatus(t, c.refresh("demo-basic", g.RefreshToken.Reveal()), 200, "")
		if took := time.Since(start); took != 5*time.Second {
			t.Fatalf("took %v, want 5s", took)
		}
		c.refresh("demo-post", "x")
		if took := time.Since(start); took != 5*time.Second {
			t.Fatal("another client was delayed too")
		}
		if err := p.SetFaults(strict.Fault{Kind: strict.FaultLatency, Jitter: time.Second}); err != nil {
			t.Fatal(err)
		}
		seen := map[time.Duration]bool{}
		for range 20 {
			start := time.Now()
			c.refresh("demo-basic", "x")
			if took := time.Since(start); took >= time.Second {
				t.Fatalf("jitter of up to 1s took %v", took)
			} else {
				seen[took] = true
			}
		}
		if len(seen) < 15 {
			t.Fatalf("20 random delays had %d values", len(seen))
		}
	})
}

func TestRateLimitOfAClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		clients := append(strict.DemoClients(), strict.Client{ID: "slow", Secret: secret("slow-secret"), RequestsPerSecond: 0.5, Burst: 3})
		p := newProvider(t, strict.Options{Clients: clients})
		c := inProcess(t, p)
		for range 3 {
			wantStatus(t, c.refresh("slow", "x"), 400, "invalid_grant")
		}
		a := c.refresh("slow", "x")
		wantStatus(t, a, 429, "rate_limited")
		if a.Header.Get("Retry-After") != "2" || last(t, p).Outcome != strict.OutcomeRateLimited {
			t.Fatalf("Retry-After %q, recorded as %s", a.Header.Get("Retry-After"), last(t, p).Outcome)
		}
		wantStatus(t, c.refresh("demo-basic", "x"), 400, "invalid_grant")
		time.Sleep(2 * time.Second)
		wantStatus(t, c.refresh("slow", "x"), 400, "invalid_grant")
		if n := p.Report().RateLimited; n != 1 {
			t.Fatalf("%d requests were counted as rate limited, want 1", n)
		}
	})
}

func TestFaultsThatCannotBe(t *testing.T) {
	p := newProvider(t, strict.Options{})
	for name, f := range map[string]strict.Fault{
		"no kind":          {},
		"unknown kind":     {Kind: "gremlins"},
		"unknown end":      {Kind: strict.FaultHTML, Endpoint: "moon"},
		"no delay":         {Kind: strict.FaultLatency},
		"negative delay":   {Kind: strict.FaultLatency, Delay: -1},
		"endless delay":    {Kind: strict.FaultLatency, Delay: 2 * time.Hour},
		"probability":      {Kind: strict.FaultHTML, Probability: 1.5},
		"negative count":   {Kind: strict.FaultHTML, Count: -1},
		"odd status":       {Kind: strict.FaultHTML, Status: 999},
		"interim status":   {Kind: strict.FaultHTML, Status: 100},
		"no code":          {Kind: strict.FaultErrorCode},
		"very huge tokens": {Kind: strict.FaultHugeToken, Size: 1 << 30},
	} {
		if _, err := p.AddFault(f); !errors.Is(err, strict.ErrFault) {
			t.Errorf("%s: error %v, want ErrFault", name, err)
		}
	}
	if err := p.SetFaults(strict.Fault{Kind: strict.FaultHTML}, strict.Fault{Kind: "gremlins"}); err == nil || len(p.Faults()) != 0 {
		t.Error("of a list with a bad fault, some were added")
	}
}

func TestHugeTokensWorkAndCutOnesDoNot(t *testing.T) {
	p := newProvider(t, strict.Options{})
	c, g := inProcess(t, p), newGrant(t, p, "demo-basic")
	if err := p.SetFaults(strict.Fault{Kind: strict.FaultHugeToken}); err != nil {
		t.Fatal(err)
	}
	a := c.refresh("demo-basic", g.RefreshToken.Reveal())
	if c.me(a.AccessToken).Status != 200 {
		t.Fatal("a huge access token is refused")
	}
	if c.me(a.AccessToken[:len(a.AccessToken)-1]).Status != 401 {
		t.Fatal("a huge access token is accepted though it lost its end")
	}
	wantStatus(t, c.refresh("demo-basic", a.RefreshToken[:4096]), 400, "invalid_grant")
	wantStatus(t, c.refresh("demo-basic", a.RefreshToken), 200, "")
}

func TestRoundTripperFailsAsANetworkDoes(t *testing.T) {
	p := newProvider(t, strict.Options{})
	c := inProcess(t, p)
	strike := func(kind strict.FaultKind) (wrote bool, err error) {
		if err := p.SetFaults(strict.Fault{Kind: kind}); err != nil {
			t.Fatal(err)
		}
		ctx := httptrace.WithClientTrace(context.Background(), &httptrace.ClientTrace{WroteHeaders: func() { wrote = true }})
		_, err = c.tryPost(ctx, "/token", "demo-basic", refreshForm("x"))
		return wrote, err
	}
	if wrote, err := strike(strict.FaultRefused); wrote || !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("refused: wrote %v, %v", wrote, err)
	}
	var op *net.OpError
	if wrote, err := strike(strict.FaultDropRequest); !wrote || !errors.As(err, &op) || !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("dropped: wrote %v, %v", wrote, err)
	}
	p.Close()
	if _, err := c.tryPost(context.Background(), "/token", "demo-basic", refreshForm("x")); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("closed: %v", err)
	}
}

func TestNothingIsSentOnceTheContextEndedAtGotConn(t *testing.T) {
	p := newProvider(t, strict.Options{})
	c, g := inProcess(t, p), newGrant(t, p, "demo-basic")
	ctx, cancel := context.WithCancel(context.Background())
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { cancel() }})
	if _, err := c.tryPost(ctx, "/token", "demo-basic", refreshForm(g.RefreshToken.Reveal())); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if len(p.Record()) != 0 {
		t.Fatal("the provider got the request")
	}
}

func TestEndlessBodyEndsWithItsContext(t *testing.T) {
	p := newProvider(t, strict.Options{})
	if err := p.SetFaults(strict.Fault{Kind: strict.FaultEndless, Endpoint: strict.EndpointAPI}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, issuer+"/api/me", nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := p.RoundTripper().RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.CopyN(io.Discard, res.Body, 5<<20); err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := res.Body.Read(make([]byte, 10)); !errors.Is(err, context.Canceled) {
		t.Fatalf("reading on after the end: %v", err)
	}
	if err := res.Body.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := res.Body.Read(make([]byte, 10)); err == nil {
		t.Fatal("a closed body could be read")
	}
}
