package storage

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/grantd/grantd/storage/storagetest"
)

func TestStoreComesBackAfterClose(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "data")
	for i := range uint64(3) {
		db, err := Open(dir, Options{})
		if err != nil {
			t.Fatal(err)
		}
		g := db.Group(1)
		a, err := g.Applied()
		if err != nil || a.Index != i {
			t.Errorf("applied %+v, %v; want %d", a, err, i)
		}
		apply(t, g, i+1, Batch{Puts: []Put{put("k", "v")}})
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestOpenSaysThatTheDirectoryIsInUse(t *testing.T) {
	t.Run("by this process", func(t *testing.T) {
		for name, fs := range map[string]vfs.FS{"memory": vfs.NewMem(), "disk": nil} {
			dir := t.TempDir()
			db, err := Open(dir, Options{FS: fs})
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if _, err := Open(dir, Options{FS: fs}); !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), dir) {
				t.Errorf("%s: %v, want ErrInUse", name, err)
			}
			if err := db.Close(); err != nil {
				t.Error(err)
			}
			again, err := Open(dir, Options{FS: fs})
			if err != nil {
				t.Fatalf("%s: after Close: %v", name, err)
			}
			if err := again.Close(); err != nil {
				t.Error(err)
			}
		}
	})
	t.Run("by another one", func(t *testing.T) {
		dir := t.TempDir()
		holder := child(t, "hold", dir)
		stdin, err := holder.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		stdout, err := holder.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := holder.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := stdout.Read(make([]byte, 16)); err != nil { // it says that it is open
			t.Fatal(err)
		}
		if _, err := Open(dir, Options{}); !errors.Is(err, ErrInUse) {
			t.Errorf("%v, want ErrInUse", err)
		}
		if err := errors.Join(stdin.Close(), holder.Wait()); err != nil {
			t.Fatal(err)
		}
		db, err := Open(dir, Options{})
		if err != nil {
			t.Fatalf("after it has ended: %v", err)
		}
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestOpenSaysThatTheDirectoryIsNotWritable(t *testing.T) {
	t.Run("read-only file system", func(t *testing.T) {
		for _, kind := range []string{"data", "data/write-test", "data/LOCK"} {
			disk := storagetest.NewDisk()
			disk.BeforeWrite(func(w storagetest.Write) error {
				if strings.HasPrefix(w.Path, kind) {
					return &os.PathError{Op: "open", Path: w.Path, Err: syscall.EROFS}
				}
				return nil
			})
			_, err := Open("data", Options{FS: disk.FS()})
			if !errors.Is(err, ErrNotWritable) || !errors.Is(err, syscall.EROFS) {
				t.Errorf("%s: %v, want ErrNotWritable", kind, err)
			}
		}
	})
	t.Run("access rights", func(t *testing.T) {
		if os.Geteuid() == 0 {
			t.Skip("root may write everywhere")
		}
		dir := t.TempDir()
		if err := os.Chmod(dir, 0o500); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(dir, Options{}); !errors.Is(err, ErrNotWritable) {
			t.Errorf("%v, want ErrNotWritable", err)
		}
	})
	t.Run("a file in its place", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "data")
		if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(file, Options{}); !errors.Is(err, ErrNotWritable) {
			t.Errorf("%v, want ErrNotWritable", err)
		}
	})
	t.Run("disk full", func(t *testing.T) {
		disk := storagetest.NewDisk()
		disk.BeforeWrite(func(storagetest.Write) error { return syscall.ENOSPC })
		if _, err := Open("data", Options{FS: disk.FS()}); err == nil || !strings.Contains(err.Error(), "disk full") {
			t.Errorf("%v, want a word about the full disk", err)
		}
	})
}

func TestOpenRefusesWhatItDidNotWrite(t *testing.T) {
	raw := func(t *testing.T, key, value string) vfs.FS {
		fs := vfs.NewMem()
		p, err := pebble.Open("data", &pebble.Options{FS: fs, Logger: failer{logger: Options{}.withDefaults().Logger}})
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(p.Set([]byte(key), []byte(value), pebble.Sync), p.Close()); err != nil {
			t.Fatal(err)
		}
		return fs
	}
	marked := func(t *testing.T, marker string) vfs.FS {
		fs := raw(t, "f", string(encodeFormat(formatVersion)))
		file, err := fs.Create("data/"+marker, vfs.WriteCategoryUnspecified)
		if err := errors.Join(err, file.Close()); err != nil {
			t.Fatal(err)
		}
		return fs
	}
	cases := []struct {
		name string
		fs   vfs.FS
		want error
	}{
		{"another program's Pebble", raw(t, "some", "thing"), ErrForeign},
		{"a mark that is not ours", raw(t, "f", "something else"), ErrForeign},
		{"an empty mark", raw(t, "f", ""), ErrForeign},
		{"a newer version's", raw(t, "f", string(encodeFormat(formatVersion+1))), ErrNewerFormat},
		{"a newer Pebble's", marked(t, "marker.format-version.000999.999"), ErrNewerFormat},
		{"a marker of no Pebble's", marked(t, "marker.manifest.000999.nonsense"), ErrCorrupt},
		{"ours", raw(t, "f", string(encodeFormat(formatVersion))), nil},
	}
	for _, c := range cases {
		for range 2 { // the refusal leaves it as it was, and unlocked
			db, err := Open("data", Options{FS: c.fs})
			if !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
				t.Errorf("%s: %v, want %v", c.name, err, c.want)
			}
			if db != nil {
				if err := db.Close(); err != nil {
					t.Error(err)
				}
			}
		}
	}
}

func TestOpenSaysThatFilesAreGarbage(t *testing.T) {
	for _, kind := range []string{"MANIFEST", "OPTIONS"} {
		for _, garbage := range []string{"", "garbage\n", strings.Repeat("\xff\x00", 5000)} {
			dir := t.TempDir()
			db, err := Open(dir, Options{})
			if err != nil {
				t.Fatal(err)
			}
			apply(t, db.Group(1), 1, Batch{Puts: []Put{put("k", "v")}})
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
			spoil(t, dir, kind, garbage)
			db, err = Open(dir, Options{})
			if err == nil { // Pebble can do without some of them
				if v, _, err := db.Group(1).Get([]byte("k")); string(v) != "v" || err != nil {
					t.Errorf("%s: %q, %v", kind, v, err)
				}
				if err := db.Close(); err != nil {
					t.Error(err)
				}
				continue
			}
			if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), dir) {
				t.Errorf("%s is %.10q: %v, want ErrCorrupt", kind, garbage, err)
			}
		}
	}
}

// spoil overwrites the files whose names begin with the kind.
func spoil(t *testing.T, dir, kind, content string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, kind+"*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no file %s: %v", kind, err)
	}
	for _, f := range files {
		if err := os.WriteFile(f, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// child returns this test program as a process of its own that plays a role of
// child_test.go.
func child(t *testing.T, role string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], args...)
	cmd.Env = append(os.Environ(), "STORAGE_TEST_ROLE="+role)
	cmd.Stderr = os.Stderr
	return cmd
}
