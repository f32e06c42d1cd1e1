package gossip

import (
	"cmp"
	"slices"
	"strings"
	"sync"
	"time"
)

// State says what is known of a member.
type State uint8

// The states of a member.
const (
	// Alive: it answers, or has not been found missing yet.
	Alive State = iota + 1
	// Dead: it was found missing, and has not said that it would be.
	Dead
	// Left: it has said good-bye. Its next start makes it Alive again.
	Left
)

// String returns the state in a word, as the API shows it.
func (s State) String() string {
	switch s {
	case Alive:
		return "alive"
	case Dead:
		return "dead"
	case Left:
		return "left"
	default:
		return "unknown"
	}
}

// Member is a node as this one sees it.
type Member struct {
	Name string
	// Addr is where it gossips, an IP address and a port.
	Addr  string
	State State
	// Since is when this node learned of the state, by this node's clock; for
	// Alive, of this start of the member's process.
	Since time.Time
	Meta  Meta
}

// maxGone is how many dead and left members are remembered.
const maxGone = 256

// book holds all members. Its methods do nothing but change it: memberlist
// calls them with its own lock held.
type book struct {
	self string

	mu     sync.Mutex
	pages  map[string]*page
	closed bool // what happens from now on is of no interest
}

// page is what is known of one member.
type page struct {
	Member
	answers bool   // as memberlist sees it
	bye     string // the Boot that it has said good-bye for
}

func newBook(self string) *book { return &book{self: self, pages: map[string]*page{}} }

// settle works out the state of a page after a change, and says whether anybody
// cares.
func (p *page) settle(before Member, now time.Time) bool {
	switch {
	case p.bye != "" && p.bye == p.Meta.Boot:
		p.State = Left
	case p.answers:
		p.State = Alive
	default:
		p.State = Dead
	}
	back := p.State == Alive && (before.State != Alive || before.Meta.Boot != p.Meta.Boot)
	gone := p.State != Alive && before.State == Alive
	if back || gone {
		p.Since = now
	}
	return p.Member != before
}

// change applies f to the page of a member and says whether anything is
// different now.
func (b *book) change(name string, now time.Time, f func(p *page)) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return false
	}
	p := b.pages[name]
	var before Member
	if p == nil {
		p = &page{Member: Member{Name: name}}
		f(p)
		if !p.answers { // never seen
			return false
		}
		b.pages[name] = p
	} else {
		before = p.Member
		f(p)
	}
	return p.settle(before, now)
}

// answers notes that a member is there.
func (b *book) answers(name, addr string, meta Meta, now time.Time) bool {
	return b.change(name, now, func(p *page) { p.answers, p.Addr, p.Meta = true, addr, meta })
}

// missing notes that a member is not there any more.
func (b *book) missing(name string, now time.Time) bool {
	return b.change(name, now, func(p *page) { p.answers = false })
}

// bye notes a member's good-bye. It says nothing about another start of it.
func (b *book) bye(n note, now time.Time) bool {
	return b.change(n.name, now, func(p *page) {
		if p.Meta.Boot == n.boot {
			p.bye = n.boot
		}
	})
}

// forget drops members that are gone for longer than keep, and the longest gone
// of more than limit.
func (b *book) forget(now time.Time, keep time.Duration, limit int) (changed bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var gone []*page
	for _, p := range b.pages {
		if p.State != Alive && p.Name != b.self {
			gone = append(gone, p)
		}
	}
	slices.SortFunc(gone, func(x, y *page) int {
		return cmp.Or(y.Since.Compare(x.Since), strings.Compare(x.Name, y.Name))
	})
	for i, p := range gone {
		if i >= limit || now.Sub(p.Since) >= keep {
			delete(b.pages, p.Name)
			changed = true
		}
	}
	return changed
}

// list returns all members by name.
func (b *book) list() []Member {
	b.mu.Lock()
	defer b.mu.Unlock()
	list := make([]Member, 0, len(b.pages))
	for _, p := range b.pages {
		list = append(list, p.Member)
	}
	slices.SortFunc(list, func(x, y Member) int { return strings.Compare(x.Name, y.Name) })
	return list
}

// get returns one member.
func (b *book) get(name string) (Member, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	p := b.pages[name]
	if p == nil {
		return Member{}, false
	}
	return p.Member, true
}

// count returns how many members are in a state, this node not counted.
func (b *book) count(s State) (n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, p := range b.pages {
		if p.State == s && p.Name != b.self {
			n++
		}
	}
	return n
}

// byes returns a note of each member that has left, the latest first.
func (b *book) byes() []note {
	members := b.list()
	slices.SortStableFunc(members, func(x, y Member) int { return y.Since.Compare(x.Since) })
	var notes []note
	for _, m := range members {
		if m.State == Left {
			notes = append(notes, note{m.Name, m.Meta.Boot})
		}
	}
	return notes
}

// close leaves the book as it is.
func (b *book) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
}
