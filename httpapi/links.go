package httpapi

import (
	"net/http"
	"time"

	"github.com/grantd/grantd/connect"
	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/wire"
)

// createLink answers POST /v1/links.
func (a *api) createLink(x *exchange) error {
	if err := x.need(wire.PermLinksCreate); err != nil {
		return err
	}
	var in wire.NewLink
	if err := x.decodeBody(&in); err != nil {
		return err
	}
	n, err := linkOf(in)
	if err != nil {
		return err
	}
	x.account = n.Ref
	if err := x.usable(credential.Import{Ref: n.Ref, Integration: n.Integration}); err != nil {
		return err
	}
	made, err := a.Connect.Create(&x.ctx, n)
	if err != nil {
		return err
	}
	return x.json(http.StatusCreated, wire.Link{URL: wire.Secret(made.URL.Reveal()), ExpiresAt: wire.At(made.ExpiresAt), Account: n.Ref.String()})
}

// linkOf checks a request for a link.
func linkOf(in wire.NewLink) (connect.NewLink, error) {
	if in.Account == "" {
		in.Account = newAccountID(time.Now())
	}
	n := connect.NewLink{
		Ref: credential.Ref{Tenant: in.Tenant, ID: in.Account}, Integration: in.Integration, Scopes: in.Scopes,
		Variables: in.Variables, ReturnURL: in.ReturnURL, AllowOtherIdentity: in.AllowOtherIdentity,
	}
	if err := checkRef(n.Ref); err != nil {
		return n, err
	}
	if err := credential.CheckName("integration", n.Integration); err != nil {
		return n, err
	}
	if len(in.Variables) > credential.MaxFacts {
		return n, invalid("Field \"variables\" can have at most %d entries.", credential.MaxFacts)
	}
	if in.TTL != "" {
		ttl, err := time.ParseDuration(in.TTL)
		if err != nil || ttl < connect.MinTTL || ttl > connect.MaxTTL {
			return n, invalid("Field \"ttl\" must be a time such as 30m or 2h, from %v to %v.", connect.MinTTL, connect.MaxTTL)
		}
		n.TTL = ttl
	}
	return n, checkScopes("scopes", in.Scopes)
}
