package storage

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"strconv"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/atomicfs"
)

// formatVersion is the version of all that this package writes. A version that
// older programs would misread must raise it.
const formatVersion = 1

// formatMagic begins the value of the format key.
const formatMagic = "grantd"

// Open opens the store in the directory, which is created if need be, and
// keeps others out of it until Close. Its errors say what is to be done; they
// are ErrInUse, ErrNotWritable, ErrForeign, ErrNewerFormat, or Pebble's own
// for damage.
func Open(dir string, o Options) (*DB, error) {
	o = o.withDefaults()
	f := failer{logger: o.Logger, fatal: o.Fatal}
	fsys, watch := o.fileSystem(f)
	db := &DB{fs: fsys, dir: dir, watch: watch, failer: f, groups: map[uint16]*Group{}}
	if err := db.open(o); err != nil {
		_ = watch.Close()
		return nil, err
	}
	return db, nil
}

func (db *DB) open(o Options) error {
	if err := prepareDir(db.fs, db.dir); err != nil {
		return err
	}
	lock, err := lockDir(db.fs, db.dir)
	if err != nil {
		return err
	}
	db.lock = lock
	if err := checkPebbleFormat(db.fs, db.dir); err != nil {
		return errors.Join(err, lock.Close())
	}
	if db.pdb, err = pebble.Open(db.dir, o.pebble(db.fs, lock, db.failer)); err != nil {
		_ = lock.Close()
		return openError(db.dir, err)
	}
	db.notes = newJournal(db.pdb)
	err = errors.Join(checkFormat(db.pdb, db.dir), removeLeftovers(db.fs, db.importDir()))
	if err != nil {
		return errors.Join(err, db.pdb.Close(), lock.Close())
	}
	return nil
}

// prepareDir creates the directory and proves that it can be written to, so
// that a read-only one gets a plain answer.
func prepareDir(fsys vfs.FS, dir string) error {
	if err := fsys.MkdirAll(dir, 0o700); err != nil {
		return notWritable(dir, err)
	}
	probe := fsys.PathJoin(dir, "write-test")
	file, err := fsys.Create(probe, vfs.WriteCategoryUnspecified)
	if err != nil {
		return notWritable(dir, err)
	}
	if err := errors.Join(file.Close(), fsys.Remove(probe)); err != nil {
		return notWritable(dir, err)
	}
	return nil
}

func notWritable(dir string, err error) error {
	if diskFull(err) {
		return fmt.Errorf("data directory %s: %s: %w", dir, diskFullReason, err)
	}
	return fmt.Errorf("%w: %s: %w; give the user that runs grantd write access to it, or choose another directory", ErrNotWritable, dir, err)
}

// lockDir takes the directory's lock. A lock file that cannot be opened is a
// matter of access rights; one that opens but cannot be locked is held by
// somebody.
func lockDir(fsys vfs.FS, dir string) (*pebble.Lock, error) {
	lock, err := pebble.LockDirectory(dir, fsys)
	if err == nil {
		return lock, nil
	}
	if pathErr := (*fs.PathError)(nil); errors.As(err, &pathErr) {
		return nil, notWritable(dir, err)
	}
	return nil, fmt.Errorf("%w: %s is open in another process (%w); stop that one, or choose another directory", ErrInUse, dir, err)
}

func openError(dir string, err error) error {
	if diskFull(err) {
		return fmt.Errorf("data directory %s: %s: %w", dir, diskFullReason, err)
	}
	return fmt.Errorf("%w: opening the store in %s: %w; if grantd did not write this directory, choose another one; else restore it from a backup, or empty it and let the node join again", ErrCorrupt, dir, err)
}

// checkPebbleFormat refuses a store whose files are of a format that this
// program has not been taught yet: Pebble would call them damaged.
func checkPebbleFormat(fsys vfs.FS, dir string) error {
	marker, err := atomicfs.ReadMarker(fsys, dir, "format-version")
	if err != nil {
		return openError(dir, err)
	}
	version, err := strconv.ParseUint(marker, 10, 64)
	if err != nil || version <= uint64(pebbleFormat) {
		return nil // new, or Pebble's to judge
	}
	return fmt.Errorf("%w: %s has files of Pebble format %d, this program knows up to %d; run the newer version of grantd", ErrNewerFormat, dir, version, pebbleFormat)
}

// checkFormat marks a new store with the format version and refuses one that
// was not written by grantd, or by a newer one.
func checkFormat(pdb *pebble.DB, dir string) error {
	key := []byte{tagFormat}
	v, closer, err := pdb.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		empty, err := isEmpty(pdb)
		if err != nil {
			return err
		}
		if !empty {
			return fmt.Errorf("%w: %s holds a Pebble store without grantd's mark; choose another directory", ErrForeign, dir)
		}
		return pdb.Set(key, encodeFormat(formatVersion), pebble.Sync)
	}
	if err != nil {
		return openError(dir, err)
	}
	version, err := decodeFormat(v)
	if err := errors.Join(err, closer.Close()); err != nil {
		return fmt.Errorf("%w: %s: %w; choose another directory", ErrForeign, dir, err)
	}
	if version > formatVersion {
		return fmt.Errorf("%w: %s has store format %d, this program knows up to %d; run the newer version of grantd", ErrNewerFormat, dir, version, formatVersion)
	}
	return nil
}

func encodeFormat(version uint32) []byte {
	return binary.BigEndian.AppendUint32([]byte(formatMagic), version)
}

func decodeFormat(v []byte) (uint32, error) {
	if len(v) != len(formatMagic)+4 || string(v[:len(formatMagic)]) != formatMagic {
		return 0, fmt.Errorf("format mark %q is not grantd's", v)
	}
	return binary.BigEndian.Uint32(v[len(formatMagic):]), nil
}

func isEmpty(pdb *pebble.DB) (bool, error) {
	it, err := pdb.NewIter(nil)
	if err != nil {
		return false, err
	}
	some := it.First()
	return !some, errors.Join(it.Error(), it.Close())
}
