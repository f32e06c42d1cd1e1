package sim

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/keyset"

	"github.com/grantd/grantd/actors"
	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/envelope"
	"github.com/grantd/grantd/internal/node"
	"github.com/grantd/grantd/storage/storagetest"
)

// MachineOptions say what a machine is like and when it crashes.
type MachineOptions struct {
	Shards int
	Policy actors.Policy
	// CrashAt says before which write to its disk a process crashes, counted from
	// 1; 0: not by itself. nil: none does.
	CrashAt func(process int) int64
	// Power says what a crash of a process leaves on the disk.
	Power func(process int) (unsyncedPercent int, seed uint64)
	// Restart is how long the machine takes to start the next process after a
	// crash or a stop; nil: a second.
	Restart  func(process int) time.Duration
	Mutation Mutation
}

// Mutation takes a promise out of what surrounds the node, to prove that its
// absence is seen.
type Mutation struct {
	// LostSyncs: the disk acknowledges syncs of the write-ahead log without doing
	// them.
	LostSyncs bool
	// NoJournal: at each start the journal of the process before is empty.
	NoJournal bool
	// Zombies: a process goes on beside its successor.
	Zombies bool
	// Twice: each token request reaches the provider twice.
	Twice bool
	// Late, where not 0: the first token request is on its way for so long, and
	// arrives whatever its deadline was.
	Late time.Duration
	// Hasty: a caller is told a token as soon as the provider has answered.
	Hasty bool
}

// Machine is a computer that runs a node, one process after the other. Close
// ends it.
type Machine struct {
	o    MachineOptions
	kek  *envelope.KEK
	wire *wire
	log  *logbook
	// fleet is what the machines of a cluster share, node this one's number among
	// them, from 1, and number what its processes are counted from; nil and 0: it
	// is alone.
	fleet        *fleet
	node, number int

	calm          atomic.Bool // no more crashes
	restart, stop chan struct{}
	stopped       chan struct{}
	mu            sync.Mutex
	now           *process      // that serves; nil: none does
	here          *process      // that runs, or is about to
	changed       chan struct{} // closed when now changes
	failed        error         // why no process can start
	zombies       []*process
	ends          []ProcessEnd
	disk          *storagetest.Disk // as the last process left it
	idle          []Span            // when no process served
	idleSince     time.Time
}

// ProcessEnd is how a process ended.
type ProcessEnd struct {
	Number    int
	CrashedAt time.Time // zero: it was stopped
	// Stays are when goroutines stood between having an answer and noting it.
	Stays []Stay
	// Journal is what a crashed process's journal holds on the disk it left.
	Journal []Note
}

// Note is an entry of a node's journal.
type Note struct {
	Ref credential.Ref `json:"ref"`
	At  time.Time      `json:"at"`
}

// storeDir is where the node's store lies on the machine's disk.
const storeDir = "store"

// errFailed is wrapped when the machine is broken for good.
var errFailed = errors.New("sim: no process can start")

// newMachine makes a machine; run it.
func newMachine(o MachineOptions, kek *envelope.KEK, w *wire, log *logbook) *Machine {
	if o.Power == nil {
		o.Power = func(process int) (int, uint64) { return 0, uint64(process) }
	}
	if o.CrashAt == nil {
		o.CrashAt = func(int) int64 { return 0 }
	}
	if o.Restart == nil {
		o.Restart = func(int) time.Duration { return time.Second }
	}
	return &Machine{
		o: o, kek: kek, log: log, restart: make(chan struct{}), stop: make(chan struct{}), stopped: make(chan struct{}),
		wire: w, changed: make(chan struct{}), disk: storagetest.NewDisk(),
	}
}

// newKEK makes a key-encryption key in memory; it outlives crashes, as one in a
// KMS does.
func newKEK() (*envelope.KEK, error) {
	h, err := keyset.NewHandle(aead.AES256GCMKeyTemplate())
	if err != nil {
		return nil, err
	}
	a, err := aead.New(h)
	if err != nil {
		return nil, err
	}
	return envelope.NewKEK(a, "sim"), nil
}

