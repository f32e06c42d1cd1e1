package sim

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/grantd/grantd/cluster/placement"
	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/internal/node"
)

// Dismiss has the cluster take a machine's node out of it for good, and returns
// when it has begun to; false: it has no such node. See [World.Gone].
func (w *World) Dismiss(ctx context.Context, m *Machine) bool {
	m.mu.Lock()
	m.dismissed = true
	m.mu.Unlock()
	known := true
	_ = w.Insist(ctx, func(ctx context.Context) error {
		_, err := w.dismiss(ctx, m)
		if errors.Is(err, credential.ErrNotFound) {
			known = false
			return nil
		}
		return err
	})
	if !known {
		m.mu.Lock()
		m.dismissed = false
		m.mu.Unlock()
	}
	return known
}

var errStays = errors.New("sim: the node is not out of the cluster yet")

// Gone returns when a node that was dismissed is out of the cluster, or ctx ends.
func (w *World) Gone(ctx context.Context, m *Machine) error {
	return w.Insist(ctx, func(ctx context.Context) error {
		if standing, err := w.dismiss(ctx, m); err != nil || standing != placement.Removed {
			return errors.Join(errStays, err)
		}
		return nil
	})
}

// askTime is how long somebody waits for an answer about the cluster.
const askTime = 5 * time.Second

func (w *World) dismiss(ctx context.Context, m *Machine) (s placement.Standing, err error) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	counts, err := w.do(ctx, func(ctx context.Context, c *node.Core) (err error) {
		s, err = c.Placement().Dismiss(ctx, m.name())
		return err
	})
	if err == nil && !counts {
		err = errUntold
	}
	return s, err
}

// staff are the machines that run, or are to run, a node of the cluster.
func (w *World) staff() (list []*Machine) {
	for _, m := range w.Machines {
		m.mu.Lock()
		here := m.here != nil && !m.dismissed
		m.mu.Unlock()
		if here {
			list = append(list, m)
		}
	}
	return list
}

// Settled returns when the placement is as it should be in the end, or ctx, and
// with it says what is not.
func (w *World) Settled(ctx context.Context) error {
	wrong := errors.New("nobody was asked")
	for {
		for _, m := range w.staff() {
			if wrong = w.settled(ctx, m); wrong != nil {
				break
			}
		}
		if wrong == nil || !pause(ctx, time.Second) {
			return wrong
		}
	}
}

// settled asks one node: each node owns its share of the shards, within one, and
// replicas are where they should be, and nowhere else.
func (w *World) settled(ctx context.Context, m *Machine) (wrong error) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	var st placement.Status
	if _, err := m.Do(ctx, func(ctx context.Context, c *node.Core) error {
		st = c.Placement().Status(ctx)
		return nil
	}); err != nil {
		return fmt.Errorf("%s does not answer: %w", m.name(), err)
	}
	var names []string
	for _, other := range w.staff() {
		names = append(names, other.name())
	}
	var faults []string
	low := len(st.Shards) / len(names)
	for _, n := range st.Nodes {
		if !slices.Contains(names, n.Name) {
			faults = append(faults, fmt.Sprintf("%s is %s", n.Name, n.State))
		} else if n.State != "alive" && n.State != "joining" || n.Owned < low || n.Owned > low+min(1, len(st.Shards)%len(names)) {
			faults = append(faults, fmt.Sprintf("%s is %s and owns %d of %d shards", n.Name, n.State, n.Owned, len(st.Shards)))
		}
	}
	for _, name := range names {
		if !slices.ContainsFunc(st.Nodes, func(n placement.NodeStatus) bool { return n.Name == name }) {
			faults = append(faults, name+" is not there")
		}
	}
	for _, s := range st.Shards {
		stranger := func(name string) bool { return !slices.Contains(names, name) }
		if len(s.Replicas) != min(3, len(names)) || slices.ContainsFunc(s.Replicas, stranger) || s.Owner == "" {
			faults = append(faults, fmt.Sprintf("shard %d is %s's and on %v", s.ID, s.Owner, s.Replicas))
		}
	}
	if len(st.Shards) != w.Machine.o.Shards {
		faults = append(faults, fmt.Sprintf("%d shards of %d are placed", len(st.Shards), w.Machine.o.Shards))
	}
	if len(faults) > 0 {
		return fmt.Errorf("as %s sees it: %s", m.name(), strings.Join(faults, "; "))
	}
	return nil
}

// placed is the placement in words, for the report of a failure: the records as
// each node knows them, and what it says of its groups.
func (w *World) placed(ctx context.Context) string {
	var b strings.Builder
	for _, m := range w.Machines {
		if !m.serves() {
			continue
		}
		ctx, cancel := context.WithTimeout(ctx, askTime)
		_, err := m.Do(ctx, func(ctx context.Context, c *node.Core) error {
			p := c.Placement()
			for _, n := range p.View().Nodes() {
				fmt.Fprintf(&b, "\n    %s knows %s as %s", m.name(), n.Name, n.State)
			}
			for _, n := range p.Status(ctx).Nodes {
				fmt.Fprintf(&b, "\n    %s sees %s: %s", m.name(), n.Name, n.State)
			}
			for id := range w.Machine.o.Shards {
				if s, ok := p.View().Shard(uint16(id)); ok {
					fmt.Fprintf(&b, "\n    %s knows shard %d as %s's, on %v, epoch %d", m.name(), id, s.Owner, s.Replicas, s.Epoch)
				}
			}
			for _, g := range p.Report(ctx, nil) {
				fmt.Fprintf(&b, "\n    %s says %+v", m.name(), g)
			}
			return nil
		})
		cancel()
		if err != nil {
			fmt.Fprintf(&b, "\n    %s: %v", m.name(), err)
		}
	}
	return b.String()
}
