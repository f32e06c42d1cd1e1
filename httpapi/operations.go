package httpapi

import (
	"errors"
	"net/http"
	"time"

	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/wire"
)

// cluster answers GET /v1/cluster, which tells of all tenants' shards.
func (a *api) cluster(x *exchange) error {
	if err := x.operator(); err != nil {
		return err
	}
	c, err := a.Cluster(&x.ctx)
	if err != nil {
		return err
	}
	if c.Nodes == nil {
		c.Nodes = []wire.Node{}
	}
	if c.Shards == nil {
		c.Shards = []wire.Shard{}
	}
	for i := range c.Shards {
		c.Shards[i].Replicas = listOf(c.Shards[i].Replicas)
	}
	return x.json(http.StatusOK, c)
}

// removeNode answers DELETE /v1/cluster/nodes/{id}: 202 while the node's shards
// move away, 200 when it is removed.
func (a *api) removeNode(x *exchange) error {
	id, err := x.pathID("node")
	if err != nil {
		return err
	}
	if err := x.operator(); err != nil {
		return err
	}
	r, err := a.RemoveNode(&x.ctx, id)
	if errors.Is(err, credential.ErrNoQuorum) {
		return &problem{kind: kindNoQuorum, cause: err,
			detail: "This node hears of no majority that could change the cluster's records. Ask another node, or try again after Retry-After."}
	}
	if err != nil {
		return err
	}
	if r.State == wire.NodeRemoved {
		return x.json(http.StatusOK, r)
	}
	return x.json(http.StatusAccepted, r)
}

// live answers GET /livez: the process can answer at all.
func (a *api) live(x *exchange) error {
	return x.json(http.StatusOK, map[string]string{"status": "alive"})
}

// ready answers GET /readyz: the node can serve accounts. 503 tells a load
// balancer to send nothing here.
func (a *api) ready(x *exchange) error {
	if err := a.Ready(&x.ctx); err != nil {
		return &problem{kind: kind{wire.CodeNotReady, http.StatusServiceUnavailable, "Not ready", time.Second},
			detail: "This node does not serve accounts at the moment: " + err.Error() + ".", cause: err}
	}
	return x.json(http.StatusOK, map[string]string{"status": "ready"})
}

// serveMetrics answers GET /metrics. It needs no key, as scrapers expect: the
// metrics hold counts and no names of accounts.
func (a *api) serveMetrics(x *exchange) error {
	a.Deps.Metrics.ServeHTTP(x, x.r)
	return nil
}
