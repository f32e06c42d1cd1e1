// Package feedtest has outboxes in memory, for tests of the event stream and of
// what serves it.
//
// It promises what feed.Source and feed.Sealer ask for, and lets a test drop
// events, fail reads and have a replica lag. It leaves durability and secrecy to
// the real ones.
package feedtest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"sync"
	"sync/atomic"
	"time"

	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/feed"
)

// World is the outboxes of some groups, in memory.
type World struct {
	mu     sync.Mutex
	groups []*Outbox
	Reads  atomic.Int64 // of events, not of bounds
	Widest atomic.Int64 // the most events of one read
}

// Outbox is the outbox of one group.
type Outbox struct {
	First credential.EventPos // of what is kept
	All   []credential.Event  // what is kept
	grown chan struct{}
	Err   error               // of reads; nil: none
	Lag   credential.EventPos // the newest so many are not there for those who read events
}

// NewWorld returns so many groups without events.
func NewWorld(groups int) *World {
	w := &World{}
	for range groups {
		w.groups = append(w.groups, &Outbox{First: 1, grown: make(chan struct{})})
	}
	return w
}

// Groups is how many there are.
func (w *World) Groups() int { return len(w.groups) }

// Add adds events to a group.
func (w *World) Add(group int, events ...credential.Event) {
	w.Change(group, func(o *Outbox) { o.All = append(o.All, events...) })
}

// Change changes a group, and tells those who wait for it.
func (w *World) Change(group int, fn func(o *Outbox)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	o := w.groups[group]
	fn(o)
	close(o.grown)
	o.grown = make(chan struct{})
}

// Read implements feed.Source.
func (w *World) Read(ctx context.Context, group int, after credential.EventPos, limit int, wait time.Duration) (feed.Page, error) {
	over := time.NewTimer(wait)
	defer over.Stop()
	for {
		p, grown, err := w.look(group, after, limit)
		if err != nil || p.Last > after {
			return p, err
		}
		select {
		case <-grown:
		case <-over.C:
			return p, nil
		case <-ctx.Done():
			return p, ctx.Err()
		}
	}
}

func (w *World) look(group int, after credential.EventPos, limit int) (feed.Page, <-chan struct{}, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	o := w.groups[group]
	p := feed.Page{First: o.First, Last: o.First + credential.EventPos(len(o.All)) - 1}
	if limit == 0 || o.Err != nil {
		return p, o.grown, o.Err
	}
	w.Reads.Add(1)
	for i := max(after+1, o.First); i <= p.Last-min(o.Lag, p.Last) && len(p.Events) < limit; i++ {
		p.Events = append(p.Events, credential.StoredEvent{Pos: i, Event: o.All[i-o.First]})
	}
	w.Widest.Store(max(w.Widest.Load(), int64(len(p.Events))))
	return p, o.grown, nil
}

// Sealer is an envelope whose key is a word.
type Sealer struct{ Word string }

func (s Sealer) mac(plain []byte) []byte {
	sum := sha256.Sum256(append([]byte(s.Word), plain...))
	return sum[:8]
}

// Seal implements feed.Sealer.
func (s Sealer) Seal(_ context.Context, _ credential.Label, secret credential.Secret) (credential.Sealed, error) {
	return append(s.mac([]byte(secret.Reveal())), secret.Reveal()...), nil
}

// Open implements feed.Sealer.
func (s Sealer) Open(_ context.Context, _ credential.Label, b credential.Sealed) (credential.Secret, error) {
	if len(b) < 8 || !bytes.Equal(b[:8], s.mac(b[8:])) {
		return credential.Secret{}, credential.ErrSealed
	}
	return credential.NewSecret(string(b[8:])), nil
}

var (
	_ feed.Source = (*World)(nil)
	_ feed.Sealer = Sealer{}
)
