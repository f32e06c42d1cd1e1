package wire

import (
	"log/slog"
	"strconv"
)

// Token is the credential that an account's holder presents to the provider.
// Which fields are there depends on Type: oauth2 (also for accounts of type
// client_credentials) has access_token, token_type, expires_at and scopes;
// api_key has api_key; basic has username and password.
type Token struct {
	Type        string   `json:"type"`
	AccessToken Secret   `json:"access_token"`
	TokenType   string   `json:"token_type"`
	ExpiresAt   Time     `json:"expires_at"`
	Scopes      []string `json:"scopes"`
	APIKey      Secret   `json:"api_key"`
	Username    string   `json:"username"`
	Password    Secret   `json:"password"`
	Generation  uint64   `json:"generation"`
	// Replica marks an answer from a replica, given while the account's owner
	// could not be asked; left out otherwise.
	Replica bool `json:"replica,omitempty"`
	// DPoPProof is good for one request to the provider's API, where it was asked
	// for; left out otherwise.
	DPoPProof Secret `json:"dpop_proof,omitempty"`
}

// AppendJSON appends the JSON form to dst and returns it. It is written by
// hand because this answer is given more often than all others together.
func (t Token) AppendJSON(dst []byte) []byte {
	dst = append(dst, `{"type":`...)
	dst = AppendString(dst, t.Type)
	switch t.Type {
	case TypeAPIKey:
		dst = append(dst, `,"api_key":`...)
		dst = AppendString(dst, string(t.APIKey))
	case TypeBasic:
		dst = append(dst, `,"username":`...)
		dst = AppendString(dst, t.Username)
		dst = append(dst, `,"password":`...)
		dst = AppendString(dst, string(t.Password))
	default:
		dst = t.appendOAuth2(dst)
	}
	dst = append(dst, `,"generation":`...)
	dst = strconv.AppendUint(dst, t.Generation, 10)
	if t.Replica {
		dst = append(dst, `,"replica":true`...)
	}
	if t.DPoPProof != "" {
		dst = append(dst, `,"dpop_proof":`...)
		dst = AppendString(dst, string(t.DPoPProof))
	}
	return append(dst, '}')
}

func (t Token) appendOAuth2(dst []byte) []byte {
	dst = append(dst, `,"access_token":`...)
	dst = AppendString(dst, string(t.AccessToken))
	dst = append(dst, `,"token_type":`...)
	dst = AppendString(dst, t.TokenType)
	dst = append(dst, `,"expires_at":`...)
	dst = t.ExpiresAt.AppendJSON(dst)
	dst = append(dst, `,"scopes":[`...)
	for i, s := range t.Scopes {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = AppendString(dst, s)
	}
	return append(dst, ']')
}

// MarshalJSON writes what [Token.AppendJSON] appends.
func (t Token) MarshalJSON() ([]byte, error) {
	return t.AppendJSON(make([]byte, 0, 256+len(t.AccessToken))), nil
}

// LogValue shows all but the secret.
func (t Token) LogValue() slog.Value {
	return slog.GroupValue(
		slog.String("type", t.Type),
		slog.Time("expires_at", t.ExpiresAt.Time),
		slog.Uint64("generation", t.Generation))
}
