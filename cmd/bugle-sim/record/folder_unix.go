//go:build !windows

package record

import (
	"errors"
	"os"
)

// syncFolder makes a rename in dir survive a power cut.
func syncFolder(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = f.Sync()
	return errors.Join(err, f.Close())
}
