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

// putProvider answers PUT /v1/providers/{id}: 201 made, 200 replaced. All
// tenants share the catalogue, so that it takes a key for all. What was shown
// can be sent back.
func (a *api) putProvider(x *exchange) error {
	id, err := x.pathID("provider")
	if err != nil {
		return err
	}
	if err := x.operator(); err != nil {
		return err
	}
	body, err := readBody(x.ResponseWriter, x.r)
	if err != nil {
		return err
	}
	fields, err := decodeOpen(body, &struct {
		Origin string `json:"origin"` // is what it is
	}{})
	if err != nil {
		return err
	}
	p, created, err := a.Providers.PutProvider(&x.ctx, id, fields)
	if err != nil {
		return err
	}
	status := http.StatusOK
	if created {
		status = http.StatusCreated
		x.Header().Set("Location", "/v1/providers/"+id)
	}
	return x.json(status, p)
}

// deleteProvider answers DELETE /v1/providers/{id}. Only what was defined by the
// API can be taken away.
func (a *api) deleteProvider(x *exchange) error {
	id, err := x.pathID("provider")
	if err != nil {
		return err
	}
	if err := x.operator(); err != nil {
		return err
	}
	if err := a.Providers.DeleteProvider(&x.ctx, id); err != nil {
		return err
	}
	x.WriteHeader(http.StatusNoContent)
	return nil
}
