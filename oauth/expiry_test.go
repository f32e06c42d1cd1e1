package oauth

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/grantd/grantd/catalog"
)

func TestExpiryIsReadInEveryUnitAndPlace(t *testing.T) {
	at := catalog.AnswerQuirks{ExpiresInField: "expires_at"}
	for _, tc := range []struct {
		name    string
		quirks  catalog.AnswerQuirks
		body    string
		access  time.Duration
		refresh time.Duration
	}{
		{"seconds", catalog.AnswerQuirks{}, `"expires_in":3600,"refresh_token_expires_in":"7200"`, time.Hour, 2 * time.Hour},
		{"seconds with a unit", catalog.AnswerQuirks{ExpiresInUnit: catalog.Seconds}, `"expires_in":3600`, time.Hour, 0},
		{"milliseconds", catalog.AnswerQuirks{ExpiresInUnit: catalog.Milliseconds}, `"expires_in":3600000,"refresh_expires_in":7200000`, time.Hour, 2 * time.Hour},
		{"timestamp", with(at, func(q *catalog.AnswerQuirks) { q.ExpiresInUnit = catalog.Timestamp }), `"expires_at":1795525200`, time.Hour, 0},
		{"timestamp as text", with(at, func(q *catalog.AnswerQuirks) { q.ExpiresInUnit = catalog.Timestamp }), `"expires_at":"1795525200"`, time.Hour, 0},
		{"timestamp in milliseconds", with(at, func(q *catalog.AnswerQuirks) { q.ExpiresInUnit = catalog.TimestampMillis }), `"expires_at":1795525200000`, time.Hour, 0},
		{"date", with(at, func(q *catalog.AnswerQuirks) { q.ExpiresInUnit = catalog.DateTime }), `"expires_at":"2026-11-24T13:00:00Z"`, time.Hour, 0},
		{"date with a zone", with(at, func(q *catalog.AnswerQuirks) { q.ExpiresInUnit = catalog.DateTime }), `"expires_at":"2026-11-24T14:00:00.123+0100"`, time.Hour, 0},
		{"date without a zone", with(at, func(q *catalog.AnswerQuirks) { q.ExpiresInUnit = catalog.DateTime }), `"expires_at":"2026-11-24 13:00:00"`, time.Hour, 0},
		{"date that is none", with(at, func(q *catalog.AnswerQuirks) { q.ExpiresInUnit = catalog.DateTime }), `"expires_at":"tomorrow"`, 0, 0},
		{"time that is over", with(at, func(q *catalog.AnswerQuirks) { q.ExpiresInUnit = catalog.Timestamp }), `"expires_at":1795521599`, 0, 0},
		{"lifetime where a time was promised", with(at, func(q *catalog.AnswerQuirks) { q.ExpiresInUnit = catalog.Timestamp }), `"expires_at":3600`, 0, 0},
		{"time beyond all", with(at, func(q *catalog.AnswerQuirks) { q.ExpiresInUnit = catalog.TimestampMillis }), `"expires_at":1e300`, 0, 0},
		{"the place is empty and the standard's is not", with(at, func(q *catalog.AnswerQuirks) { q.ExpiresInUnit = catalog.Timestamp }), `"expires_in":60`, time.Minute, 0},
		{"another place", catalog.AnswerQuirks{ExpiresInField: "session.ttl", RefreshExpiresInField: "session.0"}, `"session":{"ttl":60,"0":120}`, time.Minute, 2 * time.Minute},
		{"a place in a list", catalog.AnswerQuirks{ExpiresInField: "list.1.ttl"}, `"list":[{"ttl":1},{"ttl":60}]`, time.Minute, 0},
		{"a place beyond a list", catalog.AnswerQuirks{ExpiresInField: "list.7.ttl"}, `"list":[{"ttl":1}],"expires_in":60`, time.Minute, 0},
		{"two units", catalog.AnswerQuirks{ExpiresInUnit: catalog.Milliseconds, RefreshExpiresInUnit: catalog.Seconds}, `"expires_in":60000,"refresh_expires_in":120`, time.Minute, 2 * time.Minute},
		{"zero is never", catalog.AnswerQuirks{}, `"expires_in":0`, 0, 0},
		{"an object", at, `"expires_at":{}`, 0, 0},
		{"null", at, `"expires_at":null,"expires_in":60`, time.Minute, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := &catalog.Provider{AnswerQuirks: tc.quirks}
			a := answerOf(200, jsonType, `{"access_token":"a",`+tc.body+`}`)
			g, f := readGrant(a, parse(a.header, a.body), p, now)
			if f != nil {
				t.Fatal(f)
			}
			if g.ExpiresIn != tc.access || g.RefreshExpiresIn != tc.refresh {
				t.Errorf("access %s, refresh %s, want %s and %s", g.ExpiresIn, g.RefreshExpiresIn, tc.access, tc.refresh)
			}
		})
	}
}

func with(q catalog.AnswerQuirks, change func(*catalog.AnswerQuirks)) catalog.AnswerQuirks {
	change(&q)
	return q
}

func TestATimeIsComparedWithTheClockOfWhoToldIt(t *testing.T) {
	p := &catalog.Provider{AnswerQuirks: catalog.AnswerQuirks{ExpiresInUnit: catalog.Timestamp}}
	for date, want := range map[string]time.Duration{
		"": time.Hour,
		now.Add(time.Minute).Format(http.TimeFormat):    59 * time.Minute,
		now.Add(50 * time.Hour).Format(http.TimeFormat): time.Hour, // nobody's clock
		"rubbish": time.Hour,
	} {
		a := answerOf(200, jsonType, `{"access_token":"a","expires_in":1795525200}`)
		a.header.Set("Date", date)
		if g, f := readGrant(a, parse(a.header, a.body), p, now); f != nil || g.ExpiresIn != want {
			t.Errorf("Date %q: %s, want %s (%v)", date, g.ExpiresIn, want, f)
		}
	}
}

func FuzzExpiryIsSaneOrNotTold(f *testing.F) {
	for _, s := range []string{"3600", "1e308", "-1", "NaN", "Inf", "2026-11-24T13:00:00Z", "9223372036854775808", ""} {
		f.Add(s, 0)
	}
	units := []catalog.TimeUnit{catalog.Seconds, catalog.Milliseconds, catalog.Timestamp, catalog.TimestampMillis, catalog.DateTime}
	f.Fuzz(func(t *testing.T, s string, unit int) {
		u := units[uint(unit)%uint(len(units))]
		if d := validity(s, u, now); d < 0 || d > maxLifetime || d%time.Second != 0 {
			t.Errorf("%q in %s is %s", s, u, d)
		}
		if u != catalog.DateTime {
			if d := pause(strings.TrimSpace(s), u, now); d < 0 || d > maxRetryAfter {
				t.Errorf("%q in %s is a pause of %s", s, u, d)
			}
		}
	})
}
