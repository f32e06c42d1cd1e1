package main

import (
	"context"
	"encoding/json"
	"log/slog"
	"net"
	"os"

	"github.com/grantd/grantd/bench/strict"
	"github.com/grantd/grantd/wire"
)

const (
	demoIssuer = "http://" + demoAddr
	demoClient = "demo-basic"
)

// serveDemo serves the strict demo provider until ctx ends.
func serveDemo(ctx context.Context) error {
	ln, err := net.Listen("tcp", demoAddr)
	if err != nil {
		return err
	}
	p, err := strict.New(strict.Options{Issuer: demoIssuer, Logger: slog.New(slog.NewTextHandler(os.Stderr, nil))})
	if err != nil {
		return err
	}
	defer p.Close()
	return p.Serve(ctx, ln)
}

// register makes the integration of the demo provider.
func (c *cluster) register(ctx context.Context) error {
	api, err := c.client(c.Nodes[0])
	if err != nil {
		return err
	}
	n := wire.NewIntegration{Provider: wire.ProviderCustom, ClientID: demoClient, Settings: map[string]json.RawMessage{}}
	for _, known := range strict.DemoClients() {
		if known.ID == demoClient {
			n.ClientSecret = wire.Secret(known.Secret.Reveal())
		}
	}
	for name, value := range map[string]string{
		"authorization_url": demoIssuer + "/auth", "token_url": demoIssuer + "/token", "revocation_url": demoIssuer + "/revoke",
		"introspection_url": demoIssuer + "/introspect", "api_base_url": demoIssuer + "/api", "refresh_rotation": "rotating",
	} {
		n.Settings[name] = wire.AppendString(nil, value)
	}
	return until(ctx, "the demo integration cannot be made", func() error {
		_, err := api.PutIntegration(ctx, "demo", n)
		return err
	})
}
