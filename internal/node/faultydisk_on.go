//go:build failpoints

package node

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// faultyDisk returns the disk with syncs that go wrong while a file "disk" in
// the folder that GRANTD_TEST_CONTROL names says so: "fail", and they return an
// error; "hang", and they do not return. nil: there is no such folder.
func faultyDisk() vfs.FS {
	folder := os.Getenv("GRANTD_TEST_CONTROL")
	if folder == "" {
		return nil
	}
	f := &faultyFS{inject: syncFault(filepath.Join(folder, "disk"))}
	f.FS = errorfs.Wrap(vfs.Default, f.inject)
	return f
}

// syncFault is called before every operation.
func syncFault(file string) errorfs.Injector {
	return errorfs.InjectorFunc(func(op errorfs.Op) error {
		switch op.Kind {
		case errorfs.OpFileSync, errorfs.OpFileSyncData, errorfs.OpFileSyncTo:
		default:
			return nil
		}
		told, err := os.ReadFile(file)
		switch {
		case err != nil:
			return nil
		case string(told) == "hang":
			select {}
		}
		return errors.Join(errSyncFault, syscall.EIO)
	})
}

var errSyncFault = errors.New("a sync that a test lets fail")

// faultyFS is errorfs without its hole: a recycled log file escaped it.
type faultyFS struct {
	*errorfs.FS
	inject errorfs.Injector
}

// ReuseForWrite implements vfs.FS.
func (f *faultyFS) ReuseForWrite(oldName, newName string, c vfs.DiskWriteCategory) (vfs.File, error) {
	file, err := vfs.Default.ReuseForWrite(oldName, newName, c)
	if err != nil {
		return nil, err
	}
	return errorfs.WrapFile(file, f.inject), nil
}
