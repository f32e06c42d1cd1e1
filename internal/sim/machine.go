package sim

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

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

	calm          atomic.Bool   // no more crashes
	on            chan struct{} // closed when it is switched on
	retire        chan struct{} // closed when no process is to follow
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
	away          time.Duration // how long it stays off after the next stop; 0: as long as usual
	left          time.Time     // when the last process ended
	dismissed     bool          // its node is taken out of the cluster for good
	refused       error         // why the cluster does not take its node
}

// ProcessEnd is how a process ended.
type ProcessEnd struct {
	Number    int
	CrashedAt time.Time // zero: it was stopped
	// Stays are when goroutines stood between having an answer and noting it.
	Stays []Stay
	// Holds are when it stood still.
	Holds []Span
	// Waits are when its disk did not do at once what it was told to.
	Waits []Span
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

// errOff: a machine is switched off for good.
var errOff = errors.New("sim: the machine is off")

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
		o: o, kek: kek, log: log, on: make(chan struct{}), retire: make(chan struct{}), restart: make(chan struct{}), stop: make(chan struct{}), stopped: make(chan struct{}),
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

// machineStep tells the processes of several machines apart: the third one of
// the second machine is number 2003.
const machineStep = 1000

// name is the node's name.
func (m *Machine) name() string { return fmt.Sprintf("n%d", max(m.node, 1)) }

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

// runs reports whether it is switched on and may yet run a process.
func (m *Machine) runs() bool {
	select {
	case <-m.on:
	default:
		return false
	}
	select {
	case <-m.stopped:
		return false
	default:
		return true
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
			case <-m.stopped:
				return false, errOff
			case <-ctx.Done():
				return false, ctx.Err()
			}
		}
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(p.serving, cancel)()
		err := p.serve(ctx, fn)
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
