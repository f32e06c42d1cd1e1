package placement

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// leadRound is the meta leader's work: who follows the meta group, and which
// records change.
func (p *Placement) leadRound(ctx context.Context) (time.Duration, error) {
	if p.leaving.Load() || !p.leadsMeta() {
		return tick, nil
	}
	// This node leads, so that its state is complete; its View may be a moment
	// behind.
	v, err := read(p.cfg.KV, p.log)
	if err != nil {
		return 0, err
	}
	s := Situation{View: v, Shards: p.cfg.Shards, Alive: p.liveness(), Now: time.Now()}
	busy, err := p.council(ctx, s)
	s.Groups = p.gather(ctx, s)
	s.Now = time.Now()
	changes := Plan(s, p.cfg.Options)
	for _, c := range changes {
		err = errors.Join(err, p.write(ctx, c))
	}
	if busy || len(changes) > 0 || inMotion(s) {
		return fastTick, err
	}
	return slowTick, err
}

// council takes the next step of the meta group's own membership. busy: there
// is more to do.
func (p *Placement) council(ctx context.Context, s Situation) (busy bool, err error) {
	l, ok := p.sight(MetaGroup, s.Alive)
	if !ok {
		return false, nil
	}
	l.want = Council(s, l.sight.Members, p.cfg.Options)
	if l.settled() {
		return false, nil
	}
	p.inquire(ctx, []led{l})
	a := Step(l.want, l.sight, p.cfg.Lag)
	return a.Kind != Nothing || l.catching(), p.take(ctx, l.group, l.id, a, l.sight.Members.Index)
}

// gather asks all living nodes, at once, for the groups that they lead. Of two
// that say they lead one, the one of the newer term is believed.
func (p *Placement) gather(ctx context.Context, s Situation) map[uint16]GroupStatus {
	var all sync.WaitGroup
	var mu sync.Mutex
	groups := map[uint16]GroupStatus{}
	for _, n := range s.View.Nodes() {
		if s.Alive[n.Name].State == Dead {
			continue
		}
		all.Go(func() {
			list := p.status(ctx, n.Name, nil)
			mu.Lock()
			defer mu.Unlock()
			hear(groups, n.Name, list)
		})
	}
	all.Wait()
	return groups
}

// hear takes in what a node says of the groups that it leads.
func hear(groups map[uint16]GroupStatus, node string, list []GroupStatus) {
	for _, g := range list {
		if g.Leader == node && g.Term > groups[g.Group].Term {
			groups[g.Group] = g
		}
	}
}

// inMotion says whether any shard is.
func inMotion(s Situation) bool {
	p := planner{Situation: s}
	for id, shard := range s.View.shards {
		if g, known := s.Groups[id]; known && p.moving(shard, g) {
			return true
		}
	}
	return false
}

// write writes one change.
func (p *Placement) write(ctx context.Context, c Change) error {
	ctx, cancel := context.WithTimeout(ctx, changeTimeout)
	defer cancel()
	if err := put(ctx, p.cfg.KV, c); err != nil {
		return fmt.Errorf("write %s: %w", c.Key, err)
	}
	if c.Shard != nil {
		p.log.Info("placement planned", "shard", c.Shard.ID, "replicas", c.Shard.Replicas, "epoch", c.Shard.Epoch)
	} else {
		p.log.Info("node record", "node", c.Node.Name, "state", string(c.Node.State))
	}
	return nil
}
