package link

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/grantd/grantd/storage"
)

// header is what a node's raft writes over every message.
func header(node string) raft.RPCHeader {
	return raft.RPCHeader{ProtocolVersion: 3, ID: []byte(node), Addr: []byte(node)}
}

func openGroup(t testing.TB, p *testPort, group uint16) *transport {
	t.Helper()
	tr, err := p.Transport(group)
	if err != nil {
		t.Fatal(err)
	}
	return tr.(*transport)
}

// answering lets a transport's raft answer all calls until the returned function
// is called.
func answering(tr *transport, answer func(raft.RPC) (any, error)) (stop func()) {
	var wg sync.WaitGroup
	end := make(chan struct{})
	wg.Go(func() {
		for {
			select {
			case c := <-tr.Consumer():
				resp, err := answer(c)
				c.Respond(resp, err)
			case <-end:
				return
			}
		}
	})
	return func() { close(end); wg.Wait() }
}

// TestRaftMessagesArriveWholeInTheirGroup: all kinds, two groups at once, both
// directions of each.
func TestRaftMessagesArriveWholeInTheirGroup(t *testing.T) {
	n, ca := loopback(t), authority(t)
	n1 := n.start("n1", nodePEM(t, "n1", ca), nil)
	defer n1.stop(t)
	n2 := n.start("n2", nodePEM(t, "n2", ca), nil)
	defer n2.stop(t)
	var wg sync.WaitGroup
	for _, group := range []uint16{3, 0xFFFF} {
		at1, at2 := openGroup(t, n1, group), openGroup(t, n2, group)
		wg.Go(func() { exchange(t, "n1", at1, "n2", at2, group) })
	}
	wg.Wait()
	if text, _ := n2.log.read(); text != "" {
		t.Error(text)
	}
}

// exchange sends every kind of message from one transport to the other.
func exchange(t *testing.T, from string, a *transport, to raft.ServerAddress, b *transport, group uint16) {
	term, spool := uint64(group)+7, bytes.Repeat([]byte{byte(group)}, 3<<20)
	got := make(chan any, 10)
	defer answering(b, func(c raft.RPC) (any, error) {
		got <- c.Command
		switch cmd := c.Command.(type) {
		case *raft.AppendEntriesRequest:
			return &raft.AppendEntriesResponse{Term: term, LastLog: uint64(len(cmd.Entries)), Success: true}, nil
		case *raft.RequestVoteRequest:
			return &raft.RequestVoteResponse{Term: term, Granted: true}, nil
		case *raft.RequestPreVoteRequest:
			return &raft.RequestPreVoteResponse{Term: term, Granted: true}, nil
		case *raft.TimeoutNowRequest:
			return &raft.TimeoutNowResponse{}, errors.New("not now")
		case *raft.InstallSnapshotRequest:
			data, err := io.ReadAll(c.Reader)
			return &raft.InstallSnapshotResponse{Term: term, Success: bytes.Equal(data, spool)}, err
		default:
			return nil, fmt.Errorf("unexpected %T", cmd)
		}
	})()
	id := raft.ServerID(to)
	entries := []*raft.Log{
		{Index: 5, Term: 2, Type: raft.LogCommand, Data: []byte("data"), Extensions: []byte("ext"), AppendedAt: time.Unix(1_700_000_000, 5).UTC()},
		{Index: 6, Term: 2, Type: raft.LogConfiguration, Data: raft.EncodeConfiguration(raft.Configuration{Servers: []raft.Server{{ID: "n1", Address: "n1"}}})},
		{Index: 7, Term: 2, Type: raft.LogCommand, Data: bytes.Repeat([]byte("x"), 2<<20)},
	}
	appended := &raft.AppendEntriesRequest{RPCHeader: header(from), Term: term, PrevLogEntry: 4, PrevLogTerm: 1, Entries: entries, LeaderCommitIndex: 3}
	for range 3 { // a stream is used again
		var answer raft.AppendEntriesResponse
		if err := a.AppendEntries(id, to, appended, &answer); err != nil || answer.LastLog != 3 || answer.Term != term || !answer.Success {
			t.Errorf("append: %v, %+v", err, answer)
		}
		checkSame(t, appended, <-got)
	}
	vote := &raft.RequestVoteRequest{RPCHeader: header(from), Term: term, LastLogIndex: 9, LastLogTerm: 8, LeadershipTransfer: true}
	var voted raft.RequestVoteResponse
	if err := a.RequestVote(id, to, vote, &voted); err != nil || !voted.Granted {
		t.Errorf("vote: %v, %+v", err, voted)
	}
	checkSame(t, vote, <-got)
	pre := &raft.RequestPreVoteRequest{RPCHeader: header(from), Term: term, LastLogIndex: 9}
	var preVoted raft.RequestPreVoteResponse
	if err := a.RequestPreVote(id, to, pre, &preVoted); err != nil || !preVoted.Granted {
		t.Errorf("pre-vote: %v, %+v", err, preVoted)
	}
	checkSame(t, pre, <-got)
	now := &raft.TimeoutNowRequest{RPCHeader: header(from)}
	if err := a.TimeoutNow(id, to, now, &raft.TimeoutNowResponse{}); err == nil || err.Error() != "not now" {
		t.Errorf("time-out now: %v", err)
	}
	checkSame(t, now, <-got)
	snap := &raft.InstallSnapshotRequest{
		RPCHeader: header(from), SnapshotVersion: 1, Term: term, LastLogIndex: 9, LastLogTerm: 2,
		Configuration: entries[1].Data, ConfigurationIndex: 6, Size: int64(len(spool)),
	}
	var installed raft.InstallSnapshotResponse
	if err := a.InstallSnapshot(id, to, snap, &installed, bytes.NewReader(spool)); err != nil || !installed.Success {
		t.Errorf("snapshot: %v, %+v", err, installed)
	}
	checkSame(t, snap, <-got)
	pipelined(t, a, to, appended, got)
}

