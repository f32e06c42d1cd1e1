package main

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

// progressBar draws how far something is, on one line of a terminal. set never
// waits for the terminal: a goroutine of its own draws, until stop. All
// methods may be called on nil, which draws nothing.
type progressBar struct {
	w    io.Writer
	quit chan struct{}
	done chan struct{}

	mu    sync.Mutex
	state progressState
}

type progressState struct {
	what        string
	done, total int
}

const (
	progressInterval = 80 * time.Millisecond
	progressWidth    = 30
	// clearLine moves to the start of the line and empties it (ECMA-48 EL).
	clearLine = "\r\x1b[K"
)

// startProgress begins to draw on w; call stop.
func startProgress(w io.Writer) *progressBar {
	b := &progressBar{w: w, quit: make(chan struct{}), done: make(chan struct{})}
	go b.draw()
	return b
}

// set says how far it is.
func (b *progressBar) set(what string, done, total int) {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.state = progressState{what, done, total}
}

// stop removes the bar and waits until nothing more is drawn.
func (b *progressBar) stop() {
	if b == nil {
		return
	}
	close(b.quit)
	<-b.done
}

func (b *progressBar) draw() {
	defer close(b.done)
	tick := time.NewTicker(progressInterval)
	defer tick.Stop()
	var drawn progressState
	for {
		select {
		case <-b.quit:
			if drawn.total > 0 {
				_, _ = io.WriteString(b.w, clearLine)
			}
			return
		case <-tick.C:
		}
		b.mu.Lock()
		now := b.state
		b.mu.Unlock()
		if now != drawn && now.total > 0 {
			_, _ = io.WriteString(b.w, clearLine+now.String())
			drawn = now
		}
	}
}

// String is the bar: "herd    [#########---------------------] 312/1000".
func (s progressState) String() string {
	filled := progressWidth
	if s.total > 0 {
		filled = progressWidth * min(max(s.done, 0), s.total) / s.total
	}
	return fmt.Sprintf("%-8s [%s%s] %d/%d", s.what, strings.Repeat("#", filled), strings.Repeat("-", progressWidth-filled), s.done, s.total)
}
