package placement

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"time"

	"github.com/grantd/grantd/credential"
)

// Keys of the meta group.
const (
	prefixNode  = "node/"
	prefixShard = "shard/"

	keyCluster = "setting/cluster_id"
	keyShards  = "setting/shards"
	keyProof   = "setting/kek_proof"
)

// format is the version of the records' layout. New fields do not raise it,
// for whoever does not know a field keeps it; a change of what is there does.
const format = 1

// errNewer: a record that this version must neither act on nor write.
var errNewer = errors.New("written by a newer version of grantd")

// Standing is what the cluster has decided about a node; whether it is alive is
// another matter.
type Standing string

// Standings of a node.
const (
	Active Standing = "active"
	// Leaving: it is to hold nothing, and is removed once it does.
	Leaving Standing = "leaving"
	// Removed for good: its name is not given again.
	Removed Standing = "removed"
)

// Node is the record of a node.
type Node struct {
	Name string `json:"name"`
	// DataID names the node's store. A name goes with one store: a node that
	// lost its data has forgotten its votes.
	DataID   string    `json:"data_id"`
	State    Standing  `json:"state"`
	JoinedAt time.Time `json:"joined_at"`
	// RPC and HTTP are addresses; gossip has them too, while the node is alive.
	RPC     string `json:"rpc"`
	HTTP    string `json:"http"`
	Version string `json:"version"`

	rest rest
	rev  uint64
}

// Shard is the record of a shard.
type Shard struct {
	ID uint16 `json:"id"`
	// Found are the first voters, never changed once written.
	Found []string `json:"found"`
	// Replicas are the nodes that should hold it, in order of preference.
	Replicas []string `json:"replicas"`
	// Owner is the node that should lead it: the first replica.
	Owner string `json:"owner"`
	// Epoch counts the changes of the record, from 1.
	Epoch uint64 `json:"epoch"`

	rest rest
	rev  uint64
}

// rest holds the fields of a record that this version does not know.
type rest map[string]json.RawMessage

// encode writes a record with the fields of rest that it does not know itself.
func encode(record any, r rest) ([]byte, error) {
	known, err := json.Marshal(record)
	if err != nil {
		return nil, err
	}
	all := map[string]json.RawMessage{"format": json.RawMessage(strconv.Itoa(format))}
	maps.Copy(all, r)
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(known, &fields); err != nil {
		return nil, err
	}
	maps.Copy(all, fields)
	return json.Marshal(all)
}

// decode reads a record and returns all of its fields.
func decode(key string, value []byte, record any) (rest, error) {
	var all map[string]json.RawMessage
	err := json.Unmarshal(value, &all)
	if err == nil {
		err = json.Unmarshal(value, record)
	}
	if err != nil {
		return nil, fmt.Errorf("record %q cannot be read: %w", key, err)
	}
	var f int
	if err := json.Unmarshal(all["format"], &f); err != nil || f < 1 {
		return nil, fmt.Errorf("record %q has no format", key)
	}
	if f > format {
		return nil, fmt.Errorf("record %q: %w", key, errNewer)
	}
	return all, nil
}

func nodeKey(name string) string { return prefixNode + name }

func shardKey(id uint16) string { return prefixShard + strconv.Itoa(int(id)) }

func (n Node) encode() ([]byte, error)  { return encode(n, n.rest) }
func (s Shard) encode() ([]byte, error) { return encode(s, s.rest) }

func decodeNode(key string, value []byte, rev uint64) (n Node, err error) {
	n.rest, err = decode(key, value, &n)
	n.rev = rev
	if err == nil && nodeKey(n.Name) != key {
		err = fmt.Errorf("record %q is of node %q", key, n.Name)
	}
	if err == nil && credential.CheckName("node name", n.Name) != nil {
		err = fmt.Errorf("record %q: no name of a node", key)
	}
	return n, err
}

func decodeShard(key string, value []byte, rev uint64) (s Shard, err error) {
	s.rest, err = decode(key, value, &s)
	s.rev = rev
	if err == nil && shardKey(s.ID) != key {
		err = fmt.Errorf("record %q is of shard %d", key, s.ID)
	}
	if err == nil && (len(s.Found) == 0 || len(s.Replicas) == 0) {
		err = fmt.Errorf("record %q names no nodes", key)
	}
	return s, err
}

// parseShardKey returns the shard of a key.
func parseShardKey(key string) (id uint16, ok bool) {
	text, ok := strings.CutPrefix(key, prefixShard)
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseUint(text, 10, 16)
	return uint16(n), err == nil && shardKey(uint16(n)) == key
}

// isRecord says whether a key is of a record of this package.
func isRecord(key string) bool {
	return strings.HasPrefix(key, prefixNode) || strings.HasPrefix(key, prefixShard)
}
