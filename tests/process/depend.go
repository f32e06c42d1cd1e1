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
		passed := d.Name() == ".git" || d.Name() == "node_modules" || d.Name() == "bin"
		switch {
		case d.IsDir() && passed:
			return fs.SkipDir
		case d.IsDir() || passed: // it may be a link, to where nothing is yet
			return nil
		}
		_, err = os.Stat(path)
		return err
	})
}
