package sim

import (
	"errors"
	"path"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// orderedFS is a disk that keeps the order of changes to a directory, as the
// journals of ext4, XFS and others do: what a marker of Pebble's names is on the
// disk before the marker is. Without it, where only some of what is not synced
// survives a crash, a marker may be left that names a manifest which is not
// there, and Pebble relies on the order.
type orderedFS struct{ vfs.FS }

// Create implements vfs.FS.
func (o orderedFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if strings.HasPrefix(path.Base(name), "marker.") {
		dir, err := o.OpenDir(path.Dir(name))
		if err != nil {
			return nil, err
		}
		if err := errors.Join(dir.Sync(), dir.Close()); err != nil {
			return nil, err
		}
	}
	return o.FS.Create(name, c)
}

// lyingFS is a disk that acknowledges syncs of the write-ahead log without
// doing them.
type lyingFS struct{ vfs.FS }

// Create implements vfs.FS.
func (l lyingFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := l.FS.Create(name, c)
	return lie(name, f, err)
}

// ReuseForWrite implements vfs.FS.
func (l lyingFS) ReuseForWrite(oldName, newName string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := l.FS.ReuseForWrite(oldName, newName, c)
	return lie(newName, f, err)
}

func lie(name string, f vfs.File, err error) (vfs.File, error) {
	if err == nil && path.Ext(name) == ".log" {
		f = lyingFile{f}
	}
	return f, err
}

type lyingFile struct{ vfs.File }

// Sync implements vfs.File.
func (lyingFile) Sync() error { return nil }

// SyncData implements vfs.File.
func (lyingFile) SyncData() error { return nil }

// SyncTo implements vfs.File.
func (lyingFile) SyncTo(int64) (fullSync bool, err error) { return false, nil }
