package consensus

import (
	"errors"
	"io"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// rpcLimit is how long a caller waits for an answer.
const rpcLimit = 500 * time.Millisecond

// network carries raft's calls between nodes, in memory. Links may be cut one
// way, when what is sent is lost without a word, and nodes may be frozen, when
// messages to and from them arrive once they thaw. It is safe for concurrent use.
type network struct {
	mu     sync.Mutex
	ends   map[netEnd]*wire
	cut    map[[2]string]bool                      // from, to
	frozen map[string]chan struct{}                // closed when the node thaws
	delay  time.Duration                           // each message takes up to this
	lost   func(from, to string, command any) bool // which requests are lost; nil: none
}

type netEnd struct {
	node  string
	group uint16
}

func newNetwork() *network {
	return &network{ends: map[netEnd]*wire{}, cut: map[[2]string]bool{}, frozen: map[string]chan struct{}{}}
}

// open returns a group's end of the network on a node, in place of an older one.
func (n *network) open(node string, group uint16) *wire {
	w := &wire{net: n, end: netEnd{node, group}, in: make(chan raft.RPC, 16), gone: make(chan struct{})}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.ends[w.end] = w
	return w
}

// transport is a node's Config.Transport.
func (n *network) transport(node string) func(uint16) (raft.Transport, error) {
	return func(group uint16) (raft.Transport, error) { return n.open(node, group), nil }
}

// kill takes a node off the network for good; a wire opened later is another's.
func (n *network) kill(node string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for end, w := range n.ends {
		if end.node == node {
			w.die()
			delete(n.ends, end)
		}
	}
}

// setCut cuts or mends the way from one node to another.
func (n *network) setCut(from, to string, cut bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut[[2]string{from, to}] = cut
}

func (n *network) setDelay(d time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.delay = d
}

// lose has requests lost, as on a way that is cut.
func (n *network) lose(lost func(from, to string, command any) bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.lost = lost
}

// freeze holds up all messages to and from a node until thaw is called.
func (n *network) freeze(node string) (thaw func()) {
	thawed := make(chan struct{})
	n.mu.Lock()
	defer n.mu.Unlock()
	n.frozen[node] = thawed
	return func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		delete(n.frozen, node)
		close(thawed)
	}
}

// pass takes a message from one node to another and reports whether it arrived.
func (n *network) pass(from, to string) bool {
	for {
		n.mu.Lock()
		ice, delay, cut := n.frozen[from], n.delay, n.cut[[2]string{from, to}]
		if ice == nil {
			ice = n.frozen[to]
		}
		n.mu.Unlock()
		switch {
		case cut:
			return false
		case ice != nil:
			<-ice
		default:
			if delay > 0 {
				time.Sleep(rand.N(delay))
			}
			return true
		}
	}
}

var (
	errNoAnswer = errors.New("no answer")
	errRefused  = errors.New("connection refused")
)

// wire is one group's end of the network on one node.
type wire struct {
	net  *network
	end  netEnd
	in   chan raft.RPC
	gone chan struct{}
	once sync.Once

	mu        sync.Mutex
	heartbeat func(raft.RPC)
	answered  func(node string, term uint64, sent time.Time, fed bool)
}

var (
	_ raft.Transport   = (*wire)(nil)
	_ raft.WithClose   = (*wire)(nil)
	_ raft.WithPreVote = (*wire)(nil)
	_ answering        = (*wire)(nil)
)

func (w *wire) die() { w.once.Do(func() { close(w.gone) }) }

// Close implements raft.WithClose.
func (w *wire) Close() error {
	w.die()
	w.net.mu.Lock()
	defer w.net.mu.Unlock()
	if w.net.ends[w.end] == w {
		delete(w.net.ends, w.end)
	}
	return nil
}

func (w *wire) Consumer() <-chan raft.RPC     { return w.in }
func (w *wire) LocalAddr() raft.ServerAddress { return raft.ServerAddress(w.end.node) }
func (w *wire) EncodePeer(_ raft.ServerID, a raft.ServerAddress) []byte {
	return []byte(a)
}
func (w *wire) DecodePeer(b []byte) raft.ServerAddress { return raft.ServerAddress(b) }
func (w *wire) SetHeartbeatHandler(fn func(raft.RPC)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.heartbeat = fn
}

// OnAnswer implements answering.
func (w *wire) OnAnswer(fn func(node string, term uint64, sent time.Time, fed bool)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.answered = fn
}

// append sends entries, and tells who has answered as a follower.
func (w *wire) append(to raft.ServerAddress, args *raft.AppendEntriesRequest, out *raft.AppendEntriesResponse) error {
	sent := time.Now()
	err := ask(w, to, args, nil, rpcLimit, out)
	w.mu.Lock()
	fn := w.answered
	w.mu.Unlock()
	if err == nil && fn != nil && out.Success && out.Term == args.Term {
		fn(string(to), args.Term, sent, args.PrevLogEntry > 0 || len(args.Entries) > 0)
	}
	return err
}

// call sends a command and waits for its answer. What is under way when the
// caller gives up may still arrive.
func (w *wire) call(to raft.ServerAddress, command any, data io.Reader, limit time.Duration) (any, error) {
	type answer struct {
		response any
		err      error
	}
	got := make(chan answer, 1)
	go func() {
		response, err := w.deliver(string(to), command, data)
		if !errors.Is(err, errNoAnswer) {
			got <- answer{response, err}
		}
	}()
	select {
	case a := <-got:
		return a.response, a.err
	case <-time.After(limit):
		return nil, errNoAnswer
	case <-w.gone:
		return nil, errRefused
	}
}

