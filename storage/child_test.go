package storage

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/grantd/grantd/storage/storagetest"
)

// Some promises are about the process itself. Its roles are played by this
// test program, started by a test.
func TestMain(m *testing.M) {
	switch role := os.Getenv("STORAGE_TEST_ROLE"); role {
	case "":
		goleak.VerifyTestMain(m)
	case "hold":
		hold(os.Args[1])
	case "hanging":
		appendUntilHanging(os.Args[1])
	case "stopped":
		syncUntilToldToGoOn(os.Args[1])
	default:
		appendUntilFault(role, os.Args[1])
	}
}

func fatal(err error) {
	if err != nil {
		fmt.Println("error:", err)
		os.Exit(3)
	}
}

// hold keeps a directory open until its standard input ends.
func hold(dir string) {
	db, err := Open(dir, Options{})
	fatal(err)
	fmt.Println("open")
	_, err = io.ReadAll(os.Stdin)
	fatal(err)
	fatal(db.Close())
}

// appendUntilHanging appends to a log until a sync hangs for good.
func appendUntilHanging(limit string) {
	stall, err := time.ParseDuration(limit)
	fatal(err)
	disk := storagetest.NewDisk()
	db, err := Open("data", Options{FS: disk.FS(), StallLimit: stall, Logger: slog.New(slog.NewTextHandler(os.Stderr, nil))})
	fatal(err)
	log, err := db.Group(1).Log()
	fatal(err)
	for i := uint64(1); ; i++ {
		if i == 20 {
			disk.BeforeWrite(func(w storagetest.Write) error {
				if w.Kind == storagetest.Sync && strings.HasSuffix(w.Path, ".log") {
					fmt.Println("hangs")
					select {}
				}
				return nil
			})
		}
		fatal(log.Append([]Entry{entry(i)}))
		fmt.Println("acknowledged", i)
	}
}

// syncUntilToldToGoOn appends to a log and lets the last sync take until its
// standard input ends.
func syncUntilToldToGoOn(limit string) {
	stall, err := time.ParseDuration(limit)
	fatal(err)
	disk := storagetest.NewDisk()
	db, err := Open("data", Options{FS: disk.FS(), StallLimit: stall, Logger: slog.New(slog.NewTextHandler(os.Stderr, nil))})
	fatal(err)
	log, err := db.Group(1).Log()
	fatal(err)
	disk.BeforeWrite(func(w storagetest.Write) error {
		if w.Kind != storagetest.Sync || !strings.HasSuffix(w.Path, ".log") {
			return nil
		}
		fmt.Println("syncs")
		_, err := io.ReadAll(os.Stdin)
		return err
	})
	fatal(log.Append([]Entry{entry(1)}))
	disk.BeforeWrite(nil)
	fmt.Println("acknowledged")
	fatal(db.Close())
}

// appendUntilFault appends to a log and says what is acknowledged, until the
// writes to files of the kind fail.
func appendUntilFault(role, fault string) {
	disk := storagetest.NewDisk()
	db, err := Open("data", Options{FS: disk.FS(), MemTableBytes: 64 << 10, Logger: slog.New(slog.NewTextHandler(os.Stderr, nil))})
	fatal(err)
	log, err := db.Group(1).Log()
	fatal(err)
	for i := uint64(1); i < 2000; i++ {
		if i == 20 {
			disk.BeforeWrite(func(w storagetest.Write) error { return faultOf(role, fault, w) })
		}
		e := entry(i)
		e.Data = make([]byte, 1000)
		fatal(log.Append([]Entry{e}))
		fmt.Println("acknowledged", i)
	}
}

func faultOf(role, fault string, w storagetest.Write) error {
	hit := map[string]bool{
		"sync of the log":  w.Kind == storagetest.Sync && strings.HasSuffix(w.Path, ".log"),
		"write to the log": w.Kind == storagetest.Data && strings.HasSuffix(w.Path, ".log"),
		"any table":        strings.HasSuffix(w.Path, ".sst"),
		"the manifest":     strings.Contains(w.Path, "MANIFEST"),
	}[role]
	if !hit {
		return nil
	}
	fmt.Println("fault")
	if fault == "full" {
		return syscall.ENOSPC
	}
	return syscall.EIO
}
