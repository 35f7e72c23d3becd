package backup

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"

	"github.com/bugle-fleet/bugle/journal/generation"
)

// The folders of a box whose files are not in the journal for sure, in the order
// in which a file goes through them.
var boxFolders = []string{"", "work", "bad"}

// inboxPasses is how often the boxes are looked through: an administrator may
// put a file back from the last folder into the first one meanwhile.
const inboxPasses = 2

// inboxes copies the files of all boxes that are not archived. A file that moves
// on is found in the next folder, or else is in the journal, whose pages are
// copied later.
func (r *run) inboxes(ctx context.Context) error {
	boxes, err := os.ReadDir(filepath.Join(r.Data, "inboxes"))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	copied := map[string]bool{}
	for range inboxPasses {
		for _, b := range boxes {
			if !b.IsDir() {
				continue
			}
			for _, folder := range boxFolders {
				name := "inboxes/" + b.Name()
				if folder != "" {
					name += "/" + folder
				}
				if err := r.boxFolder(ctx, name, copied); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func (r *run) boxFolder(ctx context.Context, name string, copied map[string]bool) error {
	entries, err := os.ReadDir(filepath.Join(r.Data, filepath.FromSlash(name)))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		file := name + "/" + e.Name()
		if !e.Type().IsRegular() || copied[file] || !validName(file) {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		err := r.add(file)
		if errors.Is(err, os.ErrNotExist) {
			continue // it has moved on
		}
		if err != nil {
			return err
		}
		copied[file] = true
	}
	return nil
}

// estimate guesses how many bytes there are to copy.
func (r *run) estimate(list generation.List) {
	dir := filepath.Join(r.Data, "journal")
	total := r.progress.Done
	archived := true
	for _, g := range list {
		archived = archived && g.Archive != ""
		if archived {
			if there, err := os.Stat(r.folder.path(archiveFolder + "/" + g.Archive)); err != nil || there.Size() != int64(g.Size) {
				total += int64(g.Size)
			}
			continue
		}
		total += folderSize(generation.LiveFolder(dir, g.Number))
	}
	entries, err := os.ReadDir(r.folder.path(pagesFolder))
	if err == nil && len(entries) > 0 {
		if last, err := slices.MaxFunc(entries, byName).Info(); err == nil {
			total -= last.Size()
		}
	}
	r.progress.Total = max(total, r.progress.Done)
}

func byName(a, b os.DirEntry) int {
	if a.Name() < b.Name() {
		return -1
	}
	return 1
}

func folderSize(name string) (n int64) {
	entries, err := os.ReadDir(name)
	if err != nil {
		return 0 // it is a guess
	}
	for _, e := range entries {
		if i, err := e.Info(); err == nil {
			n += i.Size()
		}
	}
	return n
}
