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
	return p.disk.Writes()
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
