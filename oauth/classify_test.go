package oauth

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/grantd/grantd/catalog"
	"github.com/grantd/grantd/credential"
)

var now = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

// quirky has words of its own.
var quirky = &catalog.Provider{
	TerminalErrors:      []string{"bad_refresh_token", "190", "Invalid_Token_", "gone"},
	TransientErrors:     []string{"ratelimited", "invalid_client", "gone_for_now"},
	MisconfiguredErrors: []string{"app_disabled"},
	TokenPath:           "data.token",
}

const jsonType, formType, htmlType = "application/json; charset=utf-8", "application/x-www-form-urlencoded", "text/html"

var answers = []struct {
	name     string
	status   int
	media    string
	body     string
	provider *catalog.Provider
	class    credential.Class // 0: a success
	code     string
}{
	// RFC 6749 section 5.2.
	{"invalid_grant", 400, jsonType, `{"error":"invalid_grant","error_description":"secret"}`, &catalog.Provider{}, credential.Terminal, "invalid_grant"},
	{"invalid_grant 401", 401, jsonType, `{"error":"invalid_grant"}`, &catalog.Provider{}, credential.Terminal, "invalid_grant"},
	{"invalid_client", 401, jsonType, `{"error":"invalid_client"}`, &catalog.Provider{}, credential.Misconfigured, "invalid_client"},
	{"unauthorized_client", 400, jsonType, `{"error":"unauthorized_client"}`, &catalog.Provider{}, credential.Misconfigured, "unauthorized_client"},
	{"unsupported_grant_type", 400, jsonType, `{"error":"unsupported_grant_type"}`, &catalog.Provider{}, credential.Misconfigured, "unsupported_grant_type"},
	{"invalid_request", 400, jsonType, `{"error":"invalid_request"}`, &catalog.Provider{}, credential.Unrecognised, "invalid_request"},
	{"invalid_scope", 400, jsonType, `{"error":"invalid_scope"}`, &catalog.Provider{}, credential.Unrecognised, "invalid_scope"},
	{"temporarily_unavailable", 400, jsonType, `{"error":"temporarily_unavailable"}`, &catalog.Provider{}, credential.Transient, "temporarily_unavailable"},
	{"no content type", 400, "", `{"error":"invalid_grant"}`, &catalog.Provider{}, credential.Terminal, "invalid_grant"},
	{"JSON as HTML", 400, htmlType, `{"error":"invalid_grant"}`, &catalog.Provider{}, credential.Terminal, "invalid_grant"},
	{"byte order mark", 400, jsonType, "\ufeff" + `{"error":"invalid_grant"}`, &catalog.Provider{}, credential.Terminal, "invalid_grant"},
	{"form", 400, formType, `error=invalid_grant&x=1`, &catalog.Provider{}, credential.Terminal, "invalid_grant"},
	{"form as text", 400, "text/plain", `error=invalid_grant`, &catalog.Provider{}, credential.Terminal, "invalid_grant"},
	{"error object", 400, jsonType, `{"error":{"type":"oauth","code":"invalid_grant"}}`, &catalog.Provider{}, credential.Terminal, "invalid_grant"},
	// Errors with HTTP 200.
	{"200", 200, jsonType, `{"error":"invalid_grant"}`, &catalog.Provider{}, credential.Terminal, "invalid_grant"},
	{"200 and a form", 200, formType, `error=bad_refresh_token&error_description=x`, quirky, credential.Terminal, "bad_refresh_token"},
	{"200 and ok false", 200, jsonType, `{"ok":false,"error":"ratelimited"}`, quirky, credential.Transient, "ratelimited"},
	{"200 and own word in status", 200, jsonType, `{"status":"BAD_REFRESH_TOKEN"}`, quirky, credential.Terminal, "BAD_REFRESH_TOKEN"},
	{"200 and own number", 200, jsonType, `{"errcode":190,"errmsg":"x"}`, quirky, credential.Terminal, "190"},
	{"200, a token and an own word", 200, jsonType, `{"data":{"token":{"access_token":"a"}},"status":"gone"}`, quirky, 0, ""},
	{"200 and ok", 200, jsonType, `{"ok":true,"status":"fine"}`, &catalog.Provider{}, 0, ""},
	{"200 and an unknown code", 200, jsonType, `{"error":"hm"}`, &catalog.Provider{}, credential.Unrecognised, "hm"},
	{"200, a token and an error", 200, jsonType, `{"access_token":"a","error":"odd"}`, &catalog.Provider{}, 0, ""},
	{"200 and an empty error", 200, jsonType, `{"access_token":"a","error":""}`, &catalog.Provider{}, 0, ""},
	{"200 and error null", 200, jsonType, `{"access_token":"a","error":null}`, &catalog.Provider{}, 0, ""},
	{"200 and error 0", 200, jsonType, `{"access_token":"a","error":0}`, &catalog.Provider{}, 0, ""},
	// The catalogue's words come first.
	{"own word", 400, jsonType, `{"error":"bad_refresh_token"}`, quirky, credential.Terminal, "bad_refresh_token"},
	{"own word in other case", 400, jsonType, `{"error":"BAD_REFRESH_TOKEN"}`, quirky, credential.Terminal, "BAD_REFRESH_TOKEN"},
	{"own word in status", 400, jsonType, `{"status":"BAD_REFRESH_TOKEN","message":"x"}`, quirky, credential.Terminal, "BAD_REFRESH_TOKEN"},
	{"own word with blanks", 401, jsonType, `{"reason":"Invalid Token!","error":"invalid_request"}`, quirky, credential.Terminal, "Invalid_Token_"},
	{"own number", 400, jsonType, `{"error":{"code":190,"type":"OAuthException"}}`, quirky, credential.Terminal, "190"},
	{"own sense of a standard code", 401, jsonType, `{"error":"invalid_client"}`, quirky, credential.Transient, "invalid_client"},
	{"own word with 500", 500, jsonType, `{"error":"app_disabled"}`, quirky, credential.Misconfigured, "app_disabled"},
	{"the milder word wins", 400, jsonType, `{"error":"gone","suberror":"gone_for_now"}`, quirky, credential.Transient, "gone_for_now"},
	{"nested error", 400, jsonType, `{"data":{"token":{"error":"gone"}}}`, quirky, credential.Terminal, "gone"},
	{"word of another provider", 400, jsonType, `{"error":"bad_refresh_token"}`, &catalog.Provider{}, credential.Unrecognised, "bad_refresh_token"},
	// Busy and broken servers prove nothing, whatever they say.
	{"429", 429, jsonType, `{"error":"invalid_grant"}`, &catalog.Provider{}, credential.Transient, "invalid_grant"},
	{"500 and invalid_grant", 500, jsonType, `{"error":"invalid_grant"}`, &catalog.Provider{}, credential.Transient, "invalid_grant"},
	{"503 empty", 503, "", ``, &catalog.Provider{}, credential.Transient, "http_503"},
	{"502 HTML", 502, htmlType, `<html>invalid_grant</html>`, &catalog.Provider{}, credential.Transient, "http_502"},
	{"408", 408, "", ``, &catalog.Provider{}, credential.Transient, "empty_answer"},
	// Refusals that nobody knows.
	{"400 HTML", 400, htmlType, `<html>invalid_grant</html>`, &catalog.Provider{}, credential.Unrecognised, "html_answer"},
	{"401 empty", 401, "", ``, &catalog.Provider{}, credential.Unrecognised, "empty_answer"},
	{"403 blanks", 403, jsonType, " \n", &catalog.Provider{}, credential.Unrecognised, "empty_answer"},
	{"404 text", 404, "text/plain", `invalid_grant`, &catalog.Provider{}, credential.Unrecognised, "unreadable_answer"},
	{"400 broken JSON", 400, jsonType, `{"error":"invalid_grant"`, &catalog.Provider{}, credential.Unrecognised, "unreadable_answer"},
	{"400 JSON list", 400, jsonType, `["invalid_grant"]`, &catalog.Provider{}, credential.Unrecognised, "unreadable_answer"},
	{"standard code in other case", 400, jsonType, `{"error":"INVALID_GRANT"}`, &catalog.Provider{}, credential.Unrecognised, "INVALID_GRANT"},
	{"standard code out of place", 400, jsonType, `{"message":"invalid_grant"}`, &catalog.Provider{}, credential.Unrecognised, "json_answer"},
	{"standard code with a blank", 400, jsonType, `{"error":"invalid grant"}`, &catalog.Provider{}, credential.Unrecognised, "invalid_grant"},
	{"code with a line break", 400, jsonType, `{"error":"a\r\nSet-Cookie: b"}`, &catalog.Provider{}, credential.Unrecognised, "a_Set-Cookie_b"},
	{"long code", 400, jsonType, `{"error":"` + strings.Repeat("x", 500) + `"}`, &catalog.Provider{}, credential.Unrecognised, strings.Repeat("x", 64)},
	// Redirects.
	{"302", 302, htmlType, `<html>`, &catalog.Provider{}, credential.Misconfigured, "redirect"},
	{"308", 308, "", ``, &catalog.Provider{}, credential.Misconfigured, "redirect"},
	// Successes, whatever they hold; readGrant judges that.
	{"200 token", 200, jsonType, `{"access_token":"a"}`, &catalog.Provider{}, 0, ""},
	{"200 HTML", 200, htmlType, `<html>`, &catalog.Provider{}, 0, ""},
	{"204", 204, "", ``, &catalog.Provider{}, 0, ""},
}

