package actors

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"
)

// pusher offers the answers in this node's journal to whoever owns their
// accounts now: answers that were not committed before the node was restarted,
// or before it lost the shard. An entry stays until it is taken, or its account
// has moved on. One goroutine runs it.
type pusher struct {
	sys    *System
	signal chan struct{}

	mu     sync.Mutex
	places []place // by shard
}

// place is how offers to the owner of a shard have fared.
type place struct {
	failures  int // in a row
	notBefore time.Time
}

const (
	// pushEvery is how often the journal is looked through whatever happened.
	pushEvery = time.Minute
	// pushWait is the longest pause after offers that failed.
	pushWait = 15 * time.Second
	// pushGap is the least time between two looks.
	pushGap = 50 * time.Millisecond
	// pushBatch bounds the answers that are offered in one look.
	pushBatch = 1024
	// pushAtOnce bounds the shards whose owners are offered answers at once.
	pushAtOnce = 4
	// pushFailures end the offers to a shard's owner in one look.
	pushFailures = 3
	// offerTimeout ends one offer.
	offerTimeout = 10 * time.Second
	// journalKeeps is for how long an answer is kept for an owner that cannot be
	// reached. Its shard has had no majority, or this node no way to it, for all
	// that time.
	journalKeeps = 7 * 24 * time.Hour
	// attemptKeeps is for how long it is remembered that a request was sent whose
	// shard has no replica here any more.
	attemptKeeps = 24 * time.Hour
)

func newPusher(s *System) *pusher {
	return &pusher{sys: s, signal: make(chan struct{}, 1), places: make([]place, len(s.shards))}
}

// nudge says that an answer was left to the journal.
func (p *pusher) nudge() {
	select {
	case p.signal <- struct{}{}:
	default:
	}
}

// moved says that a shard was taken over, or lost.
func (p *pusher) moved(shard int) {
	p.mu.Lock()
	p.places[shard] = place{}
	p.mu.Unlock()
	p.nudge()
}

// run looks through the journal until the system is stopped.
func (p *pusher) run() {
	ctx := p.sys.ctx
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.signal:
		case <-timer.C:
		}
		timer.Reset(p.look(ctx))
		p.sweep()
		if !p.sys.sleep(pushGap) {
			return
		}
	}
}

// last offers other owners what is left when the node stops.
func (p *pusher) last(ctx context.Context) {
	if p.sys.peers == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, p.sys.policy.CommitTimeout)
	defer cancel()
	p.mu.Lock()
	clear(p.places) // there is no later
	p.mu.Unlock()
	p.look(ctx)
}

// look offers what the journal holds, and returns when to look again.
func (p *pusher) look(ctx context.Context) time.Duration {
	byShard, more := p.collect()
	room := make(chan struct{}, pushAtOnce)
	var wg sync.WaitGroup
	for shard, attempts := range byShard {
		room <- struct{}{}
		wg.Go(func() {
			defer func() { <-room }()
			p.push(ctx, shard, attempts)
		})
	}
	wg.Wait()
	if more {
		return pushGap
	}
	return p.pause(byShard)
}

// pause is how long to wait after a look. Offers that failed are made again
// when their pause is over.
func (p *pusher) pause(tried map[int][]string) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	wait, now := pushEvery, time.Now()
	for shard := range p.places {
		at := &p.places[shard]
		if _, any := tried[shard]; at.failures > 0 && !any && !now.Before(at.notBefore) {
			*at = place{} // what was to be offered is gone
		}
		if at.failures > 0 {
			wait = min(wait, at.notBefore.Sub(now))
		}
	}
	return max(wait, pushGap)
}

