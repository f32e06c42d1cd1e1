// Package sim runs the production code of a node in virtual time, in one
// process, on a disk that crashes, against a provider that forgives nothing,
// and says which promises of the design were broken.
//
// A [World] is a strict provider, a [Machine] and the accounts of some
// customers. A machine has a disk, and on it runs one node after the other:
// when a process crashes, the disk loses what was not synced, the provider is
// no longer reached by anything that the dead process still does, and what its
// callers are told from then on does not count. Everything must happen inside
// one bubble of testing/synctest.
//
// What happened is gathered as [Evidence]: each request as the provider saw it,
// each answer as a caller was told it, and what lies on the disk in the end.
// [Evidence.Problems] judges it by the invariants I1 to I5 of the design; it
// knows nothing of how the node works inside. The package is for tests only.
//
// The tests crash the node at every write to its disk (SIM_ALL=1 for all of
// them, else a sample), and let accounts live through random faults (SEEDS=100
// for more runs, -sim.seed=7 to repeat one). A seed repeats the faults, not the
// order in which goroutines run: a failure may need a few tries to come again.
package sim
