package actors

import (
	"sync/atomic"
	"time"

	"github.com/grantd/grantd/credential"
)

// Counters count what the actors did since the start of the process. They may
// be read at any time; the node turns them into metrics.
type Counters struct {
	Refreshed        atomic.Int64 // requests that brought a token
	FailedTransient  atomic.Int64
	FailedTerminal   atomic.Int64
	Misconfigured    atomic.Int64
	Ambiguous        atomic.Int64
	Unrecognised     atomic.Int64
	NeedsReauth      atomic.Int64 // accounts that went to needs_reauth
	Interrupted      atomic.Int64 // claims found without an outcome
	Salvaged         atomic.Int64 // of them, answers found in this node's own journal
	SalvagedByFate   atomic.Int64 // of them, answers that another node had when it was asked
	SalvagedByOffer  atomic.Int64 // of them, answers that another node came with
	UncertainRetries atomic.Int64 // of them, tokens presented once more
	OutcomesLost     atomic.Int64 // of them, grants lost
	Discarded        atomic.Int64 // answers to credentials that were replaced meanwhile
	// Revoked counts grants that providers ended for accounts that were disconnected.
	Revoked           atomic.Int64
	RevocationsFailed atomic.Int64

	// What other nodes said of claims of theirs that were found here.
	FatesNeverSent, FatesInFlight, FatesAnswered, FatesUnknown atomic.Int64
	FatesUntold                                                atomic.Int64 // they did not say

	OffersMade     atomic.Int64 // answers of this node's journal, offered to the owner
	OffersTaken    atomic.Int64 // of them, taken or no longer wanted
	OffersReceived atomic.Int64 // answers that journals offered to accounts of this node
	AnswersDropped atomic.Int64 // answers of this node's journal that were dropped for their age, or are unreadable

	CommitFailures atomic.Int64
	Panics         atomic.Int64
	SnapshotReads  atomic.Int64 // tokens handed out past the mailbox
	StoreReads     atomic.Int64 // of them, from the store, for there was no actor
	Proofs         atomic.Int64 // reads whose lease had run out, so that the shard's ownership had to be proved
	Waiting        atomic.Int64 // gauge: callers inside actors
	Actors         atomic.Int64 // gauge: accounts in memory
	ScheduledLag   Lag
}

// count counts the outcome of one request to a provider.
func (c *Counters) count(f *credential.Failure) {
	if f == nil {
		c.Refreshed.Add(1)
		return
	}
	switch f.Class {
	case credential.Terminal:
		c.FailedTerminal.Add(1)
	case credential.Misconfigured:
		c.Misconfigured.Add(1)
	case credential.Ambiguous:
		c.Ambiguous.Add(1)
	case credential.Unrecognised:
		c.Unrecognised.Add(1)
	default:
		c.FailedTransient.Add(1)
	}
}

// countFate counts what another node said.
func (c *Counters) countFate(f credential.Fate, err error) {
	switch {
	case err != nil:
		c.FatesUntold.Add(1)
	case f.State == credential.FateNeverSent:
		c.FatesNeverSent.Add(1)
	case f.State == credential.FateInFlight:
		c.FatesInFlight.Add(1)
	case f.State == credential.FateAnswered:
		c.FatesAnswered.Add(1)
	default:
		c.FatesUnknown.Add(1)
	}
}

// salvaged counts an answer of an interrupted refresh that was committed.
func (c *Counters) salvaged(from source) {
	switch from {
	case fromFate:
		c.SalvagedByFate.Add(1)
	case fromOffer:
		c.SalvagedByOffer.Add(1)
	default:
		c.Salvaged.Add(1)
	}
}

// Lag is how late scheduled refreshes begin: their number, the sum and the
// largest of their delays.
type Lag struct{ count, sum, largest atomic.Int64 }

func (l *Lag) observe(d time.Duration) {
	l.count.Add(1)
	l.sum.Add(int64(d))
	for {
		old := l.largest.Load()
		if int64(d) <= old || l.largest.CompareAndSwap(old, int64(d)) {
			return
		}
	}
}

// Values returns the number of scheduled refreshes and the sum and the largest
// of their delays.
func (l *Lag) Values() (count int64, sum, largest time.Duration) {
	return l.count.Load(), time.Duration(l.sum.Load()), time.Duration(l.largest.Load())
}
