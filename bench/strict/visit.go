package strict

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"time"
)

// Endpoint names what a request asks for.
type Endpoint string

// The end points that are recorded and that faults can strike.
const (
	EndpointAuth       Endpoint = "auth"
	EndpointToken      Endpoint = "token"
	EndpointRevoke     Endpoint = "revoke"
	EndpointIntrospect Endpoint = "introspect"
	EndpointAPI        Endpoint = "api"
	EndpointDiscovery  Endpoint = "discovery"
)

var allEndpoints = []Endpoint{EndpointAuth, EndpointToken, EndpointRevoke, EndpointIntrospect, EndpointAPI, EndpointDiscovery}

// route returns the end point of a path.
func route(path string) (Endpoint, bool) {
	switch path {
	case "/auth":
		return EndpointAuth, true
	case "/token":
		return EndpointToken, true
	case "/revoke":
		return EndpointRevoke, true
	case "/introspect":
		return EndpointIntrospect, true
	case "/api/me":
		return EndpointAPI, true
	case "/.well-known/openid-configuration", "/.well-known/oauth-authorization-server":
		return EndpointDiscovery, true
	}
	return "", false
}

// visit is one request on its way through the provider. It belongs to one goroutine.
type visit struct {
	p      *Provider
	gone   <-chan struct{} // closed when the client is no longer there
	stop   <-chan struct{} // closed when the server stops
	method string
	issuer string
	header http.Header
	form   url.Values
	bad    *answer // what is wrong with the form of the request

	creds     credentials
	presented token // the refresh token, code or token in question
	genuine   bool  // it is one of ours
	plan      plan
	r         Request

	flying bool      // counted in its grant's inFlight
	hand   *handover // in process only: tells who came first, answer or client's leaving
}

// admit reads a request, names its end point's grant and draws its faults.
// Nothing is recorded yet. ctx ends when the client has gone.
func (p *Provider) admit(ctx context.Context, stop <-chan struct{}, ep Endpoint, r *http.Request, body []byte) *visit {
	v := &visit{p: p, gone: ctx.Done(), stop: stop, method: r.Method, header: r.Header, issuer: p.issuer(r)}
	v.r = Request{Received: time.Now(), Endpoint: ep, Outcome: OutcomePending}
	v.form, v.bad = readForm(ep, r, body)
	if v.bad == nil {
		v.creds, v.bad = readCredentials(ep, r.Header, v.form)
	}
	v.r.Client, v.r.Auth, v.r.GrantType = v.creds.id, v.creds.method, v.form.Get("grant_type")
	text := v.form.Get("token")
	switch {
	case ep == EndpointAPI:
		text = v.creds.bearer
	case ep == EndpointToken && v.r.GrantType == "refresh_token":
		text = v.form.Get("refresh_token")
	case ep == EndpointToken && v.r.GrantType == "authorization_code":
		text = v.form.Get("code")
	}
	v.presented, v.genuine = p.mint.read(text)
	v.r.TokenHash = TokenHash(text)
	if v.genuine && v.presented.kind != kindMachine {
		v.r.Grant, v.r.Sequence = grantName(v.presented.owner), v.presented.seq
	}
	v.plan = p.faults.draw(&v.r)
	v.r.Faults = v.plan.kinds
	return v
}

// refreshing reports whether the visit presents a refresh token of ours to the
// token end point: those are the requests that the judge looks at.
func (v *visit) refreshing() bool {
	return v.r.Endpoint == EndpointToken && v.r.GrantType == "refresh_token" && v.genuine && v.presented.kind == kindRefresh
}

// waits reports whether the visit may take time.
func (v *visit) waits() bool {
	return v.plan.before > 0 || v.plan.after > 0 || v.p.o.Received != nil || v.p.o.Processed != nil
}

// refused reports whether a fault wants the request not to have arrived at all.
func (v *visit) refused() bool { return v.plan.refuse != nil && v.plan.refuse.Kind == FaultRefused }

// run works the request off: enters it into the record, does what the faults
// want, decides, and writes down what came of it.
func (v *visit) run() answer {
	if v.refused() {
		return answer{drop: true, refused: true}
	}
	v.arrive()
	a := v.decide()
	v.settle(&a)
	return a
}

// arrive enters the request into the record and into its grant's counts.
func (v *visit) arrive() {
	if v.refreshing() {
		v.p.grants.with(v.presented.owner, func(g *grant) {
			seen := g.arrive()
			v.r.InFlight, v.r.AfterTerminal, v.flying = seen.inFlight, seen.afterTerminal, true
		})
	}
	v.p.record.begin(&v.r)
	v.p.counters.arrived(&v.r)
	if v.p.o.Received != nil {
		v.p.o.Received(v.r)
	}
}

