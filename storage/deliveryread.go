package storage

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"google.golang.org/protobuf/proto"

	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/credential/delivery"
	"github.com/grantd/grantd/storage/storagepb"
)

// DeliveryLedger returns how far the group has come with its outbox, and the
// revision for the next step; both zero where there was no step yet.
func (g *Group) DeliveryLedger() (l delivery.Ledger, rev uint64, err error) {
	err = g.view(ledgerKey, func(v []byte, r uint64) error {
		var p storagepb.DeliveryLedger
		if err := proto.Unmarshal(v, &p); err != nil {
			return damaged("ledger of deliveries", err)
		}
		l, rev = delivery.Ledger{Cursor: p.Cursor, ListedAt: p.ListedAtNanos}, r
		return nil
	})
	if errors.Is(err, ErrNotFound) {
		err = nil
	}
	return l, rev, err
}

// Standings returns what the group knows of end points, in order of their ids.
func (g *Group) Standings() (all []delivery.Standing, err error) {
	lo := standingKey("")
	err = g.Scan(lo, prefixEnd(lo), func(key, value []byte, _ uint64) (bool, error) {
		s, err := decodeStanding(string(key[len(lo):]), value)
		all = append(all, s)
		return true, err
	})
	return all, err
}

// errNoDelivery is in both words, as errNoAccount is.
var errNoDelivery = fmt.Errorf("%w: delivery: %w", credential.ErrNotFound, ErrNotFound)

// Delivery returns the delivery at a place, whatever its state. The error is both
// credential.ErrNotFound and ErrNotFound where there is none.
func (g *Group) Delivery(webhook string, p delivery.Place) (d delivery.Delivery, err error) {
	for _, sub := range []byte{subOpen, subDelivered} {
		key := placeKey(sub, webhook, p)
		err = g.view(key, func(v []byte, _ uint64) (err error) {
			d, err = decodeDelivery(webhook, key[len(key)-16:], v)
			return err
		})
		if !errors.Is(err, ErrNotFound) {
			return d, err
		}
	}
	return d, errNoDelivery
}

// DueDeliveries returns up to limit pending deliveries whose time has come, in
// order of that time, but for those that skip names. It looks no further back
// than from. next is the time of the first one that it did not return, zero
// where there is none: of one that is due already where the limit was reached.
func (g *Group) DueDeliveries(webhook string, from, now time.Time, skip func(delivery.Place) bool, limit int) (due []delivery.Delivery, next time.Time, err error) {
	prefix := webhookPrefix(subDue, webhook)
	lo := prefix
	if !from.IsZero() {
		lo = appendTime(bytes.Clone(prefix), from)
	}
	err = g.Scan(lo, prefixEnd(prefix), func(key, value []byte, _ uint64) (bool, error) {
		p, err := parsePointer("index of due deliveries", key[len(prefix):], timeLen, value)
		if err != nil {
			return false, err
		}
		if at := parseTime(key[len(prefix):]); at.After(now) || len(due) >= limit {
			if !skip(p) {
				next = at
			}
			return skip(p), nil
		}
		if skip(p) {
			return true, nil
		}
		d, err := g.Delivery(webhook, p)
		due = append(due, d)
		return true, err
	})
	return due, next, err
}

// parsePointer reads an index entry that ends with a position, after so many
// other bytes, and whose value is the place's time.
func parsePointer(what string, rest []byte, others int, value []byte) (delivery.Place, error) {
	if len(rest) != others+8 || len(value) != 8 {
		return delivery.Place{}, damaged(what, fmt.Errorf("key of %d bytes, value of %d", len(rest), len(value)))
	}
	return delivery.Place{At: int64(binary.BigEndian.Uint64(value)), Pos: binary.BigEndian.Uint64(rest[others:])}, nil
}

