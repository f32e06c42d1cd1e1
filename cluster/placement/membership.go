package placement

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
)

// ErrUntrusted: a node shows a certificate of an authority that this node does
// not trust. Trying again does not mend it.
var ErrUntrusted = errors.New("certificate of another authority")

// ErrRefused: the cluster does not let this node in, and will not as long as
// nobody changes its configuration or data. The text says what to do.
var ErrRefused = errors.New("the cluster refuses this node")

// Promise is what a node that wants to found a cluster asks the others for: to
// join its cluster and no other one.
type Promise struct {
	Cluster string `json:"cluster"` // its id, never used for another attempt
	Founder string `json:"founder"`
	// Still asks the founder whether it may still come to that cluster, so that
	// a promise whose founder has given up does not bind for ever.
	Still bool `json:"still,omitempty"`
}

// Answer is the answer to a Promise.
type Answer struct {
	Held   bool   `json:"held"`
	Reason string `json:"reason,omitempty"` // why not
}

// Membership is this node's own record of the cluster that it belongs to.
type Membership struct {
	Format int `json:"format"`
	// Cluster is the cluster's id; empty: none yet. It never changes.
	Cluster string `json:"cluster,omitempty"`
	// Founded: this node has founded it, and is the meta group's first voter.
	Founded bool `json:"founded,omitempty"`
	// OwnData: what the node held before it had a cluster is the cluster's data.
	OwnData bool `json:"own_data,omitempty"`
	// Complete: all that founding has to write is written.
	Complete bool `json:"complete,omitempty"`
	// Promise binds the node while it has no cluster; its own where it is the
	// founder.
	Promise *Promise `json:"promise,omitempty"`
}

// Meta says how a node of this membership starts its meta group.
func (m Membership) Meta(self string) Start {
	if m.Founded {
		return Start{Voters: []string{self}}
	}
	return Start{Join: true}
}

// recordMembership is the name of the local record.
const recordMembership = "membership"

func loadMembership(l Local) (Membership, error) {
	m := Membership{Format: format}
	value, err := l.Load(recordMembership)
	if err != nil || value == nil {
		return m, err
	}
	if err := json.Unmarshal(value, &m); err != nil {
		return m, fmt.Errorf("record of the cluster that this node belongs to: %w", err)
	}
	if m.Format > format {
		return m, fmt.Errorf("record of the cluster that this node belongs to: %w", errNewer)
	}
	return m, nil
}

func saveMembership(l Local, m Membership) error {
	value, err := json.Marshal(m)
	if err != nil {
		return err
	}
	return l.Save(recordMembership, value)
}

// promised says whether the node is bound to a cluster and not yet in it.
func (m Membership) promised() bool { return m.Cluster == "" && m.Promise != nil }

// bound says whether the node may still come to belong to a cluster by a
// promise, or belongs to it.
func (m Membership) bound(cluster string) bool {
	return m.Cluster == cluster || m.promised() && m.Promise.Cluster == cluster
}

// promise returns the membership after a promise was asked for, and the answer.
// others are clusters that gossip shows.
func (m Membership) promise(self string, p Promise, hasData bool, others []string) (Membership, Answer) {
	switch {
	case p.Still:
		return m, Answer{Held: m.bound(p.Cluster)}
	case p.Cluster == "" || p.Founder == "" || p.Founder == self:
		return m, Answer{Reason: "not a promise that " + self + " could give"}
	case m.Cluster != "":
		return m, Answer{Reason: self + " belongs to cluster " + m.Cluster}
	case hasData:
		return m, Answer{Reason: self + " has data of its own"}
	case m.Promise != nil && m.Promise.Cluster == p.Cluster:
		return m, Answer{Held: true}
	case m.Promise != nil:
		return m, Answer{Reason: self + " is bound to the founding by " + m.Promise.Founder}
	case len(others) > 0:
		return m, Answer{Reason: self + " sees cluster " + others[0]}
	}
	m.Promise = &Promise{Cluster: p.Cluster, Founder: p.Founder}
	return m, Answer{Held: true}
}

