package sim

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/grantd/grantd/cluster/ring"
	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/storage"
	"github.com/grantd/grantd/storage/storagetest"
)

// collect reads what lies on the machines' disks and adds it, and what the
// callers were told, to the evidence.
func (w *World) collect(e *Evidence) (err error) {
	var stores []*storage.DB
	defer func() {
		for _, db := range stores {
			err = errors.Join(err, db.Close())
		}
	}()
	for _, m := range w.Machines {
		db, err := storage.Open(storeDir, storage.Options{FS: m.disk.FS(), CacheBytes: 1 << 20, MemTableBytes: 1 << 18})
		if err != nil {
			return fmt.Errorf("the store of %s cannot be read in the end: %w", m.name(), err)
		}
		stores = append(stores, db)
	}
	groups := make([]*storage.Group, w.Machine.o.Shards)
	for shard := range groups {
		if groups[shard], err = newest(stores, uint16(shard), e); err != nil {
			return err
		}
	}
	events := make(map[credential.Ref][]credential.StoredEvent)
	for shard, g := range groups {
		first, last, err := g.EventBounds()
		if err != nil {
			return err
		}
		list, err := g.Events(0, storage.OutboxEvents)
		if err != nil {
			return err
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
		if err := c.read(groups[ring.ShardOf(a.Ref, len(groups))]); err != nil {
			return err
		}
		e.Cases = append(e.Cases, c)
	}
	return nil
}

// newest returns the replica of a shard that has come farthest. Those that have
// come as far must hold the same.
func newest(stores []*storage.DB, shard uint16, e *Evidence) (best *storage.Group, err error) {
	best = stores[0].Group(shard)
	if len(stores) == 1 {
		return best, nil
	}
	var most uint64
	digests := make(map[uint64][sha256.Size]byte)
	for _, db := range stores {
		g := db.Group(shard)
		at, err := g.Applied()
		if err != nil {
			return nil, err
		}
		if at.Index == 0 {
			continue // it has no replica
		}
		h := sha256.New()
		if _, err := g.Export(h); err != nil {
			return nil, err
		}
		digest := [sha256.Size]byte(h.Sum(nil))
		if other, ok := digests[at.Index]; ok && other != digest {
			e.Seen = append(e.Seen, fmt.Sprintf("two replicas of shard %d have applied %d entries and differ", shard, at.Index))
		}
		if digests[at.Index] = digest; at.Index > most {
			best, most = g, at.Index
		}
	}
	return best, nil
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
