// Package credential holds the words of the domain: what an account is, which
// states it goes through, what an authorization server's answer means for it,
// and how a secret travels without being seen.
//
// It promises that no type of its own prints a secret, and that its decisions
// are functions without I/O. It knows nothing of storage, sealing, the network
// or the actors that use it, and imports nothing else of grantd.
package credential
