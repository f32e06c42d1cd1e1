package storage

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"

	"github.com/cockroachdb/pebble/v2"
)

// A snapshot is a stream: magic, then the keys of the group's state in order,
// each as
//
//	length of key, varint | length of value, varint | key | value
//
// The first key is the applied record's. The length 0 in place of a key ends
// the stream, with a CRC-32C of all bytes before it. Keys lack the tag and the
// group, so that the stream does not depend on them.
const snapshotMagic = "grantd snapshot 1\n"

func newSnapshotHash() hash.Hash32 { return crc32.New(crc32.MakeTable(crc32.Castagnoli)) }

// Export writes the group's state as it stands now, while writes go on, and
// says up to which entry it goes. The group must have applied an entry before.
// What it writes may be read by any later version.
func (g *Group) Export(w io.Writer) (Applied, error) {
	// An iterator, not a Pebble snapshot: it stays consistent even if an Import
	// replaces the state meanwhile.
	it, err := g.db.pdb.NewIter(&pebble.IterOptions{LowerBound: appliedKey(g.id), UpperBound: stateEnd(g.id)})
	if err != nil {
		return Applied{}, fmt.Errorf("export group %d: %w", g.id, err)
	}
	a, err := exportAll(it, w)
	if err := errors.Join(err, it.Close()); err != nil {
		return Applied{}, fmt.Errorf("export group %d: %w", g.id, err)
	}
	return a, nil
}

func exportAll(it *pebble.Iterator, w io.Writer) (a Applied, err error) {
	if !it.First() || len(it.Key()) != groupKeyLen+1 {
		return a, errors.Join(it.Error(), fmt.Errorf("%w: the group has no state yet", ErrNotFound))
	}
	if a, err = decodeApplied(it.Value()); err != nil {
		return a, err
	}
	sum := newSnapshotHash()
	buf := bufio.NewWriterSize(w, 64<<10)
	out := io.MultiWriter(buf, sum)
	if _, err := io.WriteString(out, snapshotMagic); err != nil {
		return a, err
	}
	for ok := true; ok; ok = it.Next() {
		value, err := it.ValueAndErr()
		if err != nil {
			return a, err
		}
		if err := writePair(out, it.Key()[groupKeyLen:], value); err != nil {
			return a, err
		}
	}
	if err := it.Error(); err != nil {
		return a, err
	}
	if _, err := out.Write([]byte{0}); err != nil {
		return a, err
	}
	if _, err := buf.Write(sum.Sum(nil)); err != nil {
		return a, err
	}
	return a, buf.Flush()
}

func writePair(w io.Writer, key, value []byte) error {
	head := binary.AppendUvarint(make([]byte, 0, 2*binary.MaxVarintLen32), uint64(len(key)))
	head = binary.AppendUvarint(head, uint64(len(value)))
	for _, b := range [][]byte{head, key, value} {
		if _, err := w.Write(b); err != nil {
			return err
		}
	}
	return nil
}
