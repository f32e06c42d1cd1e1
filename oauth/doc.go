// Package oauth speaks the client's side of OAuth 2.0 with authorization
// servers: the authorization code with PKCE (RFC 6749 section 4.1, RFC 7636),
// pushed where the provider wants it (RFC 9126), refresh (section 6), client
// credentials (section 4.4), JWT bearer (RFC 7523), token exchange (RFC 8693),
// device authorization (RFC 8628), resource indicators (RFC 8707), revocation
// (RFC 7009) and introspection (RFC 7662).
//
// Clients prove who they are by a secret, a signature (RFC 7523) or a certificate
// (RFC 8705), and the possession of the key that tokens are bound to by DPoP
// (RFC 9449).
//
// End points that are not known are learned from the issuer (RFC 8414, OpenID
// Connect Discovery), and who authorised from the id_token of an exchange, or
// from the userinfo end point (OpenID Connect Core).
//
// It promises that a token request is written at most once and never after its
// context's deadline (but for DPoP's nonce, see [Client.Refresh]), that redirects are not followed, that an answer is read
// within bounds, that every failure is a *credential.Failure which says what
// is to be done and whether anything may have reached the server, and that no
// failure shows a secret or a part of an answer beyond a sanitised error code.
// The transport of [NewTransport] reaches public addresses only, unless told
// otherwise.
//
// It leaves to others when to ask, how often to try again, and where tokens
// are kept.
package oauth
