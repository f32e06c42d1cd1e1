// Package httpapi is grantd's HTTP API: handlers, API keys and their scopes,
// problem documents, the OpenAPI document, probes and a plain dashboard.
//
// It promises that every error is an RFC 9457 problem document with a stable
// code, that what lies outside a key's scope is answered in the same bytes as
// what does not exist, that a request is decoded strictly or refused with the
// place that is wrong, and that no secret gets into a log or an error. It
// declares the small interfaces that it needs and leaves to those who
// implement them what an account, an integration or a key is and where it
// lives; sockets and their life belong to whoever serves the handler.
package httpapi
