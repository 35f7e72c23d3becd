package box

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
)

// Raw is a file of another writer, as it is.
type Raw struct {
	Name Name
	Data []byte
}

// ErrTaken is wrapped by the error of [Deliver] for a file whose name the box has
// with other bytes.
var ErrTaken = errors.New("another file has this name")

// Deliver puts files that were written elsewhere into the box in dir, in the
// order given, and returns how many of them are durable and in place. A file
// that the box has already, in whichever of its folders, with the same bytes,
// counts as put there. The error says why the next one is not. No other Deliver
// may be about the same names at the time.
func Deliver(dir string, files []Raw) (done int, err error) {
	days, err := filepath.Glob(filepath.Join(dir, archiveFolder, "*"))
	if err != nil {
		return 0, fmt.Errorf("deliver: %w", err)
	}
	folders := append([]string{dir, filepath.Join(dir, workFolder), filepath.Join(dir, badFolder)}, days...)
	known := make([]bool, len(files))
	failed := make([]error, len(files))
	inParallel(len(files), func(i int) {
		if known[i], failed[i] = has(folders, &files[i]); known[i] || failed[i] != nil {
			return
		}
		failed[i] = writeDurably(temporary(dir, files[i].Name), files[i].Data)
	})
	for ; done < len(files) && failed[done] == nil; done++ {
		if known[done] {
			continue
		}
		name := files[done].Name
		if failed[done] = os.Rename(temporary(dir, name), filepath.Join(dir, name.String())); failed[done] != nil {
			break
		}
	}
	for i := done; i < len(files); i++ {
		if !known[i] {
			os.Remove(temporary(dir, files[i].Name))
		}
	}
	if err := syncFolder(dir); err != nil {
		return 0, fmt.Errorf("deliver: %w", err)
	}
	if done < len(files) {
		return done, fmt.Errorf("deliver %s: %w", files[done].Name, failed[done])
	}
	return done, nil
}

func temporary(dir string, n Name) string {
	return filepath.Join(dir, tmpFolder, n.String()+tmpSuffix)
}

// has tells whether one of the folders has the file.
func has(folders []string, f *Raw) (bool, error) {
	for _, dir := range folders {
		b, err := os.ReadFile(filepath.Join(dir, f.Name.String()))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err != nil:
			return false, err
		case !bytes.Equal(b, f.Data):
			return false, ErrTaken
		}
		return true, nil
	}
	return false, nil
}

// deliverers is how many files are synced at once: a disk takes the syncs of
// several together.
const deliverers = 16

func inParallel(n int, do func(i int)) {
	var all sync.WaitGroup
	next := make(chan int)
	for range min(n, deliverers) {
		all.Go(func() {
			for i := range next {
				do(i)
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	all.Wait()
}
