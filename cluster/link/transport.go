package link

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/grantd/grantd/cluster/raftlog"
)

// streamPool is how many idle streams to one node a group keeps: heartbeats and
// entries take turns on them.
const streamPool = 2

// transport is one group's raft.Transport. Sending is raft's own
// NetworkTransport; receiving is our own (receive.go), in its wire format,
// because raft's trusts every byte that a peer sends.
type transport struct {
	*raft.NetworkTransport
	port  *Port
	group uint16

	ctx       context.Context // ends with Close
	cancel    context.CancelFunc
	conns     crowd
	receivers sync.WaitGroup // the goroutines in serve
	calls     chan raft.RPC
	heartbeat atomic.Pointer[func(raft.RPC)]
	answered  atomic.Pointer[func(node string, term uint64, sent time.Time, fed bool)]
}

// Transport opens a group: from now on its streams are accepted. Addresses of
// raft servers are node names. Close of the transport (it is a raft.WithClose,
// and raft calls it) ends its streams and waits for its goroutines; then the
// group can be opened again. The error is ErrClosed, or that it is open.
func (p *Port) Transport(group uint16) (raft.Transport, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, fmt.Errorf("link: group %d: %w", group, ErrClosed)
	}
	if p.transports[group] != nil {
		return nil, fmt.Errorf("link: group %d is open already", group)
	}
	t := &transport{port: p, group: group, calls: make(chan raft.RPC)}
	t.ctx, t.cancel = context.WithCancel(context.Background())
	t.NetworkTransport = raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream: streamLayer{t}, MaxPool: streamPool, Timeout: p.cfg.Timing.Raft,
		Logger: raftlog.New(p.cfg.Logger, group, false),
	})
	p.transports[group] = t
	return t, nil
}

// Close ends all streams of the group, and waits until nothing is left of them.
// Later calls wait as well.
func (t *transport) Close() error {
	t.port.mu.Lock()
	if t.port.transports[t.group] == t {
		delete(t.port.transports, t.group)
	}
	t.port.mu.Unlock()
	t.cancel()
	err := t.NetworkTransport.Close()
	t.conns.closeAll()
	t.CloseStreams() // empties the pool
	t.receivers.Wait()
	return err
}

// Consumer returns what others ask of this group.
func (t *transport) Consumer() <-chan raft.RPC { return t.calls }

// SetHeartbeatHandler sets a function that takes heartbeats past the queue of
// everything else.
func (t *transport) SetHeartbeatHandler(f func(raft.RPC)) { t.heartbeat.Store(&f) }

// appendBytes is where a message is cut: raft bounds the number of entries in a
// message, but not their bytes. The first entry always goes.
const appendBytes = 4 << 20

// cut takes from a message what makes it too long. Raft goes on with what comes
// after the last entry that was sent.
func cut(req *raft.AppendEntriesRequest) {
	n := 0
	for i, e := range req.Entries {
		if n += len(e.Data) + len(e.Extensions); i > 0 && n > appendBytes {
			req.Entries = req.Entries[:i]
			return
		}
	}
}

// again repeats a call that died with a stream out of the pool, whose other end
// was gone before: after a restart of the peer, every stream to it is dead, and
// an election must not wait for its next round for that. Raft's calls may be
// repeated.
func again(call func() error) (err error) {
	for range streamPool + 1 {
		if err = call(); !errors.Is(err, io.EOF) {
			return err
		}
	}
	return err
}

// AppendEntries sends entries, or a heartbeat, which waits for the next beat.
func (t *transport) AppendEntries(id raft.ServerID, target raft.ServerAddress, args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	if isHeartbeat(args) && !t.port.awaitBeat(t.ctx) {
		return ErrClosed
	}
	cut(args)
	return again(func() error {
		sent := time.Now()
		err := t.NetworkTransport.AppendEntries(id, target, args, resp)
		if err == nil {
			t.heard(string(target), args, resp, sent)
		}
		return err
	})
}

// OnAnswer has fn called for each answer of a node that follows this one: in
// which term it does, when the message that it answers was sent, and whether that
// was about entries of the log and no mere heartbeat. fn must not block. Only the newest fn is called.
func (t *transport) OnAnswer(fn func(node string, term uint64, sent time.Time, fed bool)) {
	t.answered.Store(&fn)
}

