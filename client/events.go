package client

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/grantd/grantd/wire"
)

// EventsFromStart as EventFilter.After begins with the oldest events that are
// kept.
const EventsFromStart = "start"

// EventFilter says which events are wanted. Fields that are empty do not limit.
type EventFilter struct {
	// After is a position that an event or a list came with; empty: from now on.
	After       string
	Types       []string
	Tenant      string
	Account     string // tenant/id
	Integration string
}

func (f EventFilter) query() url.Values {
	return url.Values{
		"after": {f.After}, "types": {strings.Join(f.Types, ",")}, "tenant": {f.Tenant}, "account": {f.Account}, "integration": {f.Integration},
	}
}

// Events returns the events after a position, up to limit of them (0: the
// server's default), and waits for up to wait, at most a minute, if there are
// none. The list's Next is where to go on; without After it is where the stream
// is now.
func (c *Client) Events(ctx context.Context, f EventFilter, wait time.Duration, limit int) (wire.EventList, error) {
	q := f.query()
	if wait > 0 {
		q.Set("wait", wait.String())
	}
	if limit != 0 {
		q.Set("limit", strconv.Itoa(limit))
	}
	patient := *c
	patient.http = withTimeout(c.http, func(t time.Duration) time.Duration { return t + wait })
	return call[wire.EventList](ctx, &patient, "GET", "/v1/events", q, nil)
}

// withTimeout returns a client whose timeout, if it has one, is another.
func withTimeout(h *http.Client, change func(time.Duration) time.Duration) *http.Client {
	other := *h
	if h.Timeout > 0 {
		other.Timeout = change(h.Timeout)
	}
	return &other
}
