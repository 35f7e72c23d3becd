package block

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/bugle-fleet/bugle/journal/durable"
)

// Cut ends a file at offset. What was behind that is durable in the folder aside,
// which it makes if need be, in a file whose name is returned, before it cuts. The
// file must be as it was when it was listed. Who calls must be sure that nobody
// was told that what is cut off is stored.
func Cut(f File, offset int64, aside string) (kept string, err error) {
	kept, err = cut(f, offset, aside)
	if err != nil {
		return "", fmt.Errorf("cut %s at byte %d: %w", f.Path, offset, err)
	}
	return kept, nil
}

func cut(f File, offset int64, aside string) (kept string, err error) {
	file, err := os.OpenFile(f.Path, os.O_RDWR, 0)
	if err != nil {
		return "", err
	}
	defer file.Close()
	info, err := file.Stat()
	switch {
	case err != nil:
		return "", err
	case info.Size() != f.Size || inode(info) != f.Inode:
		return "", errors.New("the file has changed meanwhile")
	case offset < 0 || offset >= f.Size:
		return "", fmt.Errorf("the file has %d bytes", f.Size)
	case f.Size-offset > maxFile:
		return "", fmt.Errorf("%d bytes are more than was ever written at once", f.Size-offset)
	}
	tail := make([]byte, f.Size-offset)
	if _, err := file.ReadAt(tail, offset); err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	if kept, err = keep(f, offset, aside, tail); err != nil {
		return "", err
	}
	if err := file.Truncate(offset); err != nil {
		return "", err
	}
	return kept, file.Sync()
}

// keep writes tail to a file with a name that is not taken.
func keep(f File, offset int64, aside string, tail []byte) (string, error) {
	if err := os.MkdirAll(aside, 0o700); err != nil {
		return "", err
	}
	if err := durable.SyncFolder(filepath.Dir(aside)); err != nil {
		return "", err
	}
	for i := 1; ; i++ {
		name := filepath.Join(aside, fmt.Sprintf("%s-%d-%d.%d", f.Stream, f.Number, offset, i))
		_, err := os.Lstat(name)
		switch {
		case errors.Is(err, os.ErrNotExist):
			return name, durable.Replace(name, tail)
		case err != nil:
			return "", err
		}
	}
}
