package registry

import (
	"slices"
	"strings"
	"time"

	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/wire"
)

// AllTenants in a key's scope stands for every tenant.
const AllTenants = wire.All

// Bounds of a key's scope.
const (
	maxKeyName         = 256
	maxKeyIntegrations = 1000
	maxKeyAccounts     = 100
)

// KeySpec is the scope of a key.
type KeySpec struct {
	Name   string // for people
	Tenant string // a tenant, or AllTenants
	// Integrations that the key is limited to; empty: every one.
	Integrations []string
	// Accounts that the key is limited to; empty: every one in the scope above.
	Accounts    []credential.Ref
	Permissions []string // of wire.Permissions
	// Agent is the name of the AI agent that the key is for; empty: it is not for
	// one. Each token that an agent is handed stands in the account's history.
	Agent string
	// ExpiresAt is when the key ends by itself; zero: never.
	ExpiresAt time.Time
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

// limited reports whether the key has limits beyond tenant and integrations.
func (s KeySpec) limited() bool {
	return len(s.Accounts) > 0 || s.Agent != "" || !s.ExpiresAt.IsZero()
}

// expired reports whether the key has ended by itself.
func (s KeySpec) expired(now time.Time) bool {
	return !s.ExpiresAt.IsZero() && !now.Before(s.ExpiresAt)
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
	if err := s.checkAccounts(); err != nil {
		return err
	}
	if s.Agent != "" {
		if err := credential.CheckName("agent", s.Agent); err != nil {
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

func (s KeySpec) checkAccounts() error {
	if len(s.Accounts) > maxKeyAccounts {
		return invalid("a key can be limited to at most %d accounts", maxKeyAccounts)
	}
	for _, ref := range s.Accounts {
		if err := ref.Validate(); err != nil {
			return invalid("%w", err)
		}
		if s.Tenant != AllTenants && s.Tenant != ref.Tenant {
			return invalid("account %s is not of the key's tenant %s", ref, s.Tenant)
		}
	}
	return nil
}

// clone copies what the caller may change later.
func (s KeySpec) clone() KeySpec {
	s.Integrations, s.Permissions, s.Accounts = slices.Clone(s.Integrations), slices.Clone(s.Permissions), slices.Clone(s.Accounts)
	return s
}

func isControl(r rune) bool { return r < ' ' || r == 0x7f }
