package placement

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/registry/registrytest"
)

// land is a cluster of nodes with loops of their own over a model of raft and
// of gossip. All of it runs in virtual time.
type land struct {
	t      *testing.T
	shards int
	opts   Options
	kv     registrytest.KV // the meta group's state, the same on every node

	mu    sync.Mutex // guards all below
	rafts map[uint16]*fakeRaft
	homes map[string]*home
	wrong []string  // what must not happen
	died  time.Time // when a node died last

	stop    chan struct{}
	stopped chan struct{}
}

// fakeRaft is a group as raft would keep it.
type fakeRaft struct {
	members Members
	leader  string
	term    uint64
	last    uint64
	removed map[string]uint64 // index of the change by which a node was removed
}

// home is a node.
type home struct {
	land *land
	name string
	disk memLocal
	// replicas are on disk; running ones are open.
	replicas  map[uint16]uint64 // group -> applied
	running   map[uint16]bool
	destroyed map[uint16]uint64 // group -> index of the change that removed it
	changed   chan struct{}
	placement *Placement
	up        bool
	mute      bool // does not answer Status
}

func newLand(t *testing.T, shards int) *land {
	w := &land{
		t: t, shards: shards, opts: Options{Place: evenly, Expect: 1}, rafts: map[uint16]*fakeRaft{}, homes: map[string]*home{},
		stop: make(chan struct{}), stopped: make(chan struct{}),
	}
	go w.nature()
	return w
}

func (w *land) violation(format string, args ...any) {
	w.wrong = append(w.wrong, fmt.Sprintf(format, args...))
}

// nature elects leaders and lets followers catch up.
func (w *land) nature() {
	defer close(w.stopped)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-w.stop:
			return
		case <-tick.C:
		}
		w.mu.Lock()
		for _, id := range slices.Sorted(maps.Keys(w.rafts)) {
			w.tend(id, w.rafts[id])
		}
		w.mu.Unlock()
	}
}

// serves says whether a node's replica takes part.
func (w *land) serves(name string, id uint16) bool {
	h := w.homes[name]
	return h != nil && h.up && h.running[id]
}

func (w *land) quorum(id uint16, voters []string) bool {
	n := 0
	for _, v := range voters {
		n += rank(w.serves(v, id))
	}
	return n > len(voters)/2
}

func (w *land) tend(id uint16, r *fakeRaft) {
	if !w.quorum(id, r.members.Voters) {
		r.leader = ""
		return
	}
	if !w.serves(r.leader, id) || !slices.Contains(r.members.Voters, r.leader) {
		for _, v := range r.members.Voters {
			if w.serves(v, id) {
				r.leader = v
				r.term++
				break
			}
		}
		w.homes[r.leader].poke()
	}
	r.last++
	for _, m := range slices.Concat(r.members.Voters, r.members.Learners) {
		if w.serves(m, id) {
			w.homes[m].replicas[id] = r.last
		}
	}
}

func (h *home) poke() {
	if h.placement != nil {
		h.placement.Poke()
	}
}

// begin starts a node that belongs to the cluster.
func (w *land) begin(name string) *home {
	w.mu.Lock()
	h := w.homes[name]
	if h == nil {
		h = &home{
			land: w, name: name, changed: make(chan struct{}, 1),
			replicas: map[uint16]uint64{}, destroyed: map[uint16]uint64{},
		}
		w.homes[name] = h
	}
	h.running, h.up, h.mute = map[uint16]bool{}, true, false
	first := len(w.homes) == 1
	w.mu.Unlock()
	meta := Start{Join: true}
	if first {
		meta = Start{Voters: []string{name}}
	}
	if err := h.OpenGroup(MetaGroup, meta); err != nil {
		w.t.Fatal(err)
	}
	p, err := Open(Config{
		Self: h.record(), Cluster: "x", Shards: w.shards, Proof: []byte("key"),
		CheckProof: func(p []byte) error {
			if string(p) != "key" {
				return errors.New("wrong key")
			}
			return nil
		},
		KV: landKV{&w.kv, h}, Groups: h, Gossip: h, Peers: h, Local: &h.disk, Logger: quiet, Options: w.opts,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.mu.Lock()
	h.placement = p
	w.mu.Unlock()
	w.gossip()
	return h
}

func (h *home) record() Node {
	return Node{Name: h.name, DataID: h.name + "-data", RPC: h.name + ":7", HTTP: h.name + ":8", Version: "1"}
}

func (h *home) joining() Joining {
	return Joining{Node: h.record(), Shards: h.land.shards, Proof: []byte("key"), Cluster: "x"}
}

// found begins the first node and writes what founding writes.
func (w *land) found(name string) *home {
	h := w.begin(name)
	n := h.record()
	n.State, n.JoinedAt = Active, time.Now()
	value, err := n.encode()
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err := w.kv.Put(w.t.Context(), nodeKey(name), 0, value); err != nil {
		w.t.Fatal(err)
	}
	return h
}

// join lets a new node in, asking via.
func (w *land) join(name, via string) *home {
	h := &home{land: w, name: name}
	for range 100 {
		welcome, err := w.homes[via].placement.Admit(w.t.Context(), h.joining())
		if err == nil && welcome.Cluster == "x" {
			return w.begin(name)
		}
		if err == nil {
			w.t.Fatalf("%s was refused: %+v", name, welcome)
		}
		time.Sleep(100 * time.Millisecond)
	}
	w.t.Fatalf("%s could not join", name)
	return nil
}

// leader returns who leads a group, and its members.
func (w *land) leader(id uint16) (string, Members) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.rafts[id].leader, w.rafts[id].members
}

// silence has all nodes but one answer no Status, or answer it again.
func (w *land) silence(mute bool, but string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, h := range w.homes {
		h.mute = mute && h.name != but
	}
}

func (h *home) alive() bool {
	h.land.mu.Lock()
	defer h.land.mu.Unlock()
	return h.up
}

// held returns how many replicas a node has.
func (h *home) held() int {
	h.land.mu.Lock()
	defer h.land.mu.Unlock()
	return len(h.replicas)
}

// kill ends a node at once.
func (h *home) kill() {
	w := h.land
	w.mu.Lock()
	h.up = false
	w.died = time.Now()
	p := h.placement
	h.placement = nil
	w.mu.Unlock()
	w.gossip()
	p.Close()
}

func (w *land) gossip() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, h := range w.homes {
		poke(h.changed)
	}
}

