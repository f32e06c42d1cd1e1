package delivery

import (
	"cmp"
	"math"
	"slices"

	"github.com/grantd/grantd/credential"
)

// MaxLimit bounds a page.
const MaxLimit = 1000

// Query asks one group for deliveries, newest first.
type Query struct {
	Webhook string         `json:"webhook"`
	State   State          `json:"state,omitempty"` // empty: any
	Ref     credential.Ref `json:"ref,omitzero"`    // zero: of any account
	// Below is where the page begins: with the newest place before it; zero: with
	// the newest of all.
	Below Place `json:"below,omitzero"`
	Limit int   `json:"limit"`
}

// Matches reports whether a delivery is asked for, wherever it stands.
func (q *Query) Matches(d *Delivery) bool {
	return (q.State == "" || d.State == q.State) && (q.Ref == credential.Ref{} || d.Event.Ref == q.Ref)
}

// Page is what a group answers to a Query.
type Page struct {
	Deliveries []Delivery `json:"deliveries"`
	// Next is the Below of the next page; zero: there is nothing more.
	Next Place `json:"next,omitzero"`
}

// Cursor is where a list over several groups goes on: behind a place in one of
// them. Zero: from the newest on.
type Cursor struct {
	Group uint16
	Place Place
}

// Listed is a delivery with the group that keeps it.
type Listed struct {
	Group uint16
	Delivery
}

// ID is the delivery's name.
func (l *Listed) ID() string { return ID(l.Group, l.Place) }

// Below is where the group's part of the list goes on. The order of the whole
// is by time, then by group, then by position, newest and highest first.
func (c Cursor) Below(group uint16) Place {
	switch {
	case c == Cursor{}:
		return Place{}
	case group == c.Group:
		return c.Place
	case group < c.Group:
		return Place{c.Place.At, math.MaxUint64}
	}
	return Place{c.Place.At, 0}
}

// Merge puts pages of several groups together, each of which was asked for
// limit deliveries below the same cursor. next is zero where the list is
// complete.
func Merge(pages map[uint16]Page, limit int) (all []Listed, next Cursor) {
	// A group that stopped early may have anything below its Next: nothing of the
	// others that is below that is shown now.
	var bound *Cursor
	for group, p := range pages {
		if stop := (Cursor{group, p.Next}); p.Next != (Place{}) && (bound == nil || stop.compare(*bound) > 0) {
			bound = &stop
		}
		for _, d := range p.Deliveries {
			all = append(all, Listed{group, d})
		}
	}
	slices.SortFunc(all, func(a, b Listed) int { return Cursor{b.Group, b.Place}.compare(Cursor{a.Group, a.Place}) })
	if bound != nil {
		all = slices.DeleteFunc(all, func(l Listed) bool { return Cursor{l.Group, l.Place}.compare(*bound) < 0 })
		next = *bound
	}
	if len(all) > limit {
		all = all[:limit]
		next = Cursor{all[limit-1].Group, all[limit-1].Place}
	}
	return all, next
}

func (c Cursor) compare(o Cursor) int {
	return cmp.Or(cmp.Compare(c.Place.At, o.Place.At), cmp.Compare(c.Group, o.Group), cmp.Compare(c.Place.Pos, o.Place.Pos))
}
