package registry

import (
	"slices"
	"strings"

	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/wire"
)

// AllTenants in a key's scope stands for every tenant.
const AllTenants = wire.All

// Bounds of a key's scope.
const (
	maxKeyName         = 256
	maxKeyIntegrations = 1000
)

// KeySpec is the scope of a key.
type KeySpec struct {
	Name   string // for people
	Tenant string // a tenant, or AllTenants
	// Integrations that the key is limited to; empty: every one.
	Integrations []string
	Permissions  []string // of wire.Permissions
}

// Allows reports whether the key has a permission; wire.PermAdmin includes all.
func (s KeySpec) Allows(permission string) bool {
	return slices.Contains(s.Permissions, permission) || slices.Contains(s.Permissions, wire.PermAdmin)
}

// Sees reports whether accounts of a tenant and an integration are in the
// key's scope. What it does not see has to look as if it did not exist.
func (s KeySpec) Sees(tenant, integration string) bool {
	return (s.Tenant == AllTenants || s.Tenant == tenant) &&
		(len(s.Integrations) == 0 || slices.Contains(s.Integrations, integration))
}

// check says what is wrong with the scope; credential.ErrInvalid.
func (s KeySpec) check() error {
	if len(s.Name) > maxKeyName || strings.ContainsFunc(s.Name, isControl) {
		return invalid("name must have at most %d bytes and no control characters", maxKeyName)
	}
	if s.Tenant != AllTenants {
		if err := credential.CheckName("tenant", s.Tenant); err != nil {
			return invalid("%w; to reach all tenants write %q", err, AllTenants)
		}
	}
	if len(s.Integrations) > maxKeyIntegrations {
		return invalid("a key can be limited to at most %d integrations", maxKeyIntegrations)
	}
	for _, id := range s.Integrations {
		if err := credential.CheckName("integration", id); err != nil {
			return invalid("%w", err)
		}
	}
	if len(s.Permissions) == 0 {
		return invalid("permissions are missing; choose from %s", strings.Join(wire.Permissions(), ", "))
	}
	for i, p := range s.Permissions {
		if !slices.Contains(wire.Permissions(), p) || slices.Contains(s.Permissions[:i], p) {
			return invalid("permission %d is unknown or there twice; choose from %s", i+1, strings.Join(wire.Permissions(), ", "))
		}
	}
	return nil
}

// clone copies what the caller may change later.
func (s KeySpec) clone() KeySpec {
	s.Integrations, s.Permissions = slices.Clone(s.Integrations), slices.Clone(s.Permissions)
	return s
}

func isControl(r rune) bool { return r < ' ' || r == 0x7f }
