package gossip

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Leave tells the others that this node goes, so that they know it as [Left]
// and not as dead, and returns when some of them have been told or the context
// or a few seconds are over, whichever is first; only the first call counts.
// The node still listens, until Close, but is a member no more.
func (g *Gossip) Leave(ctx context.Context) error {
	g.mu.Lock()
	switch {
	case g.closing:
		g.mu.Unlock()
		return ErrClosed
	case g.leaving == nil:
		g.leaving = make(chan struct{})
		by := time.Now().Add(leaveWithin)
		if d, ok := ctx.Deadline(); ok && d.Before(by) {
			by = d
		}
		go g.goodBye(by)
	}
	done := g.leaving
	g.mu.Unlock()
	select {
	case <-done:
		return g.left
	case <-ctx.Done():
		return fmt.Errorf("gossip: leaving: %w", ctx.Err())
	}
}

// goodBye ends the membership.
func (g *Gossip) goodBye(by time.Time) {
	defer close(g.leaving)
	g.cancel() // no more joining
	self, _ := g.book.get(g.conf.Name)
	n := note{self.Name, self.Meta.Boot}
	if g.book.bye(n, time.Now()) {
		g.knock()
	}
	if g.book.count(Alive) > 0 {
		b := &broadcast{note: n, sent: make(chan struct{})}
		g.news.QueueBroadcast(b)
		timer := time.NewTimer(time.Until(by))
		select {
		case <-b.sent:
		case <-timer.C:
		}
		timer.Stop()
	}
	// It takes 0 as no limit.
	if err := g.list.Leave(max(time.Until(by), time.Millisecond)); err != nil {
		g.left = errors.New("gossip: leaving: nobody could be told in time")
	}
}

// Close ends everything: a node that has not left before is found dead by the
// others. It returns when all goroutines have ended, which takes a third of a
// second and with bad connections two more, or when the context is over; then
// the rest ends by itself. In either case nothing more gets out. It can be
// called again.
func (g *Gossip) Close(ctx context.Context) error {
	g.mu.Lock()
	if !g.closing {
		g.closing = true
		go g.end(g.leaving)
	}
	g.mu.Unlock()
	select {
	case <-g.ended:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("gossip: closing: %w", ctx.Err())
	}
}

// end is Close's work.
func (g *Gossip) end(leaving <-chan struct{}) {
	g.cancel()
	if leaving != nil {
		<-leaving // memberlist panics if it is told to leave when shut down
	}
	g.book.close()
	last := g.lastProbe()
	_ = g.list.Shutdown() // closes the fence, and so ends what joins
	g.work.Wait()
	<-time.After(last)
	close(g.quiet)
}

// lastProbe is how long memberlist may go on to wait for the answer to a probe,
// which it does not give up when it shuts down. The worse it thinks of its own
// connections, the longer it waits.
func (g *Gossip) lastProbe() time.Duration {
	return g.conf.Timing.Probe*time.Duration(g.list.GetHealthScore()+1) + 20*time.Millisecond
}
