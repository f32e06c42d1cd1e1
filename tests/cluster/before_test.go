package cluster

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// beforeFile names the version that this one takes over from: a commit, and its
// subject, by which it is found where history was written anew.
const beforeFile = "before.txt"

// grantdBefore builds grantd of the version before, into the folder bin of the
// repository, where the next run finds it.
func grantdBefore(t *testing.T) string {
	t.Helper()
	commit := commitBefore(t)
	binary, err := filepath.Abs(filepath.Join("../../bin", "grantd-"+commit[:12]))
	must(t, err)
	if _, err := os.Stat(binary); err == nil {
		return binary
	}
	archive, err := exec.CommandContext(t.Context(), "git", "-C", "../..", "archive", "--format=tar", commit).Output()
	must(t, err)
	sources := t.TempDir()
	must(t, unpack(archive, sources))
	must(t, os.MkdirAll(filepath.Dir(binary), 0o755))
	fresh := filepath.Join(sources, "grantd")
	must(t, build(sources, "./cmd/node", fresh))
	copied, err := os.ReadFile(fresh) // not a rename: it may be another file system
	must(t, err)
	must(t, os.WriteFile(binary+".new", copied, 0o755))
	must(t, os.Rename(binary+".new", binary))
	return binary
}

// commitBefore returns the commit, or skips the test where a shallow clone does
// not have it.
func commitBefore(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile(beforeFile)
	must(t, err)
	commit, subject, _ := strings.Cut(strings.TrimSpace(string(b)), " ")
	git := func(args ...string) (string, error) {
		out, err := exec.CommandContext(t.Context(), "git", append([]string{"-C", "../.."}, args...)...).Output()
		return strings.TrimSpace(string(out)), err
	}
	if _, err := git("cat-file", "-e", commit+"^{commit}"); err == nil {
		return commit
	}
	found, err := git("log", "--all", "--format=%H %s", "--fixed-strings", "--grep="+subject)
	if err == nil {
		for line := range strings.Lines(found) {
			if hash, s, _ := strings.Cut(strings.TrimSpace(line), " "); s == subject {
				return hash
			}
		}
	}
	t.Skipf("the version before, commit %s (%q), is not in this clone; fetch all of its history (git fetch --unshallow)", commit, subject)
	return ""
}

// unpack writes the regular files of an archive below dir.
func unpack(archive []byte, dir string) error {
	r := tar.NewReader(bytes.NewReader(archive))
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if h.Typeflag != tar.TypeReg || !filepath.IsLocal(h.Name) {
			continue
		}
		name := filepath.Join(dir, h.Name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return err
		}
		b, err := io.ReadAll(r)
		if err != nil {
			return err
		}
		if err := os.WriteFile(name, b, 0o644); err != nil {
			return err
		}
	}
}
