// Package gossip knows which nodes are alive, and where, by
// github.com/hashicorp/memberlist. It says nothing about who owns what: a node
// that was paused or cut off believes itself alive, and others see it so for a
// while, so nothing may be decided by gossip alone.
//
// It promises:
//   - nodes find each other whatever the order in which they start, and find
//     each other again after any cut, without anybody's help;
//   - a node that dies is known as [Dead] on all others within seconds, and one
//     that has said good-bye as [Left] at once; both stay listed, with the time,
//     for [Timing.Forget];
//   - with keys, nothing is taken from or told to anybody without one of them,
//     and keys are changed without a restart and without losing a member;
//   - whatever a peer or a stranger sends is understood or dropped, and memory,
//     connections and log lines for it are bounded. Two limits, both memberlist's:
//     who holds a key can lie about anybody, and without keys everybody is such a
//     one, so gossip belongs into a network of the cluster's own or under keys.
//
// It does not tell that a node is suspected: memberlist keeps that to itself.
//
// All of [Gossip] is safe for concurrent use, and memberlist's goroutines never
// wait for a caller. DESIGN.md in this folder says why it is built as it is.
package gossip
