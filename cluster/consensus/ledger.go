package consensus

import (
	"encoding/binary"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/raft"

	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/storage"
)

// proposal is one batch on its way through the log.
type proposal struct {
	number uint64
	tag    [tagLen]byte
	batch  []byte // nil: a barrier
	// stage is stageQueued until exactly one of the submitter (stageSent) and
	// the caller that gives up (stageDropped) moves it on.
	stage atomic.Int32
	done  chan outcome // capacity 1; gets exactly one value, or none if forgotten
}

const (
	stageQueued int32 = iota
	stageSent
	stageDropped
)

// send claims the proposal for handing it to raft.
func (p *proposal) send() bool { return p.stage.CompareAndSwap(stageQueued, stageSent) }

// drop makes sure that the proposal is never handed to raft. False: it was.
func (p *proposal) drop() bool { return p.stage.CompareAndSwap(stageQueued, stageDropped) }

// outcome is what became of a proposal.
type outcome struct {
	result storage.Result
	term   uint64 // of the entry
	err    error
}

// tagLen is the length of the tag that travels with an entry, as raft's
// extensions: the ledger's boot number and the proposal's number.
const tagLen = 16

// ledger knows which of this node's proposals to one group have no answer yet,
// and whether the node leads the group. The state machine answers them as it
// applies their entries; raft's own futures are not used, because waiting for
// one cannot be given up and never ends once raft's loop is dead.
//
// All methods are safe for concurrent use and none blocks.
type ledger struct {
	boot uint64 // random: entries of an earlier start, or another node's, match no tag

	mu   sync.Mutex
	term atomic.Uint64 // in which this node leads and its state is complete; 0: it does not lead. Written under mu.
	last uint64        // number of the newest proposal
	open map[uint64]*proposal
	over chan struct{} // of the present leadership: closed when it ends; nil: there is none
}

func newLedger(boot uint64) *ledger {
	return &ledger{boot: boot, open: make(map[uint64]*proposal)}
}

// add enters a batch, or fails with credential.ErrNotOwner while the node does
// not lead.
func (l *ledger) add(batch []byte) (*proposal, error) {
	p := &proposal{batch: batch, done: make(chan outcome, 1)}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.term.Load() == 0 {
		return nil, credential.ErrNotOwner
	}
	l.enter(p)
	return p, nil
}

// addBarrier enters an empty entry, whether the node leads already or not.
func (l *ledger) addBarrier() *proposal {
	p := &proposal{done: make(chan outcome, 1)}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.enter(p)
	return p
}

// enter numbers p and notes it. l.mu is held.
func (l *ledger) enter(p *proposal) {
	l.last++
	p.number = l.last
	binary.BigEndian.PutUint64(p.tag[:8], l.boot)
	binary.BigEndian.PutUint64(p.tag[8:], p.number)
	l.open[p.number] = p
}

// forget ends a proposal whose caller no longer waits.
func (l *ledger) forget(p *proposal) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.open, p.number)
}

// answer completes those of the applied entries that were proposed here.
// results has one element for every entry.
func (l *ledger) answer(entries []*raft.Log, results []storage.Result) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, e := range entries {
		if len(e.Extensions) != tagLen || binary.BigEndian.Uint64(e.Extensions) != l.boot {
			continue
		}
		number := binary.BigEndian.Uint64(e.Extensions[8:])
		if p := l.open[number]; p != nil {
			delete(l.open, number)
			p.done <- outcome{result: results[i], term: e.Term, err: resultError(results[i])}
		}
	}
}

// resultError is the error that a proposer gets for its applied entry.
func resultError(r storage.Result) error {
	switch {
	case r.Conflict:
		return credential.ErrConflict
	case r.Err != nil:
		return fmt.Errorf("entry %d was refused: %w", r.Index, r.Err)
	}
	return nil
}

// gain notes that the node leads in term, with its state complete.
func (l *ledger) gain(term uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.term.Store(term)
	l.over = make(chan struct{})
}

// lose notes that the node does not lead, and ends all open proposals: those
// that raft has seen with credential.ErrUnknownOutcome, because their entries
// may yet be committed by the next leader, the others with
// credential.ErrNotOwner. It returns the term that is over; 0: there was none.
func (l *ledger) lose() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	for number, p := range l.open {
		delete(l.open, number)
		o := outcome{err: errLost}
		if p.drop() {
			o.err = credential.ErrNotOwner
		}
		p.done <- o
	}
	if l.over != nil {
		close(l.over)
		l.over = nil
	}
	return l.term.Swap(0)
}

// tenure returns a channel that is closed when the present leadership ends; ok
// is false while the node does not lead.
func (l *ledger) tenure() (over <-chan struct{}, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.over, l.over != nil
}

// leading returns the term in which the node leads; 0: it does not lead.
func (l *ledger) leading() uint64 { return l.term.Load() }

// errLost is the outcome of a proposal that was under way when leadership ended.
var errLost = fmt.Errorf("%w: leadership was lost while the batch was under way", credential.ErrUnknownOutcome)
