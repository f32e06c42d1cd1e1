//go:build !race

package tests

// buildFlags are for a binary as it is shipped.
var buildFlags []string
