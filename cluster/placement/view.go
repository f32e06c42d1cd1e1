package placement

import (
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strings"

	"github.com/grantd/grantd/credential"
)

// View is all records as they stood at one moment in this node's copy of them.
// It is immutable, and cheap to read. Callers must not change what they get.
type View struct {
	nodes  map[string]*Node
	names  []string // sorted
	shards map[uint16]*Shard
	// closed are the keys of records that this version cannot read.
	closed map[string]bool
}

// Record returns a node's record.
func (v *View) Record(name string) (Node, bool) {
	n, ok := v.nodes[name]
	if !ok {
		return Node{}, false
	}
	return *n, true
}

// Nodes returns all nodes but removed ones, by name.
func (v *View) Nodes() []Node {
	var list []Node
	for _, name := range v.names {
		if n := v.nodes[name]; n.State != Removed {
			list = append(list, *n)
		}
	}
	return list
}

// all returns the names of the nodes of some standings, sorted.
func (v *View) all(of ...Standing) (names []string) {
	for _, name := range v.names {
		if slices.Contains(of, v.nodes[name].State) {
			names = append(names, name)
		}
	}
	return names
}

// Shard returns a shard's record.
func (v *View) Shard(id uint16) (Shard, bool) {
	s, ok := v.shards[id]
	if !ok {
		return Shard{}, false
	}
	return *s, true
}

// Replicas returns the nodes that should hold a shard, the one that should own
// it first; none where that is not known.
func (v *View) Replicas(id uint16) []string {
	if s, ok := v.shards[id]; ok {
		return s.Replicas
	}
	return nil
}

func newView() *View {
	return &View{nodes: map[string]*Node{}, shards: map[uint16]*Shard{}, closed: map[string]bool{}}
}

func (v *View) clone() *View {
	return &View{nodes: maps.Clone(v.nodes), names: v.names, shards: maps.Clone(v.shards), closed: maps.Clone(v.closed)}
}

// set puts a record in place; rev 0: it is gone. It is for a View that nobody
// else has yet. One that cannot be read replaces the one before, so that
// nobody acts on what is not true any more.
func (v *View) set(key string, value []byte, rev uint64) (err error) {
	delete(v.closed, key)
	if id, ok := parseShardKey(key); ok {
		delete(v.shards, id)
		var s Shard
		if rev == 0 {
			return nil
		}
		if s, err = decodeShard(key, value, rev); err == nil {
			v.shards[id] = &s
		}
	} else if name, ok := strings.CutPrefix(key, prefixNode); ok {
		delete(v.nodes, name)
		var n Node
		if rev == 0 {
			return nil
		}
		if n, err = decodeNode(key, value, rev); err == nil {
			v.nodes[name] = &n
		}
	}
	if err != nil {
		v.closed[key] = true
	}
	return err
}

func (v *View) sort() { v.names = slices.Sorted(maps.Keys(v.nodes)) }

// read returns all records; log hears of those that cannot be read.
func read(kv KV, log *slog.Logger) (*View, error) {
	v := newView()
	for _, prefix := range []string{prefixNode, prefixShard} {
		err := kv.Scan(prefix, func(key string, value []byte, rev uint64) error {
			if err := v.set(key, value, rev); err != nil {
				log.Error("placement record cannot be used", "err", err)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	v.sort()
	return v, nil
}

// update returns the View with the keys read again.
func (v *View) update(kv KV, keys []string, log *slog.Logger) (*View, error) {
	next := v.clone()
	for _, key := range keys {
		value, rev, err := kv.Get(key)
		if err != nil && !errors.Is(err, credential.ErrNotFound) {
			return nil, err
		}
		if err := next.set(key, value, rev); err != nil {
			log.Error("placement record cannot be used", "err", err)
		}
	}
	next.sort()
	return next, nil
}
