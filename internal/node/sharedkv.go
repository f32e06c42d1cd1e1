package node

import (
	"slices"
	"sync"
	"sync/atomic"

	"github.com/grantd/grantd/registry"
)

// sharedKV lets several parts of a node follow the changes of one KV, which
// tells only one.
type sharedKV struct {
	registry.KV
	mu  sync.Mutex // held by OnChange
	fns atomic.Pointer[[]func(keys []string)]
}

func shareKV(kv registry.KV) *sharedKV {
	s := &sharedKV{KV: kv}
	s.fns.Store(new([]func([]string)))
	kv.OnChange(func(keys []string) {
		for _, fn := range *s.fns.Load() {
			fn(keys)
		}
	})
	return s
}

// OnChange implements registry.KV, and what placement follows.
func (s *sharedKV) OnChange(fn func(keys []string)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := append(slices.Clone(*s.fns.Load()), fn)
	s.fns.Store(&all)
}
