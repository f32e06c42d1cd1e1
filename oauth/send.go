package oauth

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"

	"github.com/grantd/grantd/credential"
)

// maxBody is the longest answer that is read, in bytes.
const maxBody = 1 << 20

// answer is what a server said, read to its end or to where it stopped.
type answer struct {
	host   string
	status int
	header http.Header
	body   []byte // nil where cut is set
	cut    string // why the body could not be read: a code; empty: it was
}

func (a answer) ok() bool { return a.status >= 200 && a.status <= 299 }

// errNoAnswer is a round tripper that returned neither an answer nor an error.
var errNoAnswer = errors.New("oauth: no answer")

// send makes the call once. It goes to the round tripper itself and not through
// an http.Client, which looks into redirects: one would carry the tokens to a
// host that nobody configured, and one that leads nowhere would be an error in
// place of an answer.
func (c *Client) send(ctx context.Context, call call) (answer, *credential.Failure) {
	u, failure := call.target()
	if failure != nil {
		return answer{}, failure
	}
	rt, failure := c.transport(call.reg)
	if failure != nil {
		return answer{}, failure
	}
	f := newFlight(ctx)
	defer f.end()
	req, failure := call.request(f, u, c.userAgent)
	if failure != nil {
		return answer{}, failure
	}
	res, err := rt.RoundTrip(req)
	if err == nil && (res == nil || res.Body == nil) {
		err = errNoAnswer
	}
	if err != nil {
		return answer{}, lost(f, u, err)
	}
	defer func() { _ = res.Body.Close() }()
	return readAnswer(f, u, res), nil
}

// readAnswer reads the body within bounds. A body that cannot be read leaves
// the status to judge by.
func readAnswer(f *flight, u *url.URL, res *http.Response) answer {
	a := answer{host: u.Host, status: res.StatusCode, header: res.Header}
	var b bytes.Buffer
	if n := res.ContentLength; n > 0 && n <= maxBody {
		b.Grow(int(n) + bytes.MinRead)
	}
	_, err := b.ReadFrom(io.LimitReader(res.Body, maxBody+1))
	body := b.Bytes()
	switch {
	case err != nil:
		a.cut = lostCode(f, err)
	case len(body) > maxBody:
		a.cut = "answer_too_long"
	default:
		a.body = body
	}
	return a
}

// lost is the failure of a request that got no answer. Text of the error is
// not repeated: net/http quotes what a server sent.
func lost(f *flight, u *url.URL, err error) *credential.Failure {
	if errors.Is(err, ErrAddressRefused) {
		return &credential.Failure{
			Class: credential.Misconfigured, Code: "address_refused",
			Detail: u.Host + " is not a public address; if it is meant, allow it in outgoing.allow",
		}
	}
	code := lostCode(f, err)
	if f.sent() {
		return &credential.Failure{Class: credential.Ambiguous, Code: code, Detail: "the request to " + u.Host + " was sent and not answered: " + lostText(code), Sent: true}
	}
	return &credential.Failure{Class: credential.Transient, Code: code, Detail: "the request to " + u.Host + " was not sent: " + lostText(code)}
}
