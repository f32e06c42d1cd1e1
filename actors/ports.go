package actors

import (
	"context"
	"errors"
	"time"

	"github.com/grantd/grantd/credential"
)

// Store is the replicated state of one shard, as its owner sees it. All
// methods may be called concurrently; none but Commit,
// Prove and Barrier waits for anything but the local disk.
type Store interface {
	// Load returns the record and its revision, or credential.ErrNotFound.
	Load(ref credential.Ref) (credential.Account, uint64, error)
	// Commit makes the change durable on a majority and returns the record's
	// new revision. It fails with credential.ErrConflict (the record changed,
	// nothing was written), credential.ErrNotOwner or credential.ErrNoQuorum
	// (nothing was written) or credential.ErrUnknownOutcome (it may be written,
	// now or later). It keeps nothing of c.
	Commit(ctx context.Context, c credential.Change) (uint64, error)
	// Holds reports, at once, whether surely no other node owns the shard at now,
	// while this one does in term. False says nothing.
	Holds(term uint64, now time.Time) bool
	// Prove returns nil if this node owned the shard, in term, after the call; else
	// credential.ErrNotOwner, or credential.ErrNoQuorum where ctx ended first.
	Prove(ctx context.Context, term uint64) error
	// Barrier returns when all that was committed before can be loaded, and
	// nothing that was proposed here before can be committed any more.
	Barrier(ctx context.Context) error
	// Due returns up to limit schedule entries after the given one, in order,
	// whose time has come.
	Due(now time.Time, after credential.Due, limit int) ([]credential.Due, error)
	// NextDue returns the time of the first schedule entry after the given one.
	NextDue(after credential.Due) (time.Time, bool, error)
	// Accounts calls fn for the accounts after the given one, in order of
	// tenant and id, until fn returns false. A tenant that is not empty limits it.
	Accounts(after credential.Ref, tenant string, fn func(credential.Account) bool) error
	// Revocations returns up to limit grants that are to be revoked, those first
	// whose next try is soonest, whether its time has come or not.
	Revocations(limit int) ([]credential.Revocation, error)
	// PutOff moves one of them to another time; errors as of Commit.
	PutOff(ctx context.Context, old, next credential.Revocation) error
	// History returns lines numbered below the given number (0: all), newest first.
	History(ref credential.Ref, below uint64, limit int) (credential.History, error)
}

// Sealer puts secrets under authenticated encryption and takes them out.
type Sealer interface {
	Seal(ctx context.Context, label credential.Label, s credential.Secret) (credential.Sealed, error)
	Open(ctx context.Context, label credential.Label, sealed credential.Sealed) (credential.Secret, error)
}

// ErrNoRevocation: the provider has no way to end a grant; its tokens run out.
var ErrNoRevocation = errors.New("the provider cannot revoke")

// Provider asks authorization servers. Errors of Refresh are always
// *credential.Failure. No method retries.
type Provider interface {
	// Refresh trades the refresh token for a new grant or, for client
	// credentials, fetches a new one (the refresh token is empty then). ctx
	// carries the deadline after which no byte of the request may be written.
	Refresh(ctx context.Context, r credential.TokenRequest) (credential.Grant, error)
	// Lifetime asks how long the access token will live, for providers that do
	// not tell with the answer; 0: cannot be told.
	Lifetime(ctx context.Context, r credential.TokenRequest) time.Duration
	// Revoke ends the grant of refresh and access token at the provider.
	// ErrNoRevocation: it has no way to. Other errors are
	// *credential.Failure where the provider, or what is known of it, is the
	// reason.
	Revoke(ctx context.Context, r credential.TokenRequest) error
}

// Integration is what the actors need to know about an OAuth client
// registration and its provider.
type Integration struct {
	ID       string
	Provider string
	Version  uint64 // changes with every edit
	Broken   bool   // marked misconfigured: its refreshes pause
	Reason   string

	// Rotates: a refresh token is good for one use (or nobody knows).
	Rotates bool
	// ReuseGrace is for how long after its use a rotated token still works.
	ReuseGrace time.Duration
	// AccessLifetime is the catalogue's lifetime of access tokens; 0: unknown.
	AccessLifetime time.Duration
	// RefreshLifetime and RefreshIdle end a refresh token, counted from its
	// issue and from its last use; 0: unknown.
	RefreshLifetime, RefreshIdle time.Duration
	// RatePerSecond and Burst bound the token requests; 0: no bound known.
	RatePerSecond float64
	Burst         int
	// Concurrency bounds the token requests in flight; 0: the default.
	Concurrency int
	// CheckVariables says whether an account of this kind can have these
	// variables: credential.ErrInvalid with what is wrong. nil: it has none.
	CheckVariables func(kind credential.Kind, variables map[string]string) error
}

// Integrations looks up integrations and marks them.
type Integrations interface {
	// Lookup returns the integration as this node knows it; it does not block.
	Lookup(id string) (Integration, bool)
	// MarkBroken records that the provider refuses the client itself, and
	// MarkRecovered that it accepts it again. Both do nothing where the version
	// is no longer the current one.
	MarkBroken(ctx context.Context, id string, version uint64, reason string) error
	MarkRecovered(ctx context.Context, id string, version uint64) error
}

// Journal is this node's own synced memory of providers' answers that may not
// be committed yet. Values are sealed by the caller. Methods may be called
// concurrently.
type Journal interface {
	// Begin notes a value and begins to make it durable; wait returns when it
	// is, and must be called.
	Begin(attempt string, value []byte) (wait func() error, err error)
	// Get returns nil where there is no entry.
	Get(attempt string) ([]byte, error)
	// Delete forgets an entry.
	Delete(attempt string) error
	// Each calls fn with all entries as they stood when Each was called, until
	// fn returns false or an error. fn may keep the value.
	Each(fn func(attempt string, value []byte) (more bool, err error)) error
}

// Peers are the other nodes. Every call ends with its context, and with an
// error where the other node, or the one that it had to be passed on to, did
// not answer.
type Peers interface {
	// Fate asks a node what became of an attempt of its own; see [System.Fate].
	Fate(ctx context.Context, node string, q credential.FateQuery) (credential.Fate, error)
	// Offer hands an entry of this node's journal to whoever owns the account's
	// shard now; see [System.Offer].
	Offer(ctx context.Context, ref credential.Ref, entry []byte) (taken bool, err error)
}