func pipelined(t *testing.T, a *transport, to raft.ServerAddress, req *raft.AppendEntriesRequest, got <-chan any) {
	p, err := a.AppendEntriesPipeline(raft.ServerID(to), to)
	if err != nil {
		t.Error(err)
		return
	}
	defer p.Close()
	for range 20 {
		if _, err := p.AppendEntries(req, new(raft.AppendEntriesResponse)); err != nil {
			t.Error(err)
			return
		}
		if f := <-p.Consumer(); f.Error() != nil || !f.Response().Success {
			t.Errorf("pipeline: %v", f.Error())
		}
		checkSame(t, req, <-got)
	}
}

func checkSame(t *testing.T, sent, got any) {
	t.Helper()
	if !reflect.DeepEqual(sent, got) {
		t.Errorf("sent %+v, got %+v", sent, got)
	}
}

// TestHeartbeatsPassTheQueue: a raft that is busy with its disk still hears its
// leader.
func TestHeartbeatsPassTheQueue(t *testing.T) {
	n, ca := loopback(t), authority(t)
	n1, n2 := n.start("n1", nodePEM(t, "n1", ca), nil), n.start("n2", nodePEM(t, "n2", ca), nil)
	defer n1.stop(t)
	defer n2.stop(t)
	a, b := openGroup(t, n1, 0), openGroup(t, n2, 0)
	b.SetHeartbeatHandler(func(c raft.RPC) { c.Respond(&raft.AppendEntriesResponse{Success: true}, nil) })
	var answer raft.AppendEntriesResponse
	beat := &raft.AppendEntriesRequest{RPCHeader: header("n1"), Term: 1}
	if err := a.AppendEntries("n2", "n2", beat, &answer); err != nil || !answer.Success { // nobody reads b's queue
		t.Errorf("%v, %+v", err, answer)
	}
	if got := b.LocalAddr(); got != "n2" {
		t.Errorf("the transport's address is %q", got)
	}
}

// TestMessagesAreCutToWhatIsAccepted: raft bounds the number of entries only.
func TestMessagesAreCutToWhatIsAccepted(t *testing.T) {
	entries := func(sizes ...int) []*raft.Log {
		var all []*raft.Log
		for _, s := range sizes {
			all = append(all, &raft.Log{Data: make([]byte, s)})
		}
		return all
	}
	for _, c := range []struct {
		sizes []int
		stay  int
	}{
		{nil, 0},
		{[]int{10, 10, 10}, 3},
		{[]int{storage.MaxBatchBytes}, 1},
		{[]int{storage.MaxBatchBytes, 1}, 1},
		{[]int{1, storage.MaxBatchBytes}, 1},
		{[]int{appendBytes / 2, appendBytes / 2, 1}, 2},
	} {
		req := &raft.AppendEntriesRequest{Entries: entries(c.sizes...)}
		if cut(req); len(req.Entries) != c.stay {
			t.Errorf("%v: %d stay instead of %d", c.sizes, len(req.Entries), c.stay)
		}
	}
	if most := storage.MaxBatchBytes + 64<<10; most > maxMessage {
		t.Errorf("an entry of %d bytes is never accepted", most)
	}
}

