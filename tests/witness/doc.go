// Package witness keeps what tests of whole nodes know from outside: what
// callers were told of an account, what its history says, and which tokens the
// strict provider gave away. Tests that kill nodes judge them by it.
//
// It promises to remember everything, and that an error about a promise that a
// node did not keep is a [Broken].
package witness

import "fmt"

// Broken is a promise that was not kept.
type Broken string

// Error says which one.
func (b Broken) Error() string { return string(b) }

// Brokenf is a promise that was not kept.
func Brokenf(format string, args ...any) error { return Broken(fmt.Sprintf(format, args...)) }
