package cluster

import (
	"strings"
	"sync"
)

// logbook is all that a node ever printed, in all its lives. It is safe for
// concurrent use.
type logbook struct {
	mu   sync.Mutex
	text strings.Builder
}

// Write never fails.
func (l *logbook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// String returns all of it.
func (l *logbook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// count is in how many lines since a mark all the words stand.
func (l *logbook) count(from int, words ...string) (n int) {
	for line := range strings.Lines(l.String()[from:]) {
		if hasAll(line, words...) {
			n++
		}
	}
	return n
}

// mark is where the log ends now.
func (l *logbook) mark() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Len()
}

func hasAll(s string, words ...string) bool {
	for _, w := range words {
		if !strings.Contains(s, w) {
			return false
		}
	}
	return true
}
