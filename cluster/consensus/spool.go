package consensus

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// spool is the directory for snapshots on their way to or from another node.
// What lies in it is never needed after a restart.
type spool struct {
	fs   vfs.FS
	dir  string
	next atomic.Uint64
}

// openSpool creates the directory and removes what an earlier start has left.
func openSpool(fs vfs.FS, dir string) (*spool, error) {
	if err := fs.RemoveAll(dir); err != nil {
		return nil, fmt.Errorf("empty the snapshot directory %s: %w", dir, err)
	}
	if err := fs.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("create the snapshot directory %s: %w", dir, err)
	}
	return &spool{fs: fs, dir: dir}, nil
}

// create opens a new file for writing.
func (s *spool) create() (*spoolFile, error) {
	path := s.fs.PathJoin(s.dir, fmt.Sprintf("%d.snapshot", s.next.Add(1)))
	f, err := s.fs.Create(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return nil, fmt.Errorf("spool a snapshot: %w", err)
	}
	return &spoolFile{fs: s.fs, path: path, out: f, buf: bufio.NewWriterSize(f, 256<<10)}, nil
}

// spoolFile is written once, finished, then read once. It is used by one
// goroutine at a time.
type spoolFile struct {
	fs   vfs.FS
	path string
	out  vfs.File // nil once finished
	buf  *bufio.Writer
	size int64
}

// Write appends p.
func (f *spoolFile) Write(p []byte) (int, error) {
	n, err := f.buf.Write(p)
	f.size += int64(n)
	return n, err
}

// finish ends the writing. Nothing is synced: the file is of no use after a
// crash.
func (f *spoolFile) finish() error {
	err := errors.Join(f.buf.Flush(), f.out.Close())
	f.out, f.buf = nil, nil
	return err
}

// remove deletes the finished file.
func (f *spoolFile) remove() error { return f.fs.Remove(f.path) }

// open returns a reader over the finished file; closing it deletes the file.
func (f *spoolFile) open() (io.ReadCloser, error) {
	in, err := f.fs.Open(f.path, vfs.SequentialReadsOption)
	if err != nil {
		return nil, fmt.Errorf("read a spooled snapshot: %w", err)
	}
	return &spoolReader{Reader: bufio.NewReaderSize(in, 256<<10), in: in, file: f}, nil
}

// spoolReader reads a spooled snapshot and deletes it when closed.
type spoolReader struct {
	io.Reader
	in   vfs.File
	file *spoolFile
}

// Close ends the reading and deletes the file.
func (r *spoolReader) Close() error { return errors.Join(r.in.Close(), r.file.remove()) }
