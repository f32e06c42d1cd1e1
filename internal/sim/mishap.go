package sim

import (
	"context"
	"fmt"
	"time"

	"github.com/grantd/grantd/actors"
	"github.com/grantd/grantd/storage/storagetest"
)

// current returns the newest process, or nil.
func (m *Machine) current() *process {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.here
}

// Crash cuts the power now; unsynced data stays as the seed says.
func (m *Machine) Crash(keep int, seed uint64) {
	if p := m.current(); p != nil {
		p.crash("between two steps", power{keep, seed})
	}
}

// CrashAfterWrites cuts the power before the nth write from now.
func (m *Machine) CrashAfterWrites(n int64, keep int, seed uint64) {
	p := m.current()
	if p == nil {
		return
	}
	n += p.disk.Writes()
	p.disk.BeforeWrite(func(w storagetest.Write) error {
		if w.N >= n && !m.calm.Load() {
			p.crash(fmt.Sprintf("before write %d (%s)", w.N, w.Path), power{keep, seed})
		}
		return nil
	})
}

// CrashAtPoint cuts the power when a refresh next passes the point.
func (m *Machine) CrashAtPoint(at actors.Point, keep int, seed uint64) {
	if p := m.current(); p != nil {
		p.set(trap{at: at, crash: &power{keep, seed}})
	}
}

// PauseAtPoint makes the next refresh that passes the point stay there.
func (m *Machine) PauseAtPoint(at actors.Point, d time.Duration) {
	if p := m.current(); p != nil {
		p.set(trap{at: at, pause: d})
	}
}

// Pause makes the process stand still.
func (m *Machine) Pause(d time.Duration) {
	if p := m.current(); p != nil {
		m.log.note("process %d stands still for %v", p.number, d)
		p.hold(d)
	}
}

// calmDown ends the crashes and pauses, and returns how many writes the disk of
// the present process has seen.
func (m *Machine) calmDown() (writes int64) {
	m.calm.Store(true)
	p := m.current()
	if p == nil {
		return 0
	}
	p.set(trap{})
	p.hold(0)
	p.drive.slow(0, 0)
	p.drive.stall(0)
	p.drive.quicken(0)
	return p.disk.Writes()
}

// Slow has each write to the disk's log take up to most, for a while.
func (m *Machine) Slow(most, during time.Duration) {
	if p := m.current(); p != nil {
		m.log.note("the disk of process %d is slow, %v a write, for %v", p.number, most, during)
		p.drive.slow(most, during)
	}
}

// Stall has no write to the disk's log end for a while. The node ends itself
// where that is too long for it.
func (m *Machine) Stall(during time.Duration) {
	if p := m.current(); p != nil {
		m.log.note("the disk of process %d stands still for %v", p.number, during)
		p.drive.stall(during)
	}
}

// SwitchOn has the machine run its first process.
func (m *Machine) SwitchOn() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.idleSince = time.Now()
	close(m.on)
}

// Away stops the process in order, and starts another after a while. It returns
// when that has begun.
func (m *Machine) Away(ctx context.Context, d time.Duration) {
	m.mu.Lock()
	m.away = d
	m.mu.Unlock()
	m.Restart(ctx)
}

// Retire stops the process in order, if one runs, and has none follow. It
// returns when that is done.
func (m *Machine) Retire() {
	m.mu.Lock()
	select {
	case <-m.retire:
	default:
		close(m.retire)
	}
	m.mu.Unlock()
	<-m.stopped
}

// Restart stops the process in order and starts another. It returns when that
// has begun.
func (m *Machine) Restart(ctx context.Context) {
	select {
	case m.restart <- struct{}{}:
	case <-ctx.Done():
	case <-m.stopped:
	}
}
