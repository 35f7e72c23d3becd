package archive

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/bugle-fleet/bugle/journal/durable"
)

// A File is a [Writer] of a file that appears under its name whole or not at all.
type File struct {
	*Writer
	f    *os.File
	name string
}

// aside is what the name of a file ends with until it is whole.
const aside = ".tmp"

// Create begins an archive in a file. Until [File.Close] it is NAME.tmp, which
// another one may be written over; a file name that is there already is replaced
// then.
func Create(name string, h Header) (*File, error) {
	f, err := os.OpenFile(name+aside, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("create archive: %w", err)
	}
	w, err := NewWriter(f, h)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("create archive %s: %w", name, err), f.Close(), os.Remove(name+aside))
	}
	return &File{w, f, name}, nil
}

// Close ends the archive, makes it durable and gives it its name. After an error
// nothing is left of it, unless it has its name already and it cannot be told
// whether that lasts.
func (f *File) Close(s Seal) (Info, error) {
	if f.f == nil {
		return Info{}, errEnded
	}
	i, err := f.Writer.Close(s)
	if err == nil {
		err = f.f.Sync()
	}
	if err != nil {
		return Info{}, errors.Join(err, f.Abort())
	}
	err = f.f.Close()
	f.f = nil
	if err == nil {
		err = durable.Rename(f.name+aside, f.name)
	}
	if err == nil {
		return i, nil
	}
	if gone := os.Remove(f.name + aside); !errors.Is(gone, fs.ErrNotExist) {
		err = errors.Join(err, gone)
	}
	return Info{}, fmt.Errorf("create archive %s: %w", f.name, err)
}

// Abort removes what was written so far. After Close it does nothing.
func (f *File) Abort() error {
	if f.f == nil {
		return nil
	}
	err := errors.Join(f.f.Close(), os.Remove(f.name+aside))
	f.f = nil
	return err
}
