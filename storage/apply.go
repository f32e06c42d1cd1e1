package storage

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"slices"

	"github.com/cockroachdb/pebble/v2"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/grantd/grantd/storage/storagepb"
)

// Command is a committed entry on its way into the state.
type Command struct {
	Index, Term uint64
	Batch       []byte // an encoded Batch; nil: none
	Conf        []byte // raft's configuration, where the entry brings one
}

// Result is what became of a command.
type Result struct {
	Index    uint64 // the revision of all that the command wrote
	Conflict bool   // a check failed: nothing was changed
	Appended bool   // a list was appended to: the outbox is the only one
	// Err is ErrBadBatch where the entry could not be read: nothing was changed,
	// and every other node found the same.
	Err error
}

// Apply carries out committed entries in their order, in one write that also
// advances the applied index. Later entries of the call see what earlier ones
// wrote. Entries up to the applied index are skipped (their results say only
// the index), so that a log may be replayed after a restart; for that reason
// nothing is synced: the log was.
//
// An error means that the state could not be read or written, or that an entry
// needs a newer version (ErrNewerFormat). Then nothing of the call was applied,
// and the node must not go on with this group: see [DB.Fatal].
func (g *Group) Apply(entries []Command) ([]Result, error) {
	applied, err := g.Applied()
	if err != nil {
		return nil, err
	}
	results, next, err := g.apply(applied, entries, false)
	if errors.Is(err, errReadsOwnWrite) {
		results, next, err = g.apply(applied, entries, true)
	}
	if err != nil {
		return nil, fmt.Errorf("apply entries to group %d: %w", g.id, err)
	}
	g.applied.Store(&next)
	return results, nil
}

// apply is Apply with a batch that is indexed or not. One that is not costs
// less, and will do unless an entry reads what an earlier one of the call
// wrote: then the error is errReadsOwnWrite, and nothing was done.
func (g *Group) apply(applied Applied, entries []Command, indexed bool) ([]Result, Applied, error) {
	m := newMachine(g, len(entries), indexed)
	results, err := m.run(&applied, entries)
	if err == nil {
		err = m.commit(applied)
	}
	return results, applied, errors.Join(err, m.batch.Close())
}

// machine is one call of Apply.
type machine struct {
	group  *Group
	batch  *pebble.Batch
	reader pebble.Reader // the state, with what this call wrote so far
	key    []byte        // scratch
	parts  Batch         // the present entry
	lists  []list        // the lists that the present entry appends to
	// wrote has a hash of each key that this call wrote, where the reader may
	// not see it in time; nil: it does. ranged: a range was deleted, too.
	wrote  map[uint64]struct{}
	ranged bool
}

var (
	errReadsOwnWrite = errors.New("storage: an entry reads what an earlier one wrote")
	hashSeed         = maphash.MakeSeed()
)

func newMachine(g *Group, entries int, indexed bool) *machine {
	if indexed {
		b := g.db.pdb.NewIndexedBatch()
		return &machine{group: g, batch: b, reader: b}
	}
	m := &machine{group: g, batch: g.db.pdb.NewBatch(), reader: g.db.pdb}
	if entries > 1 { // a lone one reads before it writes
		m.wrote = make(map[uint64]struct{}, 8*entries)
	}
	return m
}

// note remembers that a key was written.
func (m *machine) note(full []byte) {
	if m.wrote != nil {
		m.wrote[maphash.Bytes(hashSeed, full)] = struct{}{}
	}
}

// unseen reports whether the key may have been written by this call without
// the reader seeing it.
func (m *machine) unseen(full []byte) bool {
	if m.wrote == nil {
		return false
	}
	_, wrote := m.wrote[maphash.Bytes(hashSeed, full)]
	return wrote || m.ranged
}

func (m *machine) run(applied *Applied, entries []Command) ([]Result, error) {
	results := make([]Result, len(entries))
	for i := range entries {
		e := &entries[i]
		results[i].Index = e.Index
		if e.Index <= applied.Index {
			continue
		}
		if e.Batch != nil {
			conflict, err := m.entry(e.Index, e.Batch)
			switch {
			case errors.Is(err, ErrBadBatch):
				results[i].Err = err
			case err != nil:
				return nil, fmt.Errorf("entry %d: %w", e.Index, err)
			}
			results[i].Conflict = conflict
			results[i].Appended = err == nil && !conflict && len(m.parts.Appends) > 0
		}
		if e.Conf != nil {
			applied.ConfIndex, applied.Conf = e.Index, bytes.Clone(e.Conf)
		}
		applied.Index, applied.Term = e.Index, e.Term
	}
	return results, nil
}

func (m *machine) commit(a Applied) error {
	v, err := encodeApplied(a)
	if err != nil {
		return err
	}
	if err := m.batch.Set(appliedKey(m.group.id), v, nil); err != nil {
		return err
	}
	return m.batch.Commit(pebble.NoSync)
}

// entry carries out one batch: first all reads, then all writes.
func (m *machine) entry(index uint64, data []byte) (conflict bool, err error) {
	b := &m.parts
	if err := b.decode(data); err != nil {
		return false, err
	}
	for _, c := range b.Checks {
		if holds, err := m.check(c, b.Puts); err != nil || !holds {
			return !holds && err == nil, err
		}
	}
	if err := m.keep(b); err != nil {
		return false, err
	}
	if err := m.openLists(b.Appends); err != nil {
		return false, err
	}
	return false, m.write(index, b)
}

