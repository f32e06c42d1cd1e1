package sim

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/grantd/grantd/bench/strict"
	"github.com/grantd/grantd/credential"
)

// Evidence is what happened in a run: as the provider and the wire saw it, as
// the callers were told it, and as it lies on the disk in the end.
type Evidence struct {
	Exchanges  []Exchange
	Requests   []strict.Request
	Violations []strict.Violation
	Processes  []ProcessEnd
	Cases      []Case
	// Quiet is since when nothing went wrong; zero: there was no such time.
	Quiet time.Time
	// Lag is by how much an unmarked answer may be behind the newest generation;
	// 0: not at all, as where there is one node.
	Lag time.Duration
	// Gone are the machines that do not come back, and when their last process
	// ended: what its journal held nobody hears of any more.
	Gone map[int]time.Time
	// Troubles are when a cluster was not whole, in any order.
	Troubles []Span
	// Seen are problems that were noticed on the way.
	Seen []string
}

// Case is the evidence about one account.
type Case struct {
	Ref    credential.Ref
	Kind   credential.Kind
	Book   Book
	Record *credential.Account       // nil: there is none
	Lines  []credential.NumberedLine // oldest first
	Events []credential.StoredEvent  // oldest first
	Final  Final
}

// Book is what was asked for and told about an account. Began and Ended are
// readings of one logical clock: what ended before something else began came
// first, in every observer's eyes.
type Book struct {
	Ops  []Op // one after the other
	Told []Told
}

// Op is an import or a disconnection.
type Op struct {
	Kind         OpKind
	Began, Ended int64
	From, At     time.Time // of the beginning and the end
	// Void: the caller was told that it is not done.
	Void bool
	// Acked: the caller was told that it is done. If not, it may be, or not.
	Acked      bool
	Generation uint64 // where Acked
	Grant      string // the imported grant, by the provider's name
	Secret     string // the imported access token or key, hashed
	Bare       bool   // it brought no refresh token
}

// OpKind is what an Op does.
type OpKind string

// The kinds of operations.
const (
	OpImport     OpKind = "import"
	OpDisconnect OpKind = "disconnect"
)

// Told is an answer that a caller got.
type Told struct {
	Began, Ended int64
	From, At     time.Time // of the beginning and the end
	Generation   uint64    // 0: the answer tells of none
	Token        string    // hashed; empty: none was handed out
	Dead         bool      // the account needs to be authorised again
	Gone         bool      // it is disconnected
	Absent       bool      // there is no such account
	// Replica: the answer is a replica's, which may lag by any time.
	Replica bool
	Op      bool // it is the answer to an Op
	Lines   []credential.NumberedLine
}

// Span is a stretch of time.
type Span struct{ From, To time.Time }

// Problems judges the evidence. Nothing means that every promise was kept.
func (e *Evidence) Problems() []string {
	r := &report{Evidence: e, owner: owners(e.Cases)}
	r.problems = append(r.problems, e.Seen...)
	slices.SortStableFunc(r.Exchanges, func(a, b Exchange) int { return cmp.Compare(a.Order, b.Order) })
	slices.SortFunc(r.Troubles, func(a, b Span) int { return a.From.Compare(b.From) })
	r.oneAtATime()
	r.neverReplayed()
	r.deadMeansDead()
	r.judged()
	for i := range e.Cases {
		c := &caseReport{report: r, Case: &e.Cases[i]}
		c.exchanges = r.of(c.Case)
		c.durable()
		c.told()
		c.named()
		c.subscribers()
		c.operations()
		c.explained()
		c.patient()
		c.linearizable()
	}
	return r.problems
}

// owners tells whose each grant is.
func owners(cases []Case) map[string]credential.Ref {
	all := make(map[string]credential.Ref)
	for _, c := range cases {
		for _, op := range c.Book.Ops {
			if op.Grant != "" {
				all[op.Grant] = c.Ref
			}
		}
	}
	return all
}

// report is a judgement being written.
type report struct {
	*Evidence
	owner    map[string]credential.Ref // of a grant
	problems []string
}

func (r *report) add(format string, args ...any) {
	r.problems = append(r.problems, fmt.Sprintf(format, args...))
}

// caseReport is the part of it about one account.
type caseReport struct {
	*report
	*Case
	exchanges []Exchange // its refreshes
}

func (c *caseReport) add(format string, args ...any) {
	c.report.add("%s: "+format, append([]any{c.Ref}, args...)...)
}

// of returns an account's refreshes, in order.
func (r *report) of(c *Case) (xs []Exchange) {
	for _, x := range r.Exchanges {
		ref, ok := r.owner[x.Grant]
		if ok && ref == c.Ref && x.GrantType == grantRefresh || c.Kind == credential.KindClientCredentials && x.Scope == c.Ref.ID {
			xs = append(xs, x)
		}
	}
	return xs
}

const (
	grantRefresh = "refresh_token"
	grantMachine = "client_credentials"
	codeDead     = "invalid_grant"
)

