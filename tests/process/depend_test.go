package process

import (
	"os"
	"path/filepath"
	"testing"
)

func TestDependsOnPassesOverWhatIsFetched(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"node_modules", "src"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink("nowhere", filepath.Join(dir, name, "dangling")); err != nil {
			t.Fatal(err)
		}
	}
	if err := DependsOn(filepath.Join(dir, "src")); err == nil {
		t.Error("a file that cannot be looked at was passed over")
	}
	if err := os.Remove(filepath.Join(dir, "src", "dangling")); err != nil {
		t.Fatal(err)
	}
	if err := DependsOn(dir); err != nil {
		t.Error(err)
	}
}