func answerOf(status int, media, body string) answer {
	h := http.Header{}
	if media != "" {
		h.Set("Content-Type", media)
	}
	return answer{host: "p.example", status: status, header: h, body: []byte(body)}
}

func TestAnswersAreClassified(t *testing.T) {
	for _, tc := range answers {
		t.Run(tc.name, func(t *testing.T) {
			a := answerOf(tc.status, tc.media, tc.body)
			f := classify(a, parse(a.header, a.body), tc.provider, now)
			if tc.class == 0 {
				if f != nil {
					t.Fatalf("got %v, want a success", f)
				}
				return
			}
			if f == nil || f.Class != tc.class || f.Code != tc.code || f.Status != tc.status || !f.Sent {
				t.Fatalf("got %+v, want %s: %s", f, tc.class, tc.code)
			}
		})
	}
}

func TestRetryAfterIsReadAndBounded(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"": 0, "0": 0, "7": 7 * time.Second, " 7 ": 7 * time.Second, "-7": 0, "soon": 0, "1.5": 0,
		"3600": time.Hour, "3601": time.Hour, "99999999999999999999999": time.Hour,
		"Tue, 24 Nov 2026 12:00:30 GMT": 30 * time.Second, "Tue, 24 Nov 2026 11:00:00 GMT": 0, "Thu, 24 Nov 2050 12:00:00 GMT": time.Hour,
	} {
		if got := retryAfter(http.Header{"Retry-After": {text}}, &catalog.Provider{}, now); got != want {
			t.Errorf("Retry-After %q is %v, want %v", text, got, want)
		}
	}
}

