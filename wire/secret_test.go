package wire_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"testing"

	"github.com/grantd/grantd/wire"
)

const plaintext = "s3cr3t-t0k3n-value"

// withSecrets holds one value of every type that carries a secret.
func withSecrets() []any {
	creds := wire.Credentials{
		Type: wire.TypeOAuth2, AccessToken: plaintext, RefreshToken: plaintext,
		APIKey: plaintext, Password: plaintext,
	}
	return []any{
		wire.Secret(plaintext),
		creds,
		wire.NewAccount{Tenant: "acme", ID: "a", Credentials: creds},
		wire.Token{Type: wire.TypeOAuth2, AccessToken: plaintext, APIKey: plaintext, Password: plaintext},
		wire.NewIntegration{Provider: "custom", ClientSecret: plaintext,
			Settings: map[string]json.RawMessage{"token_params": json.RawMessage(`{"k":"` + plaintext + `"}`)}},
		wire.CreatedKey{Secret: plaintext},
	}
}

func TestLoggersNeverShowSecrets(t *testing.T) {
	for _, v := range withSecrets() {
		t.Run(fmt.Sprintf("%T", v), func(t *testing.T) {
			var out bytes.Buffer
			slog.New(slog.NewJSONHandler(&out, nil)).Info("m", "v", v)
			slog.New(slog.NewTextHandler(&out, nil)).Info("m", "v", v)
			if strings.Contains(out.String(), plaintext) {
				t.Errorf("a log line shows the secret: %s", out.String())
			}
		})
	}
}

func TestNoVerbOfFmtShowsASecret(t *testing.T) {
	for _, v := range withSecrets() {
		if _, raw := v.(wire.NewIntegration); raw {
			continue // settings are configuration, shown on demand; logs leave them out
		}
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
			got := fmt.Sprintf(verb, v)
			if strings.Contains(got, plaintext) || strings.Contains(got, fmt.Sprintf("%x", plaintext)) {
				t.Errorf("%s of %T shows the secret: %s", verb, v, got)
			}
		}
	}
}

func TestJSONCarriesSecrets(t *testing.T) {
	b, err := json.Marshal(wire.Credentials{Type: wire.TypeAPIKey, APIKey: plaintext})
	if err != nil || string(b) != `{"type":"api_key","api_key":"`+plaintext+`"}` {
		t.Fatalf("%s, %v", b, err)
	}
	var back wire.Credentials
	if err := json.Unmarshal(b, &back); err != nil || back.APIKey.Reveal() != plaintext {
		t.Fatalf("%q, %v", back.APIKey.Reveal(), err)
	}
}

// TestTypesWithSecretsKnowHowToBeLogged keeps withSecrets complete for the
// types it names: a struct with a Secret in it must be a LogValuer.
func TestTypesWithSecretsKnowHowToBeLogged(t *testing.T) {
	secret := reflect.TypeFor[wire.Secret]()
	valuer := reflect.TypeFor[slog.LogValuer]()
	for _, typ := range []reflect.Type{
		reflect.TypeFor[wire.NewAccount](), reflect.TypeFor[wire.Credentials](), reflect.TypeFor[wire.Token](),
		reflect.TypeFor[wire.NewIntegration](), reflect.TypeFor[wire.Integration](), reflect.TypeFor[wire.CreatedKey](),
		reflect.TypeFor[wire.Account](), reflect.TypeFor[wire.Key](), reflect.TypeFor[wire.NewKey](), reflect.TypeFor[wire.Provider](),
	} {
		if holds(typ, secret) && !typ.Implements(valuer) {
			t.Errorf("%s holds a Secret and is no slog.LogValuer", typ)
		}
	}
}

func holds(typ, secret reflect.Type) bool {
	if typ == secret {
		return true
	}
	if typ.Kind() != reflect.Struct {
		return false
	}
	for f := range typ.Fields() {
		if holds(f.Type, secret) {
			return true
		}
	}
	return false
}
