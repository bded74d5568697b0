//go:build !failpoint

// Package failpoint marks places at which tests kill the program. In builds without the tag failpoint nothing is
// there.
package failpoint

// Hit does nothing.
func Hit(string) {}
