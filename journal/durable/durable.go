// Package durable makes files and names last: what its functions have done is
// there after a power cut.
//
// A file is replaced whole or not at all: it is written aside, synced, renamed,
// and then the folder is synced, without which the new name might be gone. A
// crash in between may leave NAME.tmp, which the next Replace of the same name
// writes over; an error leaves none.
package durable

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
)

// Replace makes data the content of the file name, which only its owner may read
// and write.
func Replace(name string, data []byte) error {
	tmp := name + ".tmp"
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	if err = write(f, data); err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", tmp, err), os.Remove(tmp))
	}
	if err := os.Rename(tmp, name); err != nil {
		return errors.Join(err, os.Remove(tmp))
	}
	return SyncFolder(filepath.Dir(name))
}

// write makes data all that a file has, and closes it.
func write(f *os.File, data []byte) error {
	info, err := f.Stat()
	if err == nil && info.Mode().Perm() != 0o600 { // it is one that was left by somebody
		err = f.Chmod(0o600)
	}
	if err == nil {
		_, err = f.Write(data)
	}
	return errors.Join(err, f.Sync(), f.Close())
}

// Rename gives the file old, which is synced already, the name new in the same
// folder, whatever was there before.
func Rename(old, new string) error {
	if err := os.Rename(old, new); err != nil {
		return err
	}
	return SyncFolder(filepath.Dir(new))
}

// SyncFolder makes the names in a folder last.
func SyncFolder(name string) error {
	if runtime.GOOS == "windows" {
		return nil // where a folder cannot be synced; NTFS logs names itself
	}
	d, err := os.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
