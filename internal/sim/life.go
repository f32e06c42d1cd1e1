package sim

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/grantd/grantd/cluster/placement"
	"github.com/grantd/grantd/internal/node"
)

// run is the machine's life.
func (m *Machine) run() {
	defer close(m.stopped)
	select {
	case <-m.on:
	case <-m.stop:
		return
	}
	for number := 1; ; number++ {
		again, err := m.live(number)
		if err != nil {
			m.fail(err)
			<-m.stop
		}
		if err != nil || !again {
			m.endZombies()
			return
		}
		if !m.rest(number) {
			return
		}
	}
}

// retired reports whether no process is to follow.
func (m *Machine) retired() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	select {
	case <-m.retire:
		return true
	default:
		return m.refused != nil
	}
}

// rest lets the time pass until the next process starts; false: none is to.
func (m *Machine) rest(number int) bool {
	if m.retired() {
		return false
	}
	m.mu.Lock()
	away := m.away
	m.away = 0
	m.mu.Unlock()
	if away == 0 {
		away = m.o.Restart(number)
	}
	t := time.NewTimer(away)
	defer t.Stop()
	select {
	case <-t.C:
	case <-m.retire:
	case <-m.stop:
	}
	return !m.retired()
}

// live is the life of one process. again says that another has to follow.
func (m *Machine) live(number int) (again bool, err error) {
	p, err := m.begin(number)
	if err != nil {
		return false, err
	}
	stopping := false
	if p.core != nil || m.fleet == nil {
		m.serve(p)
		select {
		case <-p.died:
		case <-m.restart:
		case <-m.retire:
		case <-p.failed:
		case <-m.stop:
			stopping = true
		}
		m.serve(nil)
	} else {
		select {
		case <-m.stop:
			stopping = true
		default:
		}
	}
	err = m.end(p)
	m.heed(p)
	return !stopping || p.crashed.Load() && m.fleet == nil, err
}

// heed takes note of how a process ended, and why it could not go on.
func (m *Machine) heed(p *process) {
	p.mu.Lock()
	why := p.why
	p.mu.Unlock()
	if m.left = time.Now(); p.crashed.Load() {
		m.left = p.crashedAt
	}
	if why == nil || p.crashed.Load() {
		return
	}
	m.log.note("process %d could not go on: %v", p.number, why)
	if errors.Is(why, placement.ErrRefused) {
		m.mu.Lock()
		m.refused = why
		m.mu.Unlock()
	}
}

// begin starts a process. It fails only if the process did not crash meanwhile.
func (m *Machine) begin(number int) (*process, error) {
	p := newProcess(m.number*machineStep+number, m.disk, m.log)
	p.zombie = m.o.Mutation.Zombies
	if p.zombie {
		m.zombies = append(m.zombies, p)
	}
	if at := m.o.CrashAt(number); at > 0 {
		m.crashAtWrite(p, at)
	}
	var fs vfs.FS = slowFS{orderedFS{m.disk.FS()}, p.drive}
	if m.o.Mutation.LostSyncs {
		fs = lyingFS{fs}
	}
	ctx, cancel := context.WithCancel(p.ctx)
	defer cancel()
	go func() {
		select {
		case <-m.stop:
			cancel()
		case <-m.retire:
			cancel()
		case <-ctx.Done():
		}
	}()
	cluster, err := m.connect(p)
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	m.here = p
	m.mu.Unlock()
	core, err := node.Open(ctx, node.CoreConfig{
		Name: m.name(), Dir: storeDir, FS: fs, Shards: m.o.Shards, KEK: m.kek, Policy: m.o.Policy,
		Transport: &fence{wire: m.wire, process: p}, Logger: m.log.logger(p.number), Failpoint: p.pass, Cluster: cluster,
		Fatal: p.giveUp, Failed: p.fail,
	})
	switch {
	case err != nil && m.fleet != nil: // a supervisor tries again
		p.fail(err)
	case err != nil && !p.crashed.Load():
		return nil, fmt.Errorf("process %d does not start: %w", p.number, err)
	case !p.crashed.Load():
		m.log.note("process %d has started", p.number)
	}
	p.core = core
	return p, nil
}

// stopTime is how long a process may take to stop.
const stopTime = 20 * time.Second

// stopTime is how long a process is given to stop. Of a cluster's, which others
// wait for, a dead one is given none.
func (m *Machine) stopTime(p *process) time.Duration {
	if m.fleet != nil && p.crashed.Load() {
		return 0
	}
	return stopTime
}

// end ends a process, whether it crashed or not, and leaves its disk to the
// next one.
func (m *Machine) end(p *process) error {
	if p.crashed.Load() {
		<-p.died
	}
	if p.zombie && p.crashed.Load() {
		m.disk = p.left
		return nil
	}
	p.empty()
	var err error
	if p.core != nil {
		ctx, cancel := context.WithTimeout(context.Background(), m.stopTime(p))
		defer cancel()
		p.core.Leave(ctx)
		p.drive.quicken(always) // Pebble is closed with a lock held
		err = p.core.Close(ctx)
	}
	p.disconnect(false)
	p.closed.Store(true)
	p.finish()
	if !p.crashed.Load() {
		m.log.note("process %d has stopped", p.number)
		m.ends = append(m.ends, ProcessEnd{Number: p.number, Stays: p.stays, Holds: p.holds, Waits: p.drive.waited()})
		if err != nil {
			return fmt.Errorf("process %d did not stop in order: %w", p.number, err)
		}
		return nil
	}
	<-p.died // it may have crashed while it stopped
	p.disk.BeforeWrite(nil)
	m.disk = p.left
	notes, err := readJournal(m.disk, m.o.Mutation.NoJournal)
	m.ends = append(m.ends, ProcessEnd{Number: p.number, CrashedAt: p.crashedAt, Stays: p.stays, Holds: p.holds, Waits: p.drive.waited(), Journal: notes})
	return err
}

// endZombies ends the processes that were left running.
func (m *Machine) endZombies() {
	for _, p := range m.zombies {
		if !p.closed.Load() {
			p.empty()
			ctx, cancel := context.WithTimeout(context.Background(), stopTime)
			if p.core != nil {
				_ = p.core.Close(ctx)
			}
			cancel()
			p.finish()
		}
	}
}
