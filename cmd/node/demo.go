package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"slices"

	"github.com/grantd/grantd/bench/strict"
	"github.com/grantd/grantd/client"
	"github.com/grantd/grantd/wire"
)

// Names under which grantd dev makes its demonstration.
const (
	demoIntegration = "demo"
	demoTenant      = "demo"
	demoUser        = "ada"
	demoClient      = "demo-basic" // one of strict.DemoClients
)

// demo is the built-in strict provider, serving.
type demo struct {
	addr     string
	provider *strict.Provider
	cancel   context.CancelFunc
	ended    chan error // gets the end of Serve, once
}

// startDemo serves the provider on listen until close is called. It outlives
// ctx, so that refreshes in flight can end when the node stops.
func startDemo(ctx context.Context, listen string, logger *slog.Logger) (*demo, error) {
	if host, _, err := net.SplitHostPort(listen); err != nil || !isLocal(host) {
		return nil, fmt.Errorf("--demo-listen %s: the demo provider lets everybody in, so it runs on this machine only; write 127.0.0.1:PORT", listen)
	}
	ln, err := net.Listen("tcp", listen)
	if err != nil {
		return nil, listenHint(err, listen, "--demo-listen, or leave the demo provider out with --no-demo")
	}
	addr := ln.Addr().String()
	provider, err := strict.New(strict.Options{Issuer: "http://" + addr, AskBrowsers: true, Logger: logger})
	if err != nil {
		_ = ln.Close()
		return nil, err
	}
	serving, cancel := context.WithCancel(context.WithoutCancel(ctx))
	d := &demo{addr: addr, provider: provider, cancel: cancel, ended: make(chan error, 1)}
	go func() { d.ended <- provider.Serve(serving, ln) }()
	return d, nil
}

// close stops the provider and waits for it.
func (d *demo) close() error {
	d.cancel()
	err := <-d.ended
	d.provider.Close()
	return err
}

// issuer is the provider's own address.
func (d *demo) issuer() string { return "http://" + d.addr }

// registration is the node's integration for the provider.
func (d *demo) registration() (wire.NewIntegration, error) {
	clients := strict.DemoClients()
	i := slices.IndexFunc(clients, func(c strict.Client) bool { return c.ID == demoClient })
	if i < 0 {
		return wire.NewIntegration{}, fmt.Errorf("the demo provider has no client %s", demoClient)
	}
	c := clients[i]
	n := wire.NewIntegration{
		Provider:     wire.ProviderCustom,
		ClientID:     c.ID,
		ClientSecret: wire.Secret(c.Secret.Reveal()),
		DisplayName:  "The grantd demonstration",
		Scopes:       []string{"profile", "api"},
		ScopeDescriptions: map[string]string{
			"profile": "See your name",
			"api":     "Use the demo API on your behalf",
		},
		Settings: map[string]json.RawMessage{"authorization_response_iss": json.RawMessage("true")},
	}
	for name, value := range map[string]string{
		"issuer":            d.issuer(),
		"authorization_url": d.issuer() + "/auth",
		"token_url":         d.issuer() + "/token",
		"revocation_url":    d.issuer() + "/revoke",
		"introspection_url": d.issuer() + "/introspect",
		"api_base_url":      d.issuer() + "/api",
		"token_auth_method": string(c.Auth),
		"refresh_rotation":  "rotating",
	} {
		n.Settings[name] = wire.AppendString(nil, value)
	}
	return n, nil
}

// account is a first account: a grant of the provider, made a moment ago.
func (d *demo) account() (wire.NewAccount, error) {
	t, err := d.provider.NewGrant(demoClient, demoUser, nil)
	if err != nil {
		return wire.NewAccount{}, err
	}
	expires := int64(t.ExpiresIn.Seconds())
	return wire.NewAccount{
		Tenant:      demoTenant,
		ID:          demoUser,
		Integration: demoIntegration,
		Credentials: wire.Credentials{
			Type:         wire.TypeOAuth2,
			AccessToken:  wire.Secret(t.AccessToken.Reveal()),
			RefreshToken: wire.Secret(t.RefreshToken.Reveal()),
			ExpiresIn:    &expires,
		},
	}, nil
}

// register makes integration and account in the node. The provider forgets its
// grants when it stops, so the account of an earlier run gets a new one.
func (d *demo) register(ctx context.Context, c *client.Client) error {
	n, err := d.registration()
	if err != nil {
		return err
	}
	if _, err := c.PutIntegration(ctx, demoIntegration, n); err != nil {
		return fmt.Errorf("register the demo provider: %w", err)
	}
	a, err := d.account()
	if err != nil {
		return err
	}
	if _, err := c.CreateAccount(ctx, a); err != nil {
		return fmt.Errorf("make the demo account: %w", err)
	}
	return nil
}
