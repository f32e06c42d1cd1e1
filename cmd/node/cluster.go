package main

import (
	"context"
	"flag"
	"fmt"
	"strconv"

	"github.com/grantd/grantd/wire"
)

func clusterCommand() command {
	var (
		conn           connection
		asJSON, shards bool
	)
	return command{
		name:  "cluster",
		short: "show the nodes and what they own; take one out",
		flags: func(fs *flag.FlagSet) {
			fs.BoolVar(&shards, "shards", false, "list the shards, too")
			registerJSON(fs, &asJSON)
			conn.register(fs)
		},
		run: func(ctx context.Context, in *input) error {
			c, err := conn.open(in)
			if err != nil {
				return err
			}
			state, err := c.Cluster(ctx)
			if err != nil {
				return err
			}
			if asJSON {
				return writeJSON(in.Stdout, state)
			}
			return showCluster(in, state, shards)
		},
		sub: []command{clusterRemove()},
	}
}

func showCluster(in *input, c wire.Cluster, shards bool) error {
	t := newTable(in.Stdout, "NODE", "ADDRESS", "STATE", "SHARDS OWNED", "VERSION")
	for _, n := range c.Nodes {
		t.row(n.ID, n.Addr, n.State, strconv.Itoa(n.ShardsOwned), n.Version)
	}
	if err := t.flush(); err != nil || !shards {
		return err
	}
	if _, err := fmt.Fprintln(in.Stdout); err != nil {
		return err
	}
	t = newTable(in.Stdout, "SHARD", "OWNER", "TERM", "REPLICAS")
	for _, s := range c.Shards {
		t.row(strconv.Itoa(s.ID), s.Owner, strconv.FormatUint(s.Term, 10), words(s.Replicas))
	}
	return t.flush()
}
