package node

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"slices"

	"github.com/grantd/grantd/cluster/gossip"
	"github.com/grantd/grantd/cluster/placement"
	"github.com/grantd/grantd/storage"
)

// seen is where other nodes were last seen to gossip, by name. A node keeps it
// beyond its own restarts: those that its configuration names may have left the
// cluster long ago, and then nobody would tell it where the others are.
type seen map[string]string

const (
	recordSeen = "gossip_seen"
	seenFormat = 1
)

// seenRecord is how seen is stored.
type seenRecord struct {
	Format int  `json:"format"`
	Nodes  seen `json:"nodes"`
}

// loadSeen reads what was saved. A record that cannot be read is as good as
// none: the nodes that the configuration names are asked.
func loadSeen(l *storage.Local, log *slog.Logger) (seen, error) {
	value, err := l.Load(recordSeen)
	if err != nil || value == nil {
		return seen{}, err
	}
	var r seenRecord
	if err := json.Unmarshal(value, &r); err != nil || r.Format > seenFormat || r.Nodes == nil {
		log.Warn("where other nodes were seen is of a newer version, or cannot be read; cluster.join has to name one that is there", "err", err)
		return seen{}, nil
	}
	return r.Nodes, nil
}

func (s seen) save(l *storage.Local) error {
	value, err := json.Marshal(seenRecord{seenFormat, s})
	if err != nil {
		return fmt.Errorf("where other nodes were seen: %w", err)
	}
	return l.Save(recordSeen, value)
}

// after is what is known after a look at gossip and at the cluster's records:
// nodes that are registered stay, at the address where they were alive last.
func (s seen) after(self string, members []gossip.Member, registered []placement.Node) seen {
	next := seen{}
	for _, n := range registered {
		if addr, known := s[n.Name]; known && n.Name != self {
			next[n.Name] = addr
		}
	}
	for _, m := range members {
		isOne := slices.ContainsFunc(registered, func(n placement.Node) bool { return n.Name == m.Name })
		if isOne && m.State == gossip.Alive && m.Name != self {
			next[m.Name] = m.Addr
		}
	}
	return next
}

// addrs are the addresses, in order.
func (s seen) addrs() []string { return slices.Sorted(maps.Values(s)) }

// remember saves where the other nodes are, when that has changed. Only mind
// calls it.
func (cl *cluster) remember() {
	registered := cl.placement.Load().View().Nodes()
	if len(registered) == 0 {
		return // the records have not arrived
	}
	now := cl.seen.after(cl.core.name, cl.gossip.Members(), registered)
	if maps.Equal(now, cl.seen) {
		return
	}
	if err := now.save(cl.core.db.Local()); err != nil {
		cl.core.log.Warn("where other nodes are could not be saved", "err", err)
		return
	}
	cl.seen = now
}