// FirstPending returns the first pending delivery of a subject but for those
// that skip names; false where there is none.
func (g *Group) FirstPending(webhook, subject string, skip func(delivery.Place) bool) (d delivery.Delivery, ok bool, err error) {
	prefix := queuePrefix(webhook, subject)
	err = g.Scan(prefix, prefixEnd(prefix), func(key, value []byte, _ uint64) (bool, error) {
		p, err := parsePointer("queue of an account's deliveries", key[len(prefix):], 0, value)
		if err != nil || skip(p) {
			return true, err
		}
		ok = true
		d, err = g.Delivery(webhook, p)
		return false, err
	})
	return d, ok, err
}

// OldestDeliveries returns up to limit deliveries of an end point, open or made
// ones, in their order, beginning at a place.
func (g *Group) OldestDeliveries(webhook string, open bool, from delivery.Place, limit int) (all []delivery.Delivery, err error) {
	sub := byte(subDelivered)
	if open {
		sub = subOpen
	}
	prefix := webhookPrefix(sub, webhook)
	err = g.Scan(placeKey(sub, webhook, from), prefixEnd(prefix), func(key, value []byte, _ uint64) (bool, error) {
		if len(all) == limit {
			return false, nil
		}
		d, err := decodeDelivery(webhook, key[len(prefix):], value)
		all = append(all, d)
		return true, err
	})
	return all, err
}

// scanDeliveries bounds how many deliveries one page looks at.
const scanDeliveries = 5000

// Deliveries returns a page of an end point's deliveries, newest first.
func (g *Group) Deliveries(q delivery.Query) (page delivery.Page, err error) {
	var subs []byte
	if q.State != delivery.Delivered {
		subs = append(subs, subOpen)
	}
	if q.State == "" || q.State == delivery.Delivered {
		subs = append(subs, subDelivered)
	}
	var walks []*deliveryWalk
	defer func() {
		for _, w := range walks {
			err = errors.Join(err, w.it.Close())
		}
	}()
	for _, sub := range subs {
		w, err := g.walkDeliveries(sub, q)
		if err != nil {
			return page, err
		}
		walks = append(walks, w)
	}
	for looked := 0; ; looked++ {
		w, err := newest(walks)
		switch {
		case err != nil:
			return page, err
		case w == nil:
			page.Next = delivery.Place{} // that was the last
			return page, nil
		case len(page.Deliveries) == min(max(q.Limit, 1), delivery.MaxLimit), looked == scanDeliveries:
			return page, nil
		}
		if q.Matches(&w.at) {
			page.Deliveries = append(page.Deliveries, w.at)
		}
		page.Next = w.at.Place
		w.ok, w.read = w.it.Prev(), false
	}
}

// deliveryWalk goes through deliveries of one kind, newest first.
type deliveryWalk struct {
	it       *pebble.Iterator
	webhook  string
	prefix   int
	ok, read bool
	at       delivery.Delivery
}

func (g *Group) walkDeliveries(sub byte, q delivery.Query) (*deliveryWalk, error) {
	prefix := webhookPrefix(sub, q.Webhook)
	hi := prefixEnd(prefix)
	if q.Below != (delivery.Place{}) {
		hi = placeKey(sub, q.Webhook, q.Below)
	}
	it, err := g.iter(prefix, hi)
	if err != nil {
		return nil, err
	}
	w := &deliveryWalk{it: it, webhook: q.Webhook, prefix: len(prefix)}
	w.ok = it.Last()
	return w, nil
}

// newest is the walk that stands at the newest delivery; nil: all have ended.
func newest(walks []*deliveryWalk) (best *deliveryWalk, _ error) {
	for _, w := range walks {
		if w.ok && !w.read {
			if _, err := visit(w.it, w.take); err != nil {
				return nil, err
			}
		}
		if w.ok && (best == nil || w.at.Place.Compare(best.at.Place) > 0) {
			best = w
		}
	}
	return best, nil
}

// take reads what the walk stands at.
func (w *deliveryWalk) take(key, value []byte, _ uint64) (more bool, err error) {
	w.at, err = decodeDelivery(w.webhook, key[w.prefix:], value)
	w.read = err == nil
	return false, err
}
