package link

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
)

// Bounds of a raft message. They are far beyond what a sound peer sends: an
// entry holds at most storage.MaxBatchBytes, a message at most appendBytes or
// one entry, and at most 1024 entries, raft's own limit.
const (
	maxMessage = 40 << 20
	maxItems   = 1024    // in one array or map
	maxTokens  = 1 << 16 // values of all kinds in one message

	// largeMessage is from where on a message needs one of the few places for
	// large ones.
	largeMessage = 1 << 20
	chunk        = 64 << 10
)

// message reads one value of MessagePack, whole, without making anything of it.
// Raft's own way, to let the decoder read from the stream, would let lengths
// that a peer only claims decide about memory. Here memory grows with what has
// come, up to bounds, and with the number of values, because a byte can stand
// for a structure of a hundred.
type message struct {
	r     *bufio.Reader
	limit int
	// large is called once, when the message turns out to be a large one.
	large  func() error
	buf    []byte
	tokens int
}

// readMessage appends the value to buf[:0].
func readMessage(r *bufio.Reader, buf []byte, limit int, large func() error) ([]byte, error) {
	m := message{r: r, limit: limit, large: large, buf: buf[:0]}
	for todo := 1; todo > 0; {
		n, err := m.value()
		if err != nil {
			return m.buf, err
		}
		todo += n - 1
	}
	return m.buf, nil
}

// value reads one value up to those that it contains, and returns their number.
func (m *message) value() (inside int, err error) {
	if m.tokens++; m.tokens > maxTokens {
		return 0, fmt.Errorf("%w: more than %d values", ErrBadMessage, maxTokens)
	}
	if err := m.take(1); err != nil {
		return 0, err
	}
	switch b := m.buf[len(m.buf)-1]; {
	case b <= 0x7f || b >= 0xe0 || b == 0xc0 || b == 0xc2 || b == 0xc3: // small integers, nil, booleans
		return 0, nil
	case b <= 0x8f:
		return 2 * int(b&0x0f), nil
	case b <= 0x9f:
		return int(b & 0x0f), nil
	case b <= 0xbf:
		return 0, m.take(int(b & 0x1f))
	default:
		return m.marked(b)
	}
}

// marked reads the rest of a value whose first byte, 0xc1 to 0xdf, only says of
// what kind it is.
func (m *message) marked(b byte) (inside int, err error) {
	n := 0
	switch b {
	case 0xc4, 0xc5, 0xc6: // bytes
		n, err = m.length(1 << (b - 0xc4))
	case 0xc7, 0xc8, 0xc9: // extensions: length, kind, bytes
		n, err = m.length(1 << (b - 0xc7))
		n++
	case 0xca:
		n = 4
	case 0xcb:
		n = 8
	case 0xcc, 0xcd, 0xce, 0xcf: // unsigned
		n = 1 << (b - 0xcc)
	case 0xd0, 0xd1, 0xd2, 0xd3: // signed
		n = 1 << (b - 0xd0)
	case 0xd4, 0xd5, 0xd6, 0xd7, 0xd8: // extensions of fixed length
		n = 1<<(b-0xd4) + 1
	case 0xd9, 0xda, 0xdb: // strings
		n, err = m.length(1 << (b - 0xd9))
	case 0xdc, 0xdd: // arrays
		return m.items(2<<(b-0xdc), 1)
	case 0xde, 0xdf: // maps
		return m.items(2<<(b-0xde), 2)
	default:
		return 0, fmt.Errorf("%w: no value begins with %#x", ErrBadMessage, b)
	}
	if err != nil {
		return 0, err
	}
	return 0, m.take(n)
}

// items reads the number of items of an array or map.
func (m *message) items(width, each int) (int, error) {
	n, err := m.length(width)
	if err == nil && n > maxItems {
		err = fmt.Errorf("%w: %d items, at most %d are allowed", ErrBadMessage, n, maxItems)
	}
	return each * n, err
}

// length reads a number of 1, 2 or 4 bytes.
func (m *message) length(width int) (int, error) {
	if err := m.take(width); err != nil {
		return 0, err
	}
	var b [4]byte
	copy(b[4-width:], m.buf[len(m.buf)-width:])
	if n := binary.BigEndian.Uint32(b[:]); n <= maxMessage {
		return int(n), nil
	}
	return 0, m.tooLong()
}

func (m *message) tooLong() error {
	return fmt.Errorf("%w: more than %d bytes", ErrBadMessage, m.limit)
}

// take reads n bytes.
func (m *message) take(n int) error {
	for n > 0 {
		k, old := min(n, chunk), len(m.buf)
		if old+k > m.limit {
			return m.tooLong()
		}
		if old <= largeMessage && old+k > largeMessage && m.large != nil {
			if err := m.large(); err != nil {
				return err
			}
		}
		m.buf = slices.Grow(m.buf, k)[:old+k]
		if _, err := io.ReadFull(m.r, m.buf[old:]); err != nil {
			m.buf = m.buf[:old]
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
		n -= k
	}
	return nil
}
