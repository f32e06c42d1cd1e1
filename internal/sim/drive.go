package sim

import (
	"context"
	"math/rand/v2"
	"path"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// drive says how long a process's disk takes. It is slow for a while, or stands
// still; either ends with the process.
//
// Only writes and syncs of the write-ahead log ever wait, and not all of them.
// Pebble closes a log that is full with a lock held, which others want: if the
// log waited then, nothing in the bubble could go on, and virtual time would
// stand still for ever. So nothing waits while the newest log may soon be full,
// nor while a snapshot is taken in, which begins another log, too.
type drive struct {
	ctx context.Context // ends with the process

	mu      sync.Mutex
	draw    *rand.Rand
	most    time.Duration // that a write takes, before slowTo
	slowTo  time.Time
	stallTo time.Time     // nothing ends before
	quickTo time.Time     // nothing waits before
	hurry   chan struct{} // closed when nothing is to wait any more
	log     *slowFile     // the newest
	written int64         // to it
	room    int64         // how much of it may be written before it may soon be full
	waits   []Span        // those that follow each other at once are one
	waiting int
}

// firstRoom is well below what Pebble's first memtable takes, 256 KiB with what
// it costs to index it.
const firstRoom = 80 << 10

func newDrive(ctx context.Context, seed uint64) *drive {
	return &drive{ctx: ctx, draw: rand.New(rand.NewPCG(seed, 2)), hurry: make(chan struct{}), room: firstRoom}
}

// slow has each write and sync take up to most, for d.
func (d *drive) slow(most, during time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.most, d.slowTo = most, time.Now().Add(during)
}

// stall has no write or sync end before during is over.
func (d *drive) stall(during time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.stallTo = time.Now().Add(during)
}

// quicken ends what waits, and lets nothing wait for a moment, or from now on.
func (d *drive) quicken(during time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.quickTo = time.Now().Add(during)
	close(d.hurry)
	d.hurry = make(chan struct{})
}

// always is longer than any run takes.
const always = 1000 * time.Hour

// holds reports whether something waits, or did until just now.
func (d *drive) holds() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := len(d.waits)
	return d.waiting > 0 || n > 0 && time.Since(d.waits[n-1].To) < time.Second
}

// opened takes note of a new log, whose memtable takes at least as much as that
// of any log before.
func (d *drive) opened(f *slowFile) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.room = max(d.room, d.written*7/10)
	d.log, d.written = f, 0
}

// wait is called around each operation on a log.
func (d *drive) wait(f *slowFile, bytes int) {
	d.mu.Lock()
	now, due := time.Now(), time.Time{}
	if f == d.log {
		d.written += int64(bytes)
	}
	if now.Before(d.slowTo) && d.most > 0 {
		due = now.Add(time.Duration(d.draw.Int64N(int64(d.most))))
	}
	if due.Before(d.stallTo) {
		due = d.stallTo
	}
	mayNot := f != d.log || d.written > d.room || now.Before(d.quickTo)
	hurry := d.hurry
	if mayNot || !now.Before(due) {
		d.mu.Unlock()
		return
	}
	d.waiting++
	d.mu.Unlock()
	t := time.NewTimer(due.Sub(now))
	defer t.Stop()
	select {
	case <-t.C:
	case <-hurry:
	case <-d.ctx.Done():
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.waiting--
	if n := len(d.waits); n > 0 && d.waits[n-1].To.Equal(now) {
		d.waits[n-1].To = time.Now()
		return
	}
	d.waits = append(d.waits, Span{now, time.Now()})
}

// waited returns when the log waited.
func (d *drive) waited() []Span {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.waits
}

// first draws whether the wait is before the operation or after it.
func (d *drive) first() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.draw.IntN(2) == 0
}

// slowFS is a disk that takes its time.
type slowFS struct {
	vfs.FS
	drive *drive
}

// Create implements vfs.FS.
func (s slowFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := s.FS.Create(name, c)
	return s.slow(name, f, err)
}

// ReuseForWrite implements vfs.FS.
func (s slowFS) ReuseForWrite(oldName, newName string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := s.FS.ReuseForWrite(oldName, newName, c)
	return s.slow(newName, f, err)
}

// Link implements vfs.FS. It is how the tables of a snapshot are taken in.
func (s slowFS) Link(oldName, newName string) error {
	s.drive.quicken(time.Second)
	return s.FS.Link(oldName, newName)
}

func (s slowFS) slow(name string, f vfs.File, err error) (vfs.File, error) {
	if err != nil || path.Ext(name) != ".log" {
		return f, err
	}
	slow := &slowFile{f, s.drive}
	s.drive.opened(slow)
	return slow, nil
}

// slowFile is a write-ahead log on it.
type slowFile struct {
	vfs.File
	drive *drive
}

// do does an operation, and waits before or after it: a process that ends
// meanwhile has done it, or has not.
func (f *slowFile) do(bytes int, op func() error) error {
	first := f.drive.first()
	if first {
		f.drive.wait(f, bytes)
	}
	err := op()
	if !first {
		f.drive.wait(f, bytes)
	}
	return err
}

// Write implements vfs.File.
func (f *slowFile) Write(b []byte) (n int, err error) {
	err = f.do(len(b), func() error {
		n, err = f.File.Write(b)
		return err
	})
	return n, err
}

// Sync implements vfs.File.
func (f *slowFile) Sync() error { return f.do(0, f.File.Sync) }

// SyncData implements vfs.File.
func (f *slowFile) SyncData() error { return f.do(0, f.File.SyncData) }
