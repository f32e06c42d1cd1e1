package catalog

import (
	"maps"
	"slices"
)

// The fields in which a provider leaves the standard. A zero field means that
// it keeps to it, or that nothing is known.

// RequestQuirks are how requests to a provider differ.
type RequestQuirks struct {
	// DefaultScopes are asked for where nobody names scopes.
	DefaultScopes []string
	// ScopesForRefresh are those without which there is no refresh token; every
	// authorization request asks for them.
	ScopesForRefresh []string
	ScopeParameter   string // the authorization request's name for scope
	// AnswerScopeSeparator stands between scopes in answers, beside the usual ones.
	AnswerScopeSeparator string

	// The provider's own names for parameters. That of the client id counts in
	// all requests, unless the authorization request has one of its own.
	AuthorizationClientIDParameter string
	ClientIDParameter              string
	ClientSecretParameter          string
	GrantTypeParameter             string
	CodeParameter                  string
	CallbackCodeParameter          string

	ExchangeGrantType string            // empty: authorization_code
	ExchangeParams    map[string]string // of the exchange of a code only; they win over TokenParams
	// ExtensionURL is where the token of an exchange is traded at once for one
	// that lives long, with this grant type and else as in a refresh.
	ExtensionURL       string
	ExtensionGrantType string

	RefreshURL            string // empty: TokenURL
	RefreshGrantType      string // empty: refresh_token
	RefreshTokenParameter string // the refresh's name for refresh_token
	// RefreshWithAccessToken says that the access token itself is traded for a
	// new one. It is then kept as the refresh token too.
	RefreshWithAccessToken bool

	TokenRequestMethod   string // POST if empty
	RefreshRequestMethod string // TokenRequestMethod if empty
	// TokenHeaders are sent with token requests, revocations and the facts
	// request.
	TokenHeaders map[string]string
}

// TimeUnit is what a number that tells an end of validity means.
type TimeUnit string

// The units. Unknown ("") is treated as [Seconds].
const (
	Seconds         TimeUnit = "seconds"
	Milliseconds    TimeUnit = "milliseconds"
	Timestamp       TimeUnit = "timestamp"    // seconds since 1970
	TimestampMillis TimeUnit = "timestamp_ms" // milliseconds since 1970
	DateTime        TimeUnit = "datetime"     // RFC 3339, or nearly
)

// AnswerQuirks are how answers of a provider differ. Fields named Field are
// paths: names joined by dots, of a token answer those within the object that
// holds the tokens. They are tried before the standard's names.
type AnswerQuirks struct {
	AccessTokenField      string
	RefreshTokenField     string
	ExpiresInField        string
	RefreshExpiresInField string
	ScopeField            string
	TokenTypeField        string
	ExpiresInUnit         TimeUnit
	RefreshExpiresInUnit  TimeUnit // empty: ExpiresInUnit
	// ExpiresInReturned says whether answers tell how long the token lives; nil:
	// not known.
	ExpiresInReturned *bool

	// SubjectField is where a token answer names the user by an id that stays,
	// and UserinfoSubjectField where the answer of the userinfo end point does.
	// Both are paths from the answer's top.
	SubjectField         string
	UserinfoSubjectField string

	// ErrorField is where the word or number of an error is, from the answer's
	// top. ErrorDescriptionField is where its text is: it is compared with the
	// lists of errors as a word is, and never shown.
	ErrorField            string
	ErrorDescriptionField string
	// OKField is a member that tells success by OKValue ("true" if empty), also
	// where HTTP does not: with another value the answer is an error.
	OKField string
	OKValue string
	// ErrorStatuses are HTTP statuses and the classes of error that they mean
	// here: terminal, transient, misconfigured or unrecognised.
	ErrorStatuses map[string]string

	RetryAfterHeader string   // beside Retry-After
	RetryAfterUnit   TimeUnit // of either, where it is a number; not [DateTime]

	TokenCap int // live tokens per user and client, above which old ones die
}

// Who asks for a revocation. Unknown ("") is treated as [RevokeAsClient].
const (
	RevokeAsClient = "client" // as at the token end point
	RevokeByBasic  = "basic"  // the client by HTTP Basic
	RevokeByToken  = "bearer" // the token presents itself
	RevokeByNobody = "none"
)

