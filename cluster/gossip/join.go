package gossip

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// joinAtOnce is how many nodes are tried at the same time.
const joinAtOnce = 8

// join looks for other nodes. A node that knows nobody tries all, with growing
// pauses. One that knows others goes on to try, now and then, one that it does
// not know: after a cut that lasts, memberlist would never again talk to those
// behind it, and two groups that have formed apart would never meet.
func (g *Gossip) join(ctx context.Context) {
	pause, silent := g.conf.Timing.Join, false
	for {
		alone := g.book.count(Alive) == 0
		targets := g.strangers(ctx)
		if !alone && len(targets) > 1 {
			targets = targets[:1]
		}
		err := g.try(ctx, targets)
		wait := g.conf.Timing.Rejoin
		switch {
		case g.book.count(Alive) > 0:
			pause, silent = g.conf.Timing.Join, false
		case len(targets) > 0:
			if !silent && ctx.Err() == nil {
				g.conf.Logger.Log(ctx, slog.LevelWarn, "gossip: no other node was found; trying on", "tried", targets, "error", err)
				silent = true
			}
			wait, pause = pause, min(2*pause, g.conf.Timing.Rejoin)
		}
		timer := time.NewTimer(wait/2 + rand.N(wait/2+1)) // #nosec G404 -- a pause
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
}

// strangers returns, shuffled, the addresses at which a node should be that
// this one does not see alive.
func (g *Gossip) strangers(ctx context.Context) []string {
	seen := map[string]bool{}
	var targets []string
	add := func(addr string) {
		if !seen[addr] {
			seen[addr] = true
			targets = append(targets, addr)
		}
	}
	members := g.book.list()
	for _, m := range members {
		if m.State == Alive || m.Name == g.conf.Name {
			seen[m.Addr] = true
		}
	}
	for _, m := range members {
		if m.State == Dead {
			add(m.Addr)
		}
	}
	for _, name := range g.conf.Join {
		addrs, err := lookUp(ctx, name)
		if err != nil && ctx.Err() == nil {
			g.herald.say(slog.LevelWarn, fmt.Sprintf("looking up %.100q: %v", name, err))
		}
		for _, a := range addrs {
			add(a.String())
		}
	}
	rand.Shuffle(len(targets), func(i, j int) { targets[i], targets[j] = targets[j], targets[i] })
	return targets
}

// try talks to all targets, and returns an error of one of them if none
// answered.
func (g *Gossip) try(ctx context.Context, targets []string) error {
	var some errgroup.Group
	some.SetLimit(joinAtOnce)
	var found atomic.Bool
	for _, addr := range targets {
		some.Go(func() error {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			_, err := g.list.Join([]string{addr})
			if err == nil {
				found.Store(true)
			}
			return err
		})
	}
	if err := some.Wait(); !found.Load() {
		return err
	}
	return nil
}
