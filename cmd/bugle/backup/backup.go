package backup

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/durable"
	"github.com/bugle-fleet/bugle/journal/generation"
	"github.com/bugle-fleet/bugle/journal/tree"
)

// A Source is the history of the site that is copied. [OpenOffline] is that of a
// site that does not run.
type Source interface {
	// Origin names the journal as its checkpoints do.
	Origin() string
	// Generations are those of now.
	Generations() (generation.List, error)
	// Pages reads from the page that begins with event from, up to the end of now
	// or later; from may be the event behind the last one.
	Pages(ctx context.Context, from uint64) (Pages, error)
}

// Pages are a reader that also knows, after io.EOF, what vouches for what it
// read.
type Pages interface {
	journal.Reader
	// Seal returns the root of the tree over all pages of the journal up to the
	// last one that was read, and a signed checkpoint of as many pages or fewer,
	// nil if the site has signed none.
	Seal(ctx context.Context) (root tlog.Hash, checkpoint []byte, err error)
}

// Config says what is copied and where to.
type Config struct {
	Data   string // the site's folder
	Dir    string // of the backup
	Source Source
	By     string // who makes it, for the manifest
	Bugle  string // the program's version, for the manifest

	Progress func(Progress)   // nil means that nobody wants to know
	Now      func() time.Time // nil means time.Now

	step func(name string) error // for tests: called before each step, may end the run
}

// Progress is how far a run is.
type Progress struct {
	Step        string // "inbox", "keys", "archives", "pages", "check", "restore"
	Done, Total int64  // bytes of the whole run; Total is a guess while pages are copied
}

// A Result says what a run came to.
type Result struct {
	Manifest *Manifest
	Copied   int64         // bytes that were not there yet
	Took     time.Duration // from begin to end
}

// Run makes a backup, or brings the one that is in the folder up to now. After an
// error the backup that was there before is what it was, and the next run goes on
// with what this one has copied.
//
// The error wraps [ErrForeign], [ErrOther], [ErrVersion] or [ErrDamaged] for a
// folder that is not one of this site's backups, and [ErrInside] for one in the
// site's own; nothing in it was changed then.
func Run(ctx context.Context, c Config) (Result, error) {
	if c.Now == nil {
		c.Now = time.Now
	}
	begun := c.Now()
	if err := Unfinished(c.Data); err != nil {
		return Result{}, fmt.Errorf("back up %s: %w", c.Data, err)
	}
	if in, err := Inside(c.Dir, c.Data); err != nil {
		return Result{}, fmt.Errorf("back up to %s: %w", c.Dir, err)
	} else if in {
		return Result{}, fmt.Errorf("back up to %s: %w: what takes the site takes such a copy too; take another folder", c.Dir, ErrInside)
	}
	f, err := openFolder(c.Dir, c.Source.Origin())
	if err != nil {
		return Result{}, fmt.Errorf("back up to %s: %w", c.Dir, err)
	}
	defer f.close()
	r := &run{Config: c, folder: f, manifest: &Manifest{Origin: c.Source.Origin(), Made: begun.UTC().Truncate(time.Second), By: c.By, Bugle: c.Bugle, Set: f.set}}
	if err := r.all(ctx); err != nil {
		return Result{}, fmt.Errorf("back up to %s: %w", c.Dir, err)
	}
	return Result{r.manifest, r.copied, c.Now().Sub(begun)}, nil
}

// A run is one backup while it is made.
type run struct {
	Config
	folder   *folder
	manifest *Manifest
	key      ed25519.PrivateKey
	copied   int64
	progress Progress

	archived journal.Head // the end of the last archive
	stored   string       // the file of pages
}

func (r *run) all(ctx context.Context) error {
	for _, s := range []struct {
		name string
		do   func(context.Context) error
	}{
		{"inbox", r.inboxes}, {"keys", r.keys}, {"archives", r.archives}, {"pages", r.pages}, {"manifest", r.finish}, {"clean", r.clean},
	} {
		if err := ctx.Err(); err != nil {
			return err
		}
		if r.step != nil {
			if err := r.step(s.name); err != nil {
				return err
			}
		}
		r.progress.Step = s.name
		if err := s.do(ctx); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return nil
}

// moved notes n bytes that were copied.
func (r *run) moved(n int) {
	r.copied += int64(n)
	r.progress.Done += int64(n)
	r.progress.Total = max(r.progress.Total, r.progress.Done)
	if r.Progress != nil {
		r.Progress(r.progress)
	}
}

// add copies a file of the site's folder into this run's set.
func (r *run) add(name string) error {
	stored := r.folder.setFolder() + "/" + name
	if err := makeFolder(r.folder.dir, parent(stored)); err != nil {
		return err
	}
	size, digest, err := copyFile(filepath.Join(r.Data, filepath.FromSlash(name)), r.folder.path(stored), r.moved)
	if err != nil {
		return err
	}
	r.manifest.Files = append(r.manifest.Files, File{name, stored, size, digest})
	return nil
}

// keys copies all keys of the site.
func (r *run) keys(context.Context) error {
	entries, err := os.ReadDir(filepath.Join(r.Data, "keys"))
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !e.Type().IsRegular() || filepath.Ext(e.Name()) == aside {
			continue
		}
		if err := r.add("keys/" + e.Name()); err != nil {
			return err
		}
	}
	head, ok := r.manifest.file(nameHeadKey)
	if !ok {
		return fmt.Errorf("there is no %s in %s", nameHeadKey, r.Data)
	}
	if r.key, err = readHeadKey(r.folder.path(head.Stored)); err != nil {
		return err
	}
	r.manifest.Site, err = readSite(filepath.Join(r.Data, "keys"))
	return err
}

