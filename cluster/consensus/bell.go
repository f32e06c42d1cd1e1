package consensus

import "sync"

// bell tells any number of listeners that something has changed. The zero bell
// is ready.
type bell struct {
	mu   sync.Mutex
	next chan struct{} // closed by the next ring; nil: nobody listens
}

// listen returns a channel that the next ring closes.
func (b *bell) listen() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.next == nil {
		b.next = make(chan struct{})
	}
	return b.next
}

// ring tells all that listen. It does not block.
func (b *bell) ring() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.next != nil {
		close(b.next)
		b.next = nil
	}
}
