package credential

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Ref names an account: unique id within its tenant. Its text form is
// "tenant/id".
type Ref struct{ Tenant, ID string }

// String returns "tenant/id".
func (r Ref) String() string { return r.Tenant + "/" + r.ID }

// MaxNameLen is the longest tenant, account, integration or key id, in bytes.
const MaxNameLen = 128

// ErrBadName is wrapped by every error about a name that cannot be used.
var ErrBadName = errors.New("bad name")

// CheckName says whether s can name a tenant, an account or an integration:
// 1 to [MaxNameLen] bytes of letters, digits and . _ - : @ +, beginning with a
// letter or digit. The set is safe in a URL path, a log line and a key of the
// store without escaping. what is the word for it in the error.
func CheckName(what, s string) error {
	if s == "" {
		return fmt.Errorf("%w: %s is empty", ErrBadName, what)
	}
	if len(s) > MaxNameLen {
		return fmt.Errorf("%w: %s has %d bytes, at most %d are allowed", ErrBadName, what, len(s), MaxNameLen)
	}
	for i := range len(s) {
		c := s[i]
		alnum := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !alnum && (i == 0 || !strings.ContainsRune("._-:@+", rune(c))) {
			return fmt.Errorf("%w: %s has %q at byte %d; use letters, digits and . _ - : @ +, beginning with a letter or digit", ErrBadName, what, c, i)
		}
	}
	return nil
}

// Validate checks both parts of the name with [CheckName].
func (r Ref) Validate() error {
	return errors.Join(CheckName("tenant", r.Tenant), CheckName("account id", r.ID))
}

// ParseRef reads "tenant/id".
func ParseRef(s string) (Ref, error) {
	tenant, id, ok := strings.Cut(s, "/")
	if !ok {
		return Ref{}, fmt.Errorf("%w: account %q has no slash; write tenant/id", ErrBadName, s)
	}
	r := Ref{tenant, id}
	return r, r.Validate()
}

// Kind is what sort of credential an account holds.
type Kind string

// The kinds, as they are named in the HTTP API.
const (
	KindOAuth2            Kind = "oauth2"             // access token with or without refresh token
	KindClientCredentials Kind = "client_credentials" // RFC 6749 section 4.4: a new token is fetched each time
	// RFC 7523 section 2.1: an assertion is signed for each token, see [Bearer].
	KindJWTBearer Kind = "jwt_bearer"
	// RFC 8693: a token of somebody's is traded for each token, see [Subjected].
	KindTokenExchange Kind = "token_exchange"
	KindAPIKey        Kind = "api_key" // sealed, handed out, never refreshed
	KindBasic         Kind = "basic"   // username and password, never refreshed
)

// Refreshes reports whether accounts of this kind ever ask a provider for tokens.
func (k Kind) Refreshes() bool { return k == KindOAuth2 || k.FetchesAnew() }

// FetchesAnew reports whether each token is fetched by what is good for any
// number of them: nothing is used up by asking.
func (k Kind) FetchesAnew() bool {
	return k == KindClientCredentials || k == KindJWTBearer || k == KindTokenExchange
}

// State is where an account stands.
type State string

// The states: pending -> active <-> needs_reauth; any -> disconnected.
const (
	StatePending      State = "pending"
	StateActive       State = "active"
	StateNeedsReauth  State = "needs_reauth"
	StateDisconnected State = "disconnected"
)

