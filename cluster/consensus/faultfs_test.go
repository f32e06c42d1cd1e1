package consensus

import (
	"path"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// crashFS is a disk in memory that takes a picture of itself, as a power cut
// would leave it, right before a given write.
type crashFS struct {
	*errorfs.FS
	mem    *vfs.MemFS
	inject errorfs.Injector

	writes  atomic.Int64
	at      int64 // the write before which the power is cut
	crashed atomic.Bool

	mu   sync.Mutex
	left *vfs.MemFS // what the disk holds after the cut
}

// newCrashFS returns a disk over mem that is cut before write number at, from 1.
func newCrashFS(mem *vfs.MemFS, at int64) *crashFS {
	f := &crashFS{mem: mem, at: at}
	f.inject = errorfs.InjectorFunc(f.count)
	f.FS = errorfs.Wrap(f.mem, f.inject)
	return f
}

// count is called before every operation.
func (f *crashFS) count(op errorfs.Op) error {
	if op.Kind.ReadOrWrite() == errorfs.OpIsWrite && f.writes.Add(1) == f.at {
		f.cut()
	}
	return nil
}

// cut cuts the power, unless it is cut already.
func (f *crashFS) cut() {
	if f.crashed.Swap(true) { // set first: what is acknowledged from now on does not count
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.left = f.mem.CrashClone(vfs.CrashCloneCfg{})
}

// after returns the disk as the next start finds it.
func (f *crashFS) after() *vfs.MemFS {
	f.cut()
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.left
}

// ReuseForWrite repairs a hole of errorfs: a recycled log file escaped it.
func (f *crashFS) ReuseForWrite(oldName, newName string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if err := f.inject.MaybeError(errorfs.Op{Kind: errorfs.OpReuseForWrite, Path: oldName}); err != nil {
		return nil, err
	}
	file, err := f.mem.ReuseForWrite(oldName, newName, c)
	if err != nil {
		return nil, err
	}
	return errorfs.WrapFile(file, f.inject), nil
}

// lyingFS is a disk that acknowledges syncs of the write-ahead log without
// doing them.
type lyingFS struct{ vfs.FS }

func lie(name string, f vfs.File, err error) (vfs.File, error) {
	if err == nil && path.Ext(name) == ".log" {
		f = lyingFile{f}
	}
	return f, err
}

func (l lyingFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := l.FS.Create(name, c)
	return lie(name, f, err)
}

func (l lyingFS) ReuseForWrite(oldName, newName string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := l.FS.ReuseForWrite(oldName, newName, c)
	return lie(newName, f, err)
}

type lyingFile struct{ vfs.File }

func (lyingFile) Sync() error     { return nil }
func (lyingFile) SyncData() error { return nil }
func (lyingFile) SyncTo(int64) (fullSync bool, err error) {
	return false, nil
}
