package box

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// The folders of a box, all on one file system.
const (
	tmpFolder     = "tmp"     // where writers create
	workFolder    = "work"    // claimed by the reader
	archiveFolder = "archive" // done, by day
	badFolder     = "bad"     // put aside, each with its reason
)

const (
	tmpSuffix    = ".tmp"
	reasonSuffix = ".reason"
)

func isFolder(name string) bool {
	return name == tmpFolder || name == workFolder || name == archiveFolder || name == badFolder
}

// makeFolders makes what is missing, for the owner only, and refuses anything
// else that has the name of one.
func makeFolders(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for _, name := range []string{tmpFolder, workFolder, archiveFolder, badFolder} {
		path := filepath.Join(dir, name)
		if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
		info, err := os.Lstat(path)
		if err != nil {
			return err
		}
		if !info.IsDir() {
			return fmt.Errorf("%s is not a folder", path)
		}
	}
	return syncFolder(dir)
}

// readNames calls each with the name of every entry of a folder, in no order,
// a block at a time.
func readNames(dir string, each func(entry string)) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	for {
		names, err := d.Readdirnames(1024)
		for _, n := range names {
			each(n)
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