func TestFailuresShowNothingOfAnAnswerButItsCode(t *testing.T) {
	a := answerOf(400, "text/hunter2;x=hunter2\x00", `{"error":"odd","error_description":"hunter2","hint":"hunter2"}`)
	f := classify(a, parse(a.header, a.body), &catalog.Provider{}, now)
	if strings.Contains(f.Error(), "hunter2") {
		t.Errorf("%q shows content", f)
	}
	for _, want := range []string{"p.example", "400", "62 bytes", "odd"} {
		if !strings.Contains(f.Error(), want) {
			t.Errorf("%q does not tell %q", f, want)
		}
	}
}

func TestEchoedSecretsAreNotShown(t *testing.T) {
	token := credential.NewSecret("1//0abcdefghijk-lmnop")
	for code, want := range map[string]string{
		sanitise("bad token "+token.Reveal(), maxCode): "unprintable", sanitise(token.Reveal(), maxCode): "unprintable",
		"token_ends_in_ghijk-lmnop": "token_ends_in_ghijk-lmnop", "token_ends_in_defghijk-lmnop": "unprintable",
		"form_1_2F_2F0abcdefgh": "unprintable",
		"s3cr3t-of-the-client":  "unprintable", "invalid_grant": "invalid_grant", "bad_token": "bad_token",
	} {
		f := &credential.Failure{Code: code}
		hideSecrets(f, token, credential.NewSecret(clientSecret), credential.Secret{})
		if f.Code != want {
			t.Errorf("%q is shown as %q, want %q", code, f.Code, want)
		}
	}
	f := &credential.Failure{Code: "invalid_client"}
	if hideSecrets(f, credential.NewSecret("invalid_c")); f.Code != "invalid_client" {
		t.Errorf("a code of the standard is shown as %q", f.Code)
	}
}

