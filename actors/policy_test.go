package actors

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/grantd/grantd/credential"
)

var t0 = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

func TestRefreshHappensOneToThreeMinutesBeforeExpiry(t *testing.T) {
	p := Policy{}.WithDefaults()
	for _, lifetime := range []time.Duration{10 * time.Minute, time.Hour, 24 * time.Hour, 90 * 24 * time.Hour} {
		for _, r := range []float64{0, 0.25, 0.5, 0.999999} {
			before := t0.Add(lifetime).Sub(p.refreshAt(t0, t0.Add(lifetime), r))
			if before < time.Minute || before > 3*time.Minute {
				t.Errorf("lifetime %v, draw %v: refreshed %v before expiry, want 1 to 3 minutes", lifetime, r, before)
			}
		}
	}
}

func TestShortLivedTokensAreRefreshedInProportion(t *testing.T) {
	p := Policy{}.WithDefaults()
	for _, tc := range []struct {
		lifetime time.Duration
		draw     float64
		before   time.Duration
	}{
		{5 * time.Minute, 0, 30 * time.Second},
		{time.Minute, 0, 6 * time.Second},
		{time.Minute, 0.5, 12 * time.Second},
		{5 * time.Second, 0, 500 * time.Millisecond},
		{0, 0.5, 0},
		{-time.Hour, 0.5, -time.Hour}, // expired on arrival: at once, that is when it was issued
	} {
		if got := t0.Add(tc.lifetime).Sub(p.refreshAt(t0, t0.Add(tc.lifetime), tc.draw)); got != tc.before {
			t.Errorf("lifetime %v, draw %v: refreshed %v before expiry, want %v", tc.lifetime, tc.draw, got, tc.before)
		}
	}
}

func TestBackoffGrowsAndStaysInItsBounds(t *testing.T) {
	p := Policy{}.WithDefaults()
	last := time.Duration(0)
	for n := 1; n < 40; n++ {
		low, high := p.backoff(n, 0), p.backoff(n, 0.999999)
		if low < p.BackoffMin/2 || high > p.BackoffMax {
			t.Fatalf("failure %d: back-off from %v to %v leaves %v to %v", n, low, high, p.BackoffMin/2, p.BackoffMax)
		}
		if low < last {
			t.Fatalf("failure %d: back-off %v is shorter than the one before, %v", n, low, last)
		}
		last = low
	}
	if last != p.BackoffMax/2 {
		t.Errorf("after 39 failures the back-off begins at %v, want %v", last, p.BackoffMax/2)
	}
}

