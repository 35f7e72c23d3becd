//go:build !unix

package box

import "io/fs"

// carefully are the flags that keep an open from following a link and from
// waiting for the other end of a pipe; this system has none.
const carefully = 0

// links is the number of names that a file has, which this system does not tell.
func links(fs.FileInfo) uint64 { return 1 }

// syncFolder does nothing: this system keeps names durable by itself.
func syncFolder(string) error { return nil }
