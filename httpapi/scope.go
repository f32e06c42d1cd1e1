package httpapi

import (
	"slices"

	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/wire"
)

// The order of checks is the same everywhere: names that cannot be are 400,
// whatever the key; what lies outside the key's scope is 404; a permission
// that the key lacks is 403; only then is anything looked up. So a 403 tells
// nothing about what exists.

// need refuses keys that have none of the permissions.
func (x *exchange) need(permissions ...string) error {
	if slices.ContainsFunc(permissions, x.key.Can) {
		return nil
	}
	return forbidden(permissions[0])
}

// operator refuses keys that are not for the whole installation.
func (x *exchange) operator() error {
	if err := x.need(wire.PermAdmin); err != nil {
		return err
	}
	if x.key.Accounts != nil {
		return &problem{kind: kindForbidden, detail: "This concerns all tenants and this API key is limited to some accounts. Use a key with the permission admin that is not."}
	}
	if x.key.Tenant != wire.All {
		return &problem{kind: kindForbidden, detail: "This concerns all tenants and this API key is limited to one. Use a key with the permission admin and tenant \"*\"."}
	}
	return nil
}

// accountRef reads the account from the path and checks it against the key.
func (x *exchange) accountRef(permissions ...string) (credential.Ref, error) {
	ref := credential.Ref{Tenant: x.r.PathValue("tenant"), ID: x.r.PathValue("account")}
	if err := checkRef(ref); err != nil {
		return ref, err
	}
	x.account = ref
	if !x.key.SeesTenant(ref.Tenant) || !x.key.SeesAccount(ref) {
		return ref, notFound()
	}
	return ref, x.need(permissions...)
}

// checkRef names the first part of ref that cannot be.
func checkRef(ref credential.Ref) error {
	if err := credential.CheckName("tenant", ref.Tenant); err != nil {
		return err
	}
	return credential.CheckName("account id", ref.ID)
}

// sees refuses an account whose integration is outside the key's scope. An
// account never changes its integration, so that the answer stays right until
// the request is done.
func (x *exchange) sees(ref credential.Ref) error {
	if x.key.Integrations == nil {
		return nil
	}
	a, err := x.a.Accounts.Account(&x.ctx, ref)
	if err != nil {
		return err
	}
	if !x.key.SeesIntegration(a.Integration) {
		return notFound()
	}
	return nil
}

// pathID reads {id} from the path.
func (x *exchange) pathID(what string) (string, error) {
	id := x.r.PathValue("id")
	return id, credential.CheckName(what, id)
}
