package storage

import (
	"errors"
	"io"
	"sync"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// DB is a node's store. Its methods, and those of everything that it hands
// out, may be called from many goroutines at once unless they say otherwise;
// after Close nothing of it may be used.
type DB struct {
	pdb    *pebble.DB
	fs     vfs.FS
	dir    string
	lock   *pebble.Lock
	watch  io.Closer // the disk watchdog
	failer failer
	notes  *Journal

	mu     sync.Mutex
	groups map[uint16]*Group
}

// Group returns the handle of a group; the same one for the same id. It costs
// nothing and does no I/O: a group exists once something is written to it.
func (db *DB) Group(id uint16) *Group {
	db.mu.Lock()
	defer db.mu.Unlock()
	g := db.groups[id]
	if g == nil {
		g = &Group{db: db, id: id}
		db.groups[id] = g
	}
	return g
}

// Journal returns this node's own journal.
func (db *DB) Journal() *Journal { return db.notes }

// Fatal ends the process as a disk fault does; it does not return. It is for
// those who learn that this node's state cannot be trusted or carried on, such
// as from an error of [Group.Apply].
func (db *DB) Fatal(reason string) { db.failer.fail(reason) }

// Close flushes and closes the store. All that uses it (raft first of all)
// must have ended before.
func (db *DB) Close() error {
	return errors.Join(db.notes.flush(), db.pdb.Close(), db.lock.Close(), db.watch.Close())
}
