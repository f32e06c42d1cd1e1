package storage

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/objstorage/objstorageprovider"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"
)

const (
	// importTableBytes is about how large the tables are that a snapshot is cut into.
	importTableBytes = 32 << 20
	// maxPairBytes is more than any key and value of a state have: an entry of
	// the log must hold them.
	maxPairBytes = 64 << 20
)

// Import replaces the group's state, its applied index included, by a snapshot
// that Export wrote. It happens at once, and is synced when Import returns; if
// Import fails, or the process dies before, the old state stands as it was. The
// log is not touched: it is the caller's to empty.
func (g *Group) Import(r io.Reader) error {
	im := &importer{group: g, sum: newSnapshotHash()}
	im.in = bufio.NewReaderSize(r, 64<<10)
	if err := im.run(); err != nil {
		return fmt.Errorf("import a snapshot into group %d: %w", g.id, errors.Join(err, im.discard()))
	}
	span := pebble.KeyRange{Start: appliedKey(g.id), End: stateEnd(g.id)}
	if _, err := g.db.pdb.IngestAndExcise(context.Background(), im.paths, nil, nil, span); err != nil {
		return fmt.Errorf("import a snapshot into group %d: %w", g.id, errors.Join(err, im.discard()))
	}
	g.applied.Store(&im.applied)
	return nil
}

// importDir is where snapshots wait as tables until they are installed.
func (db *DB) importDir() string { return db.fs.PathJoin(db.dir, "import") }

// removeLeftovers deletes what a crash during an Import left.
func removeLeftovers(fsys vfs.FS, dir string) error {
	if err := fsys.RemoveAll(dir); err != nil {
		return fmt.Errorf("remove leftovers of an interrupted snapshot in %s: %w", dir, err)
	}
	return nil
}

// importer turns a stream into tables that Pebble can take in.
type importer struct {
	group   *Group
	in      *bufio.Reader
	sum     hash.Hash32
	applied Applied

	table *sstable.Writer
	size  int // of the present table
	paths []string
	key   []byte // scratch: the full key
	last  []byte // the key before it, to see that they are in order
	pair  []byte // scratch: key and value as read
}

func (im *importer) run() error {
	magic := make([]byte, len(snapshotMagic))
	if err := im.read(magic); err != nil {
		return err
	}
	if string(magic) != snapshotMagic {
		return fmt.Errorf("%w: it does not begin as a snapshot of this version does", ErrCorrupt)
	}
	fsys := im.group.db.fs
	if err := fsys.MkdirAll(im.group.db.importDir(), 0o700); err != nil {
		return err
	}
	for {
		key, value, err := im.next()
		if err != nil {
			return err
		}
		if key == nil {
			break
		}
		if err := im.add(key, value); err != nil {
			return err
		}
	}
	if err := im.checkSum(); err != nil {
		return err
	}
	return im.closeTable()
}

// next returns the next pair, which is good until the next call; a nil key at
// the end.
func (im *importer) next() (key, value []byte, err error) {
	keyLen, err := im.readLen()
	if err != nil || keyLen == 0 {
		return nil, nil, err
	}
	valueLen, err := im.readLen()
	if err != nil {
		return nil, nil, err
	}
	n := keyLen + valueLen
	if n > maxPairBytes {
		return nil, nil, fmt.Errorf("%w: a key and value of %d bytes", ErrCorrupt, n)
	}
	// Grown by what really arrives: a length that lies must not cost memory.
	im.pair = im.pair[:0]
	for len(im.pair) < n {
		at := len(im.pair)
		step := min(n-at, 1<<20)
		im.pair = append(im.pair, make([]byte, step)...)
		if err := im.read(im.pair[at:]); err != nil {
			return nil, nil, err
		}
	}
	return im.pair[:keyLen], im.pair[keyLen:], nil
}

func (im *importer) readLen() (int, error) {
	n, err := binary.ReadUvarint(byteReader{im})
	if err != nil {
		return 0, cutOff(err)
	}
	if n > maxPairBytes {
		return 0, fmt.Errorf("%w: a length of %d bytes", ErrCorrupt, n)
	}
	return int(n), nil
}

// byteReader reads single bytes and adds them to the sum.
type byteReader struct{ im *importer }

func (r byteReader) ReadByte() (byte, error) {
	c, err := r.im.in.ReadByte()
	if err == nil {
		_, _ = r.im.sum.Write([]byte{c}) // a hash never fails
	}
	return c, err
}

func (im *importer) read(p []byte) error {
	if _, err := io.ReadFull(im.in, p); err != nil {
		return cutOff(err)
	}
	_, _ = im.sum.Write(p) // a hash never fails
	return nil
}

func cutOff(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: it ends too early", ErrCorrupt)
	}
	return err
}

func (im *importer) checkSum() error {
	want := im.sum.Sum(nil)
	got := make([]byte, len(want))
	if _, err := io.ReadFull(im.in, got); err != nil {
		return cutOff(err)
	}
	if !bytes.Equal(got, want) {
		return fmt.Errorf("%w: its checksum is wrong", ErrCorrupt)
	}
	if len(im.paths) == 0 {
		return fmt.Errorf("%w: it is empty", ErrCorrupt)
	}
	return nil
}

func (im *importer) add(key, value []byte) error {
	if err := im.check(key, value); err != nil {
		return err
	}
	if im.table == nil {
		if err := im.openTable(); err != nil {
			return err
		}
	}
	if err := im.table.Set(im.key, value); err != nil {
		return err
	}
	if im.size += len(im.key) + len(value); im.size >= importTableBytes {
		return im.closeTable()
	}
	return nil
}

// check lets only what Export can have written into the group's span.
func (im *importer) check(key, value []byte) error {
	first := len(im.paths) == 0
	im.key = append(appendGroup(im.key[:0], tagState, im.group.id), key...)
	switch {
	case first && !bytes.Equal(im.key, appliedKey(im.group.id)):
		return fmt.Errorf("%w: it does not begin with the applied index", ErrCorrupt)
	case first:
		a, err := decodeApplied(value)
		if err != nil {
			return err
		}
		im.applied = a
	case key[0] != subState:
		return fmt.Errorf("%w: a key of kind %d", ErrCorrupt, key[0])
	case bytes.Compare(im.key, im.last) <= 0:
		return fmt.Errorf("%w: its keys are out of order", ErrCorrupt)
	case len(value) < revLen:
		return fmt.Errorf("%w: a value without its revision", ErrCorrupt)
	}
	im.last = append(im.last[:0], im.key...)
	return nil
}

func (im *importer) openTable() error {
	db := im.group.db
	path := db.fs.PathJoin(db.importDir(), fmt.Sprintf("group-%d-%d.sst", im.group.id, len(im.paths)))
	file, err := db.fs.Create(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	im.paths = append(im.paths, path)
	options := db.tableOptions()
	im.table, im.size = sstable.NewWriter(objstorageprovider.NewFileWritable(file), options), 0
	return nil
}

// closeTable finishes the present table and syncs it.
func (im *importer) closeTable() error {
	if im.table == nil {
		return nil
	}
	err := im.table.Close()
	im.table = nil
	return err
}

// discard removes the tables of an Import that failed.
func (im *importer) discard() error {
	err := im.closeTable()
	for _, p := range im.paths {
		if e := im.group.db.fs.Remove(p); e != nil && !errors.Is(e, fs.ErrNotExist) {
			err = errors.Join(err, e)
		}
	}
	return err
}