func FuzzAnswersAreAlwaysUnderstoodSafely(f *testing.F) {
	for _, tc := range answers {
		f.Add(tc.status, tc.media, tc.body, "")
	}
	for _, tc := range grants {
		f.Add(200, jsonType, tc.body, "7")
	}
	f.Fuzz(func(t *testing.T, status int, media, body, retry string) {
		a := answerOf(status, media, body)
		a.header.Set("Retry-After", retry)
		for _, p := range []*catalog.Provider{{}, quirky} {
			m := parse(a.header, a.body)
			failure := classify(a, m, p, now)
			if failure == nil {
				var g credential.Grant
				if g, failure = readGrant(a, m, p, now); failure == nil {
					checkUsable(t, a, g)
					continue
				}
				if failure.Class != credential.Ambiguous {
					t.Fatalf("a success without a token is %v", failure)
				}
			}
			checkSafe(t, a, failure)
		}
	})
}

func checkUsable(t *testing.T, a answer, g credential.Grant) {
	t.Helper()
	if !a.ok() || g.AccessToken.IsZero() || g.TokenType == "" || g.ExpiresIn < 0 || g.RefreshExpiresIn < 0 || g.ExpiresIn > maxLifetime {
		t.Fatalf("HTTP %d %q became %+v", a.status, a.body, g)
	}
	for _, s := range append([]string{g.AccessToken.Reveal(), g.RefreshToken.Reveal(), g.TokenType}, g.Scopes...) {
		if len(s) > maxToken || strings.ContainsFunc(s, notVSCHAR) {
			t.Fatalf("%q cannot stand in a header", s)
		}
	}
}

func checkSafe(t *testing.T, a answer, f *credential.Failure) {
	t.Helper()
	if f.Class < credential.Transient || f.Class > credential.Unrecognised || f.Code == "" || f.Code != sanitise(f.Code, maxCode) ||
		!f.Sent || f.RetryAfter < 0 || f.RetryAfter > maxRetryAfter || len(f.Detail) > 300 || strings.ContainsFunc(f.Detail, notVSCHAR) {
		t.Fatalf("HTTP %d %q became %+v", a.status, a.body, f)
	}
	if f.Class == credential.Terminal && parse(a.header, a.body).fields == nil {
		t.Fatalf("HTTP %d %q killed the grant without a word", a.status, a.body)
	}
}

func TestRetryAfterInTheProvidersOwnWay(t *testing.T) {
	for _, tc := range []struct {
		header string
		unit   catalog.TimeUnit
		sent   http.Header
		want   time.Duration
	}{
		{"X-Reset", "", http.Header{"X-Reset": {"7"}}, 7 * time.Second},
		{"X-Reset", "", http.Header{"Retry-After": {"7"}}, 7 * time.Second},
		{"X-Reset", "", http.Header{"X-Reset": {"7"}, "Retry-After": {"9"}}, 7 * time.Second},
		{"", catalog.Milliseconds, http.Header{"Retry-After": {"1500"}}, 1500 * time.Millisecond},
		{"X-Reset", catalog.Timestamp, http.Header{"X-Reset": {"1795521630"}}, 30 * time.Second},
		{"X-Reset", catalog.TimestampMillis, http.Header{"X-Reset": {"1795521630500"}}, 30500 * time.Millisecond},
		{"X-Reset", catalog.Timestamp, http.Header{"X-Reset": {"1795521599"}}, 0},
		{"X-Reset", catalog.Timestamp, http.Header{"X-Reset": {"99999999999999999999"}}, time.Hour},
		{"X-Reset", catalog.Timestamp, http.Header{"X-Reset": {"soon"}}, 0},
		{"", catalog.Timestamp, http.Header{"Retry-After": {"Tue, 24 Nov 2026 12:00:10 GMT"}}, 10 * time.Second},
	} {
		p := &catalog.Provider{AnswerQuirks: catalog.AnswerQuirks{RetryAfterHeader: tc.header, RetryAfterUnit: tc.unit}}
		if got := retryAfter(tc.sent, p, now); got != tc.want {
			t.Errorf("%v in %q is %s, want %s", tc.sent, tc.unit, got, tc.want)
		}
	}
}