func TestPolicyThatCannotWorkIsRefused(t *testing.T) {
	for name, p := range map[string]Policy{
		"margins the wrong way round":       {MarginMin: time.Hour, MarginMax: time.Minute},
		"claim shorter than the call":       {CallTimeout: time.Minute, ClaimLifetime: time.Second},
		"short lifetime inside the margins": {MarginMin: time.Minute, MarginMax: 9 * time.Minute},
		"back-off the wrong way round":      {BackoffMin: time.Hour, BackoffMax: time.Minute},
	} {
		if p.Validate() == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if err := (Policy{}).Validate(); err != nil {
		t.Errorf("defaults refused: %v", err)
	}
}

func TestServesOnlyTokensThatLiveLongEnough(t *testing.T) {
	tok := credential.Sealed{1}
	for _, tc := range []struct {
		name   string
		a      credential.Account
		minTTL time.Duration
		want   bool
	}{
		{"no token", credential.Account{}, 0, false},
		{"never expires", credential.Account{AccessToken: tok}, time.Hour, true},
		{"fresh", credential.Account{AccessToken: tok, LastRefreshAt: t0, ExpiresAt: t0.Add(time.Hour)}, 30 * time.Second, true},
		{"expires this instant", credential.Account{AccessToken: tok, LastRefreshAt: t0.Add(-time.Hour), ExpiresAt: t0}, 0, false},
		{"too little left", credential.Account{AccessToken: tok, LastRefreshAt: t0.Add(-time.Hour), ExpiresAt: t0.Add(20 * time.Second)}, 30 * time.Second, false},
		{"more asked for than the provider ever gives", credential.Account{AccessToken: tok, LastRefreshAt: t0, ExpiresAt: t0.Add(time.Minute)}, time.Hour, true},
		{"the same, in its second half", credential.Account{AccessToken: tok, LastRefreshAt: t0.Add(-40 * time.Second), ExpiresAt: t0.Add(20 * time.Second)}, time.Hour, false},
		{"imported, life unknown", credential.Account{AccessToken: tok, ExpiresAt: t0.Add(time.Minute)}, time.Hour, false},
	} {
		if got := serves(&tc.a, tc.minTTL, t0); got != tc.want {
			t.Errorf("%s: serves = %v, want %v", tc.name, got, tc.want)
		}
	}
}

func TestUnknownLifetimeIsTakenFromTheBestSource(t *testing.T) {
	p := Policy{}.WithDefaults()
	for _, tc := range []struct {
		told, learned, catalogue, want time.Duration
		assumed                        bool
	}{
		{5 * time.Minute, time.Minute, time.Hour, 5 * time.Minute, false},
		{0, 20 * time.Minute, 2 * time.Hour, 20 * time.Minute, true},
		{0, 0, 2 * time.Hour, 2 * time.Hour, true},
		{0, 0, 0, time.Hour, true},
	} {
		at, assumed := p.expiry(tc.told, tc.learned, tc.catalogue, t0)
		if at.Sub(t0) != tc.want || assumed != tc.assumed {
			t.Errorf("told %v, learned %v, catalogue %v: %v (assumed %v), want %v (%v)", tc.told, tc.learned, tc.catalogue, at.Sub(t0), assumed, tc.want, tc.assumed)
		}
	}
}

func TestIdleRefreshTokenIsKeptAlive(t *testing.T) {
	day := 24 * time.Hour
	for _, tc := range []struct {
		at, want time.Time
		idle     time.Duration
	}{
		{t0.Add(time.Hour), t0.Add(time.Hour), 30 * day},
		{t0.Add(60 * day), t0.Add(24 * day), 30 * day},
		{time.Time{}, t0.Add(24 * day), 30 * day},
		{t0.Add(60 * day), t0.Add(60 * day), 0},
	} {
		if got := keepAlive(tc.at, t0, tc.idle); !got.Equal(tc.want) {
			t.Errorf("refresh at %v, idle %v: %v, want %v", tc.at, tc.idle, got, tc.want)
		}
	}
}

func FuzzRefreshTimeLiesBetweenIssueAndExpiry(f *testing.F) {
	f.Add(int64(3600), 0.5)
	f.Add(int64(1), 0.0)
	f.Add(int64(-1), 0.9)
	p := Policy{}.WithDefaults()
	f.Fuzz(func(t *testing.T, seconds int64, draw float64) {
		if seconds > 1e9 || seconds < -1e9 || !(draw >= 0 && draw < 1) {
			t.Skip()
		}
		issued, expires := t0, t0.Add(time.Duration(seconds)*time.Second)
		at := p.refreshAt(issued, expires, draw)
		if at.Before(issued) || seconds > 0 && at.After(expires) {
			t.Errorf("issued %v, expires %v: refreshed at %v", issued, expires, at)
		}
	})
}

func TestJitterSpreadsRefreshes(t *testing.T) {
	p := Policy{}.WithDefaults()
	r := rand.New(rand.NewPCG(1, 2))
	buckets := map[int]int{}
	for range 12_000 {
		before := t0.Add(time.Hour).Sub(p.refreshAt(t0, t0.Add(time.Hour), r.Float64()))
		buckets[int((before-time.Minute)/(10*time.Second))]++
	}
	for b := range 12 {
		if n := buckets[b]; n < 800 || n > 1200 {
			t.Errorf("tenth of seconds %d got %d of 12000 refreshes, want about 1000", b, n)
		}
	}
}