// collect returns the attempts whose answers may be offered now, by shard,
// beginning anywhere, so that entries which nobody takes hold up no others.
// more: there were too many for one look.
func (p *pusher) collect() (byShard map[int][]string, more bool) {
	sys, from, n := p.sys, newID(), 0
	byShard = make(map[int][]string)
	var before []string // those in front of from, should there be room
	shards := make(map[string]int)
	add := func(attempt string, shard int) {
		byShard[shard] = append(byShard[shard], attempt)
		n++
	}
	err := sys.journal.Each(func(attempt string, value []byte) (bool, error) {
		ans, err := parseAnswer(value)
		if err != nil || ans.Attempt != attempt {
			p.drop(attempt, "it is unreadable", err)
			return true, nil
		}
		sh := sys.of(ans.Ref)
		switch {
		case sh.owned() && sys.attempts.underWay(attempt): // its job commits it
		case !p.open(sh.id):
		case attempt >= from && n < pushBatch:
			add(attempt, sh.id)
		case attempt >= from:
			more = true
			return false, nil
		case len(before) < pushBatch:
			before, shards[attempt] = append(before, attempt), sh.id
		default:
			more = true
		}
		return true, nil
	})
	if err != nil {
		sys.log.Error("journal could not be read", "err", err)
	}
	for _, attempt := range before {
		if n == pushBatch {
			return byShard, true
		}
		add(attempt, shards[attempt])
	}
	return byShard, more
}

// open reports whether offers may be made to the owner of a shard now.
func (p *pusher) open(shard int) bool {
	if p.sys.peers == nil && !p.sys.shards[shard].owned() {
		return false // nobody to offer to
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return !time.Now().Before(p.places[shard].notBefore)
}

// push offers answers to the owner of their shard.
func (p *pusher) push(ctx context.Context, shard int, attempts []string) {
	failures := 0
	for _, attempt := range attempts {
		if failures == pushFailures || ctx.Err() != nil {
			break
		}
		if !p.offer(ctx, attempt) {
			failures++
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	at := &p.places[shard]
	if failures == 0 {
		*at = place{}
		return
	}
	at.failures++
	at.notBefore = time.Now().Add(min(p.sys.policy.backoff(at.failures, rand.Float64()), pushWait))
}

// offer offers one answer, and reports whether it is done with.
func (p *pusher) offer(ctx context.Context, attempt string) bool {
	sys := p.sys
	entry, err := sys.journal.Get(attempt)
	if err != nil || entry == nil {
		return err == nil // committed meanwhile
	}
	ans, err := parseAnswer(entry)
	if err != nil {
		return true // the next look drops it
	}
	ctx, cancel := context.WithTimeout(ctx, offerTimeout)
	defer cancel()
	sys.counters.OffersMade.Add(1)
	var taken bool
	if sys.of(ans.Ref).owned() {
		taken, err = sys.Offer(ctx, entry)
	} else if sys.peers != nil {
		taken, err = sys.peers.Offer(ctx, ans.Ref, entry)
	}
	switch {
	case taken:
		sys.counters.OffersTaken.Add(1)
		p.forget(attempt)
	case time.Since(ans.At) > journalKeeps:
		p.drop(attempt, "nobody took it in "+journalKeeps.String(), err)
	}
	return taken
}

// drop gives an answer up.
func (p *pusher) drop(attempt, why string, err error) {
	p.sys.counters.AnswersDropped.Add(1)
	p.sys.log.Error("answer of a provider is dropped from the journal", "attempt", attempt, "why", why, "err", err)
	p.forget(attempt)
}

func (p *pusher) forget(attempt string) {
	if err := p.sys.journal.Delete(attempt); err != nil {
		p.sys.log.Error("journal entry could not be deleted", "attempt", attempt, "err", err)
		return
	}
	p.sys.attempts.forget(attempt)
}

// sweep forgets requests without an answer that no record holds any more.
func (p *pusher) sweep() {
	sys := p.sys
	now := time.Now()
	for id, at := range sys.attempts.leftovers(now.Add(-pushEvery), pushBatch) {
		if entry, err := sys.journal.Get(id); err != nil || entry != nil {
			continue
		}
		rec, _, err := sys.of(at.ref).store.Load(at.ref)
		switch {
		case err == nil && (rec.Claim == nil || rec.Claim.Attempt != id):
			sys.attempts.forget(id)
		case err != nil && now.Sub(at.ends) > attemptKeeps:
			sys.attempts.expire(id)
		}
	}
}
