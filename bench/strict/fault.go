package strict

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"
)

// FaultKind is a way to misbehave.
type FaultKind string

// The faults. Those that answer in place of the provider do so before the
// request is looked at: no token is used up. Those that change an answer act
// on tokens being granted.
const (
	// Delays; they add up.
	FaultLatency    FaultKind = "latency"     // Delay and up to Jitter before the request is looked at
	FaultSlowAnswer FaultKind = "slow_answer" // the same, after it was worked off
	// Lost connections.
	FaultRefused     FaultKind = "connection_refused" // nothing was received (over a socket: hung up on, unrecorded)
	FaultDropRequest FaultKind = "drop_request"       // hung up on before it is looked at
	FaultDropAnswer  FaultKind = "drop_answer"        // worked off, the token rotated; then hung up on
	// Answers in place of the provider's.
	FaultStatus500     FaultKind = "status_500"
	FaultStatus503     FaultKind = "status_503"      // with Retry-After if RetryAfter is set
	FaultStatus429     FaultKind = "status_429"      // with Retry-After: RetryAfter, else 1s
	FaultHTML          FaultKind = "html"            // a web page, with HTTP 200 unless Status is set
	FaultEndless       FaultKind = "endless_body"    // HTTP 200 and JSON that never ends (1 GiB at most)
	FaultError200      FaultKind = "error_200"       // the OAuth error Code (invalid_grant) with HTTP 200
	FaultRedirect      FaultKind = "redirect"        // 307, or Status, to Location
	FaultInvalidClient FaultKind = "invalid_client"  // 401 invalid_client
	FaultUnrecognised  FaultKind = "unrecognised"    // 400, or Status, with Code or Body that no standard knows
	FaultErrorCode     FaultKind = "oauth_error"     // 400, or Status, with the OAuth error Code
	FaultEmpty         FaultKind = "empty_body"      // HTTP 200, or Status, and nothing
	FaultTruncated     FaultKind = "truncated_token" // tokens granted (and rotated), the JSON cut in half
	// Changes of an answer that grants tokens.
	FaultNoExpiresIn     FaultKind = "no_expires_in"
	FaultStringExpiresIn FaultKind = "string_expires_in" // "60" in place of 60
	FaultHugeToken       FaultKind = "huge_token"        // tokens of Size bytes, 64 KB unless set; they work
	FaultNoRefreshToken  FaultKind = "no_refresh_token"  // the old one is kept, and not repeated
)

// Fault is one rule of misbehaviour. It strikes requests that fit all of its
// filters, from the moment it is added until it is removed or used up.
type Fault struct {
	Kind FaultKind

	// Filters; empty fits all, except that an empty Endpoint is the token end point.
	Endpoint  Endpoint
	Client    string
	GrantType string
	Grant     string // by name: of whose token is presented

	// Of the requests that fit, the first Skip pass unharmed, the next Count
	// are struck (0: all), each with Probability (0: always). Chance is a
	// function of Seed and how many requests fitted before, so that the same
	// sequence of requests meets the same faults.
	Skip        int
	Count       int
	Probability float64
	Seed        uint64

	// What the kinds need; see there.
	Delay, Jitter time.Duration
	RetryAfter    time.Duration // rounded up to whole seconds
	Status        int
	Code          string
	Body          string
	Location      string
	Size          int
}

// ErrFault is wrapped by errors about faults that cannot be added.
var ErrFault = errors.New("strict: bad fault")

// maxDelay bounds Delay and Jitter.
const maxDelay = time.Hour

var allFaults = []FaultKind{
	FaultLatency, FaultSlowAnswer, FaultRefused, FaultDropRequest, FaultDropAnswer, FaultStatus500, FaultStatus503, FaultStatus429,
	FaultHTML, FaultEndless, FaultError200, FaultRedirect, FaultInvalidClient, FaultUnrecognised, FaultErrorCode, FaultEmpty,
	FaultTruncated, FaultNoExpiresIn, FaultStringExpiresIn, FaultHugeToken, FaultNoRefreshToken,
}

// Validate says what is wrong with the fault.
func (f Fault) Validate() error {
	if !slices.Contains(allFaults, f.Kind) {
		return fmt.Errorf("%w: unknown kind %q; the kinds are %v", ErrFault, f.Kind, allFaults)
	}
	if f.Endpoint != "" && !slices.Contains(allEndpoints, f.Endpoint) {
		return fmt.Errorf("%w: unknown end point %q; they are %v", ErrFault, f.Endpoint, allEndpoints)
	}
	if f.Skip < 0 || f.Count < 0 || f.Size < 0 || f.RetryAfter < 0 {
		return fmt.Errorf("%w: negative skip %d, count %d, size %d or retry-after %v", ErrFault, f.Skip, f.Count, f.Size, f.RetryAfter)
	}
	if !(f.Probability >= 0 && f.Probability <= 1) { // NaN too
		return fmt.Errorf("%w: probability %v is not between 0 and 1", ErrFault, f.Probability)
	}
	if f.Delay < 0 || f.Jitter < 0 || f.Delay > maxDelay || f.Jitter > maxDelay {
		return fmt.Errorf("%w: delay %v and jitter %v must be between 0 and %v", ErrFault, f.Delay, f.Jitter, maxDelay)
	}
	if f.Status != 0 && http.StatusText(f.Status) == "" || f.Status != 0 && f.Status < 200 {
		return fmt.Errorf("%w: %d is not an HTTP status that can be answered", ErrFault, f.Status)
	}
	if f.Size > maxPad {
		return fmt.Errorf("%w: tokens of %d bytes; at most %d", ErrFault, f.Size, maxPad)
	}
	switch f.Kind {
	case FaultLatency, FaultSlowAnswer:
		if f.Delay+f.Jitter == 0 {
			return fmt.Errorf("%w: %s needs a delay or a jitter", ErrFault, f.Kind)
		}
	case FaultErrorCode:
		if f.Code == "" {
			return fmt.Errorf("%w: %s needs a code", ErrFault, f.Kind)
		}
	}
	return nil
}
