package tests

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/grantd/grantd/catalog"
	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/oauth"
	"github.com/grantd/grantd/oauth/clientkey"
	"github.com/grantd/grantd/tests/authserver"
)

// Whole flows of a client that signs against oidc-provider, of which it knows
// nothing but the issuer.

type signedClient struct {
	*authserver.Server
	client *oauth.Client
	key    *clientkey.Key
	dpop   *clientkey.Key
}

func startSigned(t *testing.T) signedClient {
	t.Helper()
	c := signedClient{key: generated(t), dpop: generated(t)}
	public, err := clientkey.PublicSet(c.key)
	if err != nil {
		t.Fatal(err)
	}
	c.Server = authserver.Start(t, authserver.OIDCProvider, authserver.Options{AccessTTL: conformanceTTL, ClientJWKS: public})
	tr := oauth.NewTransport(oauth.TransportOptions{Allow: []oauth.Exception{{Prefix: netip.MustParsePrefix("127.0.0.0/8")}}})
	t.Cleanup(tr.CloseIdleConnections)
	c.client = oauth.New(tr, oauth.Options{})
	return c
}

func generated(t *testing.T) *clientkey.Key {
	t.Helper()
	text, err := clientkey.Generate("ES256")
	if err != nil {
		t.Fatal(err)
	}
	k, err := clientkey.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// registration names the client, and its issuer.
func (c signedClient) registration(id string) oauth.Registration {
	reg := oauth.Registration{Provider: &catalog.Provider{ID: catalog.Custom, Issuer: c.Metadata.Issuer}, ClientID: id, Key: c.key}
	if id == authserver.Bound {
		reg.Provider.DPoP, reg.DPoPKey = catalog.DPoPRequired, c.dpop
	}
	return reg
}

// authorised has a person consent, and exchanges the code.
func (c signedClient) authorised(t *testing.T, reg oauth.Registration) credential.Grant {
	t.Helper()
	verifier := credential.NewSecret("a-verifier-of-43-characters-or-more-0123456789")
	address, err := c.client.Authorize(t.Context(), reg, oauth.AuthorizationRequest{
		RedirectURI: c.RedirectURI(), State: "s", Scopes: []string{"openid", "offline_access"}, Verifier: verifier, Nonce: "n",
		Params: map[string]string{"prompt": "consent"},
	})
	if err != nil {
		t.Fatal(err)
	}
	back, err := c.Consent(t.Context(), address, c.RedirectURI())
	if err != nil {
		t.Fatal(err)
	}
	if q := back.Query(); q.Get("code") == "" || q.Get("state") != "s" || q.Get("iss") != c.Metadata.Issuer {
		t.Fatalf("sent back with %v", q)
	}
	g, err := c.client.Exchange(t.Context(), reg, oauth.Exchange{Code: credential.NewSecret(back.Query().Get("code")), RedirectURI: c.RedirectURI(), Verifier: verifier, Nonce: "n"})
	if err != nil {
		t.Fatal(err)
	}
	if g.Subject != (credential.Subject{Issuer: c.Metadata.Issuer, User: "user-1"}) || g.RefreshToken.IsZero() {
		t.Fatalf("authorised by %+v; a refresh token: %v", g.Subject, !g.RefreshToken.IsZero())
	}
	return g
}

func TestClientThatSignsGoesThroughEveryFlow(t *testing.T) {
	c := startSigned(t)
	for _, id := range []string{authserver.Signed, authserver.Bound} {
		t.Run(id, func(t *testing.T) {
			reg := c.registration(id)
			g := c.authorised(t, reg)
			want := "Bearer"
			if id == authserver.Bound {
				want = "DPoP"
			}
			if g.TokenType != want {
				t.Errorf("the token is of type %s, want %s", g.TokenType, want)
			}
			next, err := c.client.Refresh(t.Context(), reg, g.RefreshToken, nil)
			if err != nil || next.RefreshToken.IsZero() || next.RefreshToken.Equal(g.RefreshToken) || next.TokenType != want {
				t.Fatalf("refresh: %+v, %v", next, err)
			}
			if in, err := c.client.Introspect(t.Context(), reg, next.AccessToken); err != nil || !in.Active {
				t.Errorf("introspection: %+v, %v", in, err)
			}
			if who, err := c.client.Userinfo(t.Context(), reg, next.AccessToken); err != nil || who.User != "user-1" {
				t.Errorf("userinfo: %+v, %v", who, err)
			}
			// A replay of the first one ends the grant (RFC 9700 section 4.14.2).
			wantClass(t, credential.Terminal, func() error { _, err := c.client.Refresh(t.Context(), reg, g.RefreshToken, nil); return err })
			wantClass(t, credential.Terminal, func() error { _, err := c.client.Refresh(t.Context(), reg, next.RefreshToken, nil); return err })

			g = c.authorised(t, reg)
			if err := c.client.Revoke(t.Context(), reg, g.RefreshToken, oauth.HintRefreshToken); err != nil {
				t.Errorf("revocation: %v", err)
			}
			wantClass(t, credential.Terminal, func() error { _, err := c.client.Refresh(t.Context(), reg, g.RefreshToken, nil); return err })
			if g, err := c.client.ClientCredentials(t.Context(), reg, nil); err != nil || g.TokenType != want {
				t.Errorf("client credentials: %+v, %v", g, err)
			}
			c.device(t, reg)
		})
	}
}

// device authorises on "another device".
func (c signedClient) device(t *testing.T, reg oauth.Registration) {
	t.Helper()
	d, err := c.client.DeviceAuthorize(t.Context(), reg, []string{"openid", "offline_access"})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.client.DevicePoll(t.Context(), reg, d.DeviceCode)
	if f, ok := errors.AsType[*credential.Failure](err); !ok || f.Class != credential.Transient || f.Code != oauth.CodePending {
		t.Errorf("before the person came: %v", err)
	}
	// The server's last page leads nowhere, which the browser reports; whether the
	// person got through is for the server to say.
	_, visit := c.Consent(t.Context(), d.VerificationURIComplete, "http://nowhere.invalid/")
	g, err := c.client.DevicePoll(t.Context(), reg, d.DeviceCode)
	if err != nil || g.AccessToken.IsZero() || g.Subject.User != "user-1" {
		t.Errorf("after the person consented: %+v, %v; the browser ended with: %v", g.Subject, err, visit)
	}
}

func wantClass(t *testing.T, class credential.Class, do func() error) {
	t.Helper()
	if f, ok := errors.AsType[*credential.Failure](do()); !ok || f.Class != class {
		t.Errorf("got %v, want %s", f, class)
	}
}

// A client whose key is not the registered one is refused as a client: nobody's
// grant is touched.
func TestClientWithAnotherKeyIsMisconfigured(t *testing.T) {
	c := startSigned(t)
	reg := c.registration(authserver.Signed)
	g := c.authorised(t, reg)
	wrong := reg
	wrong.Key = generated(t)
	wantClass(t, credential.Misconfigured, func() error { _, err := c.client.Refresh(t.Context(), wrong, g.RefreshToken, nil); return err })
	if _, err := c.client.Refresh(t.Context(), reg, g.RefreshToken, nil); err != nil {
		t.Errorf("the grant did not survive: %v", err)
	}
	bound := c.registration(authserver.Bound)
	g = c.authorised(t, bound)
	other := bound
	other.DPoPKey = generated(t)
	if _, err := c.client.Refresh(t.Context(), other, g.RefreshToken, nil); err != nil {
		// A confidential client's refresh token is bound to the client, not to the
		// key (RFC 9449 section 5).
		t.Errorf("with another key: %v", err)
	}
}