// end stops everything.
func (w *land) end() {
	w.mu.Lock()
	homes := slices.Collect(maps.Values(w.homes))
	w.mu.Unlock()
	for _, h := range homes {
		w.mu.Lock()
		up := h.up
		w.mu.Unlock()
		if up {
			h.kill()
		}
	}
	close(w.stop)
	<-w.stopped
	for _, v := range w.wrong {
		w.t.Error(v)
	}
}

// landKV is the KV as one node has it.
type landKV struct {
	*registrytest.KV
	h *home
}

func (kv landKV) Put(ctx context.Context, key string, expect uint64, value []byte) (uint64, error) {
	w := kv.h.land
	w.mu.Lock()
	ok := kv.h.up && w.rafts[MetaGroup].leader != ""
	w.mu.Unlock()
	if !ok {
		return 0, credential.ErrNotOwner
	}
	return kv.KV.Put(ctx, key, expect, value)
}

// Members implements Gossip.
func (h *home) Members() (members []Member) {
	w := h.land
	w.mu.Lock()
	defer w.mu.Unlock()
	for name, o := range w.homes {
		m := Member{Name: name, DataID: name + "-data", Cluster: "x", HTTP: name + ":8"}
		if o.up {
			m.State = Alive
		}
		members = append(members, m)
	}
	return members
}

// Changed implements Gossip.
func (h *home) Changed() <-chan struct{} { return h.changed }

// Known implements Groups.
func (h *home) Known(id uint16) (bool, error) {
	w := h.land
	w.mu.Lock()
	defer w.mu.Unlock()
	_, resident := h.replicas[id]
	_, gone := h.destroyed[id]
	return resident || gone, nil
}

// OpenGroup implements Groups.
func (h *home) OpenGroup(id uint16, s Start) error {
	w := h.land
	w.mu.Lock()
	defer w.mu.Unlock()
	if h.running[id] {
		return nil
	}
	_, resident := h.replicas[id]
	_, gone := h.destroyed[id]
	switch {
	case resident:
	case s.Join:
		h.replicas[id] = 0
	case len(s.Voters) == 0:
		w.violation("%s starts group %d without a word", h.name, id)
	case gone:
		w.violation("%s begins group %d anew, which it has destroyed", h.name, id)
	default:
		h.replicas[id] = 1
		if w.rafts[id] == nil {
			w.rafts[id] = &fakeRaft{members: Members{Index: 1, Voters: s.Voters}, last: 1, term: 1, removed: map[string]uint64{}}
		}
	}
	h.running[id] = true
	return nil
}

// CloseGroup implements Groups.
func (h *home) CloseGroup(_ context.Context, id uint16, destroy bool) error {
	w := h.land
	w.mu.Lock()
	defer w.mu.Unlock()
	was := h.running[id]
	h.running[id] = false
	if destroy {
		if was {
			w.violation("%s destroys its replica of group %d while it runs", h.name, id)
		}
		m := w.rafts[id].members
		if slices.Contains(m.Voters, h.name) || slices.Contains(m.Learners, h.name) {
			w.violation("%s destroys its replica of group %d, of which it is a member: %+v", h.name, id, m)
		}
		delete(h.replicas, id)
		h.destroyed[id] = w.rafts[id].removed[h.name]
	}
	return nil
}

// Group implements Groups.
func (h *home) Group(id uint16) (Group, bool) {
	w := h.land
	w.mu.Lock()
	defer w.mu.Unlock()
	return replica{h, id}, h.running[id]
}

