package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/grantd/grantd/wire"
)

// Error is an answer of grantd that is an error. Tell kinds apart by Code.
type Error struct {
	wire.Problem
	// RetryAfter is for how long it is not worth asking again; 0: not told.
	RetryAfter time.Duration
	// RequestID finds the request in the server's log.
	RequestID string
}

// Error describes it in one line.
func (e *Error) Error() string {
	s := fmt.Sprintf("grantd: %s (HTTP %d): %s", e.Code, e.Status, e.Detail)
	if e.Reason != "" {
		s += " (reason: " + e.Reason + ")"
	}
	return s
}

// Temporary reports whether the same request may succeed later.
func (e *Error) Temporary() bool {
	return e.Status >= 500 || e.Status == http.StatusTooManyRequests
}

// CodeOf returns the code of an error of this package; empty: err is no answer
// of grantd (the network, a context).
func CodeOf(err error) wire.Code {
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

// final reports whether err settles that there is no token: asking again
// changes nothing until somebody acts.
func final(err error) bool {
	var e *Error
	return errors.As(err, &e) && !e.Temporary()
}

// CodeUnexpected is the code of an answer that is no problem document: of a
// proxy in between, or of something that is not grantd.
const CodeUnexpected wire.Code = "unexpected_answer"

func errorOf(res *http.Response, answer []byte) error {
	e := &Error{RequestID: res.Header.Get("X-Request-Id")}
	if s, err := strconv.Atoi(res.Header.Get("Retry-After")); err == nil && s > 0 {
		e.RetryAfter = time.Duration(min(s, 24*60*60)) * time.Second
	}
	if err := json.Unmarshal(answer, &e.Problem); err != nil || e.Code == "" {
		e.Problem = wire.Problem{
			Title: "Unexpected answer", Status: res.StatusCode, Code: CodeUnexpected,
			Detail: fmt.Sprintf("the answer of %d bytes is not from grantd; check the address and what is in between", len(answer)),
		}
	}
	e.Status = res.StatusCode
	return e
}
