//go:build race

package tests

// buildFlags let the binary find data races where the tests do.
var buildFlags = []string{"-race"}
