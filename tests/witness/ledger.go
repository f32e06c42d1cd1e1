package witness

import (
	"slices"
	"sync"
	"time"

	"github.com/grantd/grantd/bench/strict"
)

// Ledger holds what callers were told of one account, through all lives of the
// node. Safe for concurrent use; the zero value is ready.
type Ledger struct {
	mu         sync.Mutex
	generation uint64 // the newest that anybody was told
	tokens     map[uint64]string
	handed     []Handed
}

// Handed is an access token that a caller got.
type Handed struct {
	Place
	At time.Time
}

// Floor is the generation that every answer to a later request must have at least.
func (l *Ledger) Floor() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.generation
}

// Heard enters the generation of an answer to a request that was sent after
// floor was read. The error says which promise the answer broke.
func (l *Ledger) Heard(floor, generation uint64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if generation < floor {
		return Brokenf("I2: generation %d was told, then generation %d", floor, generation)
	}
	l.generation = max(l.generation, generation)
	return nil
}

// HeardToken enters an answer that held an access token, as [Ledger.Heard] does.
func (l *Ledger) HeardToken(floor, generation uint64, text string, at Place) error {
	if err := l.Heard(floor, generation); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	hash := strict.TokenHash(text)
	before, known := l.tokens[generation]
	switch {
	case known && before != hash:
		return Brokenf("I2: generation %d was told with two different tokens", generation)
	case known:
		return nil
	case l.tokens == nil:
		l.tokens = map[uint64]string{}
	}
	l.tokens[generation] = hash
	l.handed = append(l.handed, Handed{at, time.Now()})
	return nil
}

// Handed returns the access tokens that callers got, each once.
func (l *Ledger) Handed() []Handed {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.handed)
}
