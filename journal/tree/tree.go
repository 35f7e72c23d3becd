package tree

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/durable"
)

// A Journal is what a tree needs of a [journal.Journal].
type Journal interface {
	Read(ctx context.Context, from uint64) (journal.Reader, error)
	Follow(ctx context.Context, from uint64) (journal.Reader, error)
	Head() journal.Head
}

// A PageReader is a [Journal] that can read one page and nothing more, which is
// what a proof takes most of its time for. Whether the page is the one that was
// signed is checked by the tree.
type PageReader interface {
	// Page returns the page that holds the event.
	Page(ctx context.Context, event uint64) (*journal.Page, error)
}

// Options of a tree.
type Options struct {
	Journal Journal            // which the tree is of
	Origin  string             // its name in checkpoints, such as bugle.SITE/HISTORY
	Key     ed25519.PrivateKey // signs checkpoints
	Log     *slog.Logger       // nil means slog.Default
	Now     func() time.Time   // for the time in checkpoints; nil means time.Now
	Every   time.Duration      // between two checkpoints; 0 means one second
}

const (
	checkpointFile = "checkpoint"
	longestRetry   = time.Minute
)

// A Tree is the tree of one journal, and its last checkpoint. Its methods, but
// for Run and Close, are safe for concurrent use.
type Tree struct {
	dir   string
	opts  Options
	cache *cache

	// Run's own:
	built     Builder
	prior     frontier // built before its last page
	priorHead journal.Head
	hashes    []tlog.Hash // of one page, to be used again
	broken    bool        // built and cache may not be what they should

	mu      sync.Mutex
	text    []byte // of the last checkpoint, or nil
	signed  Checkpoint
	ready   bool          // the file hashes holds what was signed
	ended   error         // why Run has ended, or nil
	changed chan struct{} // closed, and made anew, when any of these changes
}

// Open opens the tree of a journal; dir is its folder, made if there is none.
// If there is a checkpoint in it the journal must still be the one that was
// signed: a [*TamperError] says that it is shorter or was rewritten. A
// checkpoint that cannot be read, or of another key or origin, is an error as
// that of [OpenCheckpoint], and stays where it is.
func Open(dir string, opts Options) (*Tree, error) {
	t := &Tree{dir: dir, opts: opts, changed: make(chan struct{})}
	if err := t.defaults(); err != nil {
		return nil, fmt.Errorf("open tree in %s: %w", dir, err)
	}
	if err := t.open(context.Background()); err != nil {
		if t.cache != nil {
			err = errors.Join(err, t.cache.f.Close())
		}
		return nil, fmt.Errorf("open tree in %s: %w", dir, err)
	}
	return t, nil
}

func (t *Tree) defaults() error {
	if len(t.opts.Key) != ed25519.PrivateKeySize {
		return fmt.Errorf("a key of %d bytes, want %d", len(t.opts.Key), ed25519.PrivateKeySize)
	}
	if t.opts.Log == nil {
		t.opts.Log = slog.Default()
	}
	if t.opts.Now == nil {
		t.opts.Now = time.Now
	}
	if t.opts.Every <= 0 {
		t.opts.Every = time.Second
	}
	return checkOrigin(t.opts.Origin)
}

func (t *Tree) open(ctx context.Context) (err error) {
	if err := os.MkdirAll(t.dir, 0o700); err != nil {
		return err
	}
	// A power cut must not take the folder together with a checkpoint in it.
	if err := durable.SyncFolder(filepath.Dir(t.dir)); err != nil {
		return err
	}
	name := filepath.Join(t.dir, checkpointFile)
	text, err := readFile(name)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err == nil {
		if t.signed, err = openCheckpoint(text, t.public(), t.opts.Origin); err != nil {
			return fmt.Errorf("read %s: %w", name, err)
		}
		t.text = text
	}
	if t.cache, err = openCache(t.dir); err != nil {
		return err
	}
	return t.restore(ctx)
}

// readFile reads a small file; one byte more than is allowed tells that it is
// too large.
func readFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, MaxCheckpoint+1))
}

