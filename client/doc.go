// Package client is grantd's Go SDK: a typed client of the HTTP API, a
// [TokenSource] for golang.org/x/oauth2, a [Transport] that puts an account's
// token into requests to its provider, and [Client.Watch], which follows the
// event stream.
//
// It promises that errors carry the API's code, that concurrent lookups of one
// token become one request, that a token in hand is used for as long as it
// serves while grantd cannot be reached, and that neither keys nor tokens show
// up in errors or under fmt. It starts no goroutines, and leaves refreshing to
// the server: it never talks to an authorization server itself.
package client