// release returns the membership without a promise to a cluster.
func (m Membership) release(cluster string) Membership {
	if m.promised() && m.Promise.Cluster == cluster {
		m.Promise = nil
	}
	return m
}

// enter returns the membership in a cluster, or false where a promise to
// another one stands against it.
func (m Membership) enter(cluster string) (Membership, bool) {
	if m.Cluster != "" {
		return m, m.Cluster == cluster
	}
	if m.Promise != nil && m.Promise.Cluster != cluster {
		return m, false
	}
	m.Cluster, m.Promise = cluster, nil
	return m, true
}

// course is what a node without a cluster does next.
type course uint8

const (
	courseWait   course = iota
	courseDone          // it belongs to a cluster
	courseAsk           // found a cluster with nodes
	courseAlone         // found one with the data that it has
	courseJoin          // join cluster through one of nodes
	courseStill         // ask nodes[0] whether the promise stands
	courseRefuse        // nothing helps but an operator
)

// decision is a course with its particulars.
type decision struct {
	course
	nodes   []string
	cluster string
	why     string
}

// decide says what a node does next. stable: who is alive has not changed for
// long enough. expect 0: the node founds no cluster, but for data that it has.
func decide(m Membership, self string, members []Member, stable, hasData bool, expect int) decision {
	if m.Cluster != "" {
		return decision{course: courseDone, cluster: m.Cluster}
	}
	free := []string{self}
	clusters := map[string][]string{}
	for _, o := range members {
		switch {
		case o.Name == self || o.State == Dead:
		case o.Cluster != "":
			clusters[o.Cluster] = append(clusters[o.Cluster], o.Name)
		case o.State == Alive:
			free = append(free, o.Name)
		}
	}
	slices.Sort(free)
	switch {
	case m.Promise != nil && len(clusters[m.Promise.Cluster]) > 0:
		return decision{course: courseJoin, nodes: clusters[m.Promise.Cluster], cluster: m.Promise.Cluster}
	case m.Promise != nil:
		return decision{
			course: courseStill, nodes: []string{m.Promise.Founder}, cluster: m.Promise.Cluster,
			why: "node " + m.Promise.Founder + " has begun to found the cluster and must finish or give up; if it is lost for good, empty the data directory of this node, which holds no data yet",
		}
	case hasData && len(clusters) > 0:
		return decision{course: courseRefuse, why: "this node has data of its own, which cannot be merged with a cluster's; give it an empty data directory to join, or take away cluster.join to go on alone"}
	case hasData && !stable: // a cluster that it was to join may come into sight
		return decision{why: "nodes are still coming"}
	case hasData:
		return decision{course: courseAlone}
	case len(clusters) > 1:
		return decision{why: "gossip shows more than one cluster; take the nodes of all but one out of cluster.join"}
	case len(clusters) == 1:
		for cluster, nodes := range clusters {
			return decision{course: courseJoin, nodes: nodes, cluster: cluster}
		}
	case expect < 1:
		return decision{why: "no node of a cluster is seen yet"}
	case len(free) < expect:
		return decision{why: fmt.Sprintf("%d of %d nodes are here to found a cluster", len(free), expect)}
	case free[0] != self:
		return decision{why: "node " + free[0] + " is to found the cluster"}
	case !stable:
		return decision{why: "nodes are still coming"}
	}
	return decision{course: courseAsk, nodes: without(free, []string{self})}
}

// recordDataID is the name of the local record of the store's id.
const recordDataID = "data_id"

// DataID returns the id of this node's store, which is made, and synced, when
// it is asked for first.
func DataID(l Local) (string, error) {
	value, err := l.Load(recordDataID)
	if err != nil || value != nil {
		return string(value), err
	}
	id := newID()
	return id, l.Save(recordDataID, []byte(id))
}