func (v *visit) decide() answer {
	if !v.pause(v.plan.before) {
		return dropped(OutcomeStopped)
	}
	a, over := v.overLimit()
	switch {
	case over:
	case v.plan.refuse != nil:
		a = v.plan.refuse.answer()
	case v.bad != nil:
		a = *v.bad
	default:
		a = v.answer()
	}
	if v.plan.truncate && a.outcome == OutcomeGranted {
		a.body = a.body[:len(a.body)/2]
	}
	if v.p.o.Processed != nil {
		v.r.Outcome, v.r.Status, v.r.Code = a.outcome, a.status, a.code
		v.p.o.Processed(v.r)
	}
	if !v.pause(v.plan.after) || v.plan.dropAnswer {
		a.drop = true
	}
	return a
}

func (v *visit) answer() answer {
	switch v.r.Endpoint {
	case EndpointAuth:
		return v.authorize()
	case EndpointToken:
		return v.token()
	case EndpointRevoke:
		return v.revoke()
	case EndpointIntrospect:
		return v.introspect()
	case EndpointAPI:
		return v.api()
	default:
		return v.discovery()
	}
}

// overLimit refuses a request to the token end point that is over its client's limit.
func (v *visit) overLimit() (answer, bool) {
	client := v.p.clients.get(v.r.Client)
	if v.r.Endpoint != EndpointToken || client == nil || client.limiter == nil {
		return answer{}, false
	}
	now := time.Now()
	res := client.limiter.ReserveN(now, 1)
	if wait := res.DelayFrom(now); wait > 0 {
		res.CancelAt(now)
		return tooManyRequests(OutcomeRateLimited, wait), true
	}
	return answer{}, false
}

// pause waits as a fault wants. A client that leaves meanwhile changes nothing
// about what a server does that has its request already; but the request is no
// longer in flight, and its answer will be lost. It returns false when the
// server stops.
func (v *visit) pause(d time.Duration) bool {
	if d <= 0 {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	gone := v.gone
	for {
		select {
		case <-timer.C:
			return true
		case <-v.stop:
			return false
		case <-gone:
			gone = nil
			v.r.Lost = true
			v.land()
		}
	}
}

// land takes the request out of its grant's count of those in flight.
func (v *visit) land() {
	if v.flying {
		v.flying = false
		v.p.grants.with(v.presented.owner, func(g *grant) { g.inFlight-- })
	}
}

// settle writes down what became of the request. From here on it is no longer
// in flight: a client that reads the answer may send the next one before this
// goroutine runs again.
func (v *visit) settle(a *answer) {
	v.r.Lost = v.clientLeft() || a.drop
	v.r.Answered, v.r.Outcome, v.r.Code = time.Now(), a.outcome, a.code
	if !a.drop {
		v.r.Status = a.status
	}
	if v.refreshing() {
		v.p.grants.with(v.presented.owner, func(g *grant) {
			if v.r.Rotated && v.presented.seq == g.refreshSeq-1 {
				g.lastAnswer = answerDelivered
				if v.r.Lost || v.plan.truncate {
					g.lastAnswer = answerLost
				}
			}
			if !v.r.Lost && a.code == "invalid_grant" && a.outcome != OutcomeWrongClient {
				g.toldDead = true
			}
			if v.flying {
				v.flying = false
				g.inFlight--
			}
		})
	}
	v.p.record.update(v.r)
	v.p.counters.settled(&v.r)
}

// clientLeft reports whether the client went before its answer was ready.
func (v *visit) clientLeft() bool {
	if v.hand != nil {
		return !v.hand.first()
	}
	select {
	case <-v.gone:
		return true
	default:
		return v.r.Lost
	}
}

// lost notes that the answer could not be written after all.
func (v *visit) lost() {
	if v.r.Lost {
		return
	}
	v.r.Lost = true
	v.p.record.update(v.r)
	v.p.counters.lost.Add(1)
	if v.r.Rotated {
		v.p.grants.with(v.presented.owner, func(g *grant) {
			if v.presented.seq == g.refreshSeq-1 {
				g.lastAnswer = answerLost
			}
		})
	}
}

// one returns the only value of a parameter; ok is false when it is given twice.
func one(form url.Values, name string) (value string, ok bool) {
	values := form[name]
	return form.Get(name), len(values) <= 1
}

// firstTwice returns the name of a parameter that is given more than once, the
// alphabetically first one.
func firstTwice(form url.Values) string {
	var names []string
	for name := range form {
		if _, ok := one(form, name); !ok {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return ""
	}
	return slices.Min(names)
}
