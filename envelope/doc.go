// Package envelope seals secrets with Tink: AES-256-GCM, a keyset for each
// tenant, wrapped by a key-encryption key.
//
// It promises that a sealed value opens under its own label only (tenant,
// account, field and generation are associated data), that nothing outside
// this package sees a tenant's key, and that a key-encryption key that is not
// the one the data was wrapped with is found at start ([KEK.Check]).
//
// It leaves to others where wrapped keysets are kept ([Keysets]). The
// key-encryption key is a local file, or a KMS by Tink's own integrations. No
// goroutine of its own runs, and no lock is held while Keysets or the
// key-encryption key are asked.
package envelope
