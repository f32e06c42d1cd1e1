package outbox

import (
	"context"
	"time"

	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/credential/delivery"
)

// Registry is the end points, as this node knows them. Methods may be called
// concurrently.
type Registry interface {
	// Endpoints returns all end points, in any order; neither the slice nor what
	// is in it is ever changed. It does not block.
	Endpoints() []*delivery.Endpoint
	// Endpoint returns one of them; it does not block.
	Endpoint(id string) (*delivery.Endpoint, bool)
	// Changed returns a channel that is closed when Endpoints may answer
	// something else.
	Changed() <-chan struct{}
	// Gone reports that an end point was deleted: this node knows the registry as
	// it was at the revision seen, or later, and there it is not.
	Gone(id string, seen uint64) bool
	// Secrets opens what the end point's messages are signed with, the newest first.
	Secrets(ctx context.Context, e *delivery.Endpoint) ([]credential.Secret, error)
	// Disable disables the end point, unless it was changed since it was read.
	Disable(ctx context.Context, e *delivery.Endpoint, reason string) error
}

// Store is one group's outbox and deliveries, where this node owns the group.
// Reads show all that was committed before. Only one caller at a time commits.
type Store interface {
	Events(after credential.EventPos, limit int) ([]credential.StoredEvent, error)
	// EventBounds returns the positions of the oldest and the newest event kept.
	EventBounds() (first, last credential.EventPos, err error)
	// Grown returns a channel that is closed when there may be more events; ask
	// for it before reading.
	Grown() <-chan struct{}

	// DeliveryLedger returns the ledger and the revision that a step expects.
	DeliveryLedger() (l delivery.Ledger, rev uint64, err error)
	Standings() ([]delivery.Standing, error)
	// Delivery returns one delivery, or an error that is credential.ErrNotFound.
	Delivery(webhook string, p delivery.Place) (delivery.Delivery, error)
	// DueDeliveries returns up to limit pending deliveries whose time is not
	// before from, has come, and that skip does not name, in order of time; next
	// is the time of the first that it left out.
	DueDeliveries(webhook string, from, now time.Time, skip func(delivery.Place) bool, limit int) (due []delivery.Delivery, next time.Time, err error)
	// FirstPending returns the first pending delivery of a subject that skip does
	// not name.
	FirstPending(webhook, subject string, skip func(delivery.Place) bool) (d delivery.Delivery, ok bool, err error)
	// OldestDeliveries returns deliveries from a place on: open ones (pending and
	// parked) or made ones.
	OldestDeliveries(webhook string, open bool, from delivery.Place, limit int) ([]delivery.Delivery, error)

	// Commit carries a step out and returns the ledger's new revision. Errors are
	// those of credential: ErrConflict, ErrNotOwner, ErrNoQuorum, and
	// ErrUnknownOutcome, which a Barrier that succeeds settles.
	Commit(ctx context.Context, s delivery.Step) (rev uint64, err error)
	Barrier(ctx context.Context) error
}
