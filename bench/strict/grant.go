package strict

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// ErrFull is returned when MaxGrants exist already.
var ErrFull = errors.New("strict: no room for more grants; reset the provider or raise MaxGrants")

// ErrNoGrant is wrapped when a grant is asked for that does not exist.
var ErrNoGrant = errors.New("strict: no such grant")

// answerState is what became of the answer to the last rotation of a grant.
type answerState uint8

const (
	answerNone      answerState = iota // never rotated
	answerPending                      // rotated, not yet answered
	answerDelivered                    // handed to the network while the client was there
	answerLost                         // dropped by a fault, or the client had gone
)

// grant is one person's consent for one client: the family of all tokens that
// come from it. It takes the same memory however often it is refreshed.
// Guarded by its shard's lock.
type grant struct {
	client, user, scope string

	refreshSeq     uint64 // of the refresh token that is good
	accessSeq      uint64 // of the newest access token
	accessFloor    uint64 // access tokens below are dead
	refreshExpires time.Time
	rotatedAt      time.Time

	dead       bool
	toldDead   bool // the client was answered invalid_grant
	lastAnswer answerState
	code       *pendingCode // until the grant's code was redeemed

	// The judge's counts.
	requests, rotations, replays, replaysAfterLoss, afterTerminal uint32
	inFlight, maxInFlight                                         int32
}

// pendingCode is an authorization code that nobody has redeemed yet.
type pendingCode struct {
	redirectURI, challenge string
	expires                time.Time
}

const grantShards = 64

// grants holds all grants, by number, under locks that are shared by few. A
// lock is held for a few map and field accesses only.
type grants struct {
	max    int64
	count  atomic.Int64
	next   atomic.Uint64
	shards [grantShards]grantShard

	codesMu sync.Mutex
	codes   []waitingCode // oldest first, so that those never redeemed can be dropped
}

type waitingCode struct {
	number  uint64
	expires time.Time
}

type grantShard struct {
	mu sync.Mutex
	m  map[uint64]*grant
	_  [40]byte // keeps the locks of neighbours on different cache lines
}

func newGrants(limit int) *grants {
	gs := &grants{max: int64(limit)}
	gs.clear()
	return gs
}

// clear forgets all grants. Numbers go on, so tokens of before stay unknown.
func (gs *grants) clear() {
	for i := range gs.shards {
		s := &gs.shards[i]
		s.mu.Lock()
		gs.count.Add(-int64(len(s.m)))
		s.m = map[uint64]*grant{}
		s.mu.Unlock()
	}
	gs.codesMu.Lock()
	gs.codes = nil
	gs.codesMu.Unlock()
}

// add takes g in and returns its number.
func (gs *grants) add(g *grant) (uint64, error) {
	if gs.count.Add(1) > gs.max {
		gs.count.Add(-1)
		return 0, ErrFull
	}
	n := gs.next.Add(1)
	s := &gs.shards[n%grantShards]
	s.mu.Lock()
	s.m[n] = g
	s.mu.Unlock()
	return n, nil
}

// addPending takes in a grant that waits for its code to be redeemed, and
// drops those whose code expired unredeemed.
func (gs *grants) addPending(g *grant) (uint64, error) {
	gs.dropExpiredCodes(time.Now())
	n, err := gs.add(g)
	if err != nil {
		return 0, err
	}
	gs.codesMu.Lock()
	gs.codes = append(gs.codes, waitingCode{n, g.code.expires})
	gs.codesMu.Unlock()
	return n, nil
}

func (gs *grants) dropExpiredCodes(now time.Time) {
	gs.codesMu.Lock()
	i := 0
	for i < len(gs.codes) && gs.codes[i].expires.Before(now) {
		i++
	}
	expired := gs.codes[:i:i]
	gs.codes = gs.codes[i:]
	gs.codesMu.Unlock()
	for _, w := range expired {
		s := &gs.shards[w.number%grantShards]
		s.mu.Lock()
		if g := s.m[w.number]; g != nil && g.code != nil {
			delete(s.m, w.number)
			gs.count.Add(-1)
		}
		s.mu.Unlock()
	}
}

// with calls fn with the grant, locked; fn must not block. It reports whether
// the grant exists.
func (gs *grants) with(number uint64, fn func(*grant)) bool {
	s := &gs.shards[number%grantShards]
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.m[number]
	if g == nil {
		return false
	}
	fn(g)
	return true
}

// each calls fn with every grant, locked; fn must not block. What is added
// meanwhile may be missed.
func (gs *grants) each(fn func(number uint64, g *grant)) {
	for i := range gs.shards {
		s := &gs.shards[i]
		s.mu.Lock()
		for n, g := range s.m {
			fn(n, g)
		}
		s.mu.Unlock()
	}
}

// grantName is a grant's number as it is shown.
func grantName(number uint64) string { return "g" + strconv.FormatUint(number, 10) }

// grantNumber reads a name back.
func grantNumber(name string) (uint64, error) {
	digits, ok := strings.CutPrefix(name, "g")
	n, err := strconv.ParseUint(digits, 10, 64)
	if !ok || err != nil || n == 0 {
		return 0, fmt.Errorf("%w: %q is not the name of a grant; names are like g17", ErrNoGrant, name)
	}
	return n, nil
}