func (w *wire) deliver(to string, command any, data io.Reader) (any, error) {
	if !w.net.pass(w.end.node, to) {
		return nil, errNoAnswer
	}
	w.net.mu.Lock()
	peer, lost := w.net.ends[netEnd{to, w.end.group}], w.net.lost
	w.net.mu.Unlock()
	select {
	case <-w.gone: // a dead process's messages go nowhere
		return nil, errRefused
	default:
	}
	if lost != nil && lost(w.end.node, to, command) {
		return nil, errNoAnswer
	}
	if peer == nil {
		return nil, errRefused
	}
	answers := make(chan raft.RPCResponse, 1)
	if !peer.take(raft.RPC{Command: command, Reader: data, RespChan: answers}) {
		return nil, errRefused
	}
	var a raft.RPCResponse
	select {
	case a = <-answers:
	case <-peer.gone:
		return nil, errRefused
	}
	if !w.net.pass(to, w.end.node) {
		return nil, errNoAnswer
	}
	return a.Response, a.Error
}

// take hands a call to raft, heartbeats past all else, as on a real network.
func (w *wire) take(rpc raft.RPC) bool {
	w.mu.Lock()
	beat := w.heartbeat
	w.mu.Unlock()
	a, ok := rpc.Command.(*raft.AppendEntriesRequest)
	if ok && beat != nil && a.Term != 0 && a.PrevLogEntry == 0 && a.PrevLogTerm == 0 && len(a.Entries) == 0 && a.LeaderCommitIndex == 0 {
		go beat(rpc)
		return true
	}
	select {
	case w.in <- rpc:
		return true
	case <-w.gone:
		return false
	}
}

// ask makes a call whose response is a T.
func ask[T any](w *wire, to raft.ServerAddress, command any, data io.Reader, limit time.Duration, out *T) error {
	r, err := w.call(to, command, data, limit)
	if err != nil {
		return err
	}
	*out = *r.(*T)
	return nil
}

func (w *wire) AppendEntries(_ raft.ServerID, to raft.ServerAddress, args *raft.AppendEntriesRequest, out *raft.AppendEntriesResponse) error {
	return w.append(to, args, out)
}

func (w *wire) RequestVote(_ raft.ServerID, to raft.ServerAddress, args *raft.RequestVoteRequest, out *raft.RequestVoteResponse) error {
	return ask(w, to, args, nil, rpcLimit, out)
}

func (w *wire) RequestPreVote(_ raft.ServerID, to raft.ServerAddress, args *raft.RequestPreVoteRequest, out *raft.RequestPreVoteResponse) error {
	return ask(w, to, args, nil, rpcLimit, out)
}

func (w *wire) TimeoutNow(_ raft.ServerID, to raft.ServerAddress, args *raft.TimeoutNowRequest, out *raft.TimeoutNowResponse) error {
	return ask(w, to, args, nil, 10*rpcLimit, out)
}

func (w *wire) InstallSnapshot(_ raft.ServerID, to raft.ServerAddress, args *raft.InstallSnapshotRequest, out *raft.InstallSnapshotResponse, data io.Reader) error {
	return ask(w, to, args, data, 10*rpcLimit, out)
}

// AppendEntriesPipeline sends entries ahead of the answers to earlier ones.
func (w *wire) AppendEntriesPipeline(_ raft.ServerID, to raft.ServerAddress) (raft.AppendPipeline, error) {
	p := &pipeline{w: w, to: to, in: make(chan *flight, 16), out: make(chan raft.AppendFuture, 16), stop: make(chan struct{})}
	go p.run()
	return p, nil
}

type pipeline struct {
	w    *wire
	to   raft.ServerAddress
	in   chan *flight
	out  chan raft.AppendFuture
	stop chan struct{}
	once sync.Once
}

func (p *pipeline) run() {
	for {
		select {
		case f := <-p.in:
			f.err = p.w.append(p.to, f.args, f.response)
			close(f.done)
			select {
			case p.out <- f:
			case <-p.stop:
				return
			}
		case <-p.stop:
			return
		}
	}
}

func (p *pipeline) AppendEntries(args *raft.AppendEntriesRequest, out *raft.AppendEntriesResponse) (raft.AppendFuture, error) {
	f := &flight{args: args, response: out, start: time.Now(), done: make(chan struct{})}
	select {
	case p.in <- f:
		return f, nil
	case <-p.stop:
		return nil, raft.ErrPipelineShutdown
	case <-p.w.gone:
		return nil, errRefused
	}
}

func (p *pipeline) Consumer() <-chan raft.AppendFuture { return p.out }

func (p *pipeline) Close() error {
	p.once.Do(func() { close(p.stop) })
	return nil
}

// flight is a request in a pipeline.
type flight struct {
	args     *raft.AppendEntriesRequest
	response *raft.AppendEntriesResponse
	start    time.Time
	done     chan struct{}
	err      error
}

func (f *flight) Error() error                          { <-f.done; return f.err }
func (f *flight) Start() time.Time                      { return f.start }
func (f *flight) Request() *raft.AppendEntriesRequest   { return f.args }
func (f *flight) Response() *raft.AppendEntriesResponse { return f.response }
