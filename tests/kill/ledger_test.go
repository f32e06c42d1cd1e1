package kill

import (
	"fmt"
	"sync"
	"time"

	"github.com/grantd/grantd/bench/strict"
)

// ledger holds what callers were told of one account, through all lives of the
// node. Safe for concurrent use; the zero value is ready.
type ledger struct {
	mu         sync.Mutex
	generation uint64 // the newest that anybody was told
	tokens     map[uint64]string
	handed     []handed
}

// broken is a promise that was not kept.
type broken string

// Error says which one.
func (b broken) Error() string { return string(b) }

func brokenf(format string, args ...any) error { return broken(fmt.Sprintf(format, args...)) }

// handed is an access token that a caller got.
type handed struct {
	place
	at time.Time
}

// floor is the generation that every answer to a later request must have at least.
func (l *ledger) floor() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.generation
}

// heard enters the generation of an answer to a request that was sent after
// floor was read. The error says which promise the answer broke.
func (l *ledger) heard(floor, generation uint64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if generation < floor {
		return brokenf("I2: generation %d was told, then generation %d", floor, generation)
	}
	l.generation = max(l.generation, generation)
	return nil
}

// heardToken enters an answer that held an access token, as [ledger.heard] does.
func (l *ledger) heardToken(floor, generation uint64, text string, at place) error {
	if err := l.heard(floor, generation); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	hash := strict.TokenHash(text)
	before, known := l.tokens[generation]
	switch {
	case known && before != hash:
		return brokenf("I2: generation %d was told with two different tokens", generation)
	case known:
		return nil
	case l.tokens == nil:
		l.tokens = map[uint64]string{}
	}
	l.tokens[generation] = hash
	l.handed = append(l.handed, handed{at, time.Now()})
	return nil
}