// TestStreamsThatDiedInThePoolAreNoFailure: after a restart of the peer the
// first call succeeds.
func TestStreamsThatDiedInThePoolAreNoFailure(t *testing.T) {
	n, ca := loopback(t), authority(t)
	n1, n2 := n.start("n1", nodePEM(t, "n1", ca), nil), n.start("n2", nodePEM(t, "n2", ca), nil)
	defer n1.stop(t)
	a := openGroup(t, n1, 0)
	grant := func(raft.RPC) (any, error) { return &raft.RequestVoteResponse{Granted: true}, nil }
	vote := func() error {
		return a.RequestVote("n2", "n2", &raft.RequestVoteRequest{RPCHeader: header("n1"), Term: 1}, &raft.RequestVoteResponse{})
	}
	stop := answering(openGroup(t, n2, 0), grant)
	var wg sync.WaitGroup
	for range 8 { // so that the pool is full
		wg.Go(func() {
			if err := vote(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	stop()
	n2.stop(t)
	if err := vote(); !errors.Is(err, ErrUnreachable) {
		t.Errorf("a call of a node that is down: %v", err)
	}
	n2 = n.start("n2", nodePEM(t, "n2", ca), nil)
	defer n2.stop(t)
	defer answering(openGroup(t, n2, 0), grant)()
	if err := vote(); err != nil {
		t.Errorf("the first call after the restart: %v", err)
	}
}

// TestClosedGroupIsRefusedAndCanBeOpenedAgain: nothing of its streams is left.
func TestClosedGroupIsRefusedAndCanBeOpenedAgain(t *testing.T) {
	n, ca := loopback(t), authority(t)
	n1, n2 := n.start("n1", nodePEM(t, "n1", ca), nil), n.start("n2", nodePEM(t, "n2", ca), nil)
	defer n1.stop(t)
	defer n2.stop(t)
	a := openGroup(t, n1, 5)
	vote := func() error {
		return a.RequestVote("n2", "n2", &raft.RequestVoteRequest{RPCHeader: header("n1"), Term: 1}, &raft.RequestVoteResponse{})
	}
	if err := vote(); !errors.Is(err, ErrNotOpen) {
		t.Errorf("a group that was never open: %v", err)
	}
	n2.log.await(t, "level=WARN", "peer=node/n1", "group 5 is not open")
	for range 3 {
		b := openGroup(t, n2, 5)
		if _, err := n2.Transport(5); err == nil || !strings.Contains(err.Error(), "open already") {
			t.Errorf("opened twice: %v", err)
		}
		stop := answering(b, func(raft.RPC) (any, error) { return &raft.RequestVoteResponse{}, nil })
		if err := vote(); err != nil {
			t.Error(err)
		}
		stop()
		if err := b.Close(); err != nil {
			t.Error(err)
		}
		if err := b.Close(); err != nil {
			t.Error(err)
		}
		if err := vote(); !errors.Is(err, ErrNotOpen) {
			t.Errorf("a closed group: %v", err)
		}
		if err := b.RequestVote("n1", "n1", &raft.RequestVoteRequest{RPCHeader: header("n2")}, &raft.RequestVoteResponse{}); err == nil {
			t.Error("a closed transport calls")
		}
	}
}

// TestPipelineEndsWhereRaftReadsNoMore: its sender does not wait for its reader,
// which has gone after the first entries that were refused.
func TestPipelineEndsWhereRaftReadsNoMore(t *testing.T) {
	n, ca := loopback(t), authority(t)
	quick := func(c *Config) { c.Timing.Raft = 100 * time.Millisecond }
	n1, n2 := n.start("n1", nodePEM(t, "n1", ca), quick), n.start("n2", nodePEM(t, "n2", ca), nil)
	a, b := openGroup(t, n1, 0), openGroup(t, n2, 0)
	stop := answering(b, func(raft.RPC) (any, error) { return &raft.AppendEntriesResponse{Term: 1}, nil })
	p, err := a.AppendEntriesPipeline("n2", "n2")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		req := &raft.AppendEntriesRequest{RPCHeader: header("n1"), Term: 1, PrevLogEntry: 1, PrevLogTerm: 1}
		var err error
		for err == nil {
			_, err = p.AppendEntries(req, new(raft.AppendEntriesResponse))
		}
		ended <- err
	}()
	if f := <-p.Consumer(); f.Error() != nil || f.Response().Success {
		t.Errorf("%v, %+v", f.Error(), f.Response())
	}
	select {
	case <-ended:
	case <-time.After(time.Minute):
		t.Error("the sender waits for ever")
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	n1.stop(t)
	stop()
	n2.stop(t)
}

// TestCloseEndsCallsThatNobodyAnswers, on both sides.
func TestCloseEndsCallsThatNobodyAnswers(t *testing.T) {
	n, ca := loopback(t), authority(t)
	n1, n2 := n.start("n1", nodePEM(t, "n1", ca), nil), n.start("n2", nodePEM(t, "n2", ca), nil)
	a, b := openGroup(t, n1, 0), openGroup(t, n2, 0)
	ended := make(chan error, 2)
	for range 2 {
		go func() {
			ended <- a.RequestVote("n2", "n2", &raft.RequestVoteRequest{RPCHeader: header("n1"), Term: 1}, &raft.RequestVoteResponse{})
		}()
	}
	<-b.Consumer() // one is with raft, one waits for it
	n2.stop(t)
	for range 2 {
		if err := <-ended; err == nil {
			t.Error("a call that nobody answered succeeded")
		}
	}
	n1.stop(t)
	if _, err := n1.Transport(1); !errors.Is(err, ErrClosed) {
		t.Errorf("opened after Close: %v", err)
	}
	if _, err := n1.DialRPC(t.Context(), "n2"); !errors.Is(err, ErrClosed) {
		t.Errorf("dialled after Close: %v", err)
	}
}
