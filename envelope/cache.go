package envelope

import (
	"sync"
	"sync/atomic"

	"github.com/tink-crypto/tink-go/v2/tink"
)

// opened is a tenant's keyset, ready for use. It is never changed.
type opened struct {
	tenant  string
	wrapped []byte // what it was opened from
	aead    tink.AEAD

	used atomic.Bool // since the clock's hand last passed
	at   int         // its place on the clock; under the cache's lock
}

// flight is a keyset being fetched: by the caller that [cache.join] says is the
// first, which fills in the result and ends it with [cache.land]; then done is
// closed and the result can be read.
type flight struct {
	flightKey
	done   chan struct{}
	opened *opened
	err    error
	// abandoned: the result tells of the caller that fetched, not of the keyset.
	abandoned bool
	// epoch of the cache when the fetch began.
	epoch uint64
}

type flightKey struct {
	tenant string
	create bool
}

// cache keeps up to max keysets open and merges concurrent fetches of the same
// one. Which one makes room is found by the clock algorithm, which comes close
// to the least recently used and needs no exclusive lock to note a use. All
// methods return at once.
type cache struct {
	max int

	mu      sync.RWMutex
	open    map[string]*opened
	clock   []*opened // the same, in a circle
	hand    int
	flights map[flightKey]*flight
	// epoch grows with every forget: what was read before it is not kept.
	epoch uint64
}

func newCache(max int) *cache {
	return &cache{max: max, open: make(map[string]*opened), flights: make(map[flightKey]*flight)}
}

// get returns an open keyset, or nil.
func (c *cache) get(tenant string) *opened {
	c.mu.RLock()
	o := c.open[tenant]
	c.mu.RUnlock()
	if o != nil && !o.used.Load() { // a store would take the cache line from other cores
		o.used.Store(true)
	}
	return o
}

// join returns the open keyset, or else the flight that brings it and whether
// the caller is the one to fetch it.
func (c *cache) join(tenant string, create bool) (o *opened, f *flight, first bool) {
	key := flightKey{tenant, create}
	c.mu.Lock()
	defer c.mu.Unlock()
	if o := c.open[tenant]; o != nil {
		return o, nil, false
	}
	if f := c.flights[key]; f != nil {
		return nil, f, false
	}
	f = &flight{flightKey: key, done: make(chan struct{}), epoch: c.epoch}
	c.flights[key] = f
	return nil, f, true
}

// land ends a flight and keeps what it brought.
func (c *cache) land(f *flight) {
	c.mu.Lock()
	if c.flights[f.flightKey] == f {
		delete(c.flights, f.flightKey)
	}
	if f.opened != nil && f.epoch == c.epoch {
		c.put(f.opened)
	}
	c.mu.Unlock()
	close(f.done)
}

func (c *cache) put(o *opened) {
	if old := c.open[o.tenant]; old != nil {
		c.drop(old)
	}
	for len(c.clock) >= c.max {
		c.hand %= len(c.clock)
		if oldest := c.clock[c.hand]; !oldest.used.Swap(false) {
			c.drop(oldest)
			break
		}
		c.hand++
	}
	o.at = len(c.clock)
	c.clock = append(c.clock, o)
	c.open[o.tenant] = o
}

// drop takes a keyset out; the last on the clock moves to its place.
func (c *cache) drop(o *opened) {
	last := len(c.clock) - 1
	c.clock[o.at] = c.clock[last]
	c.clock[o.at].at = o.at
	c.clock[last] = nil
	c.clock = c.clock[:last]
	delete(c.open, o.tenant)
}

// forget drops a tenant's keyset, and sees to it that one being fetched now is
// not kept.
func (c *cache) forget(tenant string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.epoch++
	delete(c.flights, flightKey{tenant, false})
	delete(c.flights, flightKey{tenant, true})
	if o := c.open[tenant]; o != nil {
		c.drop(o)
	}
}
