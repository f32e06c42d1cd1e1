package gossip

import (
	"errors"

	"github.com/hashicorp/memberlist"
)

// note says that a node leaves on purpose. memberlist knows that too but does
// not tell, so we say it ourselves, in a broadcast that travels beside its own,
// and among the state that nodes exchange, for those who have missed it.
type note struct {
	name string
	boot string // of the node, so that the note does not hold for its next start
}

// noteFormat is the first byte of encoded notes.
const noteFormat = 1

// maxNotes is the largest number of notes in a message.
const maxNotes = 64

var errBadNotes = errors.New("notes cannot be read")

// encodeNotes returns the notes in one message; of too many, the first ones.
func encodeNotes(notes []note) []byte {
	b := []byte{noteFormat}
	for _, n := range notes[:min(len(notes), maxNotes)] {
		b = appendString(appendString(b, n.name), n.boot)
	}
	return b
}

// decodeNotes reads what encodeNotes has written.
func decodeNotes(b []byte) ([]note, error) {
	if len(b) == 0 || b[0] != noteFormat {
		return nil, errBadNotes
	}
	var notes []note
	for b = b[1:]; len(b) > 0; {
		var n note
		var ok bool
		if n.name, b, ok = cutString(b); !ok || len(notes) == maxNotes {
			return nil, errBadNotes
		}
		if n.boot, b, ok = cutString(b); !ok {
			return nil, errBadNotes
		}
		notes = append(notes, n)
	}
	return notes, nil
}

// broadcast is a note on its way to everybody.
type broadcast struct {
	note
	sent chan struct{} // closed when it was sent often enough; nil: nobody asks
}

var _ memberlist.NamedBroadcast = (*broadcast)(nil)

// Name keeps a second note about the same node from queueing beside the first.
func (b *broadcast) Name() string { return b.name }

// Invalidates says whether the other broadcast is about the same node.
func (b *broadcast) Invalidates(other memberlist.Broadcast) bool {
	o, ok := other.(*broadcast)
	return ok && o.name == b.name
}

// Message returns the bytes to send.
func (b *broadcast) Message() []byte { return encodeNotes([]note{b.note}) }

// Finished is called by memberlist's queue, once, with the queue locked.
func (b *broadcast) Finished() {
	if b.sent != nil {
		close(b.sent)
	}
}
