// Package mcp makes an OAuth client out of nothing but the URL of an MCP server,
// as the Model Context Protocol's authorization specification says: the server's
// metadata (RFC 9728) name its authorization server, whose metadata (RFC 8414,
// OpenID) name the end points; the client is the operator's, or a document that
// this installation publishes (draft-ietf-oauth-client-id-metadata-document), or
// one that is registered there and then (RFC 7591).
//
// What was found is kept as settings of the integration, so that no connecting and
// no refreshing depends on finding it again. It is looked at again when the
// client, or an end point, is refused: at most once a day, and only if that
// changes something. A client is replaced only when its server says that it does
// not know it, for the grants of its accounts go with it.
//
// The way of each request, its bounds, and which addresses may be reached are for
// package oauth; storing and sealing for package registry.
package mcp