// run is the machine's life.
func (m *Machine) run() {
	defer close(m.stopped)
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
		time.Sleep(m.o.Restart(number))
	}
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
	return !stopping || p.crashed.Load() && m.fleet == nil, err
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
	var fs vfs.FS = orderedFS{m.disk.FS()}
	if m.o.Mutation.LostSyncs {
		fs = lyingFS{fs}
	}
	ctx, cancel := context.WithCancel(p.ctx)
	defer cancel()
	go func() {
		select {
		case <-m.stop:
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
		Fatal: func(reason string) { panic("sim: the store gave up: " + reason) },
	})
	switch {
	case err != nil && m.fleet != nil: // a supervisor tries again
		m.log.note("process %d does not start: %v", p.number, err)
	case err != nil && !p.crashed.Load():
		return nil, fmt.Errorf("process %d does not start: %w", p.number, err)
	case !p.crashed.Load():
		m.log.note("process %d has started", p.number)
	}
	p.core = core
	return p, nil
}

// crashAtWrite arms the disk of a process.
func (m *Machine) crashAtWrite(p *process, n int64) {
	keep, seed := m.o.Power(p.number)
	p.disk.BeforeWrite(func(w storagetest.Write) error {
		if w.N == n && !m.calm.Load() {
			p.crash(fmt.Sprintf("before write %d (%s)", n, w.Path), power{keep, seed})
		}
		return nil
	})
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

// machineStep tells the processes of several machines apart: the third one of
// the second machine is number 2003.
const machineStep = 1000

// name is the node's name.
func (m *Machine) name() string { return fmt.Sprintf("n%d", max(m.node, 1)) }

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
		err = p.core.Close(ctx)
	}
	p.disconnect(false)
	p.closed.Store(true)
	p.finish()
	if !p.crashed.Load() {
		m.log.note("process %d has stopped", p.number)
		m.ends = append(m.ends, ProcessEnd{Number: p.number, Stays: p.stays})
		if err != nil {
			return fmt.Errorf("process %d did not stop in order: %w", p.number, err)
		}
		return nil
	}
	<-p.died // it may have crashed while it stopped
	p.disk.BeforeWrite(nil)
	m.disk = p.left
	notes, err := readJournal(m.disk, m.o.Mutation.NoJournal)
	m.ends = append(m.ends, ProcessEnd{Number: p.number, CrashedAt: p.crashedAt, Stays: p.stays, Journal: notes})
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

// serves reports whether a process serves now.
func (m *Machine) serves() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.now != nil
}

func (m *Machine) serve(p *process) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if now := time.Now(); p == nil {
		m.idleSince = now
	} else {
		m.idle = append(m.idle, Span{m.idleSince, now})
	}
	m.now = p
	close(m.changed)
	m.changed = make(chan struct{})
}

func (m *Machine) fail(err error) {
	m.log.note("the machine is broken: %v", err)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.failed = errors.Join(errFailed, err)
	close(m.changed)
	m.changed = make(chan struct{})
}

// Do calls fn with the node, once one serves. counts tells whether the process
// still lived when fn returned: if not, nobody was told anything. fn must end
// with its context, which ends with the process.
func (m *Machine) Do(ctx context.Context, fn func(context.Context, *node.Core) error) (counts bool, err error) {
	for {
		m.mu.Lock()
		p, changed, failed := m.now, m.changed, m.failed
		m.mu.Unlock()
		if failed != nil {
			return false, failed
		}
		if p == nil || !p.enter() {
			select {
			case <-changed:
				continue
			case <-ctx.Done():
				return false, ctx.Err()
			}
		}
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(p.serving, cancel)()
		err := fn(ctx, p.core)
		counts := !p.crashed.Load()
		p.exit()
		return counts, err
	}
}

// Close stops the process in order and switches the machine off. The error says
// what kept it from that, or from starting.
func (m *Machine) Close() error {
	close(m.stop)
	<-m.stopped
	return m.failed
}

// Crashes counts the crashes so far; call it after Close.
func (m *Machine) Crashes() (n int) {
	for _, e := range m.ends {
		if !e.CrashedAt.IsZero() {
			n++
		}
	}
	return n
}
