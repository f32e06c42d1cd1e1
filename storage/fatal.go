package storage

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// failer is Pebble's logger and listener: it turns every disk fault into the
// end of the process.
type failer struct {
	logger *slog.Logger
	fatal  func(reason string)
	limit  time.Duration // Options.StallLimit
	still  *standstill
}

var _ pebble.Logger = failer{}

// fail never returns. If Fatal does, against its contract, a panic is still
// better than an acknowledged write that was lost.
func (f failer) fail(reason string) {
	f.logger.Error("store failed; the process ends so that nothing unsaved is acknowledged", "reason", reason)
	f.fatal(reason)
	panic("storage: Options.Fatal returned: " + reason)
}

// Infof passes Pebble's chatter on at debug level.
func (f failer) Infof(format string, args ...any) {
	f.log(slog.LevelDebug, format, args)
}

// Errorf passes on errors that Pebble got over.
func (f failer) Errorf(format string, args ...any) {
	f.log(slog.LevelWarn, format, args)
}

func (f failer) log(level slog.Level, format string, args []any) {
	ctx := context.Background() // Pebble hands on none
	if f.logger.Enabled(ctx, level) {
		f.logger.Log(ctx, level, "pebble: "+fmt.Sprintf(format, args...))
	}
}

// Fatalf is called after a failed write or sync of the log or the manifest.
func (f failer) Fatalf(format string, args ...any) {
	for _, a := range args {
		if err, ok := a.(error); ok && diskFull(err) {
			f.fail(diskFullReason)
		}
	}
	f.fail("disk fault: " + fmt.Sprintf(format, args...))
}

const diskFullReason = "disk full: free space where the data directory lies, then start again; nothing that was acknowledged is lost"

func diskFull(err error) bool { return errors.Is(err, syscall.ENOSPC) }

// background is called when a flush or a compaction failed. Pebble would try
// again at once, for ever, while writes go on into memory.
func (f failer) background(err error) {
	if diskFull(err) {
		f.fail(diskFullReason)
	}
	f.fail(fmt.Sprintf("disk fault in the background: %v", err))
}

// diskSlow is called every other second while a write takes too long.
func (f failer) diskSlow(info vfs.DiskSlowInfo) {
	if stood := f.still.within(time.Now(), info.Duration); stood > 0 && info.Duration-stood <= f.limit {
		f.logger.Warn("the process stood still in the middle of a write", "for", stood)
		return
	}
	f.fail(fmt.Sprintf("disk stalled: %s", info))
}

func (f failer) listener() *pebble.EventListener {
	return &pebble.EventListener{BackgroundError: f.background}
}
