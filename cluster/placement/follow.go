package placement

import (
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
)

// follower keeps a View up to date.
type follower struct {
	kv   KV
	log  *slog.Logger
	view atomic.Pointer[View]

	mu     sync.Mutex
	dirty  map[string]struct{} // at most maxDirty
	all    bool
	news   chan struct{} // closed, and replaced, when the View has changed
	signal chan struct{} // capacity 1
}

// maxDirty bounds the list of keys to read again; beyond it all are read.
const maxDirty = 1024

func newFollower(kv KV, log *slog.Logger) (*follower, error) {
	f := &follower{kv: kv, log: log, dirty: map[string]struct{}{}, news: make(chan struct{}), signal: make(chan struct{}, 1)}
	kv.OnChange(f.note) // before reading, so that nothing in between is missed
	v, err := read(kv, log)
	if err != nil {
		return nil, err
	}
	f.view.Store(v)
	return f, nil
}

// note marks keys as changed; nil: all. It does not block.
func (f *follower) note(keys []string) {
	any := keys == nil
	f.mu.Lock()
	f.all = f.all || keys == nil
	for _, key := range keys {
		if isRecord(key) {
			f.dirty[key] = struct{}{}
			any = true
		}
	}
	if len(f.dirty) > maxDirty {
		clear(f.dirty)
		f.all = true
	}
	f.mu.Unlock()
	if any {
		poke(f.signal)
	}
}

// poke leaves a value in a channel of capacity 1.
func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// catchUp reads what was marked. What cannot be read stays marked.
func (f *follower) catchUp() error {
	f.mu.Lock()
	dirty, all := f.dirty, f.all
	f.dirty, f.all = map[string]struct{}{}, false
	f.mu.Unlock()
	var v *View
	var err error
	switch {
	case all:
		v, err = read(f.kv, f.log)
	case len(dirty) == 0:
		return nil
	default:
		v, err = f.view.Load().update(f.kv, slices.Collect(maps.Keys(dirty)), f.log)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if err != nil {
		maps.Copy(f.dirty, dirty)
		f.all = f.all || all
		return err
	}
	f.view.Store(v)
	close(f.news)
	f.news = make(chan struct{})
	return nil
}

// changed returns a channel that is closed when the View changes.
func (f *follower) changed() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.news
}
