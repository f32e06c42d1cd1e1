package placement

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/grantd/grantd/credential"
)

// MaxNodes bounds the nodes of a cluster: each follows the meta group.
const MaxNodes = 100

// Joining is a node's request to be let in, or to have its record brought up to
// date.
type Joining struct {
	Node    Node   `json:"node"`
	Shards  int    `json:"shards"`  // that it is configured for
	Proof   []byte `json:"proof"`   // of its key-encryption key
	Cluster string `json:"cluster"` // that it takes this to be
	// Carried: a node that does not lead has passed it on.
	Carried bool `json:"carried,omitempty"`
}

// Welcome is the answer to a Joining.
type Welcome struct {
	Cluster string `json:"cluster,omitempty"`
	// Refused says why the node will not be let in as it is.
	Refused string `json:"refused,omitempty"`
	// Expelled: the name is closed to this node for good.
	Expelled bool `json:"expelled,omitempty"`
}

// refusal is why a node is not let in; empty: it is.
func (p *Placement) refusal(v *View, j Joining) string {
	name := j.Node.Name
	if err := credential.CheckName("node name", name); err != nil {
		return err.Error()
	}
	switch {
	case j.Node.DataID == "":
		return "node " + name + " does not say which data it has"
	case j.Cluster != p.cfg.Cluster:
		return fmt.Sprintf("this is cluster %s, and node %s wants to join %s; check cluster.join of both", p.cfg.Cluster, name, j.Cluster)
	case j.Shards != p.cfg.Shards:
		return fmt.Sprintf("node %s is configured for %d shards and the cluster has %d; set cluster.shards of the node to %d", name, j.Shards, p.cfg.Shards, p.cfg.Shards)
	case v.closed[nodeKey(name)]:
		return fmt.Sprintf("the record of node %s is of a newer version of grantd; join through a node of that version", name)
	}
	if err := p.cfg.CheckProof(j.Proof); err != nil {
		return fmt.Sprintf("node %s has another key-encryption key than the cluster; give it the cluster's (seal.kek)", name)
	}
	old, known := v.Record(name)
	switch {
	case known && old.State == Removed:
		return fmt.Sprintf("node %s was removed from the cluster for good; empty its data directory and give it a new name", name)
	case known && old.DataID != j.Node.DataID:
		return fmt.Sprintf("the name %s belongs to a node with other data: a node that lost its data must not come back under its old name; give it a new name, and remove %s from the cluster if its data is lost", name, name)
	case !known && len(v.Nodes()) >= MaxNodes:
		return fmt.Sprintf("the cluster is full: it has %d nodes", MaxNodes)
	}
	return ""
}

// Admit lets a node into the cluster, or says why not. A node that is in
// already has its addresses and version brought up to date. It works on the
// node that leads the meta group; others pass the request on to that one.
func (p *Placement) Admit(ctx context.Context, j Joining) (Welcome, error) {
	if !p.leadsMeta() {
		leader := p.metaLeader()
		if j.Carried || leader == "" || leader == p.cfg.Self.Name {
			return Welcome{}, fmt.Errorf("%w: the meta group's leader is not known", credential.ErrNotOwner)
		}
		j.Carried = true
		return p.cfg.Peers.Join(ctx, leader, j)
	}
	var w Welcome
	err := again(ctx, func() error {
		v, err := read(p.cfg.KV, p.log)
		if err != nil {
			return err
		}
		if why := p.refusal(v, j); why != "" {
			old, known := v.Record(j.Node.Name)
			w = Welcome{Refused: why, Expelled: known && old.State == Removed}
			return nil
		}
		w = Welcome{Cluster: p.cfg.Cluster}
		return p.register(ctx, v, j.Node)
	})
	if err != nil {
		return Welcome{}, err
	}
	if w.Refused != "" {
		p.log.Warn("a node was not let in", "node", j.Node.Name, "why", w.Refused)
	}
	return w, nil
}

