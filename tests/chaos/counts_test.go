package chaos

import (
	"context"
	"maps"
	"strings"
	"sync"
	"time"

	"github.com/grantd/grantd/wire"
)

// counts are what the nodes counted of their refreshes, in all of their lives:
// the last that was read of each.
type counts struct {
	mu   sync.Mutex
	last map[lifeOf]map[string]float64
}

// lifeOf is one process of a node.
type lifeOf struct {
	node string
	life int
}

// scrapeTime is how often the counters are read.
const scrapeTime = 500 * time.Millisecond

// run reads them until ctx ends.
func (c *counts) run(ctx context.Context, nodes []*node, admin wire.Secret) {
	tick := time.NewTicker(scrapeTime)
	defer tick.Stop()
	for {
		c.scrape(ctx, nodes, admin)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// scrape reads the counters of the nodes that answer.
func (c *counts) scrape(ctx context.Context, nodes []*node, admin wire.Secret) {
	var all sync.WaitGroup
	for _, n := range nodes {
		all.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
			defer cancel()
			_, life := n.process()
			found, err := n.metrics(ctx, admin)
			if _, now := n.process(); err != nil || now != life {
				return
			}
			c.mu.Lock()
			defer c.mu.Unlock()
			if c.last == nil {
				c.last = map[lifeOf]map[string]float64{}
			}
			c.last[lifeOf{n.name, life}] = found
		})
	}
	all.Wait()
}

// sum adds up what begins so.
func (c *counts) sum(prefix string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	total := 0.0
	for found := range maps.Values(c.last) {
		for name, v := range found {
			if strings.HasPrefix(name, prefix) {
				total += v
			}
		}
	}
	return int(total)
}
