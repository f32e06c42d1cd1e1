package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/grantd/grantd/wire"
)

// status prints the processes, and the cluster as the first node tells it that
// answers.
func (c *cluster) status(ctx context.Context) error {
	seen, by, err := c.ask(ctx)
	return errors.Join(c.show(seen, by), err)
}

// show prints what the node called by sees; "": none has told anything.
func (c *cluster) show(seen wire.Cluster, by string) error {
	w := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
	states := map[string]wire.Node{}
	for _, n := range seen.Nodes {
		states[n.ID] = n
	}
	fmt.Fprintln(w, "NODE\tPROCESS\tHTTP\tSTATE\tSHARDS OWNED")
	for _, n := range c.Nodes {
		process := "-"
		if c.runs(n) {
			process = fmt.Sprint(n.PID)
		}
		state := states[n.Name]
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\n", n.Name, process, n.HTTP, cmp.Or(state.State, "-"), state.ShardsOwned)
	}
	if by == "" {
		return w.Flush()
	}
	fmt.Fprintln(w, "\nSHARD\tOWNER\tTERM\tREPLICAS")
	for _, s := range seen.Shards {
		fmt.Fprintf(w, "%d\t%s\t%d\t%s\n", s.ID, cmp.Or(s.Owner, "-"), s.Term, strings.Join(s.Replicas, " "))
	}
	fmt.Fprintf(w, "\n(as %s sees it)\n", by)
	return w.Flush()
}

// askTimeout is how long one node may take to tell what it sees.
const askTimeout = 2 * time.Second

func (c *cluster) ask(ctx context.Context) (seen wire.Cluster, by string, err error) {
	err = errors.New("no node runs")
	for _, n := range c.Nodes {
		if !c.runs(n) {
			continue
		}
		api, openErr := c.client(n)
		if openErr != nil {
			return seen, "", openErr
		}
		one, cancel := context.WithTimeout(ctx, askTimeout)
		seen, err = api.Cluster(one)
		cancel()
		if err == nil {
			return seen, n.Name, nil
		}
	}
	return seen, "", err
}