// Account is the durable record of one account: all that grantd knows about
// it, secrets sealed. It is a value: change a copy, commit it, publish it.
type Account struct {
	Ref
	Kind        Kind
	Integration string
	Provider    string // catalogue id, copied for lists
	State       State
	Reason      string // why needs_reauth: an OAuth error code or one of the Reason constants
	Scopes      []string
	// RequestedScopes were asked for when a person authorised; nil: not known.
	// Those of them that are not in Scopes were not granted, see [Account.MissingScopes].
	RequestedScopes []string

	// Variables are this account's values for the URL variables of the
	// provider's end points. They win over the integration's.
	Variables map[string]string
	// Facts are what the provider's answers told of the account besides tokens:
	// where its API is, which realm it is in. Not secret; see [CheckFacts].
	Facts map[string]string
	// Subject is the hash of who the provider says authorised, see
	// [Subject.Hash]; empty: not known.
	Subject []byte

	// Generation counts the credentials that this account has had. Every new
	// access token, from a refresh or an import, is one more. Ciphertexts are
	// bound to the generation that brought them.
	Generation   uint64
	TokenType    string
	Username     string // KindBasic; not secret
	AccessToken  Sealed // or API key, or password, by Kind
	RefreshToken Sealed
	// RefreshGeneration is the generation under which RefreshToken was sealed:
	// older than Generation where the provider does not rotate.
	RefreshGeneration uint64

	ExpiresAt        time.Time // of the access token; zero: never, or unknown
	RefreshExpiresAt time.Time // of the refresh token; zero: unknown
	// ExpiryAssumed marks an ExpiresAt that the provider did not tell.
	ExpiryAssumed bool
	// LearnedLifetime is how long an access token was seen to live where the
	// provider does not tell; 0: nothing learned.
	LearnedLifetime time.Duration

	NextRefreshAt time.Time // the schedule entry; zero: none
	LastRefreshAt time.Time
	CreatedAt     time.Time
	UpdatedAt     time.Time

	Failures int    // refreshes failed in a row
	Refusals int    // how many of them, at the end, were unrecognised refusals
	Claim    *Claim // the refresh under way, or interrupted
	// HistoryNext numbers the next line of history.
	HistoryNext uint64
}

// Claim is the committed right to send one refresh request. It is written
// before the request and removed by its outcome.
type Claim struct {
	Attempt    string        // unique id of the attempt
	Generation uint64        // the generation being replaced
	Node       string        // who claimed
	Boot       string        // which incarnation of that node
	Term       uint64        // the term in which the claimant owned the shard
	At         time.Time     // the claimant's clock, for people
	Lifetime   time.Duration // the request ends within this time of the claim, by the claimant's monotonic clock
	// Uncertain is set once the request is known to have been sent, or may have
	// been, and nobody knows its answer. A claim that presents the refresh token
	// of such a one once more inherits it.
	Uncertain bool
	// Interrupted says that Uncertain was set by another than the claimant, who
	// may yet tell what became of the request: that it was never sent, or its
	// answer.
	Interrupted bool
}

// Clone returns a deep copy. Who replaces fields, and changes nothing in place,
// needs none: an assignment copies the record, and shares what lies behind it.
func (a Account) Clone() Account {
	a.Scopes, a.RequestedScopes = slices.Clone(a.Scopes), slices.Clone(a.RequestedScopes)
	a.Variables, a.Facts = maps.Clone(a.Variables), maps.Clone(a.Facts)
	a.Subject = slices.Clone(a.Subject)
	a.AccessToken = slices.Clone(a.AccessToken)
	a.RefreshToken = slices.Clone(a.RefreshToken)
	if a.Claim != nil {
		c := *a.Claim
		a.Claim = &c
	}
	return a
}

// MissingScopes are the scopes that were asked for and not granted, in the order
// in which they were asked for; nil where it is not known what was granted.
func (a Account) MissingScopes() []string {
	if len(a.Scopes) == 0 {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(a.RequestedScopes), func(s string) bool { return slices.Contains(a.Scopes, s) })
}

// SecretField is the field that the account's AccessToken holds.
func (a Account) SecretField() Field {
	switch a.Kind {
	case KindAPIKey:
		return FieldAPIKey
	case KindBasic:
		return FieldPassword
	default:
		return FieldAccessToken
	}
}

// AccessLabel is the label of the sealed AccessToken.
func (a Account) AccessLabel() Label {
	return Label{Tenant: a.Tenant, Account: a.ID, Field: a.SecretField(), Generation: a.Generation}
}

// RefreshLabel is the label of the sealed RefreshToken.
func (a Account) RefreshLabel() Label {
	return Label{Tenant: a.Tenant, Account: a.ID, Field: FieldRefreshToken, Generation: a.RefreshGeneration}
}

// Line is one line of an account's history: what happened, when and why,
// without secrets.
type Line struct {
	At         time.Time
	What       What
	Reason     string // code of the failure, or why it was done
	Detail     string // for people; no secrets
	Generation uint64
	Attempt    string
	Node       string
}

