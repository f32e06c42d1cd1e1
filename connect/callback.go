package connect

import (
	"cmp"
	"context"
	"errors"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/grantd/grantd/credential"
)

// Outcome is what became of a callback.
type Outcome string

// The outcomes. Those up to OutcomeInterrupted end the flow.
const (
	OutcomeDone          Outcome = "success"
	OutcomeDenied        Outcome = "denied"         // the person said no
	OutcomeRefused       Outcome = "refused"        // the provider told an error
	OutcomeOtherIdentity Outcome = "other_identity" // another user than the account's
	OutcomeIssuer        Outcome = "issuer_mismatch"
	OutcomeNoCode        Outcome = "no_code"
	OutcomeExchange      Outcome = "exchange_failed" // the provider did not give a token for the code
	OutcomeVariables     Outcome = "bad_variables"   // the callback names a data centre that cannot be
	OutcomeNotStored     Outcome = "not_stored"      // the grant could not be stored
	OutcomeLate          Outcome = "flow_expired"    // the person was away for too long
	OutcomeInterrupted   Outcome = "interrupted"     // the node that had the answer is gone

	OutcomeRepeated Outcome = "repeated"      // the flow is over already, without an account
	OutcomeUsed     Outcome = "link_used"     // another flow of the link was finished
	OutcomePending  Outcome = "pending"       // an answer is being worked on
	OutcomeBrowser  Outcome = "wrong_browser" // the state is of another browser
	OutcomeUnknown  Outcome = "unknown"       // nobody knows the state
	OutcomeTwice    Outcome = "twice"         // a parameter is given more than once
	OutcomeTryAgain Outcome = "unavailable"   // the store did not answer
)

// Result is what a person is told after a callback.
type Result struct {
	Outcome Outcome
	// Reason is the provider's own word, or ours; letters, digits and . _ - only.
	Reason string
	// ReturnURL is where to send the person, with what became of the flow in it;
	// empty: they are shown a page.
	ReturnURL         string
	Product, Provider string
	Missing           []string // scopes that were asked for and not granted
}

// states are what a return URL is told of an outcome.
func (o Outcome) status() string {
	switch o {
	case OutcomeDone:
		return "success"
	case OutcomeDenied:
		return "denied"
	default:
		return "error"
	}
}

// finishTime bounds the work on an answer whose code is being exchanged: it goes
// on when the browser has gone. It is well within the lease.
const finishTime = 50 * time.Second

// Finish takes a provider's answer: the parameters of the callback, and the mark
// from the browser's cookie. The state is used up before the code is presented;
// a callback that comes again gets the same answer, and no second exchange.
func (c *Connect) Finish(ctx context.Context, params url.Values, browser string) Result {
	for _, values := range params {
		if len(values) > 1 {
			return Result{Outcome: OutcomeTwice} // RFC 6749 section 3.1
		}
	}
	secret, name, ok := splitState(params.Get("state"))
	if !ok {
		return Result{Outcome: OutcomeUnknown}
	}
	v := verdict{params: params, secret: secret, browser: browser, now: time.Now().UTC(), id: newSecret()}
	r, err := c.change(ctx, name, func(r *record) (bool, []credential.Event, error) {
		v.integration, _ = c.integrations.ConnectIntegration(r.Integration)
		return v.judge(r)
	})
	if errors.Is(err, ErrNoLink) {
		return Result{Outcome: OutcomeUnknown}
	}
	if err != nil {
		c.log.Error("callback could not be judged", "err", err)
		return Result{Outcome: OutcomeTryAgain}
	}
	if v.outcome != outcomeTake {
		return v.result(r)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), finishTime)
	defer cancel()
	v.outcome, v.reason = c.complete(ctx, name, r, &v)
	return v.result(r)
}

// outcomeTake: the answer is good so far, and its state is used up.
const outcomeTake Outcome = "take"

// verdict judges an answer. It is computed anew where the record changed
// meanwhile.
type verdict struct {
	params          url.Values
	secret, browser string
	now             time.Time
	id              string // names this verdict in the flow that it ends
	integration     Integration

	outcome Outcome
	reason  string
	missing []string
	trusted bool // it is the flow's own browser
	flow    flow
}

