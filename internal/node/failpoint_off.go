//go:build !failpoints

package node

import (
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/grantd/grantd/actors"
)

// failpoint returns nothing: only binaries built with the tag "failpoints",
// for fault tests, can be made to die in the middle of a refresh.
func failpoint() (func(actors.Point), error) { return nil, nil }

// faultyDisk returns nothing, as failpoint does.
func faultyDisk() vfs.FS { return nil }