// What happened, in an account's history.
type What string

// The words of the history. They are part of the HTTP API.
const (
	WhatCreated           What = "created"
	WhatImported          What = "imported"
	WhatReactivated       What = "reactivated"
	WhatReauthorised      What = "reauthorised" // a person authorised an active account anew
	WhatRefreshed         What = "refreshed"
	WhatRefreshFailed     What = "refresh_failed"
	WhatNeedsReauth       What = "needs_reauth"
	WhatInterrupted       What = "refresh_interrupted" // a claim was found without an outcome
	WhatSalvaged          What = "refresh_salvaged"    // its answer was found in a journal
	WhatNeverSent         What = "refresh_never_sent"  // its request was not sent, and never will be
	WhatRetriedUncertain  What = "refresh_retried"     // the old refresh token is tried once more
	WhatOutcomeLost       What = "refresh_outcome_lost"
	WhatAnswerDiscarded   What = "refresh_discarded" // an answer came after the credential was replaced
	WhatDisconnected      What = "disconnected"
	WhatRevoked           What = "revoked"            // the provider has ended the grant
	WhatRevocationSkipped What = "revocation_skipped" // it was not asked to; detail says why
	WhatRevocationFailed  What = "revocation_failed"
	WhatRefreshTokenEnds  What = "refresh_token_expiring"
	WhatHandedOut         What = "token_handed_out"   // to an agent; Detail says to which
	WhatLifetimeCorrected What = "lifetime_corrected" // a caller's 401 came before the assumed expiry
)

// Reasons of needs_reauth that are grantd's own; others are the provider's
// error codes.
const (
	ReasonOutcomeLost    = "refresh_outcome_lost"  // the answer that held the new refresh token was lost
	ReasonNoRefreshToken = "no_refresh_token"      // the access token expired and there is nothing to refresh with
	ReasonUnrecognised   = "unrecognised_refusal"  // the provider kept refusing in words nobody knows
	ReasonRefreshExpired = "refresh_token_expired" // the refresh token's own lifetime is over
)

// Event tells subscribers of a change of state. It is committed together with
// the change.
type Event struct {
	ID   string // unique; receivers drop doubles by it
	Type EventType
	// Ref is the account; empty: the event is of no tenant, but of the
	// integration itself. One without an ID is of its tenant.
	Ref    Ref
	At     time.Time
	Reason string
	// Generation of the account after the change.
	Generation  uint64
	Integration string
}

// EventPos is an event's place in the outbox of its group: 1 for the first, and
// each later one has one more, in the order in which they were committed, the
// same on every node. 0 is before the first. A gap between the position read
// last and the next one tells how many events were dropped unread.
type EventPos uint64

// StoredEvent is an event in an outbox.
type StoredEvent struct {
	Pos EventPos
	// Revision is the index of the entry that brought the event: of an account,
	// the revision of its record at that moment.
	Revision uint64
	Event    Event
}

// EventType names an event, as webhooks and the event stream carry it.
type EventType string

// The events.
const (
	EventCreated       EventType = "integrated_account:created"
	EventRefreshed     EventType = "integrated_account:refreshed" // off by default
	EventAuthError     EventType = "integrated_account:authentication_error"
	EventReactivated   EventType = "integrated_account:reactivated"
	EventDisconnected  EventType = "integrated_account:disconnected"
	EventMisconfigured EventType = "integration:misconfigured"
	EventRecovered     EventType = "integration:recovered"
	// Of connect links: a person said no, something else ended the authorization
	// (the reason says what), somebody opened the link too late. The account that
	// they name may not exist yet.
	EventLinkDenied  EventType = "link:denied"
	EventLinkFailed  EventType = "link:failed"
	EventLinkExpired EventType = "link:expired"
)

// EventTypes are all types of events.
func EventTypes() []EventType {
	return []EventType{
		EventCreated, EventRefreshed, EventAuthError, EventReactivated, EventDisconnected,
		EventMisconfigured, EventRecovered, EventLinkDenied, EventLinkFailed, EventLinkExpired,
	}
}
