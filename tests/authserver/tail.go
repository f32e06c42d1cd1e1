package authserver

import (
	"bytes"
	"strings"
	"sync"
)

// tailBytes is how much of a server's output is kept.
const tailBytes = 64 << 10

// tail keeps the end of what is written to it, and picks the line out of it
// that tells where the server listens. It is safe for concurrent use.
type tail struct {
	listening chan string // gets the address, once

	mu    sync.Mutex
	text  []byte
	found bool
}

func newTail() *tail { return &tail{listening: make(chan string, 1)} }

// Write never fails.
func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, b...)
	if !t.found {
		if addr, ok := listeningAddr(t.text); ok {
			t.found = true
			t.listening <- addr // never blocks: it has room, and this happens once
		}
	}
	if over := len(t.text) - tailBytes; over > 0 {
		t.text = append(t.text[:0], t.text[over:]...)
	}
	return len(b), nil
}

// String returns the end of the output.
func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.text)
}

// listeningAddr finds a whole line "listening ADDR".
func listeningAddr(text []byte) (string, bool) {
	for line := range bytes.Lines(text) {
		if addr, ok := strings.CutPrefix(string(line), "listening "); ok && strings.HasSuffix(addr, "\n") {
			return strings.TrimSpace(addr), true
		}
	}
	return "", false
}
