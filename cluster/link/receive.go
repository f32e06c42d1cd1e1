package link

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/hashicorp/go-msgpack/v2/codec"
	"github.com/hashicorp/raft"
)

const (
	receiveBuffer = 16 << 10
	// keepBuffer is what a stream keeps of a message's memory for the next one.
	keepBuffer = 64 << 10
)

// serve takes what a peer sends on one stream, until either end closes it. Its
// caller has counted it as a receiver.
func (t *transport) serve(c *conn) {
	defer t.receivers.Done()
	defer t.conns.leave(c)
	defer c.Close()
	c.touch()
	if !t.conns.enter(c) {
		return
	}
	t.makeRoom(c)
	w := bufio.NewWriter(c)
	handle := &codec.MsgpackHandle{}
	r := &receiver{
		t: t, c: c, in: bufio.NewReaderSize(c, receiveBuffer), out: w,
		dec: codec.NewDecoderBytes(nil, handle), enc: codec.NewEncoder(w, handle),
	}
	for {
		if err := r.next(); err != nil {
			if !isEnd(err) && t.ctx.Err() == nil {
				t.port.peers.warn("raft stream closed", "peer", c.peer.String(), "remote", c.RemoteAddr().String(), "group", t.group, "error", brief(err))
			}
			return
		}
	}
}

// makeRoom closes the stream of the same peer that has been silent longest, if
// there are too many. Refusing the new one instead would lock out a peer that
// lost its power, and left its streams behind, for as long as the network takes
// to notice.
func (t *transport) makeRoom(c *conn) {
	all := t.conns.of(c.peer)
	if len(all) <= t.port.cfg.Limits.Streams {
		return
	}
	stalest := slices.MinFunc(all, func(a, b *conn) int { return cmp.Compare(a.last.Load(), b.last.Load()) })
	_ = stalest.Close()
	t.port.peers.warn("raft stream closed", "peer", c.peer.String(), "remote", stalest.RemoteAddr().String(), "group", t.group,
		"error", fmt.Errorf("%w: %d streams, and this one was silent longest", ErrTooMany, len(all)))
}

// receiver is the receiving end of one stream, of one goroutine.
type receiver struct {
	t     *transport
	c     *conn
	in    *bufio.Reader
	out   *bufio.Writer
	dec   *codec.Decoder
	enc   *codec.Encoder
	buf   []byte
	large bool // the message at hand has a place among the large ones
}

// next takes one message, lets raft handle it and sends the answer.
func (r *receiver) next() error {
	defer r.free()
	_ = r.c.SetReadDeadline(time.Time{}) // streams may be idle for as long as they like
	kind, err := r.in.ReadByte()
	if err != nil {
		return err
	}
	r.c.touch()
	call, err := r.read(kind)
	if err != nil {
		return err
	}
	answer, err := r.t.handle(call)
	if err != nil {
		return err
	}
	_ = r.c.SetWriteDeadline(time.Now().Add(r.t.port.cfg.Timing.Raft))
	text := ""
	if answer.Error != nil {
		text = answer.Error.Error()
	}
	if err := r.enc.Encode(text); err != nil {
		return err
	}
	if err := r.enc.Encode(answer.Response); err != nil {
		return err
	}
	return r.out.Flush()
}

// read takes the rest of a message of the given kind.
func (r *receiver) read(kind byte) (raft.RPC, error) {
	cmd, err := newCommand(kind) // before waiting for the rest
	if err != nil {
		return raft.RPC{}, err
	}
	deadline := time.Now().Add(r.t.port.cfg.Timing.Raft)
	_ = r.c.SetReadDeadline(deadline)
	r.buf, err = readMessage(r.in, r.buf, maxMessage, func() error { return r.enlarge(deadline) })
	if err != nil {
		return raft.RPC{}, err
	}
	r.dec.ResetBytes(r.buf)
	if err := r.dec.Decode(cmd); err != nil {
		return raft.RPC{}, fmt.Errorf("%w: %w", ErrBadMessage, err)
	}
	if err := checkCommand(r.c.peer.Name, cmd); err != nil {
		return raft.RPC{}, fmt.Errorf("%w: %w", ErrBadMessage, err)
	}
	call := raft.RPC{Command: cmd}
	if s, ok := cmd.(*raft.InstallSnapshotRequest); ok {
		call.Reader = io.LimitReader(snapshot{r}, s.Size)
	}
	return call, nil
}

// enlarge waits for a place for a large message, until the deadline.
func (r *receiver) enlarge(deadline time.Time) error {
	ctx, cancel := context.WithDeadline(r.t.ctx, deadline)
	defer cancel()
	select {
	case r.t.port.large <- struct{}{}:
		r.large = true
		return nil
	case <-ctx.Done():
		return fmt.Errorf("no place for a large message: %w", ctx.Err())
	}
}

// free gives back what a message has taken.
func (r *receiver) free() {
	if r.large {
		<-r.t.port.large
		r.large = false
	}
	if cap(r.buf) > keepBuffer {
		r.buf = nil
	}
}

// snapshot reads what follows an InstallSnapshotRequest. A sender that stops
// sending is not waited for.
type snapshot struct{ r *receiver }

// Read returns the next bytes.
func (s snapshot) Read(b []byte) (int, error) {
	s.r.c.touch()
	_ = s.r.c.SetReadDeadline(time.Now().Add(s.r.t.port.cfg.Timing.Raft))
	return s.r.in.Read(b)
}

// handle lets raft answer a call.
func (t *transport) handle(call raft.RPC) (raft.RPCResponse, error) {
	answer := make(chan raft.RPCResponse, 1)
	call.RespChan = answer
	if beat := t.heartbeat.Load(); beat != nil && isHeartbeat(call.Command) {
		(*beat)(call)
	} else {
		select {
		case t.calls <- call:
		case <-t.ctx.Done():
			return raft.RPCResponse{}, ErrClosed
		}
	}
	select {
	case a := <-answer:
		return a, nil
	case <-t.ctx.Done():
		return raft.RPCResponse{}, ErrClosed
	}
}

// isHeartbeat tells heartbeats as raft's NetworkTransport does.
func isHeartbeat(cmd any) bool {
	a, ok := cmd.(*raft.AppendEntriesRequest)
	return ok && a.Term != 0 && a.PrevLogEntry == 0 && a.PrevLogTerm == 0 && len(a.Entries) == 0 && a.LeaderCommitIndex == 0
}
