package strict

import (
	"encoding/json"
	"net/http"
	"strconv"
	"time"
)

// answer is what the provider says to a request, before it takes the form of
// an HTTP response.
type answer struct {
	status  int
	header  http.Header
	body    []byte
	endless bool // body is repeated until the client has enough
	drop    bool // no answer: the connection is cut
	refused bool // as if nobody had listened

	// For the record.
	outcome Outcome
	code    string // OAuth error code
}

// jsonAnswer says v, and that nobody may keep it.
func jsonAnswer(status int, outcome Outcome, v any) answer {
	body, err := json.Marshal(v)
	if err != nil { // v is always one of our own types, which can be encoded
		return answer{status: http.StatusInternalServerError, outcome: outcome, header: http.Header{}}
	}
	return answer{
		status:  status,
		outcome: outcome,
		header:  http.Header{"Content-Type": {"application/json; charset=utf-8"}, "Cache-Control": {"no-store"}},
		body:    body,
	}
}

// oauthError is an error of RFC 6749 section 5.2.
type oauthError struct {
	Error       string `json:"error"`
	Description string `json:"error_description,omitempty"`
}

func errorAnswer(status int, outcome Outcome, code, description string) answer {
	a := jsonAnswer(status, outcome, oauthError{code, description})
	a.code = code
	return a
}

// The refusals, in the words of oidc-provider.

func invalidRequest(description string) answer {
	return errorAnswer(http.StatusBadRequest, OutcomeBadRequest, "invalid_request", description)
}

func invalidGrant(why Outcome) answer {
	return errorAnswer(http.StatusBadRequest, why, "invalid_grant", "grant request is invalid")
}

// invalidClient names the scheme of authentication only to a client that used
// it (RFC 6749 section 5.2).
func invalidClient(usedHeader bool) answer {
	a := errorAnswer(http.StatusUnauthorized, OutcomeBadClient, "invalid_client", "client authentication failed")
	if usedHeader {
		a.header.Set("WWW-Authenticate", `Basic realm="strict", error="invalid_client", error_description="client authentication failed"`)
	}
	return a
}

func tooManyRequests(outcome Outcome, after time.Duration) answer {
	a := errorAnswer(http.StatusTooManyRequests, outcome, "rate_limited", "too many requests")
	setRetryAfter(a.header, after)
	return a
}

// setRetryAfter says after how many whole seconds to come again (RFC 9110 section 10.2.3).
func setRetryAfter(h http.Header, after time.Duration) {
	seconds := (after + time.Second - 1) / time.Second
	h.Set("Retry-After", strconv.FormatInt(int64(max(1, seconds)), 10))
}

func dropped(outcome Outcome) answer {
	return answer{drop: true, outcome: outcome, header: http.Header{}}
}

// answer is what a fault says in place of the provider.
func (f *Fault) answer() answer {
	status := func(otherwise int) int {
		if f.Status != 0 {
			return f.Status
		}
		return otherwise
	}
	code := func(otherwise string) string {
		if f.Code != "" {
			return f.Code
		}
		return otherwise
	}
	var a answer
	switch f.Kind {
	case FaultDropRequest:
		return dropped(OutcomeFault)
	case FaultStatus500:
		a = errorAnswer(http.StatusInternalServerError, OutcomeFault, "server_error", "oops! something went wrong")
	case FaultStatus503:
		a = errorAnswer(http.StatusServiceUnavailable, OutcomeFault, "temporarily_unavailable", "come again later")
		if f.RetryAfter > 0 {
			setRetryAfter(a.header, f.RetryAfter)
		}
	case FaultStatus429:
		a = tooManyRequests(OutcomeFault, f.RetryAfter)
	case FaultError200:
		a = errorAnswer(http.StatusOK, OutcomeFault, code("invalid_grant"), "an error that comes with HTTP 200")
	case FaultInvalidClient:
		a = invalidClient(false)
		a.outcome = OutcomeFault
	case FaultUnrecognised:
		a = errorAnswer(status(http.StatusBadRequest), OutcomeFault, code("computer_says_no"), "")
	case FaultErrorCode:
		a = errorAnswer(status(http.StatusBadRequest), OutcomeFault, f.Code, "by order of a fault")
	default:
		a = f.otherAnswer(status)
	}
	if f.Body != "" {
		a.body = []byte(f.Body)
	}
	return a
}

// otherAnswer is an answer that is not an OAuth error.
func (f *Fault) otherAnswer(status func(int) int) answer {
	a := answer{outcome: OutcomeFault, header: http.Header{"Content-Type": {"text/html; charset=utf-8"}}}
	switch f.Kind {
	case FaultHTML:
		a.status = status(http.StatusOK)
		a.body = []byte("<!doctype html><title>Maintenance</title><h1>We will be back soon</h1><p>error: invalid_grant</p>\n")
	case FaultEndless:
		a.status, a.endless = status(http.StatusOK), true
		a.header.Set("Content-Type", "application/json")
		a.body = []byte(`{"access_token":"endless","padding":"`)
	case FaultRedirect:
		a.status = status(http.StatusTemporaryRedirect)
		location := f.Location
		if location == "" {
			location = "http://elsewhere.invalid/token"
		}
		a.header.Set("Location", location)
	default: // FaultEmpty
		a.status = status(http.StatusOK)
	}
	return a
}
