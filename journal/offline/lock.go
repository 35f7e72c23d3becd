package offline

import (
	"errors"
	"io/fs"
	"path/filepath"

	"github.com/bugle-fleet/bugle/journal/lock"
)

// share keeps a site from opening the journal while it is read; other readers may
// come. A copy without the file that is locked is nobody's.
func share(dir string) (unlock func(), err error) {
	unlock, err = lock.Share(filepath.Join(dir, "lock"))
	if errors.Is(err, fs.ErrNotExist) {
		return func() {}, nil
	}
	return unlock, err
}
