package feed

// PageSize is how many events a stream reads at once.
const PageSize = page

// Held is how many events the stream has in memory.
func (s *Stream) Held() int { return len(s.pending) }

// DecodePosition reads a position, and writes it again.
func DecodePosition(b []byte, groups int) ([]byte, error) {
	p, err := decodePosition(b, groups)
	return p.encode(), err
}
