package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/feed"
	"github.com/grantd/grantd/wire"
)

// kind is how one kind of error is answered.
type kind struct {
	code   wire.Code
	status int
	title  string
	// retry is the Retry-After where the error does not bring one; 0: none.
	retry time.Duration
}

// The kinds that no sentinel error stands for. Those of sentinels are in
// [sentinels]; a code is in one of the two places only.
var (
	kindInvalid      = kind{wire.CodeInvalidRequest, http.StatusBadRequest, "Invalid request", 0}
	kindUnauthorized = kind{wire.CodeUnauthorized, http.StatusUnauthorized, "No valid API key", 0}
	kindForbidden    = kind{wire.CodeForbidden, http.StatusForbidden, "Permission missing", 0}
	kindNotFound     = kind{wire.CodeNotFound, http.StatusNotFound, "Not found", 0}
	kindMethod       = kind{wire.CodeMethodNotAllowed, http.StatusMethodNotAllowed, "Method not allowed", 0}
	kindConflict     = kind{wire.CodeConflict, http.StatusConflict, "Changed meanwhile", 0}
	kindInUse        = kind{wire.CodeIntegrationInUse, http.StatusConflict, "Integration in use", 0}
	kindTooLarge     = kind{wire.CodeBodyTooLarge, http.StatusRequestEntityTooLarge, "Body too large", 0}
	kindMediaType    = kind{wire.CodeUnsupportedMediaType, http.StatusUnsupportedMediaType, "Unsupported media type", 0}
	kindInternal     = kind{wire.CodeInternal, http.StatusInternalServerError, "Internal error", 0}
	kindNoQuorum     = kind{wire.CodeNoQuorum, http.StatusServiceUnavailable, "No quorum", time.Second}
	kindTimeout      = kind{wire.CodeTimeout, http.StatusServiceUnavailable, "Timed out", time.Second}
)

// sentinel is a row of the one table from errors to answers.
type sentinel struct {
	err  error
	kind kind
	// detail says what to do. Empty: the error's own text does.
	detail string
}

// detailNotFound is the same for what is absent and for what a key may not
// see, and names nothing, so that nobody can tell the two apart.
const detailNotFound = "There is nothing of this name, or this API key may not see it. Check the name and the key's tenant and integrations."

// sentinels is the table. The first row that errors.Is finds is taken.
var sentinels = []sentinel{
	{credential.ErrNotFound, kindNotFound, detailNotFound},
	{credential.ErrBadName, kindInvalid, ""},
	{credential.ErrInvalid, kindInvalid, ""},
	{credential.ErrNeedsReauth,
		kind{wire.CodeNeedsReauth, http.StatusConflict, "Account needs to be authorised again", 0},
		"The grant is dead; reason says why. Have its owner authorise again, or bring new credentials with POST /v1/accounts."},
	{credential.ErrDisconnected,
		kind{wire.CodeDisconnected, http.StatusConflict, "Account is disconnected", 0},
		"The account was disconnected and its tokens are destroyed. Bring new credentials with POST /v1/accounts to use it again."},
	{ErrLastNode,
		kind{wire.CodeLastNode, http.StatusConflict, "Last node", 0},
		"This is the only node that there is, or the only one that is not leaving: its data has no other place. Add a node first."},
	{credential.ErrExists,
		kind{wire.CodeAccountExists, http.StatusConflict, "Account exists already", 0},
		"An account of this name exists and is in use. Choose another id, or disconnect it first with DELETE."},
	{credential.ErrOtherIdentity,
		kind{wire.CodeOtherIdentity, http.StatusConflict, "Another identity", 0},
		"The provider names another user than the one who connected this account. Nothing was changed. Have the same user authorise, or allow another one in the link."},
	{credential.ErrProviderUnavailable,
		kind{wire.CodeProviderUnavailable, http.StatusServiceUnavailable, "Provider unavailable", 5 * time.Second},
		"The token in hand no longer serves and the provider did not give a new one; reason says why. Try again after Retry-After."},
	{credential.ErrMisconfigured,
		kind{wire.CodeMisconfigured, http.StatusServiceUnavailable, "Integration is misconfigured", 60 * time.Second},
		"The provider refuses the client of this integration; reason says why. An operator must correct it with PUT /v1/integrations/{id}; its accounts then go on."},
	{credential.ErrNoQuorum, kindNoQuorum, "The account's shard cannot commit changes at the moment. Try again after Retry-After."},
	{credential.ErrNotOwner, kindNoQuorum, "The account's shard is changing its owner. Try again after Retry-After."},
	{feed.ErrPosition, kindInvalid,
		"Query parameter after (or the header Last-Event-ID) is not a position of this event stream: it was cut off, or another installation gave it out. Leave it out to begin now, or write after=start to begin with the oldest events that are kept."},
	{feed.ErrTooMany,
		kind{wire.CodeTooManyStreams, http.StatusTooManyRequests, "Too many event streams", 5 * time.Second},
		"This API key has as many event streams open on this node as it may. Close some, or have several consumers share one."},
	{feed.ErrClosed,
		kind{wire.CodeNotReady, http.StatusServiceUnavailable, "The node is stopping", time.Second},
		"This node is stopping. Ask again: another one answers."},
	{credential.ErrOverloaded,
		kind{wire.CodeOverloaded, http.StatusServiceUnavailable, "Overloaded", time.Second},
		"Too many requests wait already. Try again after Retry-After, and slow down."},
	{credential.ErrUnknownOutcome,
		kind{wire.CodeUnknownOutcome, http.StatusServiceUnavailable, "Outcome not known", time.Second},
		"The change may or may not have been made: it was not confirmed in time. Read the resource before you repeat the request."},
	{credential.ErrConflict, kindConflict, "It was changed by somebody else meanwhile. Read it again and decide anew."},
	{credential.ErrSealed,
		kind{wire.CodeUnreadableSecret, http.StatusInternalServerError, "Stored secret does not open", 0},
		"A stored secret does not open with the key of this node. An operator must restore the key that it was sealed with."},
	{context.DeadlineExceeded, kindTimeout, "The request took longer than the server allows. Try again after Retry-After."},
	{context.Canceled, kindTimeout, "The request was given up before it was done. Try again after Retry-After."},
}

