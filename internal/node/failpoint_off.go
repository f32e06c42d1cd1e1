//go:build !failpoints

package node

import "github.com/grantd/grantd/actors"

// failpoint returns nothing: only binaries built with the tag "failpoints",
// for the kill tests, can be made to die in the middle of a refresh.
func failpoint() (func(actors.Point), error) { return nil, nil }
