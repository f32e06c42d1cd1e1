// Package wire holds what travels between grantd's server and its clients: the
// JSON types and problem codes of the HTTP API.
//
// It promises that a secret in one of its types is written out by encoding/json
// only, never by fmt or log/slog, and that an answer's shape does not depend on
// its values: lists are never null, and a time that is not known is null
// instead of missing. It decides nothing, imports only the standard library,
// and leaves the meaning of requests to the server.
package wire
