package storage

import (
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/grantd/grantd/storage/storagepb"
)

// Batch is what an entry of a group's log asks for: if every check holds, all
// of the rest is done, else nothing. The one who proposes it decides; the state
// machine only compares and writes.
//
// Checks, KeepAbove and Appends look at the state before the entry. What
// several parts of a batch write to the same key is settled by their order:
// DeleteRanges, Deletes, Puts, Appends, and within these as listed.
type Batch struct {
	Checks       []Check
	DeleteRanges []KeyRange
	Deletes      [][]byte
	Puts         []Put
	Appends      []Append
}

// Check holds if the key was last written by the entry with index Revision;
// 0: if it does not exist.
type Check struct {
	Key      []byte
	Revision uint64
}

// KeyRange is all keys from Lo up to, but without, Hi.
type KeyRange struct{ Lo, Hi []byte }

// Put sets a key. Where KeepAbove is not 0, old and new value are protobuf
// messages, and the fields of the old one with numbers above KeepAbove are
// kept: a proposer that gives the highest number that it knows loses nothing
// that a newer version wrote.
type Put struct {
	Key, Value []byte
	KeepAbove  uint32
}

// Append adds a value to a numbered list. Its key is Prefix and the next number
// of the list, from 1, in 8 bytes, big endian; the key Prefix itself holds the
// list's bounds. Of the list's values the newest Keep stay; 0: all.
type Append struct {
	Prefix, Value []byte
	Keep          uint64
}

// Encode returns the bytes to propose.
func (b Batch) Encode() ([]byte, error) {
	p := &storagepb.Batch{
		Checks:       make([]*storagepb.Check, len(b.Checks)),
		DeleteRanges: make([]*storagepb.Range, len(b.DeleteRanges)),
		Deletes:      b.Deletes,
		Puts:         make([]*storagepb.Put, len(b.Puts)),
		Appends:      make([]*storagepb.Append, len(b.Appends)),
	}
	for i, c := range b.Checks {
		p.Checks[i] = &storagepb.Check{Key: c.Key, Revision: c.Revision}
	}
	for i, r := range b.DeleteRanges {
		p.DeleteRanges[i] = &storagepb.Range{Lo: r.Lo, Hi: r.Hi}
	}
	for i, put := range b.Puts {
		p.Puts[i] = &storagepb.Put{Key: put.Key, Value: put.Value, KeepAbove: put.KeepAbove}
	}
	for i, a := range b.Appends {
		p.Appends[i] = &storagepb.Append{Prefix: a.Prefix, Value: a.Value, Keep: a.Keep}
	}
	data, err := proto.Marshal(p)
	if err != nil {
		return nil, fmt.Errorf("encode a batch: %w", err)
	}
	return data, nil
}

// DecodeBatch reads what Encode wrote. It returns ErrBadBatch for anything
// else, and ErrNewerFormat for a batch with parts that this version does not
// know.
func DecodeBatch(data []byte) (Batch, error) {
	var p storagepb.Batch
	if err := proto.Unmarshal(data, &p); err != nil {
		return Batch{}, fmt.Errorf("%w: %v", ErrBadBatch, err)
	}
	unknown := len(p.ProtoReflect().GetUnknown())
	b := Batch{Deletes: p.Deletes}
	for _, c := range p.Checks {
		unknown += len(c.ProtoReflect().GetUnknown())
		b.Checks = append(b.Checks, Check{Key: c.Key, Revision: c.Revision})
	}
	for _, r := range p.DeleteRanges {
		unknown += len(r.ProtoReflect().GetUnknown())
		b.DeleteRanges = append(b.DeleteRanges, KeyRange{Lo: r.Lo, Hi: r.Hi})
	}
	for _, put := range p.Puts {
		unknown += len(put.ProtoReflect().GetUnknown())
		b.Puts = append(b.Puts, Put{Key: put.Key, Value: put.Value, KeepAbove: put.KeepAbove})
	}
	for _, a := range p.Appends {
		unknown += len(a.ProtoReflect().GetUnknown())
		b.Appends = append(b.Appends, Append{Prefix: a.Prefix, Value: a.Value, Keep: a.Keep})
	}
	if unknown > 0 {
		return Batch{}, fmt.Errorf("%w: an entry has parts that this version does not know; upgrade this node", ErrNewerFormat)
	}
	return b, nil
}
