package route

import (
	"context"
	"errors"
	"time"

	"github.com/grantd/grantd/cluster/rpc"
)

// target is who is taken for the owner. Of a term 0 it is not known that it
// leads, only that it should, or that it holds a replica and so may know who
// does.
type target struct {
	node string
	term uint64
}

// search is how one request finds its shard's owner. What this node's own
// replica says counts, then what another node has said. Where this node has no
// replica, the one that should own the shard may be dead, or not the leader: all
// that hold one are asked in turn, and what they say is kept for later requests.
type search struct {
	r     *Router
	shard int
	hint  target // from a node that did not own the shard
	turn  int    // of those that only should own it, how many did not help
	term  uint64 // newest in which this node has known a leader
	anew  bool   // and that it was not the same before the last call of next
}

// next is whom to ask; without a name: nobody is known to lead now.
func (s *search) next() target {
	node, term := s.r.cfg.Leader(s.shard)
	if s.anew = node != "" && term > s.term; s.anew {
		s.term = term
	}
	return s.choose(node, term)
}

// choose is next, given what this node knows.
func (s *search) choose(node string, term uint64) target {
	switch {
	case s.hint.node != "" && (node == "" || s.hint.term > term):
		return s.hint
	case node == "" || term > 0:
		return target{node, term}
	}
	if l := s.r.learned[s.shard].Load(); l != nil && s.turn == 0 {
		return *l
	}
	all := s.candidates(node)
	return target{node: all[s.turn%len(all)]}
}

// candidates are those that may know the owner, the one that should be it first.
func (s *search) candidates(owner string) []string {
	return append([]string{owner}, without(without(s.r.cfg.Replicas(s.shard), owner), s.r.cfg.Self)...)
}

// failed says that a target did not help, and reports whether there is another
// to be asked at once.
func (s *search) failed(at target) (better bool) {
	if s.hint == at {
		s.hint = target{}
	}
	forgot := false
	if l := s.r.learned[s.shard].Load(); l != nil && l.node == at.node {
		forgot = s.r.learned[s.shard].CompareAndSwap(l, nil)
	}
	node, term := s.r.cfg.Leader(s.shard)
	switch {
	case node == "" || term > 0:
		return node != "" && term > at.term && node != at.node
	case forgot && s.turn == 0:
		return true
	}
	s.turn++
	return s.turn%len(s.candidates(node)) != 0
}

// told takes in who owns the shard in the words of a node that does not, and
// reports whether that is news.
func (s *search) told(at target, by *rpc.NotOwner) (better bool) {
	if by.Leader == "" || by.Term < s.hint.term {
		return s.failed(at)
	}
	s.hint = target{by.Leader, by.Term}
	if l := s.r.learned[s.shard].Load(); l == nil || l.term <= by.Term {
		s.r.learned[s.shard].Store(&target{by.Leader, by.Term})
	}
	return s.choose(s.r.cfg.Leader(s.shard)).node != at.node
}

const (
	// ownerLook is how often it is looked who owns a shard of which nobody is
	// known to: as often as a new owner may take to be heard of unnoticed.
	ownerLook = 20 * time.Millisecond
	// movedLook is how often it is looked, while an owner is asked, whether
	// another one has taken over.
	movedLook = 50 * time.Millisecond
)

// errMoved is the cause of a context that ends because somebody else leads.
var errMoved = errors.New("another node owns the shard now")

// whileOwner is ctx, ended with errMoved when this node hears that another one
// than the target leads. A node that died without a word is so not waited for
// until its silence is noticed.
func (s *search) whileOwner(ctx context.Context, at target) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	var look func()
	look = func() {
		switch node, term := s.r.cfg.Leader(s.shard); {
		case ctx.Err() != nil:
		case node != "" && node != at.node && term > at.term:
			cancel(errMoved)
		default:
			time.AfterFunc(movedLook, look)
		}
	}
	t := time.AfterFunc(movedLook, look)
	return ctx, func() {
		t.Stop()
		cancel(nil)
	}
}
