// Package sim runs the production code of a node, or of a cluster of nodes, in
// virtual time, in one process, on disks that crash, over a network that is cut
// and held, against a provider that forgives nothing, while nodes join and leave,
// and says which promises of the design were broken.
//
// A [World] is a strict provider, a [Machine] and the accounts of some
// customers. A machine has a disk, and on it runs one node after the other:
// when a process crashes, the disk loses what was not synced, the provider is
// no longer reached by anything that the dead process still does, and what its
// callers are told from then on does not count. Everything must happen inside
// one bubble of testing/synctest.
//
// A cluster ([NewCluster]) is a world of several machines with a [Network]
// between them, on which the nodes' own TLS, gRPC, raft and gossip run. Ways are
// cut in one or both directions, hosts are held, processes are killed or lose
// their power, and come back; nodes join, leave for a while, and are taken out of
// the cluster, running or dead. In the end the placement has to be as it should.
//
// What cannot be simulated, and how near it comes: A process that stands still.
// Goroutines of a bubble cannot be stopped, nor can timers. A process that is
// held sends and hears nothing, its refreshes stand between their steps, and its
// callers hear of their answers, which it may have had ready before, when it is
// let go; but its timers run on, and what it does with its disk is done. To
// others it looks like one that stood still and then did all at once what it had
// missed, except that it knows already which of its deadlines have passed: that
// it may act before it does is left to the tests with real processes.
//
// A slow disk. Its write-ahead log takes its time, or stands still until the
// node ends itself; nothing else is slow, and not always: Pebble holds locks
// while it ends a log, and virtual time cannot pass while somebody waits for a
// lock (see drive).
//
// What happened is gathered as [Evidence]: each request as the provider saw it,
// each answer as a caller was told it, and what lies on the disk in the end.
// [Evidence.Problems] judges it by the invariants I1 to I5 of the design; it
// knows nothing of how the node works inside. In a cluster, where an answer may
// be with a node that is cut off, it also knows when the cluster was not whole:
// only then may a refresh token be presented again, and that must be named. What
// the callers of several nodes were told is checked to come from one register
// for each account, with porcupine. The package is for tests only.
//
// The tests crash the node at every write to its disk (SIM_ALL=1 for all of
// them, else a sample), and let accounts live through random faults (SEEDS=100
// for more runs, -sim.seed=7 to repeat one of a node alone, -sim.cluster=7 one
// of a cluster). A seed repeats the faults, not the order in which goroutines
// run: a failure may need a few tries to come again. FIRST=101 begins with
// another seed than 1. Seeds that have found something are run first, always.
package sim
