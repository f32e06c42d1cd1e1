package gossip

import (
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/grantd/grantd/credential"
)

// ear is what memberlist tells and asks. It calls most of it with its lock
// held, so nothing here waits, or calls memberlist: it writes into the book and
// rings.
type ear struct{ *Gossip }

var (
	_ memberlist.AliveDelegate    = ear{}
	_ memberlist.EventDelegate    = ear{}
	_ memberlist.ConflictDelegate = ear{}
	_ memberlist.MergeDelegate    = ear{}
	_ memberlist.Delegate         = ear{}
)

// addrOf returns where a node gossips.
func addrOf(n *memberlist.Node) string {
	ip, _ := netip.AddrFromSlice(n.Addr)
	return netip.AddrPortFrom(ip.Unmap(), n.Port).String()
}

// NotifyAlive refuses what no version of ours sends, so that it does not become
// a member.
func (e ear) NotifyAlive(n *memberlist.Node) error {
	if err := credential.CheckName("its name", n.Name); err != nil {
		return err
	}
	if _, ok := netip.AddrFromSlice(n.Addr); !ok {
		return fmt.Errorf("an address of %d bytes", len(n.Addr))
	}
	_, err := decodeMeta(n.Meta)
	return err
}

// NotifyJoin is told of a member that is alive again or new.
func (e ear) NotifyJoin(n *memberlist.Node) {
	meta, err := decodeMeta(n.Meta)
	if err != nil { // NotifyAlive let it through
		return
	}
	if e.book.answers(n.Name, addrOf(n), meta, time.Now()) {
		e.knock()
	}
}

// NotifyUpdate is told of a member's new metadata.
func (e ear) NotifyUpdate(n *memberlist.Node) { e.NotifyJoin(n) }

// NotifyLeave is told of a member that is gone, whether it has said so or not.
func (e ear) NotifyLeave(n *memberlist.Node) {
	if e.book.missing(n.Name, time.Now()) {
		e.knock()
	}
}

// NotifyConflict is told of a second node with a name that is taken. memberlist
// does not take it in.
func (e ear) NotifyConflict(first, second *memberlist.Node) {
	level := slog.LevelWarn // it may be the same node, back at another address too early
	if first.Name == e.conf.Name {
		level = slog.LevelError
	}
	e.herald.say(level, fmt.Sprintf("two nodes are called %.64q: the one at %s is known; the one at %s is refused as long as that one is there", first.Name, addrOf(first), addrOf(second)))
}

// NotifyMerge is asked, without a lock, when this node joins others or they
// join it. It refuses if another node has this node's name: of the two, the one
// that is a member already goes on, and the other one stays out until that one
// is gone.
func (e ear) NotifyMerge(nodes []*memberlist.Node) error {
	self, ok := e.book.get(e.conf.Name)
	for _, n := range nodes {
		present := n.State == memberlist.StateAlive || n.State == memberlist.StateSuspect
		if ok && n.Name == self.Name && present && addrOf(n) != self.Addr {
			e.herald.say(slog.LevelError, fmt.Sprintf("another node, at %s, has this node's name, %q; the later of the two is refused as long as the other one is there", addrOf(n), n.Name))
			return fmt.Errorf("the name %q is taken by a node at %s", n.Name, addrOf(n))
		}
	}
	return nil
}

// NodeMeta returns this node's metadata. It is not longer than the limit.
func (e ear) NodeMeta(int) []byte { return *e.meta.Load() }

// NotifyMsg takes a broadcast of ours: notes.
func (e ear) NotifyMsg(b []byte) {
	notes, err := decodeNotes(b)
	if err != nil {
		e.herald.say(slog.LevelWarn, "a message was dropped: "+err.Error())
		return
	}
	for _, n := range notes {
		if n.name != e.conf.Name && e.book.bye(n, time.Now()) {
			e.news.QueueBroadcast(&broadcast{note: n})
			e.knock()
		}
	}
}

// GetBroadcasts returns what is to be passed on.
func (e ear) GetBroadcasts(overhead, limit int) [][]byte {
	return e.news.GetBroadcasts(overhead, limit)
}

// LocalState returns what a node should know that has missed a broadcast.
func (e ear) LocalState(bool) []byte { return encodeNotes(e.book.byes()) }

// MergeRemoteState takes another node's LocalState.
func (e ear) MergeRemoteState(b []byte, _ bool) { e.NotifyMsg(b) }
