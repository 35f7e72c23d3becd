//go:build !linux

package powerloss

import "testing"

// Missing says that a disk can be mounted on Linux only.
func Missing() string { return "needs Linux, to mount a file system" }

// Alone skips the test: a disk can be mounted on Linux only.
func Alone(t *testing.T, _ ...string) bool {
	t.Helper()
	t.Skip(Missing())
	return false
}
