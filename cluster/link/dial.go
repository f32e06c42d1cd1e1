package link

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
)

// dial connects to a node and proves that it is the one. The errors are
// ErrUnreachable and ErrClosed, with what was wrong.
func (p *Port) dial(ctx context.Context, node, protocol string) (*conn, error) {
	ctx, cancel := context.WithTimeout(ctx, p.cfg.Timing.Handshake)
	defer cancel()
	defer context.AfterFunc(p.ctx, cancel)()
	addr, ok := p.cfg.Resolve(node)
	if !ok {
		return nil, fmt.Errorf("%w: no address of %s is known", ErrUnreachable, node)
	}
	raw, err := p.cfg.Dial(ctx, addr)
	if err != nil {
		return nil, p.unreachable(node, addr, err)
	}
	secure := tls.Client(raw, p.id.clientTLS(node, protocol))
	if err := secure.HandshakeContext(ctx); err != nil {
		_ = raw.Close()
		return nil, p.unreachable(node, addr, err)
	}
	c := &conn{Conn: secure, raw: raw, peer: Peer{Role: RoleNode, Name: node}}
	if !p.conns.enter(c) {
		_ = c.Close()
		return nil, ErrClosed
	}
	return c, nil
}

func (p *Port) unreachable(node, addr string, err error) error {
	if p.ctx.Err() != nil {
		return ErrClosed
	}
	return fmt.Errorf("%w: %s at %s: %w", ErrUnreachable, node, addr, err)
}

// dialGroup opens a stream to a group's replica on a node.
func (p *Port) dialGroup(ctx context.Context, node string, group uint16) (*conn, error) {
	c, err := p.dial(ctx, node, ProtocolRaft)
	if err != nil {
		return nil, err
	}
	if err := openStream(ctx, c, group); err != nil {
		_ = c.Close()
		return nil, fmt.Errorf("%w: %s, group %d: %w", ErrUnreachable, node, group, err)
	}
	return c, nil
}

// openStream sends the header of a raft stream and waits for its answer, so that
// a refusal is known before raft uses the stream.
func openStream(ctx context.Context, c *conn, group uint16) error {
	deadline, _ := ctx.Deadline()
	_ = c.SetDeadline(deadline)
	h := binary.BigEndian.AppendUint16([]byte{streamVersion}, group)
	if _, err := c.Write(h); err != nil {
		return err
	}
	var answer [1]byte
	if _, err := io.ReadFull(c, answer[:]); err != nil {
		return err
	}
	switch answer[0] {
	case answerOpen:
		return nil
	case answerNotOpen:
		return ErrNotOpen
	case answerVersion:
		return fmt.Errorf("streams of version %d are not spoken there", streamVersion)
	default:
		return fmt.Errorf("%w: answer %d to a raft stream", ErrBadMessage, answer[0])
	}
}
