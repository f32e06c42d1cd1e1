package registry_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/oauth/clientkey"
	"github.com/grantd/grantd/registry"
	"github.com/grantd/grantd/registry/registrytest"
)

// pair is a private key and its certificate, in PEM.
func pair(t *testing.T) (key credential.Secret, certificate string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "x"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	inner, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: inner})
	return credential.NewSecret(string(text)), string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

func keysOf(t *testing.T, r *registry.Registry, id string) registry.Keys {
	t.Helper()
	in, ok := r.Integration(id)
	if !ok {
		t.Fatal("not found")
	}
	k, err := r.ClientKeys(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func put(t *testing.T, r *registry.Registry, change func(*registry.IntegrationSpec)) (*registry.Integration, error) {
	t.Helper()
	s := spec()
	change(&s)
	in, _, err := r.PutIntegration(t.Context(), "crm", s, credential.Secret{})
	return in, err
}

func TestKeysAreSealedAndComeBackFromTheStore(t *testing.T) {
	kv := &registrytest.KV{}
	r := open(t, kv, nil)
	key, certificate := pair(t)
	in, err := put(t, r, func(s *registry.IntegrationSpec) {
		s.ClientKey, s.Certificate = key, certificate
		s.Overrides = map[string]json.RawMessage{"token_url": json.RawMessage(`"https://idp.example.com/token"`), "dpop": json.RawMessage(`"required"`)}
	})
	if err != nil || !in.HasKey || !in.ClientKey.IsZero() {
		t.Fatalf("%+v, %v", in, err)
	}
	inner := strings.Split(key.Reveal(), "\n")[1]
	if err := kv.Scan("", func(name string, value []byte, _ uint64) error {
		if strings.Contains(string(value), inner) || strings.Contains(string(value), "BEGIN PRIVATE") {
			t.Errorf("%s holds the key in plaintext", name)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	given, err := clientkey.Parse(key)
	if err != nil {
		t.Fatal(err)
	}
	got := keysOf(t, r, "crm") // what the registry has read back
	if got.Client == nil || got.Certificate == nil || got.DPoP == nil || got.Client.Thumbprint() != given.Thumbprint() {
		t.Errorf("the store gives back %+v", got)
	}
	if again := keysOf(t, r, "crm"); again.Client != got.Client {
		t.Error("the keys are read anew for each use")
	}
}

func TestEditKeepsTheKeysAndAKeyForDPoPIsNeverReplaced(t *testing.T) {
	r := open(t, &registrytest.KV{}, nil)
	key, certificate := pair(t)
	bound := func(s *registry.IntegrationSpec) {
		s.Overrides = map[string]json.RawMessage{"token_url": json.RawMessage(`"https://idp.example.com/token"`), "dpop": json.RawMessage(`"required"`)}
	}
	if _, err := put(t, r, func(s *registry.IntegrationSpec) { bound(s); s.ClientKey, s.Certificate = key, certificate }); err != nil {
		t.Fatal(err)
	}
	first := keysOf(t, r, "crm")
	if _, err := put(t, r, func(*registry.IntegrationSpec) {}); err != nil {
		t.Fatal(err)
	}
	if k := keysOf(t, r, "crm"); k.Client.Thumbprint() != first.Client.Thumbprint() || k.Certificate == nil || k.DPoP.Thumbprint() != first.DPoP.Thumbprint() {
		t.Errorf("an edit lost keys: %+v", k)
	}
	other, _ := pair(t)
	if _, err := put(t, r, func(s *registry.IntegrationSpec) { bound(s); s.ClientKey = other }); err != nil {
		t.Fatal(err)
	}
	if k := keysOf(t, r, "crm"); k.Client.Thumbprint() == first.Client.Thumbprint() || k.Certificate != nil || k.DPoP.Thumbprint() != first.DPoP.Thumbprint() {
		t.Errorf("after another key: %+v", k)
	}
}

func TestKeysAreMadeOnRequest(t *testing.T) {
	r := open(t, &registrytest.KV{}, nil)
	if k := keysOfNone(t, r); k != (registry.Keys{}) {
		t.Errorf("%+v", k)
	}
	for _, asked := range []string{"generate", "generate:ES256"} {
		in, err := put(t, r, func(s *registry.IntegrationSpec) { s.ClientKey = credential.NewSecret(asked) })
		if err != nil || !in.HasKey || keysOf(t, r, "crm").Client == nil {
			t.Errorf("%s: %+v, %v", asked, in, err)
		}
	}
}

func keysOfNone(t *testing.T, r *registry.Registry) registry.Keys {
	t.Helper()
	if _, err := put(t, r, func(*registry.IntegrationSpec) {}); err != nil {
		t.Fatal(err)
	}
	return keysOf(t, r, "crm")
}

func TestBadKeysChangeNothing(t *testing.T) {
	r := open(t, &registrytest.KV{}, nil)
	key, certificate := pair(t)
	other, _ := pair(t)
	if _, err := put(t, r, func(s *registry.IntegrationSpec) { s.ClientKey = key }); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*registry.IntegrationSpec){
		"no key":                 func(s *registry.IntegrationSpec) { s.ClientKey = credential.NewSecret("hunter2") },
		"of no such kind":        func(s *registry.IntegrationSpec) { s.ClientKey = credential.NewSecret("generate:HS256") },
		"certificate of another": func(s *registry.IntegrationSpec) { s.ClientKey, s.Certificate = other, certificate },
		"certificate of none":    func(s *registry.IntegrationSpec) { s.Certificate = "hunter2" },
		"certificate for a new": func(s *registry.IntegrationSpec) {
			s.ClientKey, s.Certificate = credential.NewSecret("generate"), certificate
		},
		"key in the certificate": func(s *registry.IntegrationSpec) { s.Certificate = certificate + key.Reveal() },
		"much too long": func(s *registry.IntegrationSpec) {
			s.ClientKey = credential.NewSecret(strings.Repeat("-", clientkey.MaxText+1))
		},
	} {
		if _, err := put(t, r, change); !errors.Is(err, credential.ErrInvalid) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if in, _ := r.Integration("crm"); in.Version != 1 || in.Certificate != "" {
		t.Errorf("%+v", in)
	}
	if _, err := put(t, r, func(s *registry.IntegrationSpec) { s.Certificate = certificate }); err != nil {
		t.Errorf("the certificate of the stored key: %v", err)
	}
}
