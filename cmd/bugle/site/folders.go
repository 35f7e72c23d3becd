package site

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/bugle-fleet/bugle/journal/durable"
)

// makeFolders makes the folders of what must survive, and their names durable,
// before anything is in them: else a power cut could take a folder together with
// all that was synced in it, or leave a journal without its keys.
func makeFolders(data, box string) error {
	for _, dir := range []string{data, filepath.Join(data, "keys"), filepath.Join(data, "journal"), filepath.Dir(box), box} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
		err := durable.SyncFolder(filepath.Dir(dir))
		if dir == data && errors.Is(err, fs.ErrPermission) {
			continue // it was made by somebody who may look into the folder above it
		}
		if err != nil {
			return err
		}
	}
	return nil
}
