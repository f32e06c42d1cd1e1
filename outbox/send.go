package outbox

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/credential/delivery"
)

const (
	// maxAnswer is how much of an answer is kept, maxRead how much is read so that
	// the connection may serve again.
	maxAnswer = 1 << 10
	maxRead   = 32 << 10
)

// Attempt is what came of sending a message.
type Attempt struct {
	At      time.Time
	Latency time.Duration // until the head of the answer came, or the attempt failed
	Status  int           // of HTTP; 0: there was no answer
	Answer  string        // the first bytes of its body, as text without control characters
	Error   string        // why there was none; no secrets and no addresses
	// RetryAfter is how long the end point asks to be left alone; 0: not told.
	RetryAfter time.Duration
}

// Taken reports whether the end point has taken the message: it answered 2xx.
func (a *Attempt) Taken() bool { return a.Status >= 200 && a.Status < 300 }

// Gone reports whether the end point wants no more messages, ever.
func (a *Attempt) Gone() bool { return a.Status == http.StatusGone }

// sender sends messages.
type sender struct {
	transport http.RoundTripper
	explain   func(error) string
	agent     string
	timeout   time.Duration
}

// send makes one attempt. ok is false where ctx ended it: then nothing is known.
func (s *sender) send(ctx context.Context, e *delivery.Endpoint, secrets []credential.Secret, m message) (a Attempt, ok bool) {
	a.At = time.Now().UTC()
	signature, err := m.sign(secrets)
	if err != nil {
		a.Error = err.Error()
		return a, true
	}
	attempt, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(attempt, http.MethodPost, e.URL, bytes.NewReader(m.body))
	if err != nil {
		a.Error = "the end point's URL cannot be used"
		return a, true
	}
	req.Header = http.Header{
		"Content-Type": {"application/json"}, "User-Agent": {s.agent},
		"Webhook-Id": {m.id}, "Webhook-Timestamp": {strconv.FormatInt(m.at.Unix(), 10)}, "Webhook-Signature": {signature},
	}
	// Not through an http.Client: it would follow redirects, and put the URL, which
	// may hold a token, into its errors.
	began := time.Now()
	res, err := s.transport.RoundTrip(req)
	a.Latency = time.Since(began)
	if err != nil {
		if ctx.Err() != nil {
			return a, false
		}
		a.Error = s.describe(err, attempt.Err() != nil)
		return a, true
	}
	a.Status, a.RetryAfter = res.StatusCode, retryAfter(res, time.Now())
	text, _ := io.ReadAll(io.LimitReader(res.Body, maxRead)) // a broken body changes nothing: the status has come
	_ = res.Body.Close()
	a.Answer = readable(text, secrets)
	return a, true
}

// describe says why there was no answer, in words for whoever may read
// deliveries: without addresses of this network.
func (s *sender) describe(err error, timedOut bool) string {
	if text := s.explain(err); text != "" {
		return text
	}
	if _, ok := errors.AsType[*net.DNSError](err); ok {
		return "the host name was not found"
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return "the certificate is not valid for the host, or not of a known authority"
	}
	if n, ok := errors.AsType[net.Error](err); timedOut || ok && n.Timeout() {
		return "no answer in time"
	}
	if o, ok := errors.AsType[*net.OpError](err); ok && o.Op == "dial" {
		return "the connection was refused or failed"
	}
	return "the connection ended before there was an answer"
}

// retryAfter reads how long to wait (RFC 9110 section 10.2.3), of answers that
// say that they are busy.
func retryAfter(res *http.Response, now time.Time) time.Duration {
	if res.StatusCode != http.StatusTooManyRequests && res.StatusCode != http.StatusServiceUnavailable {
		return 0
	}
	text := strings.TrimSpace(res.Header.Get("Retry-After"))
	if n, err := strconv.ParseUint(text, 10, 31); err == nil {
		return time.Duration(n) * time.Second
	}
	if at, err := http.ParseTime(text); err == nil {
		return max(at.Sub(now), 0)
	}
	return 0
}

// readable is the beginning of an answer as text: valid, without control
// characters, and without a signing secret that it may repeat.
func readable(text []byte, secrets []credential.Secret) string {
	s := strings.Map(visible, strings.ToValidUTF8(string(text), "\uFFFD"))
	for _, secret := range secrets {
		plain := secret.Reveal()
		for _, form := range []string{plain, strings.TrimPrefix(plain, secretPrefix)} {
			if form != "" {
				s = strings.ReplaceAll(s, form, credential.Redacted)
			}
		}
	}
	if len(s) > maxAnswer {
		s = strings.ToValidUTF8(s[:maxAnswer], "")
	}
	return s
}

// visible leaves out what a terminal or a page would act on.
func visible(r rune) rune {
	switch {
	case r == '\n', r == '\t', r == '\r':
		return ' '
	case unicode.IsControl(r), unicode.Is(unicode.Cf, r), r == '\u2028', r == '\u2029':
		return -1
	}
	return r
}
