package httpapi

import (
	"net/http"

	"github.com/grantd/grantd/wire"
)

// listProviders and getProvider show the catalogue, which is public
// knowledge, to every key.
func (a *api) listProviders(x *exchange) error {
	q, err := x.query("limit", "cursor")
	if err != nil {
		return err
	}
	items, next, err := page(q, a.Providers.Providers(), func(p wire.Provider) string { return p.ID })
	if err != nil {
		return err
	}
	if items == nil {
		items = []wire.Provider{}
	}
	return x.json(http.StatusOK, wire.ProviderList{Providers: items, NextCursor: next})
}

func (a *api) getProvider(x *exchange) error {
	id, err := x.pathID("provider")
	if err != nil {
		return err
	}
	p, ok := a.Providers.Provider(id)
	if !ok {
		return notFound()
	}
	return x.json(http.StatusOK, p)
}
