// Package herd is the thundering herd: many callers who ask a running node for
// the tokens of a few expired accounts, all at the same moment.
//
// It promises to measure from the outside only: it speaks to the node through
// its HTTP API and takes the number of requests that reached the provider from
// the provider's own record (package strict). It makes fresh accounts for each
// run and removes them afterwards, whatever happened in between. It imports
// nothing of the server; how results are shown beyond a small table it leaves
// to the command.
package herd
