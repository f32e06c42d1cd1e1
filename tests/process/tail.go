package process

import (
	"bytes"
	"sync"
)

// tailBytes is how much of a program's output is kept.
const tailBytes = 64 << 10

// tail keeps the end of what is written to it, and picks one line out of it. It
// is safe for concurrent use.
type tail struct {
	found chan string // gets what the line told, once

	mu   sync.Mutex
	text []byte
	line []byte                      // the line that has not ended yet
	look func(string) (string, bool) // nil once the line was found
}

func newTail(look func(line string) (string, bool)) *tail {
	return &tail{found: make(chan string, 1), look: look}
}

// Write never fails.
func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = last(append(t.text, b...))
	for rest := b; t.look != nil; {
		line, more, whole := bytes.Cut(rest, []byte("\n"))
		t.line = last(append(t.line, line...))
		if !whole {
			break
		}
		if value, ok := t.look(string(t.line)); ok {
			t.found <- value // never blocks: it has room, and this happens once
			t.look, t.line = nil, nil
			break
		}
		t.line, rest = t.line[:0], more
	}
	return len(b), nil
}

// last cuts b down to its last tailBytes.
func last(b []byte) []byte {
	if over := len(b) - tailBytes; over > 0 {
		return append(b[:0], b[over:]...)
	}
	return b
}

// String returns the end of the output.
func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.text)
}
