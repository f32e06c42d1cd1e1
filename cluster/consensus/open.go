package consensus

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hashicorp/raft"

	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/storage"
)

// Start says how a group begins of which this node holds nothing. The zero
// value: it does not.
type Start struct {
	// Voters found the group: they are its first voters, this node among them.
	// All of them must be given the same ones; the order does not matter. A node
	// that has run the group before, and destroyed it, does not found it again:
	// it waits, as with Join.
	Voters []string
	// Join makes the replica wait, empty and without a say, until the group's
	// leader adds it.
	Join bool
}

// check says what is wrong with s for a node.
func (s Start) check(node string) error {
	if len(s.Voters) == 0 {
		return nil
	}
	if s.Join {
		return fmt.Errorf("%w: a group is either founded or joined", credential.ErrInvalid)
	}
	if !slices.Contains(s.Voters, node) {
		return fmt.Errorf("%w: %s is not among the voters %q that it is to found a group with", credential.ErrInvalid, node, s.Voters)
	}
	names := slices.Sorted(slices.Values(s.Voters))
	for i, name := range names {
		if err := credential.CheckName("voter", name); err != nil {
			return err
		}
		if i > 0 && name == names[i-1] {
			return fmt.Errorf("%w: voter %s is named twice", credential.ErrInvalid, name)
		}
	}
	return nil
}

// OpenGroup runs this node's replica of a group, and returns when it runs. What
// the store holds of the group is carried on, and s does not matter then;
// otherwise s says how it begins. A group that is open is returned as it is.
// Errors:
//
//   - credential.ErrInvalid: there is no such group, or s cannot be.
//   - credential.ErrNotFound: the store holds nothing of the group, and s says
//     nothing.
//   - credential.ErrConflict: the group is being opened or closed, or could not
//     be closed in time (call CloseGroup again), or the Host is closed.
//   - those of Config.Transport and of the store.
func (h *Host) OpenGroup(id uint16, s Start) (*Group, error) {
	if id != MetaGroup && int(id) >= h.cfg.Shards {
		return nil, fmt.Errorf("consensus: %w: there is no group %d", credential.ErrInvalid, id)
	}
	if err := s.check(h.cfg.Node); err != nil {
		return nil, fmt.Errorf("consensus: group %d: %w", id, err)
	}
	release, err := h.claim(id)
	if err != nil {
		return nil, err
	}
	defer release()
	h.mu.RLock()
	g, ending := h.groups[id], h.ending[id]
	h.mu.RUnlock()
	if g != nil {
		return g, nil
	}
	if ending != nil {
		return nil, fmt.Errorf("consensus: %w: group %d has not ended yet", credential.ErrConflict, id)
	}
	if g, err = h.start(id, s); err != nil {
		return nil, fmt.Errorf("consensus: group %d: %w", id, err)
	}
	return g, nil
}

// claim makes the caller the only one who opens or closes the group.
func (h *Host) claim(id uint16) (release func(), err error) {
	if !h.ops.enter() {
		return nil, fmt.Errorf("consensus: %w: the node is shutting down", credential.ErrConflict)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.busy[id] {
		h.ops.leave()
		return nil, fmt.Errorf("consensus: %w: group %d is being opened or closed", credential.ErrConflict, id)
	}
	h.busy[id] = true
	return func() {
		h.mu.Lock()
		delete(h.busy, id)
		h.mu.Unlock()
		h.ops.leave()
	}, nil
}

// start runs one group.
func (h *Host) start(id uint16, s Start) (*Group, error) {
	g := newGroup(id, h)
	log, err := g.state.Log()
	if err != nil {
		return nil, err
	}
	if err := prepare(g.state, log, s); err != nil {
		return nil, err
	}
	if err := h.startRaft(g, log); err != nil {
		return nil, err
	}
	h.mu.Lock()
	h.groups[id] = g
	if id != MetaGroup {
		h.shards[id].Store(g)
	}
	h.mu.Unlock()
	g.machine.grown.ring()
	// Raft waits for the watcher as soon as it leads, so that nobody hears of a
	// group that Group does not know.
	g.done.Go(g.watch)
	g.done.Go(g.submit)
	return g, nil
}

func (h *Host) startRaft(g *Group, log *storage.Log) error {
	trans, err := h.transport(g.id)
	if err != nil {
		return err
	}
	if at := trans.LocalAddr(); string(at) != g.node {
		return errors.Join(fmt.Errorf("the transport's address is %q; it has to be the node's name, %q", at, g.node), closeTransport(trans))
	}
	logs := &logStore{log: log, db: h.cfg.DB, gate: &g.store}
	stable := &stableStore{state: g.state, stable: g.state.Stable(), db: h.cfg.DB, gate: &g.store}
	cfg := h.cfg.raftConfig(g.id, h.cfg.Transport == nil, g.notify)
	heartbeat := cfg.HeartbeatTimeout
	cfg.HeartbeatTimeout += time.Millisecond // room for campaign to shorten it
	cfg.ElectionTimeout = max(cfg.ElectionTimeout, cfg.HeartbeatTimeout)
	if g.raft, err = raft.NewRaft(cfg, g.machine, logs, stable, g.snaps, trans); err != nil {
		return errors.Join(err, closeTransport(trans))
	}
	if t, ok := trans.(answering); ok {
		t.OnAnswer(func(node string, term uint64, sent time.Time, fed bool) {
			g.lease.answered(node, term, sent, g.voters)
			if fed {
				g.spurned.fed(node, sent)
			}
		})
	}
	if onlyVoter(g.raft, g.node) {
		if err := g.campaign(heartbeat); err != nil {
			return errors.Join(err, g.raft.Shutdown().Error())
		}
	}
	return nil
}

// answering is a transport that tells when other nodes have answered as
// followers; fed: to more than a heartbeat. Without it a leader has to prove its leadership for each read.
type answering interface {
	OnAnswer(fn func(node string, term uint64, sent time.Time, fed bool))
}

// closeTransport closes what raft, which did not start, will not close.
func closeTransport(t raft.Transport) error {
	if c, ok := t.(raft.WithClose); ok {
		return c.Close()
	}
	return nil
}

// transport returns the group's transport.
func (h *Host) transport(group uint16) (raft.Transport, error) {
	if h.cfg.Transport != nil {
		return h.cfg.Transport(group)
	}
	_, t := raft.NewInmemTransport(raft.ServerAddress(h.cfg.Node))
	return t, nil
}

// onlyVoter reports whether the node is a group's one voter, so that there is
// nobody whose heartbeat or vote it could wait for.
func onlyVoter(r *raft.Raft, node string) bool {
	f := r.GetConfiguration()
	if f.Error() != nil { // it answers from memory, at once
		return false
	}
	m := membersOf(0, f.Configuration())
	return len(m.Voters) == 1 && m.Voters[0] == node
}
