package outbox

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/credential/delivery"
)

// receive sends a message to a server that is made of h.
func receive(t *testing.T, secrets []credential.Secret, h http.HandlerFunc) Attempt {
	t.Helper()
	srv := httptest.NewServer(h)
	defer srv.Close()
	return sendTo(t, srv.URL+"/hook?token=in-the-url", secrets)
}

func sendTo(t *testing.T, url string, secrets []credential.Secret) Attempt {
	t.Helper()
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	s := sender{transport: transport, explain: func(error) string { return "" }, agent: "test", timeout: time.Second}
	a, ok := s.send(t.Context(), &delivery.Endpoint{ID: "hook", URL: url}, secrets, message{"e1", time.Now(), []byte(`{"type":"x"}`)})
	if !ok {
		t.Fatal("given up")
	}
	if strings.Contains(fmt.Sprintf("%+v", a), "in-the-url") {
		t.Errorf("the URL shows in %+v", a)
	}
	return a
}

func one() []credential.Secret { return []credential.Secret{NewSecret()} }

func TestMessagesAreSignedWithEachSecret(t *testing.T) {
	secrets := []credential.Secret{NewSecret(), NewSecret()}
	a := receive(t, secrets, func(w http.ResponseWriter, r *http.Request) {
		text, _ := io.ReadAll(r.Body)
		for i, s := range append(secrets, NewSecret()) {
			hook, err := standardwebhooks.NewWebhook(s.Reveal())
			if err != nil {
				t.Fatal(err)
			}
			if err := hook.Verify(text, r.Header); (err == nil) != (i < len(secrets)) {
				t.Errorf("secret %d: %v", i, err)
			}
		}
		if r.Method != "POST" || r.Header.Get("webhook-id") != "e1" || r.Header.Get("Content-Type") != "application/json" || r.UserAgent() != "test" {
			t.Errorf("%s %v", r.Method, r.Header)
		}
		w.WriteHeader(202)
	})
	if !a.Taken() || a.Status != 202 || a.Error != "" {
		t.Errorf("%+v", a)
	}
	if a := receive(t, nil, func(http.ResponseWriter, *http.Request) { t.Error("sent without a signature") }); a.Taken() || a.Error == "" {
		t.Errorf("without a secret: %+v", a)
	}
}

func TestSecretsAreChecked(t *testing.T) {
	for text, ok := range map[string]bool{
		NewSecret().Reveal(): true, "whsec_" + strings.Repeat("A", 32): true, "whsec_" + strings.Repeat("A", 84): true,
		"": false, "whsec_": false, "whsec_AAAA": false, strings.Repeat("A", 32): false, "whsec_" + strings.Repeat("A", 88): false, "whsec_" + strings.Repeat("_", 32): false,
	} {
		if err := CheckSecret(credential.NewSecret(text)); (err == nil) != ok {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestAnswersAreCutAndCleaned(t *testing.T) {
	secrets := one()
	plain := secrets[0].Reveal()
	a := receive(t, secrets, func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, "a\x1b[2Jb\x00c\nd\xff\u202e %s %s %s", plain, strings.TrimPrefix(plain, "whsec_"), strings.Repeat("x", 1<<20))
	})
	if want := "a[2Jbc d\uFFFD " + credential.Redacted + " " + credential.Redacted + " xxx"; !strings.HasPrefix(a.Answer, want) || len(a.Answer) != 1024 {
		t.Errorf("%d bytes, %.100q", len(a.Answer), a.Answer)
	}
	a = receive(t, secrets, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, strings.Repeat("x", 1023)+"äöü") })
	if a.Answer != strings.Repeat("x", 1023) {
		t.Errorf("cut in the middle of a character: %q", a.Answer[1000:])
	}
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	n := 0
	a := receive(t, one(), func(w http.ResponseWriter, r *http.Request) {
		n++
		http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
	})
	if a.Status != 307 || a.Taken() || n != 1 {
		t.Errorf("%+v after %d requests", a, n)
	}
}

