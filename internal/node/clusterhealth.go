package node

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"
)

// health is what is remembered of a node's readiness.
type health struct {
	// sound is when nothing was lacking last; nil: something always was.
	sound atomic.Pointer[time.Time]
}

const (
	// readyGrace is for how long a node that was ready stays so although leaders
	// are lacking. An election takes a second or two, and all nodes see it: were
	// they not ready meanwhile, a load balancer would have nobody to send to, and
	// they answer tokens.
	readyGrace = 5 * time.Second
	// mindEvery is how often a node looks after itself.
	mindEvery = time.Second
)

// ready says why the node should get no requests; nil: it should.
func (cl *cluster) ready() error {
	why := cl.lacks()
	now := time.Now()
	if why == nil {
		cl.health.sound.Store(&now)
		return nil
	}
	if last := cl.health.sound.Load(); last != nil && now.Sub(*last) < readyGrace {
		return nil
	}
	return why
}

// lacks says what the node lacks to answer everything; nil: nothing. Once it
// was ready, some shards without an owner are no reason to keep the requests to
// all others away.
func (cl *cluster) lacks() error {
	if cl.placement.Load() == nil || cl.router.Load() == nil {
		return errors.New("the node does not belong to a cluster yet")
	}
	if node, _ := cl.metaLeader(); node == "" {
		return errors.New("the meta group has no leader that this node knows")
	}
	if !cl.arrived.Load() {
		return errors.New("the node's copy of the registry is behind")
	}
	var missing []string
	shards := cl.core.host.Shards()
	for shard := range shards {
		if node, _ := cl.leader(shard); node == "" {
			missing = append(missing, fmt.Sprint(shard))
		}
	}
	switch {
	case len(missing) == shards:
		return errors.New("no shard has an owner that this node knows")
	case len(missing) == 1 && cl.health.sound.Load() == nil:
		return fmt.Errorf("shard %s has no owner that this node knows", missing[0])
	case len(missing) > 0 && cl.health.sound.Load() == nil:
		return fmt.Errorf("shards %s have no owner that this node knows", strings.Join(missing, ", "))
	}
	return nil
}

// mind keeps readiness up to date however rarely anybody asks for it, closes
// connections to nodes that are gone for good, and remembers where the others
// are, until the cluster closes.
func (cl *cluster) mind() {
	tick := time.NewTicker(mindEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			_ = cl.ready()
			cl.peers.Retain(cl.known())
			cl.remember()
		case <-cl.done:
			return
		}
	}
}

// known are the nodes that are registered, and those that are seen.
func (cl *cluster) known() (names []string) {
	for _, n := range cl.placement.Load().View().Nodes() {
		names = append(names, n.Name)
	}
	for _, m := range cl.gossip.Members() {
		names = append(names, m.Name)
	}
	return names
}
