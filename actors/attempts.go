package actors

import (
	"sync"
	"time"

	"github.com/grantd/grantd/credential"
)

// attempts are the requests that this process has claimed and whose outcome is
// not known to be stored: what it can say about them when another node asks,
// and whether one that is not sent yet may still be sent. The zero value is
// ready; methods may be called concurrently.
type attempts struct {
	mu   sync.Mutex
	byID map[string]attempt
	// forgot: some were dropped for their age, so that an attempt that is not
	// here may have been sent.
	forgot bool
}

// attempt is how far a request has got.
type attempt struct {
	ref  credential.Ref
	step step
	// ends is, once it is sent, when its request has ended; until then, when its
	// claim has.
	ends time.Time
}

type step uint8

const (
	claimed   step = iota + 1 // its claim is being committed, or is; nothing is sent
	forbidden                 // another node was told that it is not sent: it never will be
	sent                      // or about to be
	left                      // sent, and its job is over; an answer worth keeping is in the journal
)

// begin notes an attempt before its claim is proposed: who has seen the claim
// finds it here.
func (t *attempts) begin(id string, ref credential.Ref, ends time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.byID == nil {
		t.byID = make(map[string]attempt)
	}
	t.byID[id] = attempt{ref, claimed, ends}
}

// send reports whether the attempt's request may be written now, of which at
// least so much time must be left. Where not, it never will be.
func (t *attempts) send(id string, deadline time.Time, least time.Duration) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	at, ok := t.byID[id]
	if !ok || at.step != claimed {
		return false
	}
	at.step, at.ends = sent, deadline
	if left := time.Until(deadline); left <= 0 || left < least {
		at.step = forbidden
	}
	t.byID[id] = at
	return at.step == sent
}

// forbid looks an attempt up for another node, and sees to it that what is not
// sent never will be.
func (t *attempts) forbid(id string) (attempt, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	at, ok := t.byID[id]
	if ok && at.step == claimed {
		at.step = forbidden
		t.byID[id] = at
	}
	return at, ok
}

// unsent reports whether this process surely did not send the request, and
// surely never will.
func (t *attempts) unsent(id string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	at, ok := t.byID[id]
	return ok && at.step == forbidden || !ok && !t.forgot
}

// underWay reports whether a job of this process is at the attempt.
func (t *attempts) underWay(id string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	at, ok := t.byID[id]
	return ok && at.step != left
}

// leave ends the attempt's job. It reports whether an outcome is left over
// that is not known to be stored.
func (t *attempts) leave(id string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	at, ok := t.byID[id]
	switch {
	case !ok:
		return false
	case at.step != sent:
		delete(t.byID, id)
		return false
	}
	at.step = left
	t.byID[id] = at
	return true
}

// forget drops an attempt whose outcome is stored or no longer wanted, or that
// did not touch the refresh token.
func (t *attempts) forget(id string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.byID, id)
}

// expire drops an attempt for its age.
func (t *attempts) expire(id string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.byID, id)
	t.forgot = true
}

// leftovers returns up to limit of the attempts that were left before then.
func (t *attempts) leftovers(before time.Time, limit int) map[string]attempt {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := make(map[string]attempt)
	for id, at := range t.byID {
		if len(out) == limit {
			break
		}
		if at.step == left && at.ends.Before(before) {
			out[id] = at
		}
	}
	return out
}
