// Package authserver runs real authorization servers for tests, and is at them
// what a product is that has its users connect their accounts.
//
// It promises that a server that [Start] returned can be asked, that it is gone
// when the test ends, and that every request to its token end point is counted
// on the way, so that a test can say "one request reached the server". An [App]
// is a client application that speaks OAuth by hand: it walks a whole
// authorization-code flow with PKCE as a browser and a person would, and
// refreshes, revokes and introspects. It shares no code with grantd's own OAuth
// client, which it helps to test.
//
// What the servers themselves are like is told by tests/servers/README.md.
package authserver
