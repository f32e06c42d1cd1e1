package httpapi

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/feed"
	"github.com/grantd/grantd/wire"
)

const (
	// maxWait bounds how long a request for events as JSON may wait for some.
	maxWait = time.Minute
	// maxTypes bounds the types that are asked for.
	maxTypes = 32
)

// events answers GET /v1/events: a stream (Server-sent events), or with Accept:
// application/json what there is, as a list.
func (a *api) events(x *exchange) error {
	if err := x.need(wire.PermAccountsRead); err != nil {
		return err
	}
	asJSON := prefersJSON(x.r.Header)
	allowed := []string{"after", "types", "tenant", "account", "integration"}
	if asJSON {
		allowed = append(allowed, "wait", "limit")
	}
	values, err := x.query(allowed...)
	if err != nil {
		return err
	}
	match, err := eventFilter(values)
	if err != nil {
		return err
	}
	limit, wait, err := eventPage(values)
	if err != nil {
		return err
	}
	key := x.key
	// The connection's deadlines are for requests that end soon.
	c := http.NewResponseController(x)
	_ = c.SetReadDeadline(time.Time{}) // a writer that has none needs none lifted
	s, err := a.Events.Open(x.r.Context(), feed.Options{
		Reader: key.ID, After: startOf(values, x.r.Header),
		Match: func(e *credential.Event) bool { return key.SeesEvent(e) && match(e) },
	})
	if err != nil {
		return err
	}
	defer s.Close()
	if asJSON {
		return x.eventList(s, limit, wait)
	}
	return x.eventStream(c, s)
}

// SeesEvent reports whether an event is in the key's scope: of an account, if
// the account is; of an integration, if the key is for all tenants. A key that
// is limited to accounts sees the events of these and no others.
func (k *Key) SeesEvent(e *credential.Event) bool {
	if e.Ref.Tenant == "" {
		return k.Tenant == wire.All && k.SeesIntegration(e.Integration) && k.EveryAccount()
	}
	return k.SeesTenant(e.Ref.Tenant) && k.SeesAccount(e.Ref) && k.SeesIntegration(e.Integration)
}

// prefersJSON reports whether the caller names JSON and not the event stream.
func prefersJSON(h http.Header) bool {
	accept := strings.Join(h.Values("Accept"), ",")
	return strings.Contains(accept, "application/json") && !strings.Contains(accept, "text/event-stream")
}

// startOf is where the stream is to begin: a browser that connects again says so
// in a header, which counts for more than its URL, which stays the same.
func startOf(values url.Values, h http.Header) string {
	after := values.Get("after")
	if last := h.Get("Last-Event-ID"); last != "" {
		after = last
	}
	if after == "0" {
		return feed.Start
	}
	return after
}

// eventFilter reads which events are asked for.
func eventFilter(values url.Values) (func(*credential.Event) bool, error) {
	types, err := typesOf(values.Get("types"))
	if err != nil {
		return nil, err
	}
	tenant, integration := values.Get("tenant"), values.Get("integration")
	for what, name := range map[string]string{"tenant": tenant, "integration": integration} {
		if name != "" {
			if err := credential.CheckName(what, name); err != nil {
				return nil, err
			}
		}
	}
	var account credential.Ref
	if name := values.Get("account"); name != "" {
		if account, err = credential.ParseRef(name); err != nil {
			return nil, err
		}
	}
	return func(e *credential.Event) bool {
		return (len(types) == 0 || slices.Contains(types, e.Type)) && (tenant == "" || e.Ref.Tenant == tenant) &&
			(integration == "" || e.Integration == integration) && (account == credential.Ref{} || e.Ref == account)
	}, nil
}

func typesOf(list string) ([]credential.EventType, error) {
	if list == "" {
		return nil, nil
	}
	known := credential.EventTypes()
	var types []credential.EventType
	for name := range strings.SplitSeq(list, ",") {
		t := credential.EventType(name)
		if !slices.Contains(known, t) {
			names := make([]string, len(known))
			for i, k := range known {
				names[i] = string(k)
			}
			return nil, invalid("Query parameter types: there is no type %s. Separate types by commas and choose from %s.", quoted(name), strings.Join(names, ", "))
		}
		if types = append(types, t); len(types) > maxTypes {
			return nil, invalid("Query parameter types: at most %d are allowed.", maxTypes)
		}
	}
	return types, nil
}

// eventPage reads limit and wait.
func eventPage(values url.Values) (limit int, wait time.Duration, err error) {
	if limit, err = limitOf(values); err != nil {
		return 0, 0, err
	}
	if s := values.Get("wait"); s != "" {
		if wait, err = time.ParseDuration(s); err != nil || wait < 0 || wait > maxWait {
			return 0, 0, invalid("Query parameter wait must be a duration such as 30s, from 0s to %s.", maxWait)
		}
	}
	return limit, wait, nil
}

// eventList answers with what there is after the position, and waits for the
// first event if there is none.
func (x *exchange) eventList(s *feed.Stream, limit int, wait time.Duration) error {
	list := wire.EventList{Events: []wire.Event{}}
	ctx, cancel := context.WithTimeout(x.r.Context(), wait)
	defer cancel()
	for len(list.Events) < limit {
		item, ok, err := s.TryNext(x.r.Context())
		if err == nil && !ok && len(list.Events) == 0 && wait > 0 {
			item, err = s.Next(ctx)
			ok = err == nil
		}
		if over(err) || err == nil && !ok {
			break
		}
		if err != nil {
			return err
		}
		list.Events = append(list.Events, x.eventOf(item))
	}
	var err error
	if list.Next, err = s.Position(context.WithoutCancel(ctx)); err != nil {
		return err
	}
	return x.json(http.StatusOK, list)
}

// over reports whether an error is the end of a wait, or of the node's streams:
// what was read until then is an answer.
func over(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, feed.ErrClosed)
}

// eventOf is an item of the stream as the API shows it.
func (x *exchange) eventOf(item feed.Item) wire.Event {
	if item.Lost > 0 {
		gap := wire.Event{Type: wire.EventGap, Timestamp: wire.At(time.Now())}
		if x.key.Everywhere() { // others would learn how much happens elsewhere
			gap.Data.Lost = item.Lost
		}
		return gap
	}
	e := &item.Event
	out := wire.Event{
		ID: e.ID, Type: string(e.Type), Timestamp: wire.At(e.At),
		Data: wire.EventData{Tenant: e.Ref.Tenant, Integration: e.Integration, Reason: e.Reason, Generation: e.Generation},
	}
	if e.Ref.ID != "" {
		out.Data.Account = e.Ref.String()
	}
	return out
}
