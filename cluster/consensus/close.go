package consensus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"
)

// Close ends all groups, in order: new proposals are refused, those under way
// get their answers, raft stops, what it left behind is ended, and the last
// readers leave the store, which may then be closed. It takes no longer than
// ctx allows; if that is not enough, which happens when the disk hangs, the
// error says so, and the store must not be closed. Proposals that are under
// way then end with credential.ErrUnknownOutcome. Further calls return what
// the first one did.
func (h *Host) Close(ctx context.Context) error {
	h.closing.Do(func() { h.closeErr = h.close(ctx) })
	return h.closeErr
}

// drainLimit bounds how long Close waits for proposals that are under way: a
// leader that can reach its majority needs milliseconds, and one that cannot
// will not end them.
const drainLimit = 5 * time.Second

func (h *Host) close(ctx context.Context) error {
	groups := h.all()
	drain(ctx, groups)
	err := stopRaft(ctx, groups)
	for _, g := range groups {
		g.lost()
	}
	close(h.stop)
	h.done.Wait() // raft's shutdown has released whatever they could wait for
	for _, g := range groups {
		if !await(ctx, g.store.shut()) {
			err = errors.Join(err, fmt.Errorf("consensus: group %d still uses the store: %w", g.id, context.Cause(ctx)))
		}
	}
	return err
}

// drain lets no proposal in any more and waits for those that are under way,
// for at most half of the time that is left.
func drain(ctx context.Context, groups []*Group) {
	limit := drainLimit
	if end, ok := ctx.Deadline(); ok {
		limit = min(limit, time.Until(end)/2)
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for _, g := range groups {
		g.calls.shut()
	}
	for _, g := range groups {
		await(ctx, g.calls.shut())
	}
}

// all returns the groups that were started.
func (h *Host) all() []*Group {
	h.mu.Lock()
	defer h.mu.Unlock()
	var all []*Group
	for _, g := range h.groups {
		all = append(all, g)
	}
	return all
}

// stopRaft shuts all groups' raft down at once and waits for them. The futures
// are those of the first call: a second call's do not wait.
func stopRaft(ctx context.Context, groups []*Group) error {
	futures := make([]raft.Future, len(groups))
	for i, g := range groups {
		futures[i] = g.raft.Shutdown()
	}
	stopped := make(chan error, 1)
	go func() {
		var errs []error
		for i, f := range futures {
			if err := f.Error(); err != nil {
				errs = append(errs, fmt.Errorf("consensus: stop group %d: %w", groups[i].id, err))
			}
		}
		stopped <- errors.Join(errs...)
	}()
	select {
	case err := <-stopped:
		return err
	case <-ctx.Done():
		return fmt.Errorf("consensus: raft did not stop in time: %w", context.Cause(ctx))
	}
}

// await reports whether c was closed before ctx ended.
func await(ctx context.Context, c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
	}
	select {
	case <-c:
		return true
	case <-ctx.Done():
		return false
	}
}
