package nodetest

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/registry"
)

// Tenant is whose accounts the tests are.
const Tenant = "acme"

// Ref names an account.
func Ref(i int) credential.Ref { return credential.Ref{Tenant: Tenant, ID: fmt.Sprintf("a%03d", i)} }

// Spec is the integration that [Import] uses, as an operator would write it.
func Spec() registry.IntegrationSpec {
	text := func(s string) json.RawMessage { b, _ := json.Marshal(s); return b }
	return registry.IntegrationSpec{Provider: "custom", ClientID: "demo-basic", Overrides: map[string]json.RawMessage{
		"token_url": text("https://idp.test/token"), "revocation_url": text("https://idp.test/revoke"), "refresh_rotation": text("rotating"),
	}}
}

// Integration is the id of [Spec].
const Integration = "demo"

// PutIntegration makes the integration at a node.
func (c *Cluster) PutIntegration(ctx context.Context, at string) error {
	_, _, err := c.Core(at).Registry.PutIntegration(ctx, Integration, Spec(), credential.NewSecret("demo-basic-secret"))
	return err
}

// Grant is what an account of a new grant is imported from.
func (c *Cluster) Grant(ref credential.Ref) credential.Import {
	c.t.Helper()
	tok, err := c.Provider.NewGrant("demo-basic", ref.ID, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	return credential.Import{
		Ref: ref, Integration: Integration, Kind: credential.KindOAuth2, Secret: tok.AccessToken, RefreshToken: tok.RefreshToken,
		ExpiresAt: time.Now().Add(tok.ExpiresIn),
	}
}

// Import makes an account at a node, with a grant of its own.
func (c *Cluster) Import(ctx context.Context, at string, ref credential.Ref) error {
	_, _, err := c.Core(at).Accounts().Import(ctx, c.Grant(ref))
	return err
}

// Fill makes an integration and accounts 0 to n-1.
func (c *Cluster) Fill(ctx context.Context, at string, n int) {
	c.t.Helper()
	if err := c.PutIntegration(ctx, at); err != nil {
		c.t.Fatal(err)
	}
	for i := range n {
		if err := c.Import(ctx, at, Ref(i)); err != nil {
			c.t.Fatalf("import %d: %v", i, err)
		}
	}
}

// Judge tells what the provider has to complain of.
func (c *Cluster) Judge() {
	c.t.Helper()
	for _, v := range c.Provider.Judge() {
		c.t.Errorf("the provider complains: %+v", v)
	}
}
