package consensus

import (
	"errors"
	"testing"

	"github.com/hashicorp/raft"

	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/storage"
)

// result returns what a proposal has got; nothing: a zero outcome, false.
func result(p *proposal) (outcome, bool) {
	select {
	case o := <-p.done:
		return o, true
	default:
		return outcome{}, false
	}
}

func TestOnlyALeaderTakesProposals(t *testing.T) {
	l := newLedger(7)
	if _, err := l.add([]byte("b")); !errors.Is(err, credential.ErrNotOwner) {
		t.Errorf("before leading: %v", err)
	}
	l.gain(3)
	if _, err := l.add([]byte("b")); err != nil || l.leading() != 3 {
		t.Errorf("leading: %v, term %d", err, l.leading())
	}
	if over := l.lose(); over != 3 || l.leading() != 0 {
		t.Errorf("lost term %d, leads in %d", over, l.leading())
	}
	if over := l.lose(); over != 0 {
		t.Errorf("lost term %d twice", over)
	}
}

// TestLossTellsSentFromUnsent: what raft has seen may be committed yet.
func TestLossTellsSentFromUnsent(t *testing.T) {
	l := newLedger(7)
	l.gain(1)
	sent, _ := l.add([]byte("a"))
	queued, _ := l.add([]byte("b"))
	if !sent.send() {
		t.Fatal("cannot send")
	}
	l.lose()
	if o, ok := result(sent); !ok || !errors.Is(o.err, credential.ErrUnknownOutcome) {
		t.Errorf("sent: %v", o.err)
	}
	if o, ok := result(queued); !ok || !errors.Is(o.err, credential.ErrNotOwner) {
		t.Errorf("queued: %v", o.err)
	}
	if queued.send() {
		t.Error("a batch that was refused can still be sent")
	}
}

func TestAppliedEntriesAnswerTheirProposersOnly(t *testing.T) {
	l := newLedger(7)
	l.gain(2)
	p, _ := l.add([]byte("a"))
	p.send()
	entry := func(boot uint64, number uint64, ext ...byte) *raft.Log {
		q := proposal{}
		other := newLedger(boot)
		other.last = number - 1
		other.enter(&q)
		return &raft.Log{Term: 2, Extensions: append(q.tag[:], ext...)}
	}
	none := make([]storage.Result, 1)
	for name, e := range map[string]*raft.Log{
		"another start's entry": entry(8, p.number),
		"another proposal":      entry(7, p.number+1),
		"a longer tag":          entry(7, p.number, 0),
		"no tag":                {Term: 2},
	} {
		l.answer([]*raft.Log{e}, none)
		if _, ok := result(p); ok {
			t.Fatalf("%s answered the proposal", name)
		}
	}
	l.answer([]*raft.Log{entry(7, p.number)}, []storage.Result{{Index: 9, Conflict: true}})
	o, ok := result(p)
	if !ok || o.term != 2 || o.result.Index != 9 || !errors.Is(o.err, credential.ErrConflict) {
		t.Errorf("outcome %+v", o)
	}
	l.answer([]*raft.Log{entry(7, p.number)}, none) // must not block or answer again
	if len(l.open) != 0 {
		t.Error("an answered proposal stays in memory")
	}
}