// lost reports whether the process that got an answer died with it in its
// hands: in the same instant, while it stood between having it and noting it, or
// while its disk took its time. What its journal held was not lost, unless the
// machine does not come back.
func (r *report) lost(x Exchange) bool {
	if x.Got.IsZero() {
		return true
	}
	if gone, ok := r.Gone[x.Process/machineStep]; ok && x.Got.Add(carryTime).After(gone) {
		return true
	}
	i := slices.IndexFunc(r.Processes, func(p ProcessEnd) bool { return p.Number == x.Process })
	if i < 0 || r.Processes[i].CrashedAt.IsZero() {
		return false
	}
	p := r.Processes[i]
	within := func(s Stay) bool { return s.From.Equal(x.Got) && !s.To.Before(p.CrashedAt) }
	writing := func(s Span) bool { return !s.From.After(x.Got) && !s.To.Before(p.CrashedAt) }
	if !x.Got.Equal(p.CrashedAt) && !slices.ContainsFunc(p.Stays, within) && !slices.ContainsFunc(p.Waits, writing) {
		return false
	}
	noted := func(n Note) bool { return n.Ref == r.owner[x.Grant] && n.At.Equal(x.Got) }
	return !slices.ContainsFunc(p.Journal, noted)
}

// oneAtATime is I1, from the wire; what the provider saw of it is in judged.
func (r *report) oneAtATime() {
	before := make(map[string]Exchange)
	for _, x := range r.Exchanges {
		key := x.Grant
		if x.GrantType == grantMachine {
			key = "scope " + x.Scope
		}
		if key == "" || !x.Reached || x.Path != "/token" {
			continue
		}
		if b, ok := before[key]; ok && x.Sent.Before(b.Ended) {
			r.add("I1: two token requests for %s (%s) were in flight at once, of processes %d and %d", key, r.owner[x.Grant], b.Process, x.Process)
		}
		if b := before[key]; x.Ended.After(b.Ended) {
			before[key] = x
		}
	}
}

// neverReplayed is I3: a refresh token whose answer a process has had, and kept,
// is not presented again.
func (r *report) neverReplayed() {
	answered := make(map[string]Exchange)
	for _, x := range r.Exchanges {
		if x.GrantType != grantRefresh {
			continue
		}
		if a, ok := answered[x.Presented]; ok && x.Reached && !r.astray(a, x.Sent) {
			r.add("I3: %s: process %d presented a refresh token at %v whose answer process %d had at %v", r.owner[x.Grant], x.Process, x.Sent, a.Process, a.Got)
		}
		if x.granted() && x.rotated() && !r.lost(x) {
			answered[x.Presented] = x
		}
	}
}

// astray reports whether the answer of an exchange could not be brought to
// whoever owned the account by then: it was lost, or those who should have
// carried it had no time in which they could.
func (r *report) astray(x Exchange, by time.Time) bool {
	return r.lost(x) || r.strained(x.Sent, by)
}

// carryTime is how long a cluster that is whole takes to bring an answer out of
// a node's journal to the account's owner: an election, and the longest pause
// between two offers.
const carryTime = 30 * time.Second

// strained reports whether a cluster was not whole at some time between two
// others, and for longer than carryTime at no time.
func (r *report) strained(from, to time.Time) bool {
	at, any := from, false
	for _, s := range r.Troubles { // sorted by From
		if s.To.Before(from) || s.From.After(to) {
			continue
		}
		any = true
		if s.From.Sub(at) > carryTime {
			return false
		}
		if s.To.After(at) {
			at = s.To
		}
	}
	return any && to.Sub(at) <= carryTime
}

// deadMeansDead is I4: no request follows the provider's word that a grant is
// dead.
func (r *report) deadMeansDead() {
	dead := make(map[string]Exchange)
	for _, x := range r.Exchanges {
		if x.GrantType != grantRefresh {
			continue
		}
		if d, ok := dead[x.Grant]; ok && !r.astray(d, x.Sent) {
			r.add("I4: %s: process %d sent a refresh at %v although process %d was told at %v that the grant is dead", r.owner[x.Grant], x.Process, x.Sent, d.Process, d.Got)
		}
		if x.Code == codeDead && !r.lost(x) {
			dead[x.Grant] = x
		}
	}
}

// next is when the grant of an exchange was used again; where it was not, when
// the exchange ended.
func (r *report) next(x Exchange) time.Time {
	for _, y := range r.Exchanges {
		if y.Grant == x.Grant && y.Order > x.Order {
			return y.Sent
		}
	}
	return x.Ended
}

// judged is the provider's own judgement, but for answers that it sent and that
// died with the process that got them.
func (r *report) judged() {
	for _, v := range r.Violations {
		excuse := func(x Exchange) bool {
			return x.Grant == v.Grant && x.Status != 0 && (r.lost(x) || r.strained(x.Sent, r.next(x)))
		}
		if v.Rule == "I1" || !slices.ContainsFunc(r.Exchanges, excuse) {
			r.add("%s: %s: the provider saw: %s", v.Rule, r.owner[v.Grant], v.What)
		}
	}
}
