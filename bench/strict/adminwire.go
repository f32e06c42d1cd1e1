package strict

import (
	"encoding/json"
	"math"
	"time"

	"github.com/grantd/grantd/credential"
)

// The JSON of the admin API. Durations are in milliseconds.

// GrantRequest asks for grants: POST /admin/grants and /admin/grants:batch.
type GrantRequest struct {
	Client string   `json:"client"`
	User   string   `json:"user,omitempty"` // empty: user-1
	Scopes []string `json:"scopes,omitempty"`
	Count  int      `json:"count,omitempty"` // for :batch, 1 to [MaxBatch]
}

// MaxBatch is how many grants can be made, or asked about, in one request.
const MaxBatch = 10_000

// GrantTokens is a grant and its tokens, in clear: they are made for whoever asks.
type GrantTokens struct {
	Grant        string   `json:"grant"`
	AccessToken  string   `json:"access_token"`
	RefreshToken string   `json:"refresh_token"`
	TokenType    string   `json:"token_type"`
	ExpiresIn    int64    `json:"expires_in"`
	Scopes       []string `json:"scopes,omitempty"`
}

// GrantBatch answers POST /admin/grants:batch.
type GrantBatch struct {
	Grants []GrantTokens `json:"grants"`
}

// GrantsQuery asks about some grants: POST /admin/grants:report.
type GrantsQuery struct {
	Grants []string `json:"grants"`
}

// GrantsReport answers it: sums over the grants asked about, and each of them.
type GrantsReport struct {
	Requests         int           `json:"requests"`
	Replays          int           `json:"replays"`
	ReplaysAfterLoss int           `json:"replays_after_loss"`
	AfterTerminal    int           `json:"after_terminal"`
	MaxInFlight      int           `json:"max_in_flight"`
	Alive            int           `json:"alive"`
	Grants           []GrantStatus `json:"grants"`
}

// FullReport answers GET /admin/report.
type FullReport struct {
	Report
	Violations []Violation `json:"violations"`
	Faults     []FaultJSON `json:"faults"`
}

// RequestList answers GET /admin/requests?after=NUMBER&limit=N, oldest first.
type RequestList struct {
	Requests []Request `json:"requests"`
}

// ClientJSON registers a client: POST /admin/clients.
type ClientJSON struct {
	ID                 string     `json:"id"`
	Secret             string     `json:"secret,omitempty"`
	Auth               AuthMethod `json:"auth,omitempty"`
	OnlyRegisteredAuth bool       `json:"only_registered_auth,omitempty"`
	RedirectURIs       []string   `json:"redirect_uris,omitempty"`
	Rotation           Rotation   `json:"rotation,omitempty"`
	GraceMS            int64      `json:"grace_ms,omitempty"`
	AccessTTLMS        int64      `json:"access_ttl_ms,omitempty"`
	RefreshTTLMS       int64      `json:"refresh_ttl_ms,omitempty"`
	OneAccessToken     bool       `json:"one_access_token,omitempty"`
	RequestsPerSecond  float64    `json:"requests_per_second,omitempty"`
	Burst              int        `json:"burst,omitempty"`
}

func (c ClientJSON) client() Client {
	return Client{
		ID: c.ID, Secret: credential.NewSecret(c.Secret), Auth: c.Auth, OnlyRegisteredAuth: c.OnlyRegisteredAuth,
		RedirectURIs: c.RedirectURIs, Rotation: c.Rotation, Grace: fromMS(c.GraceMS), AccessTTL: fromMS(c.AccessTTLMS),
		RefreshTTL: fromMS(c.RefreshTTLMS), OneAccessToken: c.OneAccessToken, RequestsPerSecond: c.RequestsPerSecond, Burst: c.Burst,
	}
}

// FaultJSON is a [Fault]: POST and GET /admin/faults. The last three fields
// are in answers only.
type FaultJSON struct {
	Kind         FaultKind `json:"kind"`
	Endpoint     Endpoint  `json:"endpoint,omitempty"`
	Client       string    `json:"client,omitempty"`
	GrantType    string    `json:"grant_type,omitempty"`
	Grant        string    `json:"grant,omitempty"`
	Skip         int       `json:"skip,omitempty"`
	Count        int       `json:"count,omitempty"`
	Probability  float64   `json:"probability,omitempty"`
	Seed         uint64    `json:"seed,omitempty"`
	DelayMS      int64     `json:"delay_ms,omitempty"`
	JitterMS     int64     `json:"jitter_ms,omitempty"`
	RetryAfterMS int64     `json:"retry_after_ms,omitempty"`
	Status       int       `json:"status,omitempty"`
	Code         string    `json:"code,omitempty"`
	Body         string    `json:"body,omitempty"`
	Location     string    `json:"location,omitempty"`
	Size         int       `json:"size,omitempty"`

	ID     string `json:"id,omitempty"`
	Fitted uint64 `json:"fitted,omitempty"`
	Struck uint64 `json:"struck,omitempty"`
}

func (f FaultJSON) fault() Fault {
	return Fault{
		Kind: f.Kind, Endpoint: f.Endpoint, Client: f.Client, GrantType: f.GrantType, Grant: f.Grant,
		Skip: f.Skip, Count: f.Count, Probability: f.Probability, Seed: f.Seed,
		Delay: fromMS(f.DelayMS), Jitter: fromMS(f.JitterMS), RetryAfter: fromMS(f.RetryAfterMS),
		Status: f.Status, Code: f.Code, Body: f.Body, Location: f.Location, Size: f.Size,
	}
}

func faultJSON(s FaultStatus) FaultJSON {
	return FaultJSON{
		Kind: s.Kind, Endpoint: s.Endpoint, Client: s.Client, GrantType: s.GrantType, Grant: s.Grant,
		Skip: s.Skip, Count: s.Count, Probability: s.Probability, Seed: s.Seed,
		DelayMS: s.Delay.Milliseconds(), JitterMS: s.Jitter.Milliseconds(), RetryAfterMS: s.RetryAfter.Milliseconds(),
		Status: s.Status, Code: s.Code, Body: s.Body, Location: s.Location, Size: s.Size,
		ID: s.ID, Fitted: s.Fitted, Struck: s.Struck,
	}
}

// FaultList answers GET and POST /admin/faults.
type FaultList struct {
	Faults []FaultJSON `json:"faults"`
}

// fromMS keeps what does not fit into a duration out of bounds, for Validate to find.
func fromMS(ms int64) time.Duration {
	if ms > math.MaxInt64/int64(time.Millisecond) || ms < math.MinInt64/int64(time.Millisecond) {
		return -1
	}
	return time.Duration(ms) * time.Millisecond
}

// tokensJSON shows a grant's tokens.
func tokensJSON(t Tokens) GrantTokens {
	return GrantTokens{
		Grant: t.Grant, AccessToken: t.AccessToken.Reveal(), RefreshToken: t.RefreshToken.Reveal(),
		TokenType: "Bearer", ExpiresIn: int64(t.ExpiresIn / time.Second), Scopes: t.Scopes,
	}
}

// UnmarshalJSON takes one fault, or a list {"faults": [...]}.
func (l *FaultList) UnmarshalJSON(b []byte) error {
	var probe struct {
		Faults json.RawMessage `json:"faults"`
	}
	if err := json.Unmarshal(b, &probe); err != nil {
		return err
	}
	if probe.Faults != nil {
		type list FaultList // without this method
		return decodeStrictly(b, (*list)(l))
	}
	l.Faults = make([]FaultJSON, 1)
	return decodeStrictly(b, &l.Faults[0])
}

var _ json.Unmarshaler = (*FaultList)(nil)