// archives copies the archives of sealed generations, as far as they follow one
// another from the first on.
func (r *run) archives(ctx context.Context) error {
	list, err := r.Source.Generations()
	if err != nil {
		return err
	}
	r.estimate(list)
	for _, g := range list {
		if g.Archive == "" {
			return nil
		}
		if err := r.archive(ctx, g); err != nil {
			return err
		}
		r.archived = g.End
	}
	return nil
}

func (r *run) archive(ctx context.Context, g generation.Generation) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	file := File{folderArchive + "/" + g.Archive, archiveFolder + "/" + g.Archive, int64(g.Size), g.Digest}
	there, err := r.hasArchive(file)
	if err != nil {
		return err
	}
	if !there {
		size, digest, err := copyFile(filepath.Join(generation.ArchiveFolder(filepath.Join(r.Data, "journal")), g.Archive), r.folder.path(file.Stored), r.moved)
		if err != nil {
			return err
		}
		if size != file.Size || digest != file.Digest {
			return fmt.Errorf("the site's archive %s is damaged: it has the hash %x, the list of generations says %x", g.Archive, digest[:8], g.Digest[:8])
		}
	}
	r.manifest.Files = append(r.manifest.Files, file)
	return nil
}

// hasArchive tells whether an archive is there already: the backup that was
// finished says so, or its hash does.
func (r *run) hasArchive(file File) (bool, error) {
	s, err := os.Lstat(r.folder.path(file.Stored))
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	kept, ok := r.folder.kept(file.Name)
	if ok && kept.Digest != file.Digest {
		return false, fmt.Errorf("%w: its %s is not the one that the site has", ErrOther, file.Name)
	}
	if s.Size() != file.Size {
		return false, nil
	}
	if ok {
		return true, nil
	}
	digest, err := hashFile(r.folder.path(file.Stored), file.Size, nil)
	return digest == file.Digest, err
}

// pages copies the pages behind the last archive, behind those that are there.
func (r *run) pages(ctx context.Context) error {
	history, err := historyOf(r.manifest.Origin)
	if err != nil {
		return err
	}
	r.stored = fmt.Sprintf("%s/%016d", pagesFolder, r.archived.Pages+1)
	keep := int64(0)
	if kept, ok := r.folder.kept(namePages); ok && kept.Stored == r.stored {
		keep = kept.Size
	}
	w, err := openPages(r.folder.path(r.stored), history, r.archived, keep)
	if err != nil {
		return err
	}
	root, checkpoint, err := r.copyPages(ctx, w)
	if err := errors.Join(err, w.close()); err != nil {
		return err
	}
	if err := durable.SyncFolder(r.folder.path(pagesFolder)); err != nil {
		return err
	}
	r.manifest.Head, r.manifest.Root = w.head, root
	r.manifest.Files = append(r.manifest.Files, File{namePages, r.stored, w.size, w.digest()})
	return r.checkpoint(checkpoint)
}

func (r *run) copyPages(ctx context.Context, w *pageWriter) (root tlog.Hash, checkpoint []byte, err error) {
	pages, err := r.Source.Pages(ctx, w.head.Event+1)
	if err != nil {
		return root, nil, err
	}
	defer pages.Close()
	for {
		p, err := pages.Next(ctx)
		if err == io.EOF {
			return pages.Seal(ctx)
		}
		if err != nil {
			return root, nil, err
		}
		if p.First == w.head.Event+1 && p.Previous != w.head.Hash {
			return root, nil, fmt.Errorf("%w: the site's history is another one from event %d on than that in the backup; take another folder", ErrOther, w.head.Event)
		}
		if err := w.add(p.Bytes()); err != nil {
			return root, nil, err
		}
		r.moved(4 + len(p.Bytes()))
	}
}

// checkpoint keeps the checkpoint, which must be signed by the key that is kept.
func (r *run) checkpoint(text []byte) error {
	if text == nil {
		return nil
	}
	c, err := tree.OpenCheckpoint(text, publicOf(r.key), r.manifest.Origin)
	if err != nil {
		return err
	}
	if head := r.manifest.Head; c.Pages > head.Pages || c.Pages == head.Pages && (c.Head() != head || c.Root != r.manifest.Root) {
		return fmt.Errorf("the checkpoint is of %d events, the journal ends with event %d: it was shortened or rewritten", c.Events, head.Event)
	}
	stored := r.folder.setFolder() + "/checkpoint"
	if err := durable.Replace(r.folder.path(stored), text); err != nil {
		return err
	}
	r.manifest.Files = append(r.manifest.Files, File{nameCheckpoint, stored, int64(len(text)), hashOf(text)})
	return nil
}

// finish makes it a backup: all is durable but the manifest, which comes last.
func (r *run) finish(context.Context) error {
	text, err := r.manifest.sign(r.key)
	if err != nil {
		return err
	}
	again, err := parseManifest(text)
	if err == nil {
		err = openManifest(again, text, publicOf(r.key))
	}
	if err != nil {
		return err
	}
	return durable.Replace(filepath.Join(r.Dir, manifestFile), text)
}

func (r *run) clean(context.Context) error { return r.folder.clean(r.manifest) }