// problem is an error that knows its answer.
type problem struct {
	kind
	detail string
	reason string
	allow  string // of a 405
	cause  error  // for the log; never in the answer
}

// Error describes the problem in one line.
func (p *problem) Error() string { return fmt.Sprintf("%s: %s", p.code, p.detail) }

// Unwrap returns what the log should know.
func (p *problem) Unwrap() error { return p.cause }

// invalid is a request that is wrong in itself. The text becomes the answer's
// detail: it says where and what, and never repeats a value that could be secret.
func invalid(format string, args ...any) *problem {
	return &problem{kind: kindInvalid, detail: fmt.Sprintf(format, args...)}
}

func notFound() *problem { return &problem{kind: kindNotFound, detail: detailNotFound} }

func forbidden(permission string) *problem {
	return &problem{kind: kindForbidden, detail: fmt.Sprintf(
		"This API key lacks the permission %s. Use a key that has it, or have an administrator make one with POST /v1/keys.", permission)}
}

const detailInternal = "The server failed. Its log tells more under the id in this answer's X-Request-Id header; give that to its operator."

// problemOf finds the answer to err.
func problemOf(err error) *problem {
	var p *problem
	if errors.As(err, &p) {
		return p
	}
	for i := range sentinels {
		if errors.Is(err, sentinels[i].err) {
			return fromSentinel(&sentinels[i], err)
		}
	}
	return &problem{kind: kindInternal, detail: detailInternal, cause: err}
}

func fromSentinel(row *sentinel, err error) *problem {
	p := &problem{kind: row.kind, detail: row.detail, cause: err}
	var u *credential.Unavailable
	if errors.As(err, &u) {
		p.reason = u.Reason
		if u.RetryAfter > 0 && p.retry > 0 {
			p.retry = u.RetryAfter
		}
	}
	if p.detail == "" {
		p.detail, p.reason = sentence(err.Error()), ""
	}
	return p
}

// sentence puts the lines of joined errors into one.
func sentence(text string) string { return strings.ReplaceAll(text, "\n", "; ") }

// problemBase is where the documentation of the kinds lives; RFC 9457 asks for
// a URI that names the kind.
const problemBase = "https://grantd.dev/problems/"

// body is the problem document.
func (p *problem) body() []byte {
	b, err := json.Marshal(wire.Problem{
		Type: problemBase + string(p.code), Title: p.title, Status: p.status,
		Code: p.code, Detail: p.detail, Reason: p.reason,
	})
	if err != nil { // strings and a number: cannot happen
		return []byte(`{"code":"internal","status":500}`)
	}
	return b
}

// write sends the answer. The header must not have been written yet.
func (p *problem) write(w http.ResponseWriter) {
	body := p.body()
	h := w.Header()
	h.Set("Content-Type", wire.ProblemType)
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	if p.status == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", `Bearer realm="grantd"`)
	}
	if p.retry > 0 {
		h.Set("Retry-After", retrySeconds(p.retry))
	}
	if p.allow != "" {
		h.Set("Allow", p.allow)
	}
	w.WriteHeader(p.status)
	_, _ = w.Write(body) // a client that went away needs no answer
}

// retrySeconds rounds up to whole seconds, at least 1 and at most a day.
func retrySeconds(d time.Duration) string {
	s := int64((d + time.Second - 1) / time.Second)
	return strconv.FormatInt(min(max(s, 1), 24*60*60), 10)
}
