package consensus

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"
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
	var err error
	if !await(ctx, h.ops.shut()) {
		err = fmt.Errorf("consensus: a group is still being opened or closed: %w", context.Cause(ctx))
	}
	err = errors.Join(err, endAll(ctx, h.takeAll()))
	close(h.stop)
	h.done.Wait()
	return err
}

// takeAll moves all groups to those that are ending and returns them.
func (h *Host) takeAll() []*Group {
	h.mu.Lock()
	defer h.mu.Unlock()
	maps.Copy(h.ending, h.groups)
	clear(h.groups)
	for i := range h.shards {
		h.shards[i].Store(nil)
	}
	return slices.Collect(maps.Values(h.ending))
}

// endAll ends groups beside each other.
func endAll(ctx context.Context, groups []*Group) error {
	errs := make([]error, len(groups))
	var all sync.WaitGroup
	for i, g := range groups {
		all.Go(func() { _, errs[i] = g.end(ctx) })
	}
	all.Wait()
	return errors.Join(errs...)
}

// CloseGroup ends one group as Close does, its loss of leadership reported
// included; the others go on. With destroy it then deletes all that the store
// holds of the group, at once, whether the group was open or not, but for what
// the node has promised: its term, its vote, and how far its log went. OpenGroup
// with Join begins it anew. A leader had better move its leadership first (see
// [Group.Transfer]). What is not there need not be closed or destroyed: nil.
//
// Destroying a replica that is still counted on leaves committed entries on
// fewer nodes than a majority. So first close the group without destroy, then
// ask its leader with [Group.ConfirmMembers], and only if the node is not named
// call CloseGroup again, with destroy.
//
// Errors: credential.ErrConflict, the group is being opened or closed already;
// the context's, it could not be ended in time, and nothing was deleted: call
// CloseGroup again.
func (h *Host) CloseGroup(ctx context.Context, id uint16, destroy bool) error {
	release, err := h.claim(id)
	if err != nil {
		return err
	}
	defer release()
	if g := h.take(id); g != nil {
		h.grown[h.bellOf(id)].ring() // whoever waits for its events has to ask elsewhere
		ended, endErr := g.end(ctx)
		if !ended {
			return endErr
		}
		h.mu.Lock()
		delete(h.ending, id)
		h.mu.Unlock()
		err = endErr
	}
	if destroy {
		err = errors.Join(err, h.destroy(id))
	}
	return err
}

// destroy deletes what the store holds of a group that is closed.
func (h *Host) destroy(id uint16) error {
	state := h.cfg.DB.Group(id)
	exists, err := state.Exists()
	if err == nil && exists {
		err = state.Destroy()
	}
	if err != nil {
		return fmt.Errorf("consensus: %w", err)
	}
	return nil
}

// take moves a group to those that are ending and returns it; nil: it is
// neither open nor ending.
func (h *Host) take(id uint16) *Group {
	h.mu.Lock()
	defer h.mu.Unlock()
	if g := h.groups[id]; g != nil {
		delete(h.groups, id)
		h.ending[id] = g
		if id != MetaGroup {
			h.shards[id].Store(nil)
		}
	}
	return h.ending[id]
}

// drainLimit bounds how long a group's end waits for proposals that are under
// way: a leader that can reach its majority needs milliseconds, and one that
// cannot will not end them.
const drainLimit = 5 * time.Second

// end ends the group, in order, and reports whether it has ended: if ctx was too
// short it has not, and end may be called again. A group that has ended may
// still have had trouble with its wires or its spool.
func (g *Group) end(ctx context.Context) (ended bool, err error) {
	g.drain(ctx)
	g.shutdown()
	stopped := await(ctx, g.stopped)
	g.lost()
	g.halt.Do(func() { close(g.stop) })
	g.done.Wait() // raft's shutdown has released whatever they could wait for
	switch {
	case !stopped:
		return false, fmt.Errorf("consensus: raft of group %d did not stop in time: %w", g.id, context.Cause(ctx))
	case !await(ctx, g.work.shut()) || !await(ctx, g.store.shut()):
		return false, fmt.Errorf("consensus: group %d still uses the store: %w", g.id, context.Cause(ctx))
	}
	if err := errors.Join(g.stopErr, g.snaps.drop()); err != nil {
		return true, fmt.Errorf("consensus: group %d has ended, but: %w", g.id, err)
	}
	return true, nil
}

// shutdown shuts raft down; stopped tells when it is. The future is that of the
// first call: a second call's does not wait.
func (g *Group) shutdown() {
	g.quit.Do(func() {
		f := g.raft.Shutdown()
		go func() {
			g.stopErr = f.Error()
			close(g.stopped)
		}()
	})
}

// drain lets no proposal in any more and waits for those that are under way,
// for at most half of the time that is left.
func (g *Group) drain(ctx context.Context) {
	limit := drainLimit
	if end, ok := ctx.Deadline(); ok {
		limit = min(limit, time.Until(end)/2)
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	await(ctx, g.calls.shut())
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
