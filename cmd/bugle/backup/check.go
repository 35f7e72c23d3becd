package backup

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/archive"
	"github.com/bugle-fleet/bugle/journal/tree"
)

// A Report is what a check found.
type Report struct {
	Manifest   *Manifest
	Checkpoint tree.Checkpoint // what the site had signed; zero if it had signed nothing yet
	Unfinished bool            // a later run into the folder was interrupted
}

// Check checks the whole backup in dir: the manifest's signature, the hash of
// each file, the chain over all pages, the tree, the checkpoint. Key is the
// public key of the site's checkpoints, got over a way that is trusted; nil means
// the one in the backup, which shows that the backup is whole and of one piece,
// but not whose it is. Nothing is written.
//
// The error wraps [ErrNone], [ErrUnfinished], [ErrForeign], [ErrVersion],
// [ErrKey] or [ErrDamaged], or is that of the file system.
func Check(ctx context.Context, dir string, key ed25519.PublicKey, progress func(Progress)) (Report, error) {
	b, err := open(dir, key)
	if err != nil {
		return Report{}, fmt.Errorf("check backup %s: %w", dir, err)
	}
	if progress != nil {
		b.progress = progress
	}
	r, err := b.check(ctx)
	if err != nil {
		return r, fmt.Errorf("check backup %s: %w", dir, err)
	}
	return r, nil
}

// A backup is one that is read.
type backup struct {
	dir      string
	manifest *Manifest
	text     []byte // of the manifest
	key      ed25519.PublicKey
	history  [16]byte
	progress func(Progress)
}

// open reads the manifest of a backup and checks who signed it.
func open(dir string, key ed25519.PublicKey) (*backup, error) {
	if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%w: there is no such folder", ErrNone)
	}
	id, err := readIdentity(dir)
	if err != nil {
		return nil, err
	}
	m, text, err := readManifest(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%w: 'bugle backup' into the same folder goes on with it", ErrUnfinished)
	}
	if err != nil {
		return nil, err
	}
	b := &backup{dir: dir, manifest: m, text: text, key: key, progress: func(Progress) {}}
	if b.history, err = historyOf(m.Origin); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if id.Origin != m.Origin {
		return nil, fmt.Errorf("%w: file %s is of %s, %s of %s", ErrDamaged, identityFile, id.Origin, manifestFile, m.Origin)
	}
	return b, b.identify()
}

// identify finds the key, checks the manifest's signature with it, and that the
// key in the backup is the same: the site that is made of it could sign nothing
// that fits otherwise.
func (b *backup) identify() error {
	for _, name := range []string{nameHeadKey, namePages, "keys/site.json"} {
		if _, ok := b.manifest.file(name); !ok {
			return fmt.Errorf("%w: %s names no %s", ErrDamaged, manifestFile, name)
		}
	}
	head, _ := b.manifest.file(nameHeadKey)
	private, err := readHeadKey(b.path(head))
	if err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if b.key == nil {
		b.key = publicOf(private)
	}
	if err := openManifest(b.manifest, b.text, b.key); err != nil {
		return err
	}
	if !publicOf(private).Equal(b.key) {
		return fmt.Errorf("%w: the backup holds another one", ErrKey)
	}
	return nil
}

func (b *backup) path(f File) string { return filepath.Join(b.dir, filepath.FromSlash(f.Stored)) }

func (b *backup) check(ctx context.Context) (Report, error) {
	r := Report{Manifest: b.manifest}
	if err := b.hashes(ctx); err != nil {
		return r, err
	}
	site, err := b.site()
	if err == nil && site != b.manifest.Site {
		err = fmt.Errorf("%w: the keys are of site %s, %s says %s", ErrDamaged, site, manifestFile, b.manifest.Site)
	}
	if err != nil {
		return r, err
	}
	signed, err := b.checkpoint()
	if err != nil {
		return r, err
	}
	pages, err := b.read()
	if err != nil {
		return r, err
	}
	defer pages.Close()
	if err := verify(ctx, pages, b.manifest, signed); err != nil {
		return r, err
	}
	if len(signed) > 0 {
		r.Checkpoint = signed[0]
	}
	r.Unfinished, err = b.unfinished()
	return r, err
}

