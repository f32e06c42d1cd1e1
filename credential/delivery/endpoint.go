package delivery

import (
	"slices"
	"strings"
	"time"

	"github.com/grantd/grantd/credential"
)

// AllEvents in an end point's list stands for every type of event but
// credential.EventRefreshed, which is told only to who names it.
const AllEvents = "*"

// Endpoint is where events are delivered, and which. It is shared and never
// changed.
type Endpoint struct {
	ID string // see [EndpointID]
	// Incarnation tells it from an earlier end point of the same id.
	Incarnation string
	// Revision of the registry's value that this is.
	Revision uint64
	URL      string
	Events   []string // types, AllEvents among them or not
	Tenant   string   // whose events it gets; empty: those of all, and those of none
	// Integrations whose events it gets; nil: of all.
	Integrations []string
	Enabled      bool
	// Since is when it was made, or enabled after it had been disabled: it gets
	// what happened from then on.
	Since time.Time
}

// Wants reports whether the end point is to get an event, as long as it is
// enabled.
func (e *Endpoint) Wants(ev *credential.Event) bool {
	return (e.Tenant == "" || e.Tenant == ev.Ref.Tenant) &&
		(e.Integrations == nil || slices.Contains(e.Integrations, ev.Integration)) &&
		(slices.Contains(e.Events, string(ev.Type)) || ev.Type != credential.EventRefreshed && slices.Contains(e.Events, AllEvents))
}

// EndpointID is the name of an end point wherever it has one name: ids are unique
// within a tenant, and among those of no tenant.
func EndpointID(tenant, id string) string {
	if tenant == "" {
		return id
	}
	return tenant + "/" + id
}

// SplitEndpointID is the reverse of [EndpointID].
func SplitEndpointID(name string) (tenant, id string) {
	if tenant, id, ok := strings.Cut(name, "/"); ok {
		return tenant, id
	}
	return "", name
}
