// Package consensus keeps each group of keys on a majority of its replicas:
// one raft group (github.com/hashicorp/raft) for every shard of accounts and
// one, [MetaGroup], for all that is not an account, over the node's one
// storage.DB. A node alone runs the same groups with one voter each; in a
// cluster each group is opened where it is told to be, and its members and its
// leadership can be changed while it serves.
//
// It promises that a batch whose [Group.Propose] succeeded is on the disks of
// a majority and applied on this node, in the same order on every replica;
// that only a leader's batches are applied; and that a node is told of its
// leadership only when the state it sees is complete ([Host.Leadership]).
// Whatever cannot be known after a fault is reported as unknown, never as
// failed. Changing members or moving leadership loses no batch.
//
// It leaves to others what a batch means (storage), which node should hold
// which group, when to change that, and how messages travel between nodes:
// raft's transport is handed in. Types of the raft library stay inside, but for [Config.Transport].
//
// DESIGN.md in this folder says why it is built as it is.
package consensus
