package sim

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/grantd/grantd/cluster/ring"
	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/storage"
	"github.com/grantd/grantd/storage/storagetest"
)

// collect reads what lies on the machine's disk and adds it, and what the
// callers were told, to the evidence.
func (w *World) collect(e *Evidence) error {
	db, err := storage.Open(storeDir, storage.Options{FS: w.Machine.disk.FS(), CacheBytes: 1 << 20, MemTableBytes: 1 << 18})
	if err != nil {
		return fmt.Errorf("the store cannot be read in the end: %w", err)
	}
	events := make(map[credential.Ref][]storage.StoredEvent)
	for shard := range w.Machine.o.Shards {
		first, last, err := db.Group(uint16(shard)).EventBounds()
		if err != nil {
			return errors.Join(err, db.Close())
		}
		list, err := db.Group(uint16(shard)).Events(0, storage.OutboxEvents)
		if err != nil {
			return errors.Join(err, db.Close())
		}
		if int(last-first)+1 != len(list) {
			e.Seen = append(e.Seen, fmt.Sprintf("I5: the outbox of shard %d has %d events from %d to %d", shard, len(list), first, last))
		}
		for _, ev := range list {
			events[ev.Event.Ref] = append(events[ev.Event.Ref], ev)
		}
	}
	for _, a := range w.all() {
		c := Case{Ref: a.Ref, Kind: a.Kind, Book: a.book, Events: events[a.Ref], Final: w.final[a.Ref]}
		if err := c.read(db.Group(ring.ShardOf(a.Ref, w.Machine.o.Shards))); err != nil {
			return errors.Join(err, db.Close())
		}
		e.Cases = append(e.Cases, c)
	}
	return db.Close()
}

// read reads the account's record and history.
func (c *Case) read(g *storage.Group) error {
	rec, _, err := g.Account(c.Ref)
	if errors.Is(err, credential.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	c.Record = &rec
	for below := uint64(0); ; {
		h, err := g.History(c.Ref, below, storage.HistoryLines)
		if err != nil {
			return err
		}
		for _, l := range h.Lines {
			c.Lines = append([]credential.NumberedLine{l}, c.Lines...)
		}
		if below = h.Next; below == 0 {
			return nil
		}
	}
}

// readJournal reads the journal on a disk that a crash left, and may empty it.
func readJournal(disk *storagetest.Disk, forget bool) (notes []Note, err error) {
	on := disk
	if !forget {
		on = disk.Crash(100, 0) // reading writes, too
	}
	db, err := storage.Open(storeDir, storage.Options{FS: on.FS(), CacheBytes: 1 << 20, MemTableBytes: 1 << 18})
	if err != nil {
		return nil, fmt.Errorf("what the crash left cannot be read: %w", err)
	}
	err = db.Journal().Each(func(attempt string, value []byte) (bool, error) {
		var n Note
		if err := json.Unmarshal(value, &n); err != nil {
			return false, err
		}
		notes = append(notes, n)
		if forget {
			return true, db.Journal().Delete(attempt)
		}
		return true, nil
	})
	return notes, errors.Join(err, db.Close())
}