func TestAnswersAreClassifiedInTheProvidersOwnWay(t *testing.T) {
	p := &catalog.Provider{
		TerminalErrors: []string{"40030", "expired_access_refresh_token"}, TransientErrors: []string{"Slow_down_please."},
		AnswerQuirks: catalog.AnswerQuirks{
			ErrorField: "meta.code", ErrorDescriptionField: "meta.text", OKField: "ok",
			ErrorStatuses: map[string]string{"403": "transient", "500": "terminal", "400": "unrecognised"},
		},
	}
	zero := &catalog.Provider{AnswerQuirks: catalog.AnswerQuirks{OKField: "errcode", OKValue: "0"}}
	for _, tc := range []struct {
		name   string
		p      *catalog.Provider
		status int
		body   string
		class  credential.Class
		code   string
	}{
		{"own place of a number", p, 200, `{"meta":{"code":40030}}`, credential.Terminal, "40030"},
		{"own place, unknown word", p, 401, `{"meta":{"code":"HUH"}}`, credential.Unrecognised, "HUH"},
		{"own place, all is well", p, 200, `{"meta":{"code":0},"ok":true,"access_token":"a"}`, 0, ""},
		{"a text that the catalogue knows", p, 400, `{"error":"invalid_grant","meta":{"text":"Slow down, please."}}`, credential.Transient, "Slow_down_please."},
		{"a text beside a general word", p, 400, `{"error":"invalid_request","meta":{"text":"expired access/refresh token"}}`, credential.Terminal, "expired_access_refresh_token"},
		{"a text that nobody knows is not shown", p, 401, `{"meta":{"text":"token abc of Jo"}}`, credential.Unrecognised, "json_answer"},
		{"not ok", p, 200, `{"ok":false}`, credential.Unrecognised, "json_answer"},
		{"not ok with a word", p, 200, `{"ok":false,"error":"ratelimited"}`, credential.Unrecognised, "ratelimited"},
		{"ok is not there", p, 200, `{"access_token":"a"}`, 0, ""},
		{"not ok and a token", p, 200, `{"ok":false,"access_token":"a"}`, 0, ""},
		{"not zero", zero, 200, `{"errcode":40163,"errmsg":"code been used"}`, credential.Unrecognised, "json_answer"},
		{"zero", zero, 200, `{"errcode":0}`, 0, ""},
		{"status with a meaning", p, 403, ``, credential.Transient, "empty_answer"},
		{"status of a dead grant", p, 500, `{"error":"oops"}`, credential.Terminal, "oops"},
		{"a standard code is more than the status", p, 403, `{"error":"invalid_grant"}`, credential.Terminal, "invalid_grant"},
		{"a general code is not", p, 403, `{"error":"invalid_request"}`, credential.Transient, "invalid_request"},
		{"status without one", p, 401, `{"error":"oops"}`, credential.Unrecognised, "oops"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a := answerOf(tc.status, jsonType, tc.body)
			f := classify(a, parse(a.header, a.body), tc.p, now)
			switch {
			case tc.class == 0 && f != nil:
				t.Errorf("got %v, want a success", f)
			case tc.class != 0 && (f == nil || f.Class != tc.class || f.Code != tc.code):
				t.Errorf("got %v, want %s: %s", f, tc.class, tc.code)
			}
		})
	}
}
