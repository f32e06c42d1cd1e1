package sim

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/grantd/grantd/credential"
)

// linearizable checks with porcupine that what callers were told about an
// account, by whatever nodes, comes from one register that everybody saw change
// in the same order, each change at some instant between its request and its
// answer.
//
// The register holds a state, a generation and the token of that generation.
//
//   - An import makes the account active with a generation above all before it,
//     and with its token. A disconnection makes it disconnected.
//   - By itself an active account gets newer generations, each with a token of
//     its own, or needs a new authorisation. Nothing else happens by itself:
//     what is disconnected or dead stays so until an import.
//   - A token, a refresh and a read tell what the register holds.
//   - An import or a disconnection of which nobody heard takes place once or
//     never, at any time after its request. One that was answered with "not
//     owner" or "no quorum" never takes place.
//
// Which answers may be old: A token that is marked as a replica's, and a read
// for which the owner was not heard of within Config.ReplicaAfter, may be as
// old as the replica; they are left out here, and only have to name the right
// token for their generation (see durable). All other answers are an owner's.
// One that has lost the majority goes on answering from its store until its
// lease is over, 300 ms after it last heard of the majority, while its
// successor is elected 400 ms after the majority last heard of it: an overlap
// of as much as an answer to a heartbeat was delayed, and of the time in which
// actors are told of the loss. So an answer has to be right for some instant
// between Evidence.Lag before its request and its end. Changes are never old:
// they are committed.
func (c *caseReport) linearizable() {
	if c.Lag == 0 {
		return // one node: durable and operations say more
	}
	history := c.operationsOf()
	switch porcupine.CheckOperationsTimeout(register(c.Kind.Refreshes()), history, checkTime) {
	case porcupine.Illegal:
		c.add("what was told of the account does not come from one register: %s", c.smallest(history))
	case porcupine.Unknown:
		c.add("porcupine does not decide about %d operations in %v", len(history), checkTime)
	}
}

// checkTime bounds the check of one account, by the clock outside of bubbles.
const checkTime = time.Minute

// event is an operation as the model sees it.
type event struct {
	op   *Op // nil: an answer
	told Told
}

// String tells of it for the report of a failure.
func (e event) String() string {
	if e.op != nil {
		return fmt.Sprintf("[%d-%d] %s %.4s acknowledged %v: generation %d", e.op.Began, e.op.Ended, e.op.Kind, e.op.Secret, e.op.Acked, e.op.Generation)
	}
	return fmt.Sprintf("[%d-%d] told generation %d %.4s dead %v gone %v absent %v", e.told.Began, e.told.Ended, e.told.Generation, e.told.Token, e.told.Dead, e.told.Gone, e.told.Absent)
}

// operationsOf is the account's history for porcupine, by the logical clock.
func (c *caseReport) operationsOf() (history []porcupine.Operation) {
	type tick struct {
		at    time.Time
		clock int64
	}
	var ticks []tick
	for _, t := range c.Book.Told {
		ticks = append(ticks, tick{t.From, t.Began}, tick{t.At, t.Ended})
	}
	for _, op := range c.Book.Ops {
		ticks = append(ticks, tick{op.From, op.Began}, tick{op.At, op.Ended})
	}
	slices.SortFunc(ticks, func(a, b tick) int { return cmp.Compare(a.clock, b.clock) })
	// earlier is the first reading of the clock after Lag before t.
	earlier := func(t time.Time, clock int64) int64 {
		i, _ := slices.BinarySearchFunc(ticks, t.Add(-c.Lag), func(k tick, t time.Time) int { return k.at.Compare(t) })
		if i < len(ticks) {
			return min(clock, ticks[i].clock)
		}
		return clock
	}
	for i := range c.Book.Ops {
		op := &c.Book.Ops[i]
		end := op.Ended
		switch {
		case op.Void:
			continue
		case !op.Acked:
			end = math.MaxInt64
		}
		history = append(history, porcupine.Operation{Input: event{op: op}, Call: op.Began, Return: end})
	}
	var answers []porcupine.Operation
	for _, t := range c.Book.Told {
		if !t.Replica && !t.Op {
			answers = append(answers, porcupine.Operation{Input: event{told: t}, Call: earlier(t.From, t.Began), Return: t.Ended})
		}
	}
	return append(history, essential(answers)...)
}