// check reports whether a check holds. What is read for it serves the puts of
// the same key, too: a record is checked and written in one entry, and is read
// once.
func (m *machine) check(c Check, puts []Put) (holds bool, err error) {
	var rev uint64
	err = m.read(c.Key, func(old []byte, r uint64) error {
		rev = r
		keepFields(puts, c.Key, old)
		return nil
	})
	return rev == c.Revision, err
}

// keep adds to the values what is to be kept of old ones that no check has read.
func (m *machine) keep(b *Batch) error {
	for _, p := range b.Puts {
		checked := func(c Check) bool { return bytes.Equal(c.Key, p.Key) }
		if p.KeepAbove == 0 || slices.ContainsFunc(b.Checks, checked) {
			continue
		}
		err := m.read(p.Key, func(old []byte, _ uint64) error {
			keepFields(b.Puts, p.Key, old)
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// keepFields adds to the puts of the key what they keep of its old value.
func keepFields(puts []Put, key, old []byte) {
	for i := range puts {
		if p := &puts[i]; p.KeepAbove != 0 && bytes.Equal(p.Key, key) {
			p.Value = appendFieldsAbove(p.Value, old, p.KeepAbove)
		}
	}
}

// read calls fn with the value of a key, if there is one.
func (m *machine) read(key []byte, fn func(value []byte, rev uint64) error) error {
	m.key = appendStateKey(m.key[:0], m.group.id, key)
	if m.unseen(m.key) {
		return errReadsOwnWrite
	}
	stored, closer, err := m.reader.Get(m.key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = closer.Close() }()
	value, rev, err := splitValue(stored)
	if err != nil {
		return err
	}
	return fn(value, rev)
}

// appendFieldsAbove appends to a protobuf message the top-level fields of
// another one whose numbers are higher than above. What cannot be read of old
// is left out.
func appendFieldsAbove(msg, old []byte, above uint32) []byte {
	for len(old) > 0 {
		number, _, n := protowire.ConsumeField(old)
		if n < 0 {
			break
		}
		if uint32(number) > above {
			msg = append(msg, old[:n]...)
		}
		old = old[n:]
	}
	return msg
}

// list is a numbered list that the present entry appends to.
type list struct {
	prefix []byte
	bounds *storagepb.ListBounds
}

func (m *machine) openLists(appends []Append) error {
	m.lists = m.lists[:0]
	for _, a := range appends {
		if m.list(a.Prefix) != nil {
			continue
		}
		l := list{a.Prefix, &storagepb.ListBounds{First: 1}}
		err := m.read(a.Prefix, func(v []byte, _ uint64) error {
			return decodeBounds(v, l.bounds)
		})
		if err != nil {
			return err
		}
		m.lists = append(m.lists, l)
	}
	return nil
}

func (m *machine) list(prefix []byte) *list {
	i := slices.IndexFunc(m.lists, func(l list) bool { return bytes.Equal(l.prefix, prefix) })
	if i < 0 {
		return nil
	}
	return &m.lists[i]
}

func decodeBounds(v []byte, b *storagepb.ListBounds) error {
	if err := proto.Unmarshal(v, b); err != nil {
		return damaged("bounds of a list", err)
	}
	return nil
}

func (m *machine) write(index uint64, b *Batch) error {
	for _, r := range b.DeleteRanges {
		if bytes.Compare(r.Lo, r.Hi) >= 0 {
			continue
		}
		lo, hi := appendStateKey(nil, m.group.id, r.Lo), appendStateKey(nil, m.group.id, r.Hi)
		if err := m.batch.DeleteRange(lo, hi, nil); err != nil {
			return err
		}
		m.ranged = true
	}
	for _, k := range b.Deletes {
		if err := m.delete(k); err != nil {
			return err
		}
	}
	for _, p := range b.Puts {
		if err := m.put(index, p.Key, p.Value); err != nil {
			return err
		}
	}
	return m.writeLists(index, b.Appends)
}

func (m *machine) writeLists(index uint64, appends []Append) error {
	for _, a := range appends {
		b := m.list(a.Prefix).bounds
		b.Last++
		if err := m.put(index, appendNumber(a.Prefix, b.Last), a.Value); err != nil {
			return err
		}
		if a.Keep == 0 {
			continue
		}
		// Two at most, so that a list which is to become shorter does so step by
		// step, and no entry is costly.
		for range 2 {
			if b.Last-b.First < a.Keep {
				break
			}
			if err := m.delete(appendNumber(a.Prefix, b.First)); err != nil {
				return err
			}
			b.First++
		}
	}
	for _, l := range m.lists {
		v, err := proto.Marshal(l.bounds)
		if err != nil {
			return err
		}
		if err := m.put(index, l.prefix, v); err != nil {
			return err
		}
	}
	return nil
}

func (m *machine) put(index uint64, key, value []byte) error {
	op := m.batch.SetDeferred(groupKeyLen+1+len(key), revLen+len(value))
	appendStateKey(op.Key[:0], m.group.id, key)
	m.note(op.Key)
	binary.BigEndian.PutUint64(op.Value, index)
	copy(op.Value[revLen:], value)
	return op.Finish()
}

func (m *machine) delete(key []byte) error {
	m.key = appendStateKey(m.key[:0], m.group.id, key)
	m.note(m.key)
	return m.batch.Delete(m.key, nil)
}
