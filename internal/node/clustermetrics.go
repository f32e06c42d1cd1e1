package node

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/grantd/grantd/cluster/consensus"
	"github.com/grantd/grantd/cluster/gossip"
	"github.com/grantd/grantd/cluster/route"
)

// shardFigures tell what a node has of the shards, as metrics.
func shardFigures(host *consensus.Host) figures {
	var f figures
	count := func(name, help string, counts func(*consensus.Group) bool) {
		f.add(prometheus.GaugeValue, name, help, func() float64 {
			n := 0
			for id := range host.Shards() {
				if g := host.Group(uint16(id)); g != nil && counts(g) {
					n++
				}
			}
			return float64(n)
		})
	}
	count("shards_owned", "Shards that this node leads.", func(g *consensus.Group) bool { _, leads := g.IsLeader(); return leads })
	count("shards_held", "Shards that this node has a replica of.", func(*consensus.Group) bool { return true })
	count("shards_without_owner", "Of the shards that this node has a replica of, those of which it knows no leader.", func(g *consensus.Group) bool {
		leader, _ := g.Leader()
		return leader == ""
	})
	return f
}

// figures are those that only a node of a cluster has, as metrics.
func (cl *cluster) figures() figures {
	var f figures
	const members, membersHelp = "cluster_nodes", "Nodes as gossip sees them from here, this one included, by state. Dead ones and those that left are forgotten after a day."
	for _, state := range []gossip.State{gossip.Alive, gossip.Dead, gossip.Left} {
		f.add(prometheus.GaugeValue, members, membersHelp, func() float64 {
			n := 0
			for _, m := range cl.gossip.Members() {
				if m.State == state {
					n++
				}
			}
			return float64(n)
		}, "state", state.String())
	}
	f.add(prometheus.GaugeValue, "shards_moving", "Of the shards that this node leads, those whose replicas or owner are not yet what was decided.", func() float64 {
		return float64(cl.placement.Load().Moving())
	})
	f.add(prometheus.GaugeValue, "certificate_expiry_timestamp_seconds", "When the certificate ends that this node proves itself to others with, in seconds since 1970.", func() float64 {
		return float64(cl.cfg.Identity.Expires().Unix())
	})
	f = append(f, routeFigures("accounts", cl.router.Load().Counters())...)
	return append(f, routeFigures("registry", cl.records.Counters())...)
}

// routeFigures are what a router has done with requests for accounts, or with
// writes of the registry and the placement.
func routeFigures(of string, c *route.Counters) figures {
	var f figures
	counter := func(name, help string, v interface{ Load() int64 }) {
		f.add(prometheus.CounterValue, "route_"+name+"_total", help, func() float64 { return float64(v.Load()) }, "of", of)
	}
	counter("forwarded", "Requests that this node sent on to the node that leads the shard.", &c.Forwarded)
	counter("retried", "Tries after the first, because the owner had changed or was not reached.", &c.Retried)
	counter("replica_answers", "Tokens answered by a replica, because the owner was not reached.", &c.Replica)
	counter("unreached", "Requests that ended without an answer of the owner.", &c.Unreached)
	counter("unknown_outcomes", "Of them, changes that may or may not have been made.", &c.Unknown)
	return f
}
