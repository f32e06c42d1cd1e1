package link

import (
	"sync"

	"github.com/hashicorp/raft"
)

// pipeline sends entries before those before them are answered. It is raft's own
// but for two things: its messages are bounded, and it ends by itself with the
// first answer that is not as it should be.
//
// Raft's reader of the answers goes away with that one, while its sender may go
// on for a moment: nobody takes the answers then, and the sender waits to hand
// over its next message, for ever. It is one of the goroutines that raft's
// shutdown waits for, and the only one that sends entries to that node.
type pipeline struct {
	raft.AppendPipeline
	t       *transport
	node    string
	answers chan raft.AppendFuture
	closed  chan struct{}
	once    sync.Once
}

// newPipeline wraps raft's pipeline. Close ends what it starts; raft always
// calls it.
func newPipeline(inner raft.AppendPipeline, t *transport, node string) *pipeline {
	p := &pipeline{AppendPipeline: inner, t: t, node: node, answers: make(chan raft.AppendFuture), closed: make(chan struct{})}
	go p.pass()
	return p
}

// pass hands the answers on to raft, up to the last one that it reads.
func (p *pipeline) pass() {
	for {
		select {
		case f := <-p.AppendPipeline.Consumer():
			last := f.Error() != nil || !f.Response().Success || f.Response().Term > f.Request().Term
			if !last {
				p.t.heard(p.node, f.Request(), f.Response(), f.Start())
			}
			select {
			case p.answers <- f:
			case <-p.closed:
				return
			}
			if last {
				_ = p.Close()
				return
			}
		case <-p.closed:
			return
		}
	}
}

// AppendEntries sends entries. Once the pipeline has ended, it fails.
func (p *pipeline) AppendEntries(args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) (raft.AppendFuture, error) {
	cut(args)
	return p.AppendPipeline.AppendEntries(args, resp)
}

// Consumer returns the answers, in order.
func (p *pipeline) Consumer() <-chan raft.AppendFuture { return p.answers }

// Close ends the pipeline.
func (p *pipeline) Close() error {
	p.once.Do(func() { close(p.closed) })
	return p.AppendPipeline.Close()
}
