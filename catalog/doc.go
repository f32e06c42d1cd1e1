// Package catalog promises facts about OAuth providers that can be relied on:
// where their end points are, how a client authenticates there, whether
// refresh tokens rotate, how long tokens live, and in which words a provider
// says that a grant is dead.
//
// The facts are YAML files under providers/, one a provider, embedded in the
// program. Each is checked when it is loaded, field by field, and names where
// it was learned and when. To add a provider, add a file; provider.schema.json
// describes it for editors, and the package's tests check it.
//
// The package leaves to others what is done with the facts: oauth speaks the
// protocol, registry joins a provider with a client registration. It does no
// I/O but reading the files.
package catalog
