// Package storagetest has simulated disks for tests: they crash, losing what
// was not synced, and fail when they are told to.
//
// A disk is handed to storage.Options.FS (or to anything else that takes a
// vfs.FS). It knows nothing of what is stored on it.
package storagetest

import (
	"math/rand/v2"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// Disk is a disk in memory. It is safe for concurrent use.
type Disk struct {
	mem    *vfs.MemFS
	writes atomic.Int64
	hook   atomic.Pointer[func(Write) error]
}

// Write is an operation that is about to change a disk.
type Write struct {
	N    int64  // counts the disk's writes, from 1
	Kind Kind   // what is about to be done
	Path string // of the file; of the old one for a rename or link
}

// Kind is what a Write does.
type Kind uint8

// The kinds of writes.
const (
	Other Kind = iota // create, rename, link, remove and the like
	Data              // a write to a file
	Sync              // a sync of a file or directory
)

// NewDisk returns an empty disk.
func NewDisk() *Disk { return &Disk{mem: vfs.NewCrashableMem()} }

// Crash returns what is left of the disk if the power fails now: all that was
// synced, and of the rest each block with the given probability in percent,
// drawn by the seed. The disk itself goes on; what is written to it later does
// not show on the one that was returned. Hooks are not carried over.
func (d *Disk) Crash(unsyncedPercent int, seed uint64) *Disk {
	cfg := vfs.CrashCloneCfg{UnsyncedDataPercent: unsyncedPercent, RNG: rand.New(rand.NewPCG(seed, 1))}
	return &Disk{mem: d.mem.CrashClone(cfg)}
}

// BeforeWrite has fn called before each write from now on; nil: no more. An
// error that fn returns becomes the outcome of the write, which is then not
// done. fn runs on the writing goroutine and, for some writes, with locks of
// Pebble held: it must not use the store, and neither sleep nor wait. It may
// call Crash.
func (d *Disk) BeforeWrite(fn func(Write) error) {
	if fn == nil {
		d.hook.Store(nil)
		return
	}
	d.hook.Store(&fn)
}

// Writes returns how many writes there were.
func (d *Disk) Writes() int64 { return d.writes.Load() }

// FS returns the disk as a file system.
func (d *Disk) FS() vfs.FS {
	return &fileSystem{FS: errorfs.Wrap(d.mem, injector{d, ""}), disk: d}
}

func (d *Disk) before(op errorfs.Op) error {
	if op.Kind.ReadOrWrite() == errorfs.OpIsRead {
		return nil
	}
	w := Write{N: d.writes.Add(1), Path: op.Path}
	switch op.Kind {
	case errorfs.OpFileWrite, errorfs.OpFileWriteAt:
		w.Kind = Data
	case errorfs.OpFileSync, errorfs.OpFileSyncData, errorfs.OpFileSyncTo:
		w.Kind = Sync
	}
	if fn := d.hook.Load(); fn != nil {
		return (*fn)(w)
	}
	return nil
}

// injector is the disk as errorfs wants it.
type injector struct {
	disk *Disk
	path string // of the file, where errorfs does not tell it
}

// String names the injector for errorfs.
func (injector) String() string { return "storagetest" }

// MaybeError is called by errorfs before each operation.
func (i injector) MaybeError(op errorfs.Op) error {
	if op.Path == "" {
		op.Path = i.path
	}
	return i.disk.before(op)
}

// fileSystem closes a hole in errorfs, which hands out recycled write-ahead
// logs unwrapped.
type fileSystem struct {
	*errorfs.FS
	disk *Disk
}

// ReuseForWrite renames a file and opens it for writing.
func (f *fileSystem) ReuseForWrite(oldName, newName string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if err := f.disk.before(errorfs.Op{Kind: errorfs.OpReuseForWrite, Path: oldName}); err != nil {
		return nil, err
	}
	file, err := f.disk.mem.ReuseForWrite(oldName, newName, c)
	if err != nil {
		return nil, err
	}
	return errorfs.WrapFile(file, injector{f.disk, newName}), nil
}