func (t *Tree) public() ed25519.PublicKey { return t.opts.Key.Public().(ed25519.PublicKey) }

// restore goes back to what was signed last, or, if the file hashes does not
// lead to it, to nothing, and checks that the journal still begins with it.
func (t *Tree) restore(ctx context.Context) error {
	t.built = Builder{}
	keep := uint64(0)
	if n := t.signed.Pages; n > 0 && t.cache.holds(n) {
		f, err := t.cache.frontier(n)
		if err == nil && f.root() == t.signed.Root {
			t.built.pages, t.built.head, keep = f, t.signed.Head(), n
		}
	}
	if keep == 0 && (t.signed.Pages > 0 || t.cache.holds(1)) {
		t.opts.Log.Warn("the tree of the journal is made anew", "dir", t.dir, "signed", t.signed.Pages)
	}
	t.note(func() { t.ready = keep > 0 }) // before what proofs are made of goes
	if err := t.cache.cut(keep); err != nil {
		return err
	}
	if t.signed.Pages == 0 {
		return nil
	}
	if same, err := t.ends(ctx); same || err != nil {
		return err
	}
	return t.examine(ctx, t.signed, t.ready)
}

// ends tells whether the page that the checkpoint names as the last one is in
// the journal. Its hash vouches for all before it.
func (t *Tree) ends(ctx context.Context) (bool, error) {
	if head := t.opts.Journal.Head(); head.Pages < t.signed.Pages || head.Event < t.signed.Events {
		return false, nil
	}
	r, err := t.opts.Journal.Read(ctx, t.signed.Events)
	if err != nil {
		return false, err
	}
	defer r.Close()
	p, err := r.Next(ctx)
	if err != nil {
		return false, err
	}
	return p.Last() == t.signed.Events && p.Hash == t.signed.Chain, nil
}

// examine finds what of the journal is not as it was signed, from its beginning
// on, and, if the file hashes holds what was signed, where that begins.
func (t *Tree) examine(ctx context.Context, signed Checkpoint, cached bool) error {
	r, err := t.opts.Journal.Read(ctx, 1)
	if err != nil {
		return err
	}
	defer r.Close()
	var b Builder
	var hashes []tlog.Hash
	found := &TamperError{Signed: signed}
	for b.head.Pages < signed.Pages {
		p, err := r.Next(ctx)
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		if hashes, err = b.add(hashes[:0], p); err != nil {
			return err
		}
		if !cached || found.Page > 0 {
			continue
		}
		stored, err := t.cache.ReadHashes([]int64{tlog.StoredHashIndex(0, int64(b.head.Pages-1))})
		switch {
		case err != nil:
			return err
		case stored[0] != hashes[0]:
			found.Page = b.head.Pages
		default:
			found.Good = p.Last()
		}
	}
	if found.What = signed.differs(b.head, b.pages.root()); found.What == "" {
		return nil
	}
	if cached && found.Page == 0 {
		found.Page = b.head.Pages + 1
	}
	found.Found = b.head
	return found
}

// note changes what others see.
func (t *Tree) note(change func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	change()
	close(t.changed)
	t.changed = make(chan struct{})
}

// Checkpoint returns the last checkpoint, as it is written and as it reads. The
// text is nil if there is none yet; it is shared: nobody changes it.
func (t *Tree) Checkpoint() (text []byte, c Checkpoint) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.text, t.signed
}

// Wait waits until a checkpoint covers the event and proofs of it can be had.
// Whoever waits for the event behind those of [Tree.Checkpoint] learns of the
// next checkpoint. Wait returns the error of Run if that ends first,
// [journal.ErrClosed] if it ends without one.
func (t *Tree) Wait(ctx context.Context, event uint64) error {
	for {
		t.mu.Lock()
		covered, ended, changed := t.ready && t.signed.Events >= event, t.ended, t.changed
		t.mu.Unlock()
		switch {
		case covered:
			return nil
		case ended != nil:
			return fmt.Errorf("wait for checkpoint of event %d: %w", event, ended)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Close frees the tree. Nothing else of it must be under way.
func (t *Tree) Close() error { return t.cache.f.Close() }
