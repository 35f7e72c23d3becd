//go:build unix

package action

import "syscall"

// makePipe makes something that a scan must not open.
func makePipe(path string) error { return syscall.Mkfifo(path, 0o600) }
