// Package storage keeps everything that a node knows on disk, in one Pebble:
// raft logs, the replicated state of each group, and the node's own journal.
//
// It promises:
//   - what a synced call acknowledged survives a crash at any instant, and the
//     unsynced writes that survive one are a prefix of those that were made;
//   - a state machine that decides nothing: an entry is a conditional [Batch],
//     and applying the same entries gives the same state on every node and in
//     every version;
//   - a record written by a newer version passes through an older one without
//     losing what the older one does not know;
//   - after a disk fault nothing is acknowledged any more: the process ends
//     through [Options].Fatal.
//
// It leaves to others: what an entry means and who may propose it (the account
// actors), replication (cluster/consensus), and secrets: it sees only sealed
// ones. It imports neither the sealing nor raft.
//
// DESIGN.md in this folder explains the keys, the syncs and the trade-offs.
package storage
