package consensus

import (
	"context"
	"errors"
	"fmt"

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

func (h *Host) close(ctx context.Context) error {
	groups := h.all()
	for _, g := range groups {
		g.calls.shut()
	}
	for _, g := range groups {
		await(ctx, g.calls.shut())
	}
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
