// Package placement decides which nodes belong to the cluster and which of them
// hold which shard, and brings that about: records in the meta group say what
// should be, and each node's loops move raft's memberships towards it, one step
// at a time.
//
// It promises that one set of nodes founds one cluster; that a node is let in
// only with the right key, number of shards and data; that every change of
// replicas goes through raft's own membership change, learner first, one at a
// time a shard and few shards at once; and that a replica is destroyed only
// when the shard's leader has said that it is no member any more.
//
// It leaves to others who owns a shard (raft: the records are a wish, and
// nothing that this package does or fails to do can let two nodes commit), who
// is alive (gossip), how messages travel, and where a shard would best be: that
// function is handed in.
//
// DESIGN.md in this folder says why it is safe.
package placement
