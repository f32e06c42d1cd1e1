package credential

import "time"

// FateQuery asks the node that made a claim what became of it.
type FateQuery struct {
	Ref        Ref
	Attempt    string
	Boot       string // of the claimant, from the claim
	Generation uint64 // the one that was to be replaced
}

// FateState says what a node knows of an attempt of its own.
type FateState uint8

// What a node may know.
const (
	// FateUnknown: the request may have been sent, and this node has no answer
	// to it, nor ever will.
	FateUnknown FateState = iota
	// FateNeverSent: no request was sent that could have spent the refresh
	// token, and none will be.
	FateNeverSent
	// FateInFlight: the request, or its answer, is being worked on.
	FateInFlight
	// FateAnswered: the answer is in the node's journal.
	FateAnswered
)

// Fate is what became of an attempt.
type Fate struct {
	State FateState
	// Remaining is, of one in flight, for how long it is not worth asking again.
	// It is a duration, because the clocks of two nodes are never compared.
	Remaining time.Duration
	// Entry is, of one that was answered, the journal's entry, sealed.
	Entry []byte
}