// essential leaves out answers that others imply, without which the check takes
// very long. The time of a generation is one stretch, so of the answers that
// tell of it those say all that had to be right first and last. Of other equal
// answers one whose time holds that of another says nothing.
func essential(answers []porcupine.Operation) (kept []porcupine.Operation) {
	type tenure struct{ first, last porcupine.Operation }
	type key struct {
		generation uint64
		token      string
	}
	tenures := make(map[key]*tenure)
	for i, o := range answers {
		t := o.Input.(event).told
		if t.Dead || t.Gone || t.Absent {
			implied := slices.ContainsFunc(answers, func(p porcupine.Operation) bool {
				u := p.Input.(event).told
				same := t.Dead == u.Dead && t.Gone == u.Gone && t.Absent == u.Absent && (t.Generation == u.Generation || t.Generation == 0)
				return same && o.Call <= p.Call && p.Return <= o.Return && (o.Call != p.Call || o.Return != p.Return)
			})
			if !implied {
				kept = append(kept, answers[i])
			}
			continue
		}
		k := key{t.Generation, t.Token}
		n := tenures[k]
		if n == nil {
			tenures[k] = &tenure{o, o}
			continue
		}
		if o.Return < n.first.Return {
			n.first = o
		}
		if o.Call > n.last.Call {
			n.last = o
		}
	}
	for _, n := range tenures {
		kept = append(kept, n.first)
		if n.last.Return != n.first.Return {
			kept = append(kept, n.last)
		}
	}
	return kept
}

// smallest is the shortest beginning of a history that is not legal, by its
// last operations.
func (c *caseReport) smallest(history []porcupine.Operation) string {
	slices.SortFunc(history, func(a, b porcupine.Operation) int { return cmp.Compare(a.Return, b.Return) })
	pending := slices.DeleteFunc(slices.Clone(history), func(o porcupine.Operation) bool { return o.Return != math.MaxInt64 })
	model := register(c.Kind.Refreshes())
	legal := func(n int) bool {
		return porcupine.CheckOperationsTimeout(model, append(slices.Clone(history[:n]), pending...), checkTime) == porcupine.Ok
	}
	n := len(history) - len(pending)
	for step := n / 2; n > 0 && step >= 0; step /= 2 {
		for n-step > 0 && step > 0 && !legal(n-step) {
			n -= step
		}
		if step == 0 {
			break
		}
	}
	var lines []string
	for _, o := range append(history[max(0, n-12):n:n], pending...) {
		lines = append(lines, o.Input.(event).String())
	}
	return strings.Join(lines, "\n    ")
}

// held is what the register holds.
type held struct {
	state      credential.State // empty: there is no account
	generation uint64
	token      string // empty: not known
}

// register is the model; refreshes: the account gets new generations by itself.
func register(refreshes bool) porcupine.Model {
	m := porcupine.NondeterministicModel{
		Init: func() []any { return []any{held{}} },
		Step: func(state, input, _ any) (next []any) {
			h, e := state.(held), input.(event)
			if e.op == nil {
				if after, ok := h.tells(e.told, refreshes); ok {
					return []any{after}
				}
				return nil
			}
			after, ok := h.does(*e.op)
			if ok {
				next = append(next, after)
			}
			if !e.op.Acked {
				next = append(next, h) // or it is not done
			}
			return next
		},
	}
	return m.ToModel()
}

// does is the register after an operation.
func (h held) does(op Op) (held, bool) {
	newest := max(h.generation, op.Generation)
	switch {
	case op.Kind == OpDisconnect:
		return held{state: credential.StateDisconnected, generation: newest}, h.state != "" && (!op.Acked || op.Generation >= h.generation)
	case !op.Acked:
		return held{state: credential.StateActive, generation: h.generation + 1}, true
	}
	return held{credential.StateActive, op.Generation, op.Secret}, op.Generation > h.generation
}

// tells is the register after an answer, with what the answer shows to have
// happened meanwhile.
func (h held) tells(t Told, refreshes bool) (held, bool) {
	switch {
	case t.Absent:
		return h, h.state == ""
	case t.Gone:
		return h, h.state == credential.StateDisconnected
	case t.Dead:
		ok := h.state == credential.StateActive || h.state == credential.StateNeedsReauth
		return held{state: credential.StateNeedsReauth, generation: max(h.generation, t.Generation)}, ok && (t.Generation == 0 || t.Generation >= h.generation)
	case h.state != credential.StateActive || t.Generation < h.generation:
		return h, false
	case t.Generation > h.generation:
		return held{h.state, t.Generation, t.Token}, refreshes || h.token == ""
	case t.Token == "" || h.token == "":
		h.token = cmp.Or(h.token, t.Token)
		return h, true
	}
	return h, t.Token == h.token
}
