//go:build !unix

package projectors

import "os"

// lock opens the lock file; where there is no flock, the locks that Badger takes
// on each store have to do.
func lock(name string) (*os.File, error) {
	return os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o600)
}
