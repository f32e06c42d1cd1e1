// Package feed makes one stream of the outboxes of all groups: of every shard,
// and of what is not an account.
//
// It promises that a stream goes on from a position that it gave out, on
// whatever node, without losing an event that an outbox still holds; that the
// events of one account come in the order in which they were committed; that
// what was dropped from an outbox before it was read is told as a gap; and that
// a stream whose reader is slow reads the outboxes as slowly and keeps no more
// than one page in memory. After a break an event may come twice: its id is the
// same. Between accounts there is no order.
//
// It leaves to others where an outbox is read ([Source]), which events a reader
// may see ([Options.Match]), and how they are written to him. DESIGN.md in this
// folder says why it is built as it is.
package feed
