package storage

import "fmt"

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

// MaxBatchBytes bounds an encoded batch. Everything that carries one (log,
// network, snapshot) may rely on it.
const MaxBatchBytes = 32 << 20

// Encode returns the bytes to propose: a Batch message of storage.proto. The
// error is ErrBadBatch for one that exceeds MaxBatchBytes.
func (b Batch) Encode() ([]byte, error) {
	n := b.size()
	if n > MaxBatchBytes {
		return nil, fmt.Errorf("%w: %d bytes, at most %d are allowed", ErrBadBatch, n, MaxBatchBytes)
	}
	return b.append(make([]byte, 0, n)), nil
}

// DecodeBatch reads what Encode wrote. It returns ErrBadBatch for what is no
// batch, and ErrNewerFormat for a batch with parts that this version does not
// know. The keys and values lie in data.
func DecodeBatch(data []byte) (Batch, error) {
	var b Batch
	err := b.decode(data)
	return b, err
}
