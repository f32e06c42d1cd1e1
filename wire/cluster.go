package wire

// States of a node.
const (
	NodeAlive   = "alive"
	NodeSuspect = "suspect"
	NodeDead    = "dead"
	NodeJoining = "joining"
	NodeLeaving = "leaving"
	// NodeRemoved is told by a NodeRemoval only.
	NodeRemoved = "removed"
)

// Cluster is the answer of GET /v1/cluster.
type Cluster struct {
	Nodes  []Node  `json:"nodes"`
	Shards []Shard `json:"shards"`
}

// Node is one node of the cluster, as the answering node sees it.
type Node struct {
	ID          string `json:"id"`
	Addr        string `json:"addr"`
	State       string `json:"state"`
	ShardsOwned int    `json:"shards_owned"`
	Version     string `json:"version"` // of grantd; empty: not known
}

// NodeRemoval is the answer of DELETE /v1/cluster/nodes/{id}.
type NodeRemoval struct {
	ID         string `json:"id"`
	State      string `json:"state"`       // NodeLeaving or NodeRemoved
	ShardsLeft int    `json:"shards_left"` // that it still holds
}

// Shard is one shard of the accounts.
type Shard struct {
	ID       int      `json:"id"`
	Owner    string   `json:"owner"` // id of the node; empty: none at the moment
	Term     uint64   `json:"term"`
	Replicas []string `json:"replicas"`
}