func TestRetryAfterIsRead(t *testing.T) {
	soon := time.Now().Add(time.Hour).UTC().Format(http.TimeFormat)
	for _, c := range []struct {
		status   int
		text     string
		min, max time.Duration
	}{
		{429, "120", 2 * time.Minute, 2 * time.Minute}, {503, "7", 7 * time.Second, 7 * time.Second}, {503, soon, 58 * time.Minute, time.Hour},
		{500, "120", 0, 0}, {429, "", 0, 0}, {429, "-5", 0, 0}, {429, "soon", 0, 0}, {429, "99999999999999999999", 0, 0}, {503, "Mon, 01 Jan 2001 00:00:00 GMT", 0, 0},
	} {
		a := receive(t, one(), func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", c.text)
			w.WriteHeader(c.status)
		})
		if a.RetryAfter < c.min || a.RetryAfter > c.max {
			t.Errorf("%d, %q: %v", c.status, c.text, a.RetryAfter)
		}
	}
}

func TestWhatHappensWithoutAnAnswerIsSaidWithoutAddresses(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := closed.Addr().String()
	closed.Close()
	tls := httptest.NewUnstartedServer(http.NotFoundHandler())
	tls.Config.ErrorLog = log.New(io.Discard, "", 0)
	tls.StartTLS()
	defer tls.Close()
	for url, want := range map[string]string{
		"http://" + addr:        "the connection was refused or failed",
		tls.URL:                 "the certificate is not valid",
		"http://host.invalid/x": "the host name was not found",
	} {
		if a := sendTo(t, url, one()); !strings.Contains(a.Error, want) || strings.Contains(a.Error, "127.0.0.1") || a.Status != 0 {
			t.Errorf("%s: %+v", url, a)
		}
	}
	a := receive(t, one(), func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
	})
	if a.Error != "no answer in time" || a.Latency < time.Second {
		t.Errorf("silence: %+v", a)
	}
	a = receive(t, one(), func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	if a.Error != "the connection ended before there was an answer" {
		t.Errorf("an end: %+v", a)
	}
}

func TestAnAttemptThatIsGivenUpTellsNothing(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	s := sender{transport: roundTrip(func(r *http.Request) (*http.Response, error) {
		cancel()
		return nil, r.Context().Err()
	}), explain: func(error) string { return "" }, timeout: time.Second}
	if a, ok := s.send(ctx, &delivery.Endpoint{URL: "https://x.test"}, one(), message{id: "e1"}); ok {
		t.Errorf("%+v", a)
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestTheBodySaysWhatHappened(t *testing.T) {
	at := time.Date(2026, 3, 1, 12, 0, 0, 123e6, time.UTC)
	for want, e := range map[string]credential.Event{
		`{"type":"integrated_account:authentication_error","timestamp":"2026-03-01T12:00:00.123Z","data":{"account":"acme/a","tenant":"acme","integration":"crm","state":"needs_reauth","reason":"invalid_grant","generation":4}}`: {
			ID: "e", Type: credential.EventAuthError, Ref: credential.Ref{Tenant: "acme", ID: "a"}, At: at, Reason: "invalid_grant", Generation: 4, Integration: "crm"},
		`{"type":"integration:misconfigured","timestamp":"2026-03-01T12:00:00.123Z","data":{"integration":"crm","reason":"invalid_client"}}`: {
			Type: credential.EventMisconfigured, At: at, Reason: "invalid_client", Integration: "crm"},
	} {
		got, err := encode(&e)
		if err != nil || string(got) != want || !json.Valid(got) {
			t.Errorf("%s, %v\nwant %s", got, err, want)
		}
	}
}

func FuzzAnswersAreReadable(f *testing.F) {
	f.Add([]byte("a\x1b[2J\x00\xff\u202e"))
	f.Fuzz(func(t *testing.T, text []byte) {
		s := readable(text, nil)
		if len(s) > maxAnswer || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\u202e' }) || strings.ToValidUTF8(s, "?") != s {
			t.Errorf("%q", s)
		}
	})
}
