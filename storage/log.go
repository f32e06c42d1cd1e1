package storage

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// Entry is one entry of a raft log. Kind, Data and Extensions are raft's own;
// they are stored as they are.
type Entry struct {
	Index, Term      uint64
	Kind             uint8
	At               time.Time
	Data, Extensions []byte
}

// Log is the raft log of one group. Append and a Truncate of newer entries
// have one caller at a time; a Truncate of older ones, and reads, may run
// beside it.
type Log struct {
	db    *pebble.DB
	group uint16

	mu          sync.RWMutex
	first, last uint64 // 0: the log is empty
}

// Log returns the group's log, the same one each time.
func (g *Group) Log() (*Log, error) {
	if l := g.log.Load(); l != nil {
		return l, nil
	}
	l := &Log{db: g.db.pdb, group: g.id}
	if err := l.readBounds(); err != nil {
		return nil, fmt.Errorf("log of group %d: %w", g.id, err)
	}
	g.log.CompareAndSwap(nil, l)
	return g.log.Load(), nil
}

func (l *Log) readBounds() error {
	it, err := l.db.NewIter(&pebble.IterOptions{LowerBound: logKey(l.group, 0), UpperBound: logEnd(l.group)})
	if err != nil {
		return err
	}
	if it.First() {
		l.first = binary.BigEndian.Uint64(it.Key()[groupKeyLen:])
	}
	if it.Last() {
		l.last = binary.BigEndian.Uint64(it.Key()[groupKeyLen:])
	}
	return it.Close()
}

// IsMonotonic tells raft that the log has no holes: it is emptied before a
// snapshot is installed.
func (l *Log) IsMonotonic() bool { return true }

// FirstIndex returns the oldest entry's index, 0 for an empty log. It is kept
// in memory, so that the tombstones of truncated entries are never scanned.
func (l *Log) FirstIndex() uint64 {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.first
}

// LastIndex returns the newest entry's index, 0 for an empty log.
func (l *Log) LastIndex() uint64 {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.last
}

func (l *Log) bounds() (first, last uint64) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.first, l.last
}

// Get returns an entry, or ErrNotFound. The caller owns it.
func (l *Log) Get(index uint64) (Entry, error) {
	if first, last := l.bounds(); index < first || index > last || first == 0 {
		return Entry{}, ErrNotFound
	}
	v, closer, err := l.db.Get(logKey(l.group, index))
	if errors.Is(err, pebble.ErrNotFound) {
		return Entry{}, ErrNotFound // truncated meanwhile
	}
	if err != nil {
		return Entry{}, fmt.Errorf("log of group %d, entry %d: %w", l.group, index, err)
	}
	defer func() { _ = closer.Close() }()
	e, err := decodeEntry(v)
	e.Index = index
	return e, err
}

// Append stores entries, all or none, and returns when they are synced. Their
// indexes must go on from the last one.
func (l *Log) Append(entries []Entry) error {
	if len(entries) == 0 {
		return nil
	}
	if err := l.checkOrder(entries); err != nil {
		return err
	}
	b := l.db.NewBatch()
	for i := range entries {
		e := &entries[i]
		op := b.SetDeferred(groupKeyLen+8, entryHeaderLen+len(e.Extensions)+len(e.Data))
		binary.BigEndian.AppendUint64(appendGroup(op.Key[:0], tagLog, l.group), e.Index)
		encodeEntry(op.Value, e)
		if err := op.Finish(); err != nil {
			return errors.Join(fmt.Errorf("log of group %d, entry %d: %w", l.group, e.Index, err), b.Close())
		}
	}
	if err := b.Commit(pebble.Sync); err != nil {
		return errors.Join(fmt.Errorf("log of group %d: %w", l.group, err), b.Close())
	}
	l.mu.Lock()
	if l.first == 0 {
		l.first = entries[0].Index
	}
	l.last = entries[len(entries)-1].Index
	l.mu.Unlock()
	return b.Close()
}

func (l *Log) checkOrder(entries []Entry) error {
	next := entries[0].Index
	if last := l.LastIndex(); last != 0 {
		next = last + 1
	}
	for i := range entries {
		if entries[i].Index != next || next == 0 {
			return fmt.Errorf("log of group %d: entry %d was appended where %d has to come", l.group, entries[i].Index, next)
		}
		next++
	}
	return nil
}

// Truncate removes the entries lo to hi, both included: the oldest ones or the
// newest ones. It is not synced; it is ordered before any later Append, for
// they share a write-ahead log.
func (l *Log) Truncate(lo, hi uint64) error {
	first, last := l.bounds()
	if first == 0 || lo > hi || lo > last || hi < first {
		return nil
	}
	if lo > first && hi < last {
		return fmt.Errorf("log of group %d: removing %d to %d would leave a hole in %d to %d", l.group, lo, hi, first, last)
	}
	end := logEnd(l.group)
	if hi < last { // so that hi+1 does not overflow
		end = logKey(l.group, hi+1)
	}
	if err := l.db.DeleteRange(logKey(l.group, lo), end, pebble.NoSync); err != nil {
		return fmt.Errorf("log of group %d: %w", l.group, err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case lo <= l.first && hi >= l.last:
		l.first, l.last = 0, 0
	case lo <= l.first:
		l.first = hi + 1
	default:
		l.last = lo - 1
	}
	return nil
}

// A stored entry is a header of fixed length, then Extensions, then Data:
//
//	layout 1 | kind 1 | term 8 | seconds 8 | nanoseconds 4 | length of Extensions 4
const (
	entryLayout    = 1
	entryHeaderLen = 1 + 1 + 8 + 8 + 4 + 4
)

// encodeEntry fills b, which is as long as the encoded entry.
func encodeEntry(b []byte, e *Entry) {
	b[0], b[1] = entryLayout, e.Kind
	binary.BigEndian.PutUint64(b[2:], e.Term)
	binary.BigEndian.PutUint64(b[10:], uint64(e.At.Unix()))
	binary.BigEndian.PutUint32(b[18:], uint32(e.At.Nanosecond()))
	binary.BigEndian.PutUint32(b[22:], uint32(len(e.Extensions)))
	n := copy(b[entryHeaderLen:], e.Extensions)
	copy(b[entryHeaderLen+n:], e.Data)
}

func decodeEntry(b []byte) (Entry, error) {
	if len(b) < entryHeaderLen {
		return Entry{}, damaged("log entry", fmt.Errorf("%d bytes are too few", len(b)))
	}
	if b[0] != entryLayout {
		return Entry{}, damaged("log entry", fmt.Errorf("layout %d is unknown", b[0]))
	}
	rest := b[entryHeaderLen:]
	n := binary.BigEndian.Uint32(b[22:])
	if uint64(n) > uint64(len(rest)) {
		return Entry{}, damaged("log entry", fmt.Errorf("extensions of %d bytes in %d", n, len(rest)))
	}
	e := Entry{Kind: b[1], Term: binary.BigEndian.Uint64(b[2:])}
	e.At = time.Unix(int64(binary.BigEndian.Uint64(b[10:])), int64(binary.BigEndian.Uint32(b[18:]))).UTC()
	if n > 0 {
		e.Extensions = append([]byte(nil), rest[:n]...)
	}
	if len(rest) > int(n) {
		e.Data = append([]byte(nil), rest[n:]...)
	}
	return e, nil
}