// judge decides what an answer is, and marks its flow in the record.
func (v *verdict) judge(r *record) (write bool, events []credential.Event, err error) {
	f := r.find(v.secret)
	if f != nil && f.Judge == v.id {
		return false, nil, nil // it was written after all
	}
	v.outcome, v.reason, v.trusted, v.missing = OutcomeUnknown, "", false, nil
	if f == nil {
		return false, nil, nil
	}
	if !isSecret(v.browser) || !matches(f.Browser, "browser", v.browser) {
		v.outcome = OutcomeBrowser
		if f.ToldBrowser {
			return false, nil, nil
		}
		f.ToldBrowser = true
		return true, []credential.Event{r.event(credential.EventLinkFailed, string(OutcomeBrowser))}, nil
	}
	v.trusted = true
	defer func() { v.flow = *f }()
	if over := v.over(r, f); over {
		return false, nil, nil
	}
	v.outcome, v.reason = v.read(f)
	f.Judge = v.id
	switch v.outcome {
	case outcomeTake:
		f.Step, f.TakenAt = stepTaken, v.now
		return true, nil, nil
	case OutcomeDenied:
		f.Step = stepDenied
		return true, []credential.Event{r.event(credential.EventLinkDenied, v.reason)}, nil
	}
	f.Step = stepFailed
	return true, []credential.Event{r.event(credential.EventLinkFailed, v.word())}, nil
}

// word is the reason of the event of a flow that failed.
func (v *verdict) word() string {
	if v.reason != "" {
		return v.reason
	}
	return string(v.outcome)
}

// over reports whether nothing can come of the flow any more, or not now.
func (v *verdict) over(r *record, f *flow) bool {
	switch f.Step {
	case stepDone:
		v.outcome, v.missing = OutcomeDone, f.Missing
		return true
	case stepDenied, stepFailed:
		v.outcome = OutcomeRepeated
		return true
	case stepTaken:
		if v.now.Sub(f.TakenAt) < lease {
			v.outcome = OutcomePending
			return true
		}
	}
	if !r.UsedAt.IsZero() {
		v.outcome = OutcomeUsed
		return true
	}
	for i := range r.Flows {
		if other := &r.Flows[i]; other != f && other.Step == stepTaken && v.now.Sub(other.TakenAt) < lease {
			v.outcome = OutcomePending
			return true
		}
	}
	return false
}

// read says what the provider's answer is.
func (v *verdict) read(f *flow) (Outcome, string) {
	p := v.params
	switch {
	case f.Step == stepTaken:
		return OutcomeInterrupted, "" // the code may be spent
	case !v.now.Before(f.ExpiresAt):
		return OutcomeLate, ""
	case !v.issuerMatches(f):
		return OutcomeIssuer, ""
	case p.Get("error") == "access_denied":
		return OutcomeDenied, "access_denied"
	case p.Has("error"):
		return OutcomeRefused, clean(p.Get("error"))
	}
	if code := v.code(); code == "" || len(code) > maxCode {
		return OutcomeNoCode, ""
	}
	return outcomeTake, ""
}

// code is under the provider's own name for it, or that of RFC 6749 section 4.1.2.
func (v *verdict) code() string {
	return v.params.Get(cmp.Or(v.integration.Facts.CallbackCodeParameter, "code"))
}

// maxCode is the longest code that is presented, in bytes.
const maxCode = 8 << 10

// issuerMatches compares the issuer that the answer names with the one that was
// asked (RFC 9207 section 2.4), so that one server's answer is not taken for
// another's. Where it is not known who should answer, it must at least be of the
// host that the person was sent to.
func (v *verdict) issuerMatches(f *flow) bool {
	iss, sent := v.params.Get("iss"), v.params.Has("iss")
	switch {
	case !sent:
		return !v.integration.IssuerSent
	case f.Issuer != "":
		return iss == f.Issuer
	}
	with, err := v.integration.Facts.WithVariables(f.Variables)
	if err != nil {
		return false
	}
	address, err := with.Fill(with.AuthorizationURL)
	if err != nil {
		return false
	}
	asked, err := url.Parse(address)
	if err != nil {
		return false
	}
	named, err := url.Parse(iss)
	return err == nil && originOf(named) == originOf(asked)
}

// clean makes an error code fit for a log and a page: letters, digits and . _ -.
func clean(code string) string {
	if len(code) > 64 {
		code = code[:64]
	}
	code = strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' || r == '_' || r == '-' {
			return r
		}
		return '_'
	}, code)
	if code == "" {
		return "unknown_error"
	}
	return code
}

// result is what the person is told. Only the flow's own browser is sent on.
func (v *verdict) result(r *record) Result {
	out := Result{Outcome: v.outcome, Reason: v.reason}
	if !v.trusted {
		return out
	}
	out.Product, out.Provider, out.Missing = v.integration.Product, providerName(v.integration), slices.Clone(v.missing)
	if v.outcome == OutcomePending || v.outcome == OutcomeTryAgain {
		return out // it can still become something
	}
	status := v.outcome.status()
	reason := v.word()
	if v.outcome == OutcomeDone {
		reason = ""
	}
	out.ReturnURL = back(r.ReturnURL, r.ref(), status, reason)
	return out
}