// heard passes on what an answer tells of the node that gave it.
func (t *transport) heard(node string, args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse, sent time.Time) {
	if fn := t.answered.Load(); fn != nil && resp.Success && resp.Term == args.Term {
		(*fn)(node, args.Term, sent, args.PrevLogEntry > 0 || len(args.Entries) > 0)
	}
}

// RequestVote asks for a vote.
func (t *transport) RequestVote(id raft.ServerID, target raft.ServerAddress, args *raft.RequestVoteRequest, resp *raft.RequestVoteResponse) error {
	return again(func() error { return t.NetworkTransport.RequestVote(id, target, args, resp) })
}

// RequestPreVote asks whether there would be a vote.
func (t *transport) RequestPreVote(id raft.ServerID, target raft.ServerAddress, args *raft.RequestPreVoteRequest, resp *raft.RequestPreVoteResponse) error {
	return again(func() error { return t.NetworkTransport.RequestPreVote(id, target, args, resp) })
}

// TimeoutNow hands leadership over.
func (t *transport) TimeoutNow(id raft.ServerID, target raft.ServerAddress, args *raft.TimeoutNowRequest, resp *raft.TimeoutNowResponse) error {
	return again(func() error { return t.NetworkTransport.TimeoutNow(id, target, args, resp) })
}

// AppendEntriesPipeline opens a stream on which entries are sent before those
// before them are answered.
func (t *transport) AppendEntriesPipeline(id raft.ServerID, target raft.ServerAddress) (raft.AppendPipeline, error) {
	p, err := t.NetworkTransport.AppendEntriesPipeline(id, target)
	if err != nil {
		return nil, err
	}
	return newPipeline(p, t, string(target)), nil
}

// streamLayer is what a group's NetworkTransport sends through. It accepts
// nothing.
type streamLayer struct{ t *transport }

// Accept waits until the transport is closed.
func (l streamLayer) Accept() (net.Conn, error) {
	<-l.t.ctx.Done()
	return nil, net.ErrClosed
}

// Close ends Accept.
func (l streamLayer) Close() error {
	l.t.cancel()
	return nil
}

// Addr returns the node's name: raft's address of this server.
func (l streamLayer) Addr() net.Addr { return nodeAddr(l.t.port.Name()) }

// Dial opens a stream to the group's replica on the node of that name.
func (l streamLayer) Dial(node raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(l.t.ctx, timeout)
	defer cancel()
	c, err := l.t.port.dialGroup(ctx, string(node), l.t.group)
	if err != nil {
		return nil, err
	}
	if !l.t.conns.enter(c) {
		_ = c.Close()
		return nil, ErrClosed
	}
	_ = c.SetDeadline(time.Time{})
	return &stream{conn: c}, nil
}

// nodeAddr is a node's name as a net.Addr.
type nodeAddr string

// Network returns the name of the network of nodes.
func (nodeAddr) Network() string { return "grantd" }

// String returns the node's name.
func (a nodeAddr) String() string { return string(a) }

// stream is the sender's end of a raft stream.
type stream struct {
	*conn
	got atomic.Int64 // bytes of answers since the last write
}

// answerBytes bounds an answer: the longest holds an error's text.
const answerBytes = 256 << 10

// Read returns bytes of an answer. io.EOF means that the stream ended before the
// answer to what was written last began.
func (s *stream) Read(b []byte) (int, error) {
	n, err := s.conn.Read(b)
	switch got := s.got.Add(int64(n)); {
	case got > answerBytes:
		_ = s.Close()
		return 0, fmt.Errorf("%w: %s answers with more than %d bytes", ErrBadMessage, s.peer, answerBytes)
	case n > 0:
		return n, err
	case got == 0 && err != nil && isEnd(err):
		return 0, io.EOF
	case errors.Is(err, io.EOF):
		return 0, io.ErrUnexpectedEOF
	}
	return n, err
}

// Write sends bytes of a message. io.EOF means that the stream had ended.
func (s *stream) Write(b []byte) (int, error) {
	s.got.Store(0)
	n, err := s.conn.Write(b)
	if err != nil && isEnd(err) {
		err = io.EOF
	}
	return n, err
}