// Resident implements Groups.
func (h *home) Resident() ([]uint16, error) {
	w := h.land
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Collect(maps.Keys(h.replicas)), nil
}

// replica is a Group.
type replica struct {
	h  *home
	id uint16
}

func (r replica) raft() *fakeRaft {
	if f := r.h.land.rafts[r.id]; f != nil {
		return f
	}
	return &fakeRaft{}
}

func (r replica) IsLeader() (uint64, bool) {
	r.h.land.mu.Lock()
	defer r.h.land.mu.Unlock()
	f := r.raft()
	return f.term, f.leader == r.h.name && r.h.up
}

func (r replica) Leader() (string, uint64) {
	r.h.land.mu.Lock()
	defer r.h.land.mu.Unlock()
	f := r.raft()
	if !slices.Contains(slices.Concat(f.members.Voters, f.members.Learners), r.h.name) {
		return "", 0 // nobody tells it
	}
	return f.leader, f.term
}

func (r replica) Members() (Members, error) {
	r.h.land.mu.Lock()
	defer r.h.land.mu.Unlock()
	return r.raft().members, nil
}

func (r replica) ConfirmMembers(ctx context.Context) (Members, error) {
	if !sleep(ctx, time.Millisecond) {
		return Members{}, ctx.Err()
	}
	if _, leads := r.IsLeader(); !leads {
		return Members{}, credential.ErrNotOwner
	}
	return r.Members()
}

func (r replica) Progress() (applied, last uint64) {
	r.h.land.mu.Lock()
	defer r.h.land.mu.Unlock()
	n := r.h.replicas[r.id]
	return n, n
}

func (r replica) change(ctx context.Context, index uint64, fn func(m *Members)) error {
	w := r.h.land
	if !sleep(ctx, 10*time.Millisecond) {
		return ctx.Err()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	f := r.raft()
	if f.leader != r.h.name || !r.h.up {
		return credential.ErrNotOwner
	}
	if index != f.members.Index {
		return errors.New("the membership has changed")
	}
	m := Members{Voters: slices.Clone(f.members.Voters), Learners: slices.Clone(f.members.Learners)}
	fn(&m)
	if !w.quorum(r.id, f.members.Voters) {
		return credential.ErrNoQuorum
	}
	if !w.quorum(r.id, m.Voters) && time.Since(w.died) > time.Second {
		w.violation("group %d: a change from %v to %v leaves no majority", r.id, f.members.Voters, m.Voters)
	}
	f.last++
	m.Index = f.last
	w.homes[r.h.name].replicas[r.id] = f.last
	for _, node := range without(slices.Concat(f.members.Voters, f.members.Learners), slices.Concat(m.Voters, m.Learners)) {
		f.removed[node] = m.Index
	}
	f.members = m
	return nil
}

func (r replica) AddLearner(ctx context.Context, node string, index uint64) error {
	return r.change(ctx, index, func(m *Members) { m.Learners = append(m.Learners, node) })
}

func (r replica) Promote(ctx context.Context, node string, index uint64) error {
	return r.change(ctx, index, func(m *Members) {
		m.Learners = without(m.Learners, []string{node})
		m.Voters = append(m.Voters, node)
	})
}

func (r replica) Remove(ctx context.Context, node string, index uint64) error {
	return r.change(ctx, index, func(m *Members) {
		m.Learners, m.Voters = without(m.Learners, []string{node}), without(m.Voters, []string{node})
	})
}

func (r replica) Transfer(ctx context.Context, node string) error {
	w := r.h.land
	if !sleep(ctx, 10*time.Millisecond) {
		return ctx.Err()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	f := r.raft()
	if f.leader != r.h.name || !slices.Contains(f.members.Voters, node) || !w.serves(node, r.id) {
		return errors.New("it cannot be handed over")
	}
	f.leader = node
	f.term++
	w.homes[node].poke()
	return nil
}

// Status implements Peers.
func (h *home) Status(ctx context.Context, node string, groups []uint16) ([]GroupStatus, error) {
	w := h.land
	if !sleep(ctx, time.Millisecond) {
		return nil, ctx.Err()
	}
	w.mu.Lock()
	o := w.homes[node]
	var p *Placement
	if o != nil && o.up && !o.mute {
		p = o.placement
	}
	w.mu.Unlock()
	if p == nil {
		return nil, errors.New("nobody there")
	}
	return p.Report(ctx, groups), nil
}

// Join implements Peers.
func (h *home) Join(ctx context.Context, node string, j Joining) (Welcome, error) {
	w := h.land
	w.mu.Lock()
	p := w.homes[node].placement
	w.mu.Unlock()
	if p == nil {
		return Welcome{}, errors.New("nobody there")
	}
	return p.Admit(ctx, j)
}

func (h *home) Promise(context.Context, string, Promise) (Answer, error) { return Answer{}, nil }
func (h *home) Release(context.Context, string, Promise) error           { return nil }
