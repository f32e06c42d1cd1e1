package wire

// Code names a kind of error for programs. Codes are part of the API: one may
// be added, none changes its meaning.
type Code string

// The codes.
const (
	CodeInvalidRequest       Code = "invalid_request"        // 400: the request itself is wrong; detail says where
	CodeUnauthorized         Code = "unauthorized"           // 401: no API key, or not a valid one
	CodeForbidden            Code = "forbidden"              // 403: the key sees the resource but lacks the permission
	CodeNotFound             Code = "not_found"              // 404: absent, or outside the key's scope
	CodeMethodNotAllowed     Code = "method_not_allowed"     // 405: Allow says what is
	CodeNeedsReauth          Code = "needs_reauth"           // 409: reason says why
	CodeDisconnected         Code = "disconnected"           // 409: the account's tokens are destroyed
	CodeAccountExists        Code = "account_exists"         // 409: an active account is not overwritten
	CodeOtherIdentity        Code = "other_identity"         // 409: another user authorised than the one who connected the account
	CodeConflict             Code = "conflict"               // 409: it changed meanwhile; read it and decide anew
	CodeLastNode             Code = "last_node"              // 409: a cluster's last node is not removed
	CodeIntegrationInUse     Code = "integration_in_use"     // 409: accounts still depend on it
	CodeBodyTooLarge         Code = "body_too_large"         // 413
	CodeUnsupportedMediaType Code = "unsupported_media_type" // 415: bodies are application/json
	CodeTooManyStreams       Code = "too_many_streams"       // 429: this key has as many event streams open as it may
	CodeInternal             Code = "internal"               // 500: a fault of the server; its log has the request id
	CodeUnreadableSecret     Code = "unreadable_secret"      // 500: a stored secret does not open with this node's key
	CodeProviderUnavailable  Code = "provider_unavailable"   // 503: the provider did not answer usefully
	CodeMisconfigured        Code = "misconfigured"          // 503: the provider refuses the integration; an operator must mend it
	CodeNoQuorum             Code = "no_quorum"              // 503: the shard cannot commit now
	CodeOverloaded           Code = "overloaded"             // 503: too many requests wait already
	CodeUnknownOutcome       Code = "unknown_outcome"        // 503: the change may or may not have been made; read before repeating
	CodeTimeout              Code = "timeout"                // 503: no answer within the server's time for a request
	CodeNotReady             Code = "not_ready"              // 503: the node does not serve accounts now (GET /readyz)
)

// ProblemType is the media type of a [Problem] (RFC 9457).
const ProblemType = "application/problem+json"

// Problem is the body of every answer that is an error: an RFC 9457 problem
// document. Two answers with the same code about the same request have the
// same bytes; what tells requests apart is the X-Request-Id header.
type Problem struct {
	Type   string `json:"type"`             // a URI reference for the kind of problem
	Title  string `json:"title"`            // the kind of problem, for people
	Status int    `json:"status"`           // the HTTP status, again
	Code   Code   `json:"code"`             // for programs
	Detail string `json:"detail"`           // what was wrong here, and what to do
	Reason string `json:"reason,omitempty"` // why an account needs_reauth, or a provider is unavailable
}
