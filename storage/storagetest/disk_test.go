package storagetest

import (
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

func write(t *testing.T, fs vfs.FS, name, content string, sync bool) error {
	t.Helper()
	f, err := fs.Create(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	_, err = f.Write([]byte(content))
	if sync {
		err = errors.Join(err, f.Sync())
		dir, e := fs.OpenDir("")
		if e != nil {
			t.Fatal(e)
		}
		err = errors.Join(err, dir.Sync(), dir.Close())
	}
	return errors.Join(err, f.Close())
}

func read(t *testing.T, fs vfs.FS, name string) string {
	t.Helper()
	f, err := fs.Open(name)
	if err != nil {
		return ""
	}
	b, err := io.ReadAll(f)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestCrashKeepsWhatWasSyncedAndNothingElse(t *testing.T) {
	d := NewDisk()
	if err := errors.Join(write(t, d.FS(), "kept", "x", true), write(t, d.FS(), "lost", "y", false)); err != nil {
		t.Fatal(err)
	}
	after := d.Crash(0, 1)
	if got := read(t, after.FS(), "kept") + read(t, after.FS(), "lost"); got != "x" {
		t.Errorf("after the crash: %q, want x", got)
	}
	if got := read(t, d.FS(), "kept") + read(t, d.FS(), "lost"); got != "xy" {
		t.Errorf("the disk itself: %q, want xy", got)
	}
	if got := read(t, d.Crash(100, 1).FS(), "lost"); got != "y" {
		t.Errorf("where all that is unsynced survives: %q, want y", got)
	}
}

func TestHookSeesEveryWriteAndMayFailIt(t *testing.T) {
	d := NewDisk()
	fs := d.FS()
	boom := errors.New("boom")
	kinds := map[Kind]int{}
	d.BeforeWrite(func(w Write) error {
		kinds[w.Kind]++
		if w.N != d.Writes() {
			t.Errorf("write %d of %d", w.N, d.Writes())
		}
		if strings.HasSuffix(w.Path, "bad") {
			return boom
		}
		return nil
	})
	if err := write(t, fs, "good", "x", true); err != nil {
		t.Fatal(err)
	}
	if kinds[Data] != 1 || kinds[Sync] != 2 || kinds[Other] != 1 {
		t.Errorf("kinds of writes: %v", kinds)
	}
	if err := write(t, fs, "bad", "x", false); !errors.Is(err, boom) {
		t.Errorf("a write that was to fail: %v", err)
	}
	reused, err := fs.ReuseForWrite("good", "recycled-bad", vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := reused.Write([]byte("y")); !errors.Is(err, boom) {
		t.Errorf("a write to a recycled file escaped: %v", err)
	}
	d.BeforeWrite(nil)
	if err := errors.Join(reused.Close(), write(t, fs, "bad", "x", false)); err != nil {
		t.Errorf("without the hook: %v", err)
	}
}
