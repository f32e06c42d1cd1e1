package actors

import (
	"sync"
	"time"

	"github.com/grantd/grantd/credential"
)

// scheduler wakes the accounts of one shard when their time has come. It reads
// the schedule from the store, in order of time, so that it holds nothing for
// an account that has nothing to do. It runs while the shard is owned here.
//
// Entries stay in the store until the account's own commit moves them. The
// scheduler walks them behind a cursor; entries that cannot go now (their
// integration's lane is closed or crowded, or it has its share of the places)
// are passed over, and the walk begins again when that may have changed.
type scheduler struct {
	shard *shard
	// inFlight are the accounts that were woken and have not reported back, with
	// their integration; bounded by Policy.ShardConcurrency. Guarded by mu, like
	// all down to lookAt.
	mu       sync.Mutex
	inFlight map[credential.Ref]string
	byID     map[string]int      // how many of them each integration has
	passed   map[string]struct{} // integrations that have their share, and more to do
	starved  bool                // entries wait for room in inFlight
	nudged   time.Time           // the earliest entry written since the last look
	lookAt   time.Time           // when the run looks again by itself
	signal   chan struct{}

	stop, stopped chan struct{} // of the run under way
}

func newScheduler(sh *shard) *scheduler {
	return &scheduler{shard: sh, inFlight: make(map[credential.Ref]string), byID: make(map[string]int), passed: make(map[string]struct{}), signal: make(chan struct{}, 1)}
}

// start begins the walk; close ends it and waits. They alternate.
func (s *scheduler) start() {
	s.stop, s.stopped = make(chan struct{}), make(chan struct{})
	s.mu.Lock()
	clear(s.inFlight)
	clear(s.byID)
	clear(s.passed)
	s.mu.Unlock()
	go s.run(s.stop, s.stopped)
}

func (s *scheduler) close() {
	if s.stop == nil {
		return
	}
	close(s.stop)
	<-s.stopped
	s.stop = nil
}

// nudge says that an entry was written for this time.
func (s *scheduler) nudge(at time.Time) {
	if at.IsZero() {
		return
	}
	s.mu.Lock()
	if s.nudged.IsZero() || at.Before(s.nudged) {
		s.nudged = at
	}
	early := at.Before(s.lookAt)
	s.mu.Unlock()
	if early {
		s.wakeUp()
	}
}

// rescan begins the walk anew: a closed lane may be open again.
func (s *scheduler) rescan() { s.nudge(time.Unix(0, 1)) }

// finished says that a woken account has been dealt with.
func (s *scheduler) finished(ref credential.Ref) {
	s.mu.Lock()
	more := false
	if in, ok := s.inFlight[ref]; ok {
		delete(s.inFlight, ref)
		if s.byID[in]--; s.byID[in] == 0 {
			delete(s.byID, in)
		}
		if _, passed := s.passed[in]; passed && s.byID[in] <= s.share()/2 {
			delete(s.passed, in)
			more = true
		}
	}
	starved := s.starved
	s.starved = false
	s.mu.Unlock()
	if more {
		s.rescan()
	}
	if starved {
		s.wakeUp()
	}
}

func (s *scheduler) wakeUp() {
	select {
	case s.signal <- struct{}{}:
	default:
	}
}

// rescanEvery is how often the walk begins anew whatever happened: an entry
// whose account could not commit is found again within this time.
const rescanEvery = 10 * time.Second

// walkBatch is how many entries are read at once.
const walkBatch = 64

// sweepsPerIdle is how often idle actors are looked for in the time after
// which they are passivated.
const sweepsPerIdle = 4

func (s *scheduler) run(stop, stopped chan struct{}) {
	defer close(stopped)
	idle := s.shard.sys.policy.PassivateAfter
	sweep := time.NewTicker(idle / sweepsPerIdle)
	defer sweep.Stop()
	timer := time.NewTimer(rescanEvery)
	defer timer.Stop()
	var w walk
	s.wakeUp()
	for {
		select {
		case <-stop:
			return
		case <-sweep.C:
			s.shard.tellGate(gateSweep{before: time.Now().Add(-idle)})
			continue
		case <-timer.C:
		case <-s.signal:
		}
		now := time.Now()
		if at := s.takeNudge(); !at.IsZero() && !at.After(w.cursor.At) {
			w.cursor = credential.Due{At: at.Add(-1)}
		}
		if !now.Before(w.anew) {
			w = walk{anew: now.Add(rescanEvery)}
		}
		next := s.advance(&w, now)
		if sooner := s.lookAgainAt(next); sooner || !next.After(now) {
			s.wakeUp()
			continue
		}
		timer.Reset(next.Sub(now))
	}
}

// walk is where the scheduler stands in the schedule.
type walk struct {
	cursor credential.Due // the last entry that was looked at
	anew   time.Time      // when to begin from the start
}

// advance wakes what is due behind the cursor and returns when to look again.
func (s *scheduler) advance(w *walk, now time.Time) time.Time {
	for s.room() {
		entries, err := s.shard.store.Due(now, w.cursor, walkBatch)
		if err != nil {
			s.shard.sys.log.Error("schedule could not be read", "shard", s.shard.id, "err", err)
			return now.Add(time.Second)
		}
		for _, e := range entries {
			if !s.room() {
				return w.anew
			}
			w.cursor = e
			s.dispatch(e, w, now)
		}
		if len(entries) == walkBatch {
			continue
		}
		next, ok, err := s.shard.store.NextDue(w.cursor)
		if err == nil && ok && next.Before(w.anew) {
			return next
		}
		return w.anew
	}
	return w.anew
}

// dispatch wakes the entry's account, unless its lane is closed or crowded.
func (s *scheduler) dispatch(e credential.Due, w *walk, now time.Time) {
	in, ok := s.shard.sys.integrations.Lookup(e.Integration)
	if !ok {
		return // nobody can refresh it; the next walk looks again
	}
	if why := s.shard.sys.lanes.takes(in, now); why != nil {
		if at := now.Add(why.RetryAfter); at.Before(w.anew) {
			w.anew = at
		}
		return
	}
	if !s.take(e) {
		return
	}
	s.shard.sys.counters.ScheduledLag.observe(now.Sub(e.At))
	s.shard.send(due{signal{e.Ref, func() { s.finished(e.Ref) }}})
}

// share is how many accounts of one integration may be in flight: a slow
// provider leaves places to the others.
func (s *scheduler) share() int { return max(1, s.shard.sys.policy.ShardConcurrency*3/4) }

// take gives an account a place, unless it has one or its integration has its
// share of them.
func (s *scheduler) take(e credential.Due) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, busy := s.inFlight[e.Ref]; busy {
		return false
	}
	if s.byID[e.Integration] >= s.share() {
		s.passed[e.Integration] = struct{}{}
		return false
	}
	s.inFlight[e.Ref] = e.Integration
	s.byID[e.Integration]++
	return true
}

// room reports whether another account may be woken; where not, the next
// finished signals.
func (s *scheduler) room() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.starved = len(s.inFlight) >= s.shard.sys.policy.ShardConcurrency
	return !s.starved
}

// lookAgainAt notes when the run looks again, and reports whether an entry
// written meanwhile is earlier.
func (s *scheduler) lookAgainAt(t time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lookAt = t
	return !s.nudged.IsZero() && s.nudged.Before(t)
}

func (s *scheduler) takeNudge() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := s.nudged
	s.nudged = time.Time{}
	return at
}