// verify reads all pages and compares what they come to with the manifest.
func verify(ctx context.Context, pages journal.Reader, m *Manifest, signed []tree.Checkpoint) error {
	report, err := tree.Verify(ctx, pages, signed, nil)
	if errors.Is(err, journal.ErrDamaged) || errors.Is(err, tree.ErrTampered) {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if err != nil {
		return err
	}
	found := journal.Head{Event: report.Events, Pages: report.Pages, Hash: report.Head}
	if found != m.Head || report.Root != m.Root {
		return fmt.Errorf("%w: its history ends with event %d, page %d, %s says %d, %d, or their hashes differ",
			ErrDamaged, found.Event, found.Pages, manifestFile, m.Head.Event, m.Head.Pages)
	}
	return nil
}

// hashes checks size and hash of every file.
func (b *backup) hashes(ctx context.Context) error {
	p := Progress{Step: "check", Total: b.manifest.Bytes()}
	for _, f := range b.manifest.Files {
		got, err := hashFile(b.path(f), f.Size, func(n int) {
			p.Done += int64(n)
			b.progress(p)
		})
		if err != nil {
			return err
		}
		if got != f.Digest {
			return fmt.Errorf("%w: %s is not what was copied", ErrDamaged, b.path(f))
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	return nil
}

func (b *backup) site() (string, error) {
	f, _ := b.manifest.file("keys/site.json")
	return readSite(filepath.Dir(b.path(f)))
}

// checkpoint is what the site had signed last, nothing if that was nothing.
func (b *backup) checkpoint() ([]tree.Checkpoint, error) {
	f, ok := b.manifest.file(nameCheckpoint)
	if !ok {
		return nil, nil
	}
	text, err := readSmall(b.path(f), tree.MaxCheckpoint)
	if err != nil {
		return nil, err
	}
	c, err := tree.OpenCheckpoint(text, b.key, b.manifest.Origin)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return []tree.Checkpoint{c}, nil
}

// unfinished tells whether there is more in the folder than the manifest's set.
func (b *backup) unfinished() (bool, error) {
	sets, err := os.ReadDir(filepath.Join(b.dir, setsFolder))
	if err != nil {
		return false, err
	}
	own := fmt.Sprintf("%08d", b.manifest.Set)
	return slices.ContainsFunc(sets, func(e os.DirEntry) bool { return e.Name() > own }), nil
}

// archives are the archives of a backup, the oldest first.
func (b *backup) archives() (names []string) {
	for _, f := range b.manifest.Files {
		if path.Dir(f.Name) == folderArchive {
			names = append(names, b.path(f))
		}
	}
	slices.SortFunc(names, func(x, y string) int { return strings.Compare(filepath.Base(x), filepath.Base(y)) })
	return names
}

// read returns a reader of all pages.
func (b *backup) read() (*historyReader, error) {
	f, _ := b.manifest.file(namePages)
	r := &historyReader{backup: b, archives: b.archives(), pagesFile: f}
	return r, nil
}

// A historyReader reads the archives and then the pages behind them.
type historyReader struct {
	backup    *backup
	archives  []string // not begun yet
	pagesFile File

	head    journal.Head // behind what was read
	archive *archive.Stream
	pages   *pageReader
	file    io.Closer
}

// Next implements [journal.Reader].
func (h *historyReader) Next(ctx context.Context) (*journal.Page, error) {
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if h.archive == nil && h.pages == nil {
			if err := h.begin(); err != nil {
				return nil, err
			}
		}
		p, err := h.next(ctx)
		if err == io.EOF && h.archive != nil {
			h.archive = nil
			if err := h.Close(); err != nil {
				return nil, err
			}
			continue
		}
		if err == nil {
			h.head = h.head.Next(p)
		}
		return p, err
	}
}

func (h *historyReader) next(ctx context.Context) (*journal.Page, error) {
	if h.archive != nil {
		return h.archive.Next(ctx)
	}
	return h.pages.next()
}

// begin opens the next archive, or the pages.
func (h *historyReader) begin() (err error) {
	if len(h.archives) == 0 {
		return h.beginPages()
	}
	name := h.archives[0]
	f, err := openRegular(name)
	if err != nil {
		return err
	}
	h.file = f
	if h.archive, err = archive.NewStream(f); err != nil {
		return fmt.Errorf("%w: %s: %w", ErrDamaged, name, err)
	}
	if head := h.archive.Header(); head.History != h.backup.history || head.Before != h.head {
		return fmt.Errorf("%w: %s does not go on behind event %d of this history", ErrDamaged, name, h.head.Event)
	}
	h.archives = h.archives[1:]
	return nil
}

func (h *historyReader) beginPages() error {
	f, err := openRegular(h.backup.path(h.pagesFile))
	if err != nil {
		return err
	}
	h.file = f
	h.pages, err = newPageReader(io.LimitReader(f, h.pagesFile.Size), h.backup.history, h.head)
	return err
}

// Close implements [journal.Reader].
func (h *historyReader) Close() error {
	if h.file == nil {
		return nil
	}
	err := h.file.Close()
	h.file = nil
	return err
}

// rawPages are the pages behind the archives by their bytes.
func (b *backup) rawPages(before journal.Head) func(yield func([]byte, error) bool) {
	return func(yield func([]byte, error) bool) {
		f, _ := b.manifest.file(namePages)
		in, err := openRegular(b.path(f))
		if err != nil {
			yield(nil, err)
			return
		}
		defer in.Close()
		r, err := newPageReader(io.LimitReader(in, f.Size), b.history, before)
		for err == nil {
			var p *journal.Page
			if p, err = r.next(); err == nil && !yield(p.Bytes(), nil) {
				return
			}
		}
		if err != io.EOF {
			yield(nil, err)
		}
	}
}

// archivesEnd is where the last archive ends.
func (b *backup) archivesEnd() (journal.Head, error) {
	names := b.archives()
	if len(names) == 0 {
		return journal.Head{}, nil
	}
	r, err := archive.Open(names[len(names)-1])
	if err != nil {
		return journal.Head{}, err
	}
	return r.Info().End, r.Close()
}
