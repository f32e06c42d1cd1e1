package link

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// A raft stream begins with streamVersion and the group's number (2 bytes, big
// endian), sent by the one who dials, and one byte of answer.
const (
	streamVersion = 1
	headerLen     = 3

	answerOpen    = 0 // from here on the stream is raft's
	answerNotOpen = 1
	answerVersion = 2 // not spoken here
)

// acceptPause bounds the pause between two attempts to accept when the system
// refuses, as it does when descriptors run out.
const acceptPause = time.Second

// accept takes in whoever calls, until Close.
func (p *Port) accept() {
	pause := time.Duration(0)
	for {
		raw, err := p.cfg.Listener.Accept()
		switch {
		case p.ctx.Err() != nil:
			if err == nil {
				_ = raw.Close()
			}
			return
		case err != nil:
			p.strangers.warn("connections cannot be accepted", "error", brief(err))
			pause = min(max(2*pause, 5*time.Millisecond), acceptPause)
			if !p.sleep(pause) {
				return
			}
			continue
		}
		pause = 0
		select {
		case p.slots <- struct{}{}:
			p.done.Go(func() { p.serve(raw) })
		case <-p.ctx.Done():
			_ = raw.Close()
			return
		}
	}
}

// sleep is false if the port is closed meanwhile.
func (p *Port) sleep(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-p.ctx.Done():
		return false
	}
}

// serve is the life of an accepted connection; that of an RPC connection goes on
// with whoever takes it from the listener. It gives the slot back.
func (p *Port) serve(raw net.Conn) {
	release := func() { p.accepted.Add(-1) }
	if p.accepted.Add(1) > int64(p.cfg.Limits.Conns) {
		<-p.slots
		_ = raw.Close()
		release()
		p.strangers.warn("connection refused", "remote", raw.RemoteAddr().String(), "error", ErrTooMany)
		return
	}
	c, t, err := p.greet(raw, release)
	<-p.slots
	switch {
	case err == nil && t != nil:
		t.serve(c)
	case err == nil:
		if err = p.offer(c); err != nil {
			p.refused(c, err)
		}
	case c != nil:
		p.refused(c, err)
	default:
		if p.ctx.Err() == nil {
			p.strangers.warn("connection refused", "remote", raw.RemoteAddr().String(), "error", brief(err))
		}
		linger(raw)
		release()
	}
}

// refused logs what was wrong with the connection of a proven peer.
func (p *Port) refused(c *conn, err error) {
	if p.ctx.Err() == nil {
		p.peers.warn("connection refused", "peer", c.peer.String(), "remote", c.raw.RemoteAddr().String(), "error", brief(err))
	}
}

// greet makes a connection of a call, and finds the transport that it is for;
// nil: it is for RPC. With an error it returns the connection, closed, if its
// peer is proven; else the caller has to close raw.
func (p *Port) greet(raw net.Conn, release func()) (*conn, *transport, error) {
	ctx, cancel := context.WithTimeout(p.ctx, p.cfg.Timing.Handshake)
	defer cancel()
	secure := tls.Server(raw, p.id.serverTLS())
	if err := secure.HandshakeContext(ctx); err != nil {
		if isLate(err) {
			err = fmt.Errorf("no handshake within %s", p.cfg.Timing.Handshake)
		}
		return nil, nil, err
	}
	state := secure.ConnectionState()
	peer, err := peerIn(state.PeerCertificates[0])
	if err != nil { // impossible: the handshake has read it
		return nil, nil, err
	}
	c := &conn{Conn: secure, raw: raw, peer: peer, accepted: true, release: release}
	if !p.conns.enter(c) {
		_ = c.Close()
		return c, nil, ErrClosed
	}
	if state.NegotiatedProtocol == ProtocolRPC {
		return c, nil, nil
	}
	deadline, _ := ctx.Deadline()
	t, err := p.readHeader(c, deadline)
	if err != nil {
		_ = c.Close()
		return c, nil, err
	}
	return c, t, nil
}

// linger gives the one at the other end the time to read why he is refused:
// closing while there is something unread would tear that away from him.
func linger(raw net.Conn) {
	const most, patience = 16 << 10, 250 * time.Millisecond
	if half, ok := raw.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
	_ = raw.SetReadDeadline(time.Now().Add(patience))
	_, _ = io.CopyN(io.Discard, raw, most)
	_ = raw.Close()
}

// readHeader answers the header of a raft stream and returns the transport of
// its group, which is told that a receiver more is on its way.
func (p *Port) readHeader(c *conn, deadline time.Time) (*transport, error) {
	_ = c.SetDeadline(deadline)
	var h [headerLen]byte
	if _, err := io.ReadFull(c, h[:]); err != nil {
		return nil, fmt.Errorf("header of a raft stream: %w", err)
	}
	if h[0] != streamVersion {
		_, _ = c.Write([]byte{answerVersion})
		return nil, fmt.Errorf("%w: raft stream of version %d, %d is spoken here", ErrBadMessage, h[0], streamVersion)
	}
	group := binary.BigEndian.Uint16(h[1:])
	t := p.hold(group)
	if t == nil {
		_, _ = c.Write([]byte{answerNotOpen})
		return nil, fmt.Errorf("group %d is not open here", group)
	}
	if _, err := c.Write([]byte{answerOpen}); err != nil {
		t.receivers.Done()
		return nil, fmt.Errorf("answer to a raft stream: %w", err)
	}
	_ = c.SetDeadline(time.Time{})
	return t, nil
}

// hold returns a group's transport, which waits from now on for one receiver
// more; nil: the group is not open.
func (p *Port) hold(group uint16) *transport {
	p.mu.Lock()
	defer p.mu.Unlock()
	t := p.transports[group]
	if t != nil {
		t.receivers.Add(1)
	}
	return t
}

// offer hands an RPC connection to whoever accepts them.
func (p *Port) offer(c *conn) error {
	if n := len(p.conns.of(c.peer)); n > p.cfg.Limits.RPC {
		_ = c.Close()
		return fmt.Errorf("%w: %d RPC connections of one name", ErrTooMany, n)
	}
	wait := time.NewTimer(p.cfg.Timing.Handshake)
	defer wait.Stop()
	select {
	case p.rpc.queue <- c:
		return p.rpc.recheck()
	case <-p.rpc.closed:
		_ = c.Close()
		return ErrClosed
	case <-wait.C:
		_ = c.Close()
		return errors.New("nobody accepts RPC connections")
	}
}
