package link

import (
	"testing"

	"github.com/hashicorp/raft"
)

// BenchmarkAppendEntries sends one entry of 1.5 KB to another node, and hears
// the answer.
func BenchmarkAppendEntries(b *testing.B) {
	n, ca := loopback(b), authority(b)
	n1, n2 := n.start("n1", nodePEM(b, "n1", ca), nil), n.start("n2", nodePEM(b, "n2", ca), nil)
	defer n1.stop(b)
	defer n2.stop(b)
	trans, err := n1.Transport(0)
	if err != nil {
		b.Fatal(err)
	}
	peer, err := n2.Transport(0)
	if err != nil {
		b.Fatal(err)
	}
	go func() {
		for {
			select {
			case c := <-peer.Consumer():
				c.Respond(&raft.AppendEntriesResponse{RPCHeader: header("n2"), Term: 1, Success: true}, nil)
			case <-peer.(*transport).ctx.Done():
				return
			}
		}
	}()
	req := &raft.AppendEntriesRequest{RPCHeader: header("n1"), Term: 1, PrevLogEntry: 1, PrevLogTerm: 1, Entries: []*raft.Log{{
		Index: 2, Term: 1, Data: make([]byte, 1500), Extensions: make([]byte, 16),
	}}}
	b.ReportAllocs()
	for b.Loop() {
		if err := trans.AppendEntries("n2", "n2", req, new(raft.AppendEntriesResponse)); err != nil {
			b.Fatal(err)
		}
	}
}
