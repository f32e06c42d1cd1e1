package node_test

import (
	"os"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// noFS makes no folders.
type noFS struct{ vfs.FS }

func brokenFS(fs vfs.FS) vfs.FS { return noFS{fs} }

func (noFS) MkdirAll(string, os.FileMode) error { return errBroken }
