// Package actors runs the accounts: one actor for each account that has work
// to do, one gate for each shard, one scheduler for each shard, and the refresh
// protocol between them.
//
// It promises that everything that changes an account passes through that
// account's mailbox; that a refresh is claimed in the replicated store before
// the provider is asked, and committed there before any caller sees its token;
// and that nothing is asked of a provider for an account whose grant is dead.
// A token that is still fresh is read from a snapshot, past the mailbox.
//
// It leaves to others how records are stored and replicated ([Store]), how
// secrets are sealed ([Sealer]), how a provider is spoken to ([Provider]), and
// how other nodes are reached ([Peers]).
//
// Where to look: refresh.go is the protocol, settle.go what an answer means
// for the record, uncertain.go when a refresh that was interrupted is tried once
// more, handover.go and fate.go what nodes ask each other about it, offer.go and
// pusher.go how late answers come to the owner of their account, policy.go when
// to refresh and how long to back off, gate.go who gets an actor, scheduler.go
// the timer, lane.go the circuit breaker and rate limits.
package actors
