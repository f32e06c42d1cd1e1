package credential

import "time"

// Token is what a caller is handed: the credential to present to the provider.
type Token struct {
	Kind       Kind
	Secret     Secret // access token, API key or password, by Kind
	Username   string // KindBasic
	TokenType  string
	ExpiresAt  time.Time // zero: never, or unknown
	Scopes     []string
	Generation uint64
	// Replica marks a token that was read from a replica while the account's
	// owner could not be asked: the owner may have a newer one, or have ended the
	// account.
	Replica bool
}

// Handout says that a token is about to be handed to an agent, with the key of
// which. It stands in the account's history before the agent sees the token.
type Handout struct {
	Agent      string
	Key        string // the id of the agent's API key, not the key
	Generation uint64 // of the token
}

// Import asks for an account from credentials obtained elsewhere, or brings
// new credentials to an account that exists.
type Import struct {
	Ref         Ref
	Integration string
	Kind        Kind
	// Secret is the access token, API key or password, by Kind. It may be empty
	// for KindClientCredentials, and for KindOAuth2 with a RefreshToken.
	Secret       Secret
	RefreshToken Secret
	Username     string
	Scopes       []string
	ExpiresAt    time.Time // zero: unknown
	// RefreshExpiresAt is when the refresh token ends; zero: unknown.
	RefreshExpiresAt time.Time
	TokenType        string // empty: Bearer, where the kind has tokens

	// RequestedScopes were asked for, see Account; nil: those of the account stay.
	RequestedScopes []string
	// Variables of the account; nil: those that it has stay.
	Variables map[string]string
	// Facts are laid over those of the account.
	Facts map[string]string
	// Subject is the hash of who authorised; empty: not known, and the account's
	// stays. Where both are known and differ the import is refused with
	// [ErrOtherIdentity], unless AllowOtherIdentity.
	Subject            []byte
	AllowOtherIdentity bool
	// Reauthorise says that a person went through the provider's consent: the
	// account keeps its id in whatever state it is, and its history says so.
	Reauthorise bool
}

// TokenRequest is what an authorization server is asked for, about one account.
type TokenRequest struct {
	Integration  string
	Kind         Kind
	RefreshToken Secret // empty where there is none, or it is not needed
	AccessToken  Secret
	Scopes       []string
	// Variables and Facts are the account's.
	Variables, Facts map[string]string
}

// Query asks for a page of accounts, in order of tenant and id.
type Query struct {
	// Tenant limits the list to one tenant; empty: all that the caller may see.
	Tenant      string
	State       State
	Integration string
	// Allow, where set, says which accounts the caller may see.
	Allow func(Account) bool
	After Ref // exclusive; zero: from the start
	Limit int // 1 to 1000
}

// Page is a page of accounts.
type Page struct {
	Accounts []Account
	// Next continues the list; zero: the list is complete. A page may be
	// shorter than the limit and yet have a Next, when many accounts were
	// looked at and few matched.
	Next Ref
}

// History is a page of an account's history, newest first.
type History struct {
	Lines []NumberedLine
	Next  uint64 // continue with lines numbered below this; 0: complete
}

// NumberedLine is a line with its number within its account.
type NumberedLine struct {
	Number uint64
	Line
}
