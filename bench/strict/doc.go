// Package strict is a demonstration authorization server that forgives
// nothing, and the judge of those who talk to it.
//
// It promises to behave as the strictest real servers do (it follows npm
// oidc-provider where both have the feature): refresh tokens rotate with every
// use, a refresh token that comes a second time revokes its whole grant, and
// of two refreshes at once one wins and the other kills the winner's tokens
// too. It keeps a record of every request with exact counters, from which
// [Provider.Judge] says whether a client kept the rules: one refresh at a time
// for a grant (I1), no refresh token presented again after it was answered
// (I3), no request for a grant after its death was told (I4). Faults of many
// kinds can be switched on and off while it runs, by client, by grant, by
// count and by chance from a seed.
//
// It runs as an HTTP server ([Provider.Serve], [Provider.Handler]) or without
// any socket as an http.RoundTripper ([Provider.RoundTripper]), there also in a
// bubble of testing/synctest: it takes the time from package time and never
// holds a lock while it waits.
//
// It is a demonstration and a judge, not a production server. Everybody is let
// in without a login, there is no TLS, nothing survives a restart, the admin
// API has no authentication, and ID tokens are not issued. Serve it on
// loopback only. What grantd itself knows of providers it leaves to others: it
// imports nothing of grantd but the words of package credential.
package strict
