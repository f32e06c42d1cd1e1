package sim

import (
	"context"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/grantd/grantd/actors"
	"github.com/grantd/grantd/internal/node"
	"github.com/grantd/grantd/storage/storagetest"
)

// process is one start of the node on a machine, until it crashes or is
// stopped. Its methods may be called concurrently.
type process struct {
	number int // from 1
	disk   *storagetest.Disk
	log    *logbook
	core   *node.Core // set before callers may enter
	// zombie: the process survives its crash, as if two of them ran at once.
	zombie bool

	// serving ends when callers have to leave, ctx when nothing that the process
	// does counts any more: with its crash, or after it has stopped.
	serving, ctx    context.Context
	leave, finish   context.CancelFunc
	crashed, closed atomic.Bool
	dead            atomic.Bool
	died            chan struct{} // closed by the crash, when the next two are there
	left            *storagetest.Disk
	crashedAt       time.Time
	// disconnect takes the process off its cluster's network; silent: as by a
	// power cut. It does not wait, and may be called again.
	disconnect func(silent bool)
	network    *Network // of its cluster; nil: it is alone
	drive      *drive
	failed     chan struct{} // closed when the node says that it cannot go on
	why        error         // it cannot; set before
	host       string        // on the network

	mu      sync.Mutex
	callers int
	shut    bool          // no more callers
	gone    chan struct{} // closed when the last caller has left
	heldTo  time.Time     // it stands still until then
	trap    trap
	stays   []Stay
	holds   []Span // when it stood still
}

// trap is what is to happen when a refresh next passes a point; the zero trap
// is none.
type trap struct {
	at    actors.Point
	crash *power        // cut it
	pause time.Duration // stay there for so long
}

// power says what a crash leaves of what was not synced.
type power struct {
	keep int // percent
	seed uint64
}

// Stay is a time that a goroutine spent between having an answer and noting it.
type Stay struct{ From, To time.Time }

func newProcess(number int, disk *storagetest.Disk, log *logbook) *process {
	p := &process{number: number, disk: disk, log: log, died: make(chan struct{}), failed: make(chan struct{}), gone: make(chan struct{}), disconnect: func(bool) {}}
	p.ctx, p.finish = context.WithCancel(context.Background())
	p.serving, p.leave = context.WithCancel(p.ctx)
	p.drive = newDrive(p.ctx, uint64(number))
	return p
}

// crash ends the process here and now. What it was told or has told before
// counts, and lies on the disk that it leaves; nothing after it does. It
// neither waits nor uses the store, so a disk may call it in the middle of a
// write.
func (p *process) crash(why string, c power) {
	if p.crashed.Swap(true) {
		return
	}
	p.crashedAt = time.Now()
	if !p.zombie {
		p.dead.Store(true) // before the disk is looked at
		p.disconnect(c.keep < 100)
	}
	p.left = p.disk.Crash(c.keep, c.seed)
	p.log.note("process %d crashes %s; %d%% of what is not synced stays", p.number, why, c.keep)
	p.leave()
	if !p.zombie {
		p.finish()
	}
	close(p.died)
}

// fail is told by the node that it cannot go on.
func (p *process) fail(why error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.why == nil {
		p.why = why
		close(p.failed)
	}
}

// giveUp ends the process as the node itself does after a disk fault: it does
// not return.
func (p *process) giveUp(reason string) {
	if !p.drive.holds() && !p.crashed.Load() {
		panic("sim: the store gave up: " + reason)
	}
	p.crash("by itself: "+reason, power{100, 0})
	runtime.Goexit()
}

// enter counts a caller in; false: the process no longer serves.
func (p *process) enter() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.shut {
		return false
	}
	p.callers++
	return true
}

// serve lets a caller use the node. One that is held has read the request
// before, or reads it afterwards; either way its answer comes afterwards.
func (p *process) serve(ctx context.Context, fn func(context.Context, *node.Core) error) error {
	if rand.IntN(2) == 0 && !p.heard(ctx) {
		return ctx.Err()
	}
	err := fn(ctx, p.core)
	if !p.heard(ctx) {
		return ctx.Err()
	}
	return err
}

// heard waits until callers of a cluster's node hear of it; false: the context
// ended first.
func (p *process) heard(ctx context.Context) bool {
	for p.network != nil {
		p.mu.Lock()
		wait := time.Until(p.heldTo)
		p.mu.Unlock()
		if wait <= 0 {
			break
		}
		if !pause(ctx, wait) {
			return false
		}
	}
	return true
}

func (p *process) exit() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.callers--
	if p.shut && p.callers == 0 {
		close(p.gone)
	}
}

// empty has all callers leave, and returns when they have.
func (p *process) empty() {
	p.leave()
	p.mu.Lock()
	p.shut = true
	if p.callers == 0 {
		close(p.gone)
	}
	p.mu.Unlock()
	<-p.gone
}

// hold makes the process stand still for a while: what it would send, or take
// in, waits, and so does each refresh between its steps. Its timers run on, as
// those of the kernel do, and its disk takes writes, of which nobody hears
// before the end of it.
func (p *process) hold(d time.Duration) {
	p.mu.Lock()
	p.heldTo = time.Now().Add(d)
	if d > 0 {
		p.holds = append(p.holds, Span{time.Now(), p.heldTo})
	}
	p.mu.Unlock()
	if p.network != nil {
		p.network.Hold(p.host, time.Now().Add(d))
	}
}

// stand waits while the process stands still, or until it ends.
func (p *process) stand() {
	for {
		p.mu.Lock()
		wait := time.Until(p.heldTo)
		p.mu.Unlock()
		if wait <= 0 || !p.sleep(wait) {
			return
		}
	}
}

// sleep waits; false: the process ended first.
func (p *process) sleep(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-p.ctx.Done():
		return false
	}
}

// set arms a trap in place of the one before.
func (p *process) set(t trap) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.trap = t
}

// pass is called at each point of each refresh.
func (p *process) pass(at actors.Point) {
	came := time.Now()
	p.mu.Lock()
	t := p.trap
	if t.at == at {
		p.trap = trap{}
	}
	p.mu.Unlock()
	if t.at == at {
		if t.crash != nil {
			p.crash("at "+string(at), *t.crash)
		}
		if t.pause > 0 {
			p.log.note("process %d pauses for %v at %s", p.number, t.pause, at)
			p.sleep(t.pause)
		}
	}
	p.stand()
	if now := time.Now(); at == actors.PointAnswered && now.After(came) {
		p.mu.Lock()
		p.stays = append(p.stays, Stay{came, now})
		p.mu.Unlock()
	}
}
