package process

import (
	"io/fs"
	"os"
	"path/filepath"
)

// DependsOn makes the result of the running test depend on every file below
// dir. go test remembers what a test read, so as not to run it again in vain,
// but it does not see what a program read that the test built or ran.
func DependsOn(dir string) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name := d.Name(); name == ".git" || name == "node_modules" || name == "bin" {
				return fs.SkipDir
			}
			return nil
		}
		_, err = os.Stat(path)
		return err
	})
}