// RevocationQuirks are how revocation differs from RFC 7009.
type RevocationQuirks struct {
	RevocationMethod         string // POST if empty
	RevocationAuth           string
	RevocationTokenParameter string // the name for token
	RevocationTakes          string // the only kind that can be revoked: access_token or refresh_token; empty: both
	RevocationParams         map[string]string
	RevocationBodyFormat     BodyFormat
	RevocationRevokes        string // what ends: grant or token; empty: not known
}

// FactRules are what an account keeps of a provider's answers beside the
// tokens, and how the variables of its end points are found.
type FactRules struct {
	// URLVariablePatterns are regular expressions that all of a variable's value
	// has to match, see [Provider.CheckVariables]. They also bind a fact that is
	// the beginning of APIBaseURL.
	URLVariablePatterns map[string]string
	URLVariableTitles   map[string]string // what a variable is, for people
	// VariableValues are, by variable, what is said for its values and the values.
	VariableValues map[string]map[string]string
	// CallbackVariables are variables that the callback of an authorization
	// tells, and its parameters for them.
	CallbackVariables map[string]string
	// CallbackFacts and Facts are names of facts and where they are found: the
	// callback's parameter, and the path in the token answer.
	CallbackFacts map[string]string
	Facts         map[string]string
	FactsRequest  *FactsRequest // nil: none is needed
}

// FactsRequest is a GET with the new access token, after an exchange.
type FactsRequest struct {
	URL string `json:"url"`
	// ListPath leads to the list whose elements hold the fields; empty: the
	// answer itself, be it an object or a list.
	ListPath string            `json:"list_path,omitempty"`
	Fields   map[string]string `json:"fields"` // names of facts and their paths
}

// Origin says where an entry is from. It is not a field of it.
type Origin string

// The origins, each over the one before.
const (
	Builtin Origin = "builtin" // part of the program
	Folder  Origin = "folder"  // the operator's own folder
	API     Origin = "api"     // the operator, by the API
)

// Sourcing is what is known of the entry itself.
type Sourcing struct {
	Origin  Origin
	Extends string // the entry below from which it has what it does not say itself

	Categories       []string // what the provider is for
	Unverified       bool     // rests on one source, and may be stale
	UnverifiedFields []string // doubtful, where not all of the entry is
	Sources          []string // where the facts were learned, each with its date
	FactSources      map[string]string
}

func (q RequestQuirks) clone() RequestQuirks {
	q.DefaultScopes = slices.Clone(q.DefaultScopes)
	q.ScopesForRefresh = slices.Clone(q.ScopesForRefresh)
	q.ExchangeParams = maps.Clone(q.ExchangeParams)
	q.TokenHeaders = maps.Clone(q.TokenHeaders)
	return q
}

func (q AnswerQuirks) clone() AnswerQuirks {
	if q.ExpiresInReturned != nil {
		q.ExpiresInReturned = new(*q.ExpiresInReturned)
	}
	q.ErrorStatuses = maps.Clone(q.ErrorStatuses)
	return q
}

func (q FactRules) clone() FactRules {
	q.URLVariablePatterns = maps.Clone(q.URLVariablePatterns)
	q.URLVariableTitles = maps.Clone(q.URLVariableTitles)
	q.VariableValues = maps.Clone(q.VariableValues)
	for name, table := range q.VariableValues {
		q.VariableValues[name] = maps.Clone(table)
	}
	q.CallbackVariables = maps.Clone(q.CallbackVariables)
	q.CallbackFacts = maps.Clone(q.CallbackFacts)
	q.Facts = maps.Clone(q.Facts)
	if q.FactsRequest != nil {
		r := *q.FactsRequest
		r.Fields = maps.Clone(r.Fields)
		q.FactsRequest = &r
	}
	return q
}

func (s Sourcing) clone() Sourcing {
	s.Categories = slices.Clone(s.Categories)
	s.UnverifiedFields = slices.Clone(s.UnverifiedFields)
	s.Sources = slices.Clone(s.Sources)
	s.FactSources = maps.Clone(s.FactSources)
	return s
}
