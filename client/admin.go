package client

import (
	"context"
	"encoding/json"
	"net/url"

	"github.com/grantd/grantd/wire"
)

// PutIntegration makes or replaces an integration. Without a client secret an
// existing integration keeps its own.
func (c *Client) PutIntegration(ctx context.Context, id string, n wire.NewIntegration) (wire.Integration, error) {
	return call[wire.Integration](ctx, c, "PUT", "/v1/integrations/"+url.PathEscape(id), nil, n)
}

// Integration returns one integration.
func (c *Client) Integration(ctx context.Context, id string) (wire.Integration, error) {
	return call[wire.Integration](ctx, c, "GET", "/v1/integrations/"+url.PathEscape(id), nil, nil)
}

// Integrations returns a page of integrations, in order of id.
func (c *Client) Integrations(ctx context.Context, cursor string, limit int) (wire.IntegrationList, error) {
	return call[wire.IntegrationList](ctx, c, "GET", "/v1/integrations", pageQuery(cursor, limit), nil)
}

// DeleteIntegration deletes an integration that no account uses any more.
func (c *Client) DeleteIntegration(ctx context.Context, id string) error {
	_, err := call[struct{}](ctx, c, "DELETE", "/v1/integrations/"+url.PathEscape(id), nil, nil)
	return err
}

// CreateKey makes an API key. Its secret is shown this one time.
func (c *Client) CreateKey(ctx context.Context, n wire.NewKey) (wire.CreatedKey, error) {
	return call[wire.CreatedKey](ctx, c, "POST", "/v1/keys", nil, n)
}

// Keys returns a page of API keys, in order of id.
func (c *Client) Keys(ctx context.Context, cursor string, limit int) (wire.KeyList, error) {
	return call[wire.KeyList](ctx, c, "GET", "/v1/keys", pageQuery(cursor, limit), nil)
}

// DeleteKey ends an API key.
func (c *Client) DeleteKey(ctx context.Context, id string) error {
	_, err := call[struct{}](ctx, c, "DELETE", "/v1/keys/"+url.PathEscape(id), nil, nil)
	return err
}

// Providers returns a page of the catalogue, in order of id.
func (c *Client) Providers(ctx context.Context, cursor string, limit int) (wire.ProviderList, error) {
	return call[wire.ProviderList](ctx, c, "GET", "/v1/providers", pageQuery(cursor, limit), nil)
}

// Provider returns one entry of the catalogue.
func (c *Client) Provider(ctx context.Context, id string) (wire.Provider, error) {
	return call[wire.Provider](ctx, c, "GET", "/v1/providers/"+url.PathEscape(id), nil, nil)
}

// PutProvider makes or replaces an entry of the catalogue, of fields by the
// names that its files have.
func (c *Client) PutProvider(ctx context.Context, id string, fields map[string]json.RawMessage) (wire.Provider, error) {
	return call[wire.Provider](ctx, c, "PUT", "/v1/providers/"+url.PathEscape(id), nil, fields)
}

// DeleteProvider takes away an entry that was defined by the API; the one below
// it, if there is one, counts again.
func (c *Client) DeleteProvider(ctx context.Context, id string) error {
	_, err := call[struct{}](ctx, c, "DELETE", "/v1/providers/"+url.PathEscape(id), nil, nil)
	return err
}

// Cluster returns nodes and shards as the answering node sees them.
func (c *Client) Cluster(ctx context.Context) (wire.Cluster, error) {
	return call[wire.Cluster](ctx, c, "GET", "/v1/cluster", nil, nil)
}

// RemoveNode takes a node out of the cluster for good. It returns as soon as
// that has begun; call it again to see how far it is.
func (c *Client) RemoveNode(ctx context.Context, id string) (wire.NodeRemoval, error) {
	return call[wire.NodeRemoval](ctx, c, "DELETE", "/v1/cluster/nodes/"+url.PathEscape(id), nil, nil)
}
