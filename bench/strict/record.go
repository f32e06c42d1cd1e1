package strict

import (
	"sync"
	"time"
)

// Outcome is what became of a request.
type Outcome string

// The outcomes.
const (
	OutcomePending     Outcome = "pending" // not answered yet
	OutcomeGranted     Outcome = "granted"
	OutcomeGrace       Outcome = "grace"        // granted for a used refresh token, within the grace
	OutcomeReplay      Outcome = "replay"       // a used refresh token or code: the grant was revoked
	OutcomeDead        Outcome = "grant_dead"   // the grant was revoked before
	OutcomeExpired     Outcome = "expired"      // the refresh token or code is too old
	OutcomeWrongClient Outcome = "wrong_client" // the token belongs to another client
	OutcomeUnknown     Outcome = "unknown_token"
	OutcomeBadVerifier Outcome = "bad_verifier" // PKCE or redirect_uri does not fit the code
	OutcomeBadClient   Outcome = "invalid_client"
	OutcomeBadRequest  Outcome = "invalid_request"
	OutcomeBadScope    Outcome = "invalid_scope"
	OutcomeBadGrant    Outcome = "unsupported_grant_type"
	OutcomeRateLimited Outcome = "rate_limited"
	OutcomeFault       Outcome = "fault"   // a fault answered, the request was not looked at
	OutcomeStopped     Outcome = "stopped" // the server stopped while a fault delayed the request
	OutcomeDone        Outcome = "done"    // end points other than the token end point
	OutcomeDenied      Outcome = "denied"
	OutcomeFull        Outcome = "full"
)

// Request is one request as the provider saw it. It holds no token and no secret.
type Request struct {
	Number   uint64    `json:"number"` // in order of arrival, from 1
	Received time.Time `json:"received"`
	// Answered is when the answer was ready to be sent; zero while the request
	// is in flight.
	Answered time.Time `json:"answered,omitzero"`
	Endpoint Endpoint  `json:"endpoint"`
	Client   string    `json:"client,omitempty"` // as the request claims
	// Auth is how the client proved itself: the method that it used, which may
	// be another than the registered one.
	Auth      AuthMethod `json:"auth,omitempty"`
	GrantType string     `json:"grant_type,omitempty"`
	Grant     string     `json:"grant,omitempty"` // whose token was presented, or made
	// Sequence is the place of the presented token in its grant's line.
	Sequence  uint64 `json:"sequence,omitempty"`
	TokenHash string `json:"token_hash,omitempty"` // of the presented token, see [TokenHash]
	// InFlight counts the refresh requests for the same grant that were in
	// flight when this one came, itself included; 0 for other requests. A
	// request is in flight until its answer is ready or its client has gone.
	InFlight int     `json:"in_flight,omitempty"`
	Outcome  Outcome `json:"outcome"`
	Status   int     `json:"status,omitempty"` // HTTP; 0: the connection was dropped
	// Code is the OAuth error code of the answer.
	Code   string      `json:"code,omitempty"`
	Faults []FaultKind `json:"faults,omitempty"`
	// Replay: the refresh token had been used up before. AfterLoss: the answer
	// to that use never reached the client, so it could not know better.
	Replay    bool `json:"replay,omitempty"`
	AfterLoss bool `json:"after_loss,omitempty"`
	// AfterTerminal: the client had been told before that the grant is dead.
	AfterTerminal bool `json:"after_terminal,omitempty"`
	// Rotated: a new refresh token was made.
	Rotated bool `json:"rotated,omitempty"`
	// Lost: the answer did not reach the client, by a fault or because the
	// client had gone.
	Lost bool `json:"lost,omitempty"`
}

// record is a ring of the newest requests. A request is entered when it comes
// in and written over when it is answered. Safe for concurrent use.
type record struct {
	mu    sync.Mutex
	ring  []Request // grows up to limit, then wraps around
	limit uint64
	first uint64 // number of the first request since the last reset
	next  uint64 // number of the next request
}

func newRecord(limit int) *record {
	return &record{limit: uint64(limit), first: 1, next: 1}
}

// begin enters r and gives it its number.
func (rec *record) begin(r *Request) {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	r.Number = rec.next
	rec.next++
	switch {
	case rec.limit == 0:
	case uint64(len(rec.ring)) < rec.limit:
		rec.ring = append(rec.ring, *r)
	default:
		rec.ring[rec.slot(r.Number)] = *r
	}
}

func (rec *record) slot(number uint64) uint64 { return (number - rec.first) % rec.limit }

// update writes r over its entry, unless that was forgotten.
func (rec *record) update(r Request) {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	if r.Number < rec.first || rec.next-r.Number > uint64(len(rec.ring)) {
		return
	}
	rec.ring[rec.slot(r.Number)] = r
}

// list returns what is kept of the requests numbered above after, oldest
// first, at most limit of them (0: all).
func (rec *record) list(after uint64, limit int) []Request {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	oldest := max(rec.next-uint64(len(rec.ring)), after+1)
	var out []Request
	for n := oldest; n < rec.next && (limit == 0 || len(out) < limit); n++ {
		out = append(out, rec.ring[rec.slot(n)])
	}
	return out
}

// sizes returns how many requests are kept and how many were forgotten.
func (rec *record) sizes() (kept, forgotten uint64) {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	kept = uint64(len(rec.ring))
	return kept, rec.next - rec.first - kept
}

// clear forgets all requests. Numbers go on.
func (rec *record) clear() {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	rec.ring, rec.first = nil, rec.next
}
