package backup

import (
	"errors"
	"fmt"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/lock"
)

// take keeps a second run out of a folder.
func take(name string) (unlock func(), err error) {
	unlock, err = lock.Take(name)
	if errors.Is(err, journal.ErrLocked) {
		return nil, fmt.Errorf("another process writes here: %s is locked", name)
	}
	return unlock, err
}
