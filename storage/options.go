package storage

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Defaults of Options. With them a million accounts take less than 300 MiB of
// memory; see DESIGN.md.
const (
	DefaultCacheBytes    = 128 << 20
	DefaultMemTableBytes = 32 << 20
	DefaultStallLimit    = 30 * time.Second
)

// Options of Open. The zero value is good for production.
type Options struct {
	// FS is where the directory lies; nil: the disk.
	FS vfs.FS
	// Logger gets Pebble's warnings (and its chatter, at debug level); nil: none.
	Logger *slog.Logger
	// Fatal ends the process after a disk fault, with the reason in one line. It
	// must not return: Pebble would take the failed write for a good one. It may
	// be called from any goroutine and with Pebble's locks held, so it must not
	// use the DB. nil: exit with status 1, the reason logged or, without a
	// Logger, on standard error.
	Fatal func(reason string)
	// CacheBytes bounds what is kept in memory: blocks read from disk, and the
	// tables of MemTableBytes, which come first; 0: DefaultCacheBytes.
	CacheBytes int64
	// MemTableBytes is the size of one table in memory, of which there are up to
	// four (one or two, mostly); 0: DefaultMemTableBytes.
	MemTableBytes uint64
	// StallLimit is how long a single write or sync may hang before the process
	// ends, so that another replica can lead: a hanging disk stops a raft group
	// while its heartbeats go on. It is noticed up to 2 s later; time in which the
	// whole process stood still does not count. Where other
	// replicas can take over, a few seconds are right; a node alone gains nothing
	// from giving up. 0: DefaultStallLimit on the real disk (FS is nil), no limit
	// elsewhere; negative: no limit.
	StallLimit time.Duration
}

func (o Options) withDefaults() Options {
	if o.Fatal == nil {
		o.Fatal = exitAfter(o.Logger)
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.CacheBytes == 0 {
		o.CacheBytes = DefaultCacheBytes
	}
	if o.MemTableBytes == 0 {
		o.MemTableBytes = DefaultMemTableBytes
	}
	if o.StallLimit == 0 && o.FS == nil {
		o.StallLimit = DefaultStallLimit
	}
	if o.FS == nil {
		o.FS = vfs.Default
	}
	return o
}

// exitAfter returns the default of Fatal; the logger has been told already.
func exitAfter(logger *slog.Logger) func(string) {
	return func(reason string) {
		if logger == nil {
			fmt.Fprintln(os.Stderr, "grantd: store failed:", reason)
		}
		os.Exit(1)
	}
}

// fileSystem returns the file system to use and what ends its watchdog.
func (o Options) fileSystem(f failer) (vfs.FS, io.Closer) {
	if o.StallLimit <= 0 {
		return o.FS, nopCloser{}
	}
	f.limit, f.still = o.StallLimit, &standstill{}
	w := watchdog{stop: f.still.watch()}
	var fs vfs.FS
	fs, w.Closer = vfs.WithDiskHealthChecks(o.FS, o.StallLimit, nil, f.diskSlow)
	return fs, w
}

// watchdog looks after a disk.
type watchdog struct {
	io.Closer
	stop func() // of its standstill
}

// Close ends it.
func (w watchdog) Close() error {
	w.stop()
	return w.Closer.Close()
}

type nopCloser struct{}

func (nopCloser) Close() error { return nil }

// pebbleFormat is pinned: raising it rewrites stores so that older versions
// cannot open them, which must be a decision and not the effect of a new
// release of Pebble.
const pebbleFormat = pebble.FormatValueSeparation

// pebble returns the tuning of the one Pebble. Memory first: a node shares its
// machine with the services that it serves. DESIGN.md has the measurements.
func (o Options) pebble(fs vfs.FS, lock *pebble.Lock, f failer) *pebble.Options {
	p := &pebble.Options{
		FS:                          fs,
		Lock:                        lock,
		Logger:                      f,
		EventListener:               f.listener(),
		FormatMajorVersion:          pebbleFormat,
		CacheSize:                   o.CacheBytes,
		MemTableSize:                o.MemTableBytes,
		MemTableStopWritesThreshold: 4,
		L0CompactionThreshold:       10,
		L0StopWritesThreshold:       40,
		LBaseMaxBytes:               64 << 20,
		BytesPerSync:                512 << 10,
		MaxOpenFiles:                1024,
		CompactionConcurrencyRange:  func() (lower, upper int) { return 1, 2 },
	}
	p.Experimental.ValueSeparationPolicy = separateValues
	for i := range p.Levels {
		p.Levels[i].BlockSize = blockBytes
		p.Levels[i].FilterPolicy = keyFilter
	}
	return p
}

// separateValues keeps values of the size of log entries and sealed records out
// of the tables: compactions then move keys and leave the values where they
// are, until three tenths of a file are garbage.
func separateValues() pebble.ValueSeparationPolicy {
	return pebble.ValueSeparationPolicy{
		Enabled:               true,
		MinimumSize:           512,
		MaxBlobReferenceDepth: 10,
		RewriteMinimumAge:     5 * time.Minute,
		TargetGarbageRatio:    0.3,
	}
}

// Blocks of 16 KiB and a filter of 10 bits a key, in every table.
const (
	blockBytes = 16 << 10
	keyFilter  = bloom.FilterPolicy(10)
)

// tableOptions are those of tables that are written outside of Pebble.
func (db *DB) tableOptions() sstable.WriterOptions {
	return sstable.WriterOptions{
		TableFormat:  db.pdb.TableFormat(),
		BlockSize:    blockBytes,
		FilterPolicy: keyFilter,
	}
}
