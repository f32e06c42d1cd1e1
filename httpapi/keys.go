package httpapi

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/wire"
)

const maxKeyName = 256

// createKey answers POST /v1/keys. The new key can do no more than the one
// that makes it.
func (a *api) createKey(x *exchange) error {
	if err := x.need(wire.PermAdmin); err != nil {
		return err
	}
	var in wire.NewKey
	if err := x.decodeBody(&in); err != nil {
		return err
	}
	k, err := keySpec(in)
	if err != nil {
		return err
	}
	if !x.key.Covers(&k) || x.key.outlivedBy(&k) {
		return &problem{kind: kindForbidden, detail: "This API key cannot make a key that reaches further, or works longer, than itself. Stay within its tenant, its integrations, its accounts and its time."}
	}
	made, secret, err := a.Keys.CreateKey(&x.ctx, k)
	if err != nil {
		return err
	}
	return x.json(http.StatusCreated, wire.CreatedKey{Key: keyOf(made), Secret: wire.Secret(secret.Reveal())})
}

// keySpec checks a request for a key.
func keySpec(in wire.NewKey) (Key, error) {
	k := Key{Name: in.Name, Tenant: in.Tenant, Permissions: in.Permissions}
	if len(in.Name) > maxKeyName || hasControl(in.Name) {
		return k, invalid("Field \"name\" must have at most %d bytes and no control characters.", maxKeyName)
	}
	if in.Tenant != wire.All {
		if err := credential.CheckName("tenant", in.Tenant); err != nil {
			return k, invalid("Field \"tenant\" must name a tenant, or be \"*\" for all of them: %s.", err)
		}
	}
	if err := checkPermissions(in.Permissions); err != nil {
		return k, err
	}
	if err := limitKey(&k, in, time.Now()); err != nil {
		return k, err
	}
	if in.Integrations == nil || slices.Equal(in.Integrations, []string{wire.All}) {
		return k, nil
	}
	if len(in.Integrations) == 0 {
		return k, invalid("Field \"integrations\" is an empty list: such a key could see nothing. Leave the field out, or send [\"*\"], for all integrations.")
	}
	for i, id := range in.Integrations {
		if err := credential.CheckName("integration", id); err != nil {
			return k, invalid("Field \"integrations[%d]\" does not name an integration: %s.", i, err)
		}
	}
	k.Integrations = slices.Compact(slices.Sorted(slices.Values(in.Integrations)))
	return k, nil
}

// Bounds of what limits a key.
const (
	maxKeyAccounts = 100
	minKeyTTL      = time.Second
	maxKeyTTL      = 10 * 365 * 24 * time.Hour
)

// limitKey reads what limits a key beyond its tenant and integrations.
func limitKey(k *Key, in wire.NewKey, now time.Time) error {
	if in.Agent != "" {
		if err := credential.CheckName("agent", in.Agent); err != nil {
			return invalid("Field \"agent\" must name the agent: %s.", err)
		}
		k.Agent = in.Agent
	}
	if in.TTL != "" {
		ttl, err := time.ParseDuration(in.TTL)
		if err != nil || ttl < minKeyTTL || ttl > maxKeyTTL {
			return invalid("Field \"ttl\" must be a duration from %s to %s, such as \"15m\" or \"24h\".", minKeyTTL, maxKeyTTL)
		}
		k.ExpiresAt = now.Add(ttl).UTC()
	}
	switch {
	case in.Accounts == nil:
		return nil
	case len(in.Accounts) == 0:
		return invalid("Field \"accounts\" is an empty list: such a key could see nothing. Leave the field out for all accounts in its scope.")
	case len(in.Accounts) > maxKeyAccounts:
		return invalid("Field \"accounts\" has %d entries; at most %d are taken.", len(in.Accounts), maxKeyAccounts)
	}
	for i, name := range in.Accounts {
		ref, err := credential.ParseRef(name)
		if err != nil {
			return invalid("Field \"accounts[%d]\" does not name an account: %s.", i, err)
		}
		if in.Tenant != wire.All && in.Tenant != ref.Tenant {
			return invalid("Field \"accounts[%d]\" names an account of another tenant than the key's.", i)
		}
		if !slices.Contains(k.Accounts, ref) {
			k.Accounts = append(k.Accounts, ref)
		}
	}
	return nil
}

func checkPermissions(permissions []string) error {
	if len(permissions) == 0 {
		return invalid("Field \"permissions\" is missing or empty. Choose from: %s.", strings.Join(wire.Permissions(), ", "))
	}
	for i, p := range permissions {
		if !slices.Contains(wire.Permissions(), p) {
			return invalid("Field \"permissions[%d]\" is not a permission. Choose from: %s.", i, strings.Join(wire.Permissions(), ", "))
		}
		if slices.Contains(permissions[:i], p) {
			return invalid("Field \"permissions[%d]\" repeats %s. Send it once.", i, p)
		}
	}
	return nil
}

func (a *api) listKeys(x *exchange) error {
	if err := x.need(wire.PermAdmin); err != nil {
		return err
	}
	q, err := x.query("limit", "cursor")
	if err != nil {
		return err
	}
	all, err := a.Keys.Keys(&x.ctx)
	if err != nil {
		return err
	}
	visible := make([]wire.Key, 0, len(all))
	for _, k := range all {
		if x.key.Covers(k) {
			visible = append(visible, keyOf(k))
		}
	}
	slices.SortFunc(visible, func(a, b wire.Key) int { return strings.Compare(a.ID, b.ID) })
	items, next, err := page(q, visible, func(k wire.Key) string { return k.ID })
	if err != nil {
		return err
	}
	return x.json(http.StatusOK, wire.KeyList{Keys: items, NextCursor: next})
}

func (a *api) deleteKey(x *exchange) error {
	id, err := x.pathID("key id")
	if err != nil {
		return err
	}
	if err := x.need(wire.PermAdmin); err != nil {
		return err
	}
	all, err := a.Keys.Keys(&x.ctx)
	if err != nil {
		return err
	}
	at := slices.IndexFunc(all, func(k *Key) bool { return k.ID == id })
	if at < 0 || !x.key.Covers(all[at]) {
		return notFound()
	}
	if err := a.Keys.DeleteKey(&x.ctx, id); err != nil {
		return err
	}
	x.WriteHeader(http.StatusNoContent)
	return nil
}

func keyOf(k *Key) wire.Key {
	integrations := k.Integrations
	if integrations == nil {
		integrations = []string{wire.All}
	}
	var accounts []string
	for _, ref := range k.Accounts {
		accounts = append(accounts, ref.String())
	}
	return wire.Key{
		ID: k.ID, Name: k.Name, Tenant: k.Tenant, Integrations: integrations, Accounts: accounts, Agent: k.Agent,
		Permissions: listOf(k.Permissions), CreatedAt: wire.At(k.CreatedAt), ExpiresAt: wire.At(k.ExpiresAt),
	}
}
