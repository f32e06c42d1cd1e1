// Package node is the one place where the parts of grantd are wired together:
// store, raft groups, registry, sealing, account actors, HTTP API.
//
// [Open] makes the core of a node, without a listener, over whatever disk,
// network and clock it is handed: the simulation runs it so. [Start] adds what
// a configuration asks for: key files, the API's listener, metrics.
//
// Nothing here decides anything about accounts.
package node
