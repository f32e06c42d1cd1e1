// Package connect makes connect links and leads the authorizations that people
// start from them: a person opens a link, goes on to the provider, comes back,
// and the account is there, or has new credentials under its old id.
//
// It promises: a link and a state are 256 random bits each, stored as hashes
// only, bound in time, and good once; a state belongs to one browser; a code is
// exchanged at most once, with the PKCE verifier of its own flow; an answer that
// names another issuer, says something twice or belongs to another browser is
// refused; nothing is redirected to but the provider and the origins that the
// integration allows. All of it is in the replicated store, so that any node can
// go on where another one died. Every record has an end, and is swept after it.
//
// It leaves to others: HTTP, cookies and pages (package httpapi), the protocol
// (package oauth, behind [Provider]), accounts and who may be connected to them
// (package actors, behind [Accounts]).
package connect