// register writes the record of a node that may be let in.
func (p *Placement) register(ctx context.Context, v *View, n Node) error {
	old, known := v.Record(n.Name)
	if known {
		if old.RPC == n.RPC && old.HTTP == n.HTTP && old.Version == n.Version {
			return nil
		}
		old.RPC, old.HTTP, old.Version = n.RPC, n.HTTP, n.Version
		n = old
	} else {
		n.State, n.JoinedAt, n.rev = Active, time.Now().UTC(), 0
	}
	return put(ctx, p.cfg.KV, Change{Key: nodeKey(n.Name), Rev: n.rev, Node: &n})
}

// put writes one changed record.
func put(ctx context.Context, kv KV, c Change) error {
	encode := func() ([]byte, error) { return c.Shard.encode() }
	if c.Node != nil {
		encode = c.Node.encode
	}
	value, err := encode()
	if err != nil {
		return err
	}
	_, err = kv.Put(ctx, c.Key, c.Rev, value)
	return err
}

const (
	// againTries and againWait bound how a write that lost a race is repeated.
	againTries = 8
	againWait  = 10 * time.Millisecond
)

// again calls fn until it returns anything but credential.ErrConflict.
func again(ctx context.Context, fn func() error) error {
	wait := againWait
	for try := 1; ; try++ {
		err := fn()
		if !errors.Is(err, credential.ErrConflict) || try == againTries {
			return err
		}
		if !sleep(ctx, wait) {
			return err
		}
		wait *= 2
	}
}

// sleep waits; false: ctx ended.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// Establish writes what a founded cluster begins with, if this node has founded
// it and has not done so before: settings, its own record and, where it brings
// data of its own, the records of all shards, which begin on it alone. The meta
// group must be open ([Membership.Meta]). It waits until this node leads it.
// Nobody else can be let in before it has returned.
func (f *Former) Establish(ctx context.Context, kv KV) error {
	m := f.Membership()
	if !m.Founded || m.Complete {
		return nil
	}
	n := f.cfg.Self
	n.State, n.JoinedAt = Active, time.Now().UTC()
	node, err := n.encode()
	if err != nil {
		return err
	}
	type entry struct {
		key   string
		value []byte
		fixed bool // must be this value
	}
	entries := []entry{
		{keyCluster, []byte(m.Cluster), true},
		{keyShards, binary.BigEndian.AppendUint16(nil, uint16(f.cfg.Shards)), true},
		{keyProof, f.cfg.Proof, false},
		{nodeKey(n.Name), node, false},
	}
	for id := range f.cfg.Shards {
		if !m.OwnData {
			break
		}
		alone := []string{n.Name}
		value, err := Shard{ID: uint16(id), Found: alone, Replicas: alone, Owner: n.Name, Epoch: 1}.encode()
		if err != nil {
			return err
		}
		entries = append(entries, entry{shardKey(uint16(id)), value, false})
	}
	for _, e := range entries {
		stored, err := first(ctx, kv, e.key, e.value)
		if err != nil {
			return fmt.Errorf("found cluster: %w", err)
		}
		if e.fixed && !bytes.Equal(stored, e.value) {
			return fmt.Errorf("%w: %s is already set to another value in this node's data", ErrRefused, e.key)
		}
	}
	return f.change(ctx, func(m Membership) Membership {
		m.Complete = true
		return m
	})
}

// first writes a key that has no value yet, and returns the one that it has
// then. It tries until ctx ends: the group may have no leader yet.
func first(ctx context.Context, kv KV, key string, value []byte) ([]byte, error) {
	wait := againWait
	for {
		stored, _, err := kv.Get(key)
		if err == nil {
			return stored, nil
		}
		if !errors.Is(err, credential.ErrNotFound) {
			return nil, err
		}
		if _, err = kv.Put(ctx, key, 0, value); err == nil {
			return value, nil
		}
		if !sleep(ctx, wait) {
			return nil, err
		}
		wait = min(2*wait, time.Second)
	}
}
