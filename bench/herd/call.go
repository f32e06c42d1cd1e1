package herd

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/grantd/grantd/bench/strict"
	"github.com/grantd/grantd/wire"
)

// maxAnswer bounds what is read of an answer. Ten thousand grants of the
// provider are the longest.
const maxAnswer = 64 << 20

// refusal is an answer that is not a success.
type refusal struct {
	status       int
	code, detail string
}

func (r *refusal) Error() string {
	return fmt.Sprintf("HTTP %d %s: %s", r.status, r.code, r.detail)
}

// peer is one of the two that the herd speaks to.
type peer struct {
	client *http.Client
	base   string
	key    wire.Secret // empty: none is needed
}

// newPeer follows no redirects: they would carry the key elsewhere.
func newPeer(rt http.RoundTripper, base string, key wire.Secret) peer {
	stay := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return peer{client: &http.Client{Transport: rt, CheckRedirect: stay}, base: base, key: key}
}

// request makes a request, with in as its JSON body unless nil.
func (p peer) request(ctx context.Context, method, path string, in any) (*http.Request, error) {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return nil, fmt.Errorf("herd: encode the body of %s %s: %w", method, path, err)
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, p.base+path, body)
	if err != nil {
		return nil, fmt.Errorf("herd: %w", err)
	}
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if p.key != "" {
		req.Header.Set("Authorization", "Bearer "+p.key.Reveal())
	}
	return req, nil
}

// do sends a request and decodes the answer into out unless nil. An answer
// that is not a success is a *refusal.
func (p peer) do(req *http.Request, out any) error {
	res, err := p.client.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return err
	}
	if res.StatusCode < 200 || res.StatusCode > 299 {
		return readRefusal(res.StatusCode, body)
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(body, out)
}

// readRefusal takes what the node (code, detail) or the provider (error,
// error_description) says about an error.
func readRefusal(status int, body []byte) error {
	var said struct {
		Code        string `json:"code"`
		Detail      string `json:"detail"`
		Error       string `json:"error"`
		Description string `json:"error_description"`
	}
	if json.Unmarshal(body, &said) != nil || said.Code+said.Error == "" {
		return &refusal{status, fmt.Sprintf("http_%d", status), "the answer does not say why"}
	}
	return &refusal{status, said.Code + said.Error, said.Detail + said.Description}
}

func (p peer) call(ctx context.Context, method, path string, in, out any) error {
	req, err := p.request(ctx, method, path, in)
	if err != nil {
		return err
	}
	if err := p.do(req, out); err != nil {
		return fmt.Errorf("%s %s: %w", method, p.base+path, err)
	}
	return nil
}

// reasonOf is a short word for why a caller failed.
func reasonOf(err error) string {
	var r *refusal
	switch {
	case errors.As(err, &r):
		return r.code
	case errors.Is(err, context.DeadlineExceeded):
		return "timeout"
	case errors.Is(err, context.Canceled):
		return "cancelled"
	}
	return "connection"
}

// The client that the herd registers at the provider. It is the same for all
// runs, so that runs do not fill the provider with clients.
const (
	clientID     = "herd"
	clientSecret = "herd-secret"
)

// prepareProvider registers the client, makes the grants, and returns them
// together with the settings of an integration for the provider.
func (p peer) prepareProvider(ctx context.Context, accounts int) ([]strict.GrantTokens, wire.NewIntegration, error) {
	var found struct {
		Authorization string `json:"authorization_endpoint"`
		Token         string `json:"token_endpoint"`
		Revocation    string `json:"revocation_endpoint"`
	}
	if err := p.call(ctx, http.MethodGet, "/.well-known/openid-configuration", nil, &found); err != nil {
		return nil, wire.NewIntegration{}, fmt.Errorf("herd: the demo provider does not answer as it should; is it running? %w", err)
	}
	client := strict.ClientJSON{ID: clientID, Secret: clientSecret, Auth: strict.AuthBasic}
	if err := p.call(ctx, http.MethodPost, "/admin/clients", client, nil); err != nil {
		return nil, wire.NewIntegration{}, fmt.Errorf("herd: register a client at the provider: %w", err)
	}
	var made strict.GrantBatch
	want := strict.GrantRequest{Client: clientID, User: "herd", Count: accounts}
	if err := p.call(ctx, http.MethodPost, "/admin/grants:batch", want, &made); err != nil {
		return nil, wire.NewIntegration{}, fmt.Errorf("herd: make grants at the provider: %w", err)
	}
	n := wire.NewIntegration{Provider: wire.ProviderCustom, ClientID: clientID, ClientSecret: clientSecret, Settings: map[string]json.RawMessage{}}
	for name, value := range map[string]string{
		"authorization_url": found.Authorization,
		"token_url":         found.Token,
		"revocation_url":    found.Revocation,
		"token_auth_method": string(strict.AuthBasic),
		"refresh_rotation":  string(strict.RotationStrict),
	} {
		n.Settings[name] = wire.AppendString(nil, value)
	}
	return made.Grants, n, nil
}

// slowDown delays the next count refreshes of the herd's client, and returns
// the id of the fault.
func (p peer) slowDown(ctx context.Context, delayMS int64, count int) (string, error) {
	f := strict.FaultJSON{Kind: strict.FaultLatency, Client: clientID, GrantType: "refresh_token", DelayMS: delayMS, Count: count}
	var list strict.FaultList
	if err := p.call(ctx, http.MethodPost, "/admin/faults", f, &list); err != nil {
		return "", fmt.Errorf("herd: slow the provider down: %w", err)
	}
	if len(list.Faults) == 0 {
		return "", errors.New("herd: the provider took the delay and lists no fault")
	}
	return list.Faults[len(list.Faults)-1].ID, nil
}

// asked returns what the provider counted for the grants.
func (p peer) asked(ctx context.Context, grants []strict.GrantTokens) (strict.GrantsReport, error) {
	var q strict.GrantsQuery
	for _, g := range grants {
		q.Grants = append(q.Grants, g.Grant)
	}
	var report strict.GrantsReport
	if err := p.call(ctx, http.MethodPost, "/admin/grants:report", q, &report); err != nil {
		return report, fmt.Errorf("herd: ask the provider what it was asked: %w", err)
	}
	return report, nil
}
