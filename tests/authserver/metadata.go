package authserver

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
)

// Metadata are the parts of a server's description (RFC 8414) that are used here.
type Metadata struct {
	Issuer        string `json:"issuer"`
	Authorization string `json:"authorization_endpoint"`
	Token         string `json:"token_endpoint"`
	Revocation    string `json:"revocation_endpoint"`
	Introspection string `json:"introspection_endpoint"`
}

// Discover asks the server at issuer for its description.
func Discover(ctx context.Context, issuer string) (Metadata, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, issuer+"/.well-known/openid-configuration", nil)
	if err != nil {
		return Metadata{}, err
	}
	client := newClient()
	defer client.CloseIdleConnections()
	resp, err := client.Do(req)
	if err != nil {
		return Metadata{}, fmt.Errorf("discovery: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return Metadata{}, fmt.Errorf("discovery: HTTP %d", resp.StatusCode)
	}
	var m Metadata
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxBody)).Decode(&m); err != nil {
		return Metadata{}, fmt.Errorf("discovery: %w", err)
	}
	if err := issuerMatches(m.Issuer, issuer); err != nil {
		return Metadata{}, fmt.Errorf("discovery: %w", err)
	}
	return m, nil
}
