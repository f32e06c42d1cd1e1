// Package registry keeps what is not an account: integrations, entries of the
// catalogue that operators define, API keys, end points of webhooks, the tenants'
// wrapped keysets and the settings that the whole cluster shares.
//
// It promises that a read never blocks nor fails ([Registry.Integration] and
// [Registry.Authenticate] are called for every request), that a write is seen
// by this node when it returns, and that neither a key nor a client secret is
// stored in plaintext.
//
// It leaves to others how keys and values are replicated ([KV]) and how client
// secrets are sealed ([Sealer]).
package registry
