package jetstream

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/commit"
	"github.com/bugle-fleet/bugle/journal/generation"
	"github.com/bugle-fleet/bugle/journal/lock"
)

// Options of [Open]. The zero value is ready.
type Options struct {
	journal.Options
	Log            *slog.Logger  // nil means none
	MaxStore       int64         // bytes that the live store may take on disk; 0 means 1 TiB
	PublishTimeout time.Duration // after which the outcome of an append is looked into; 0 means 10 s

	// Key signs the file state. Without one it has a checksum only: whoever may
	// write into the folder can then make the folds believe anything.
	Key ed25519.PrivateKey
	// Covered is the end of a prefix that somebody else has vouched for, such as
	// a signed checkpoint: the journal must have it.
	Covered journal.Head

	SealBytes int64         // of pages, after which a generation takes no more; 0 means 1 GiB
	SealAge   time.Duration // of its first page, likewise; 0 means 30 days
	SaveEvery time.Duration // how often the file state is written; 0 means 5 min

	step func(done string) error // for tests: called between two steps of what may be interrupted
}

const (
	defaultMaxStore       = 1 << 40
	defaultPublishTimeout = 10 * time.Second
	defaultSealBytes      = 1 << 30
	defaultSealAge        = 30 * 24 * time.Hour
	defaultSaveEvery      = 5 * time.Minute
)

func (o Options) orDefault() Options {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.MaxStore <= 0 {
		o.MaxStore = defaultMaxStore
	}
	if o.PublishTimeout <= 0 {
		o.PublishTimeout = defaultPublishTimeout
	}
	if o.SealBytes <= 0 {
		o.SealBytes = defaultSealBytes
	}
	if o.SealAge <= 0 {
		o.SealAge = defaultSealAge
	}
	if o.step == nil {
		o.step = func(string) error { return nil }
	}
	if o.SaveEvery <= 0 {
		o.SaveEvery = defaultSaveEvery
	}
	return o
}

func (o *Options) check() error {
	if n := len(o.Key); n != 0 && n != ed25519.PrivateKeySize {
		return fmt.Errorf("a key of %d bytes, want %d", n, ed25519.PrivateKeySize)
	}
	return nil
}

type engine = commit.Journal

// A Journal is a [journal.Journal] in a folder.
type Journal struct {
	*engine
	store    *store
	keeper   *keeper
	closing  sync.Once
	closeErr error
}

// History names the journal: 16 random bytes, made with it, never changed.
func (j *Journal) History() [16]byte { return j.store.history }

// Generations are all there are, in order; the last one is open.
func (j *Journal) Generations() generation.List { return j.store.shelf.generations() }

// Damaged is closed when damage was found while the journal is open: reading what
// is damaged fails, everything else goes on.
func (j *Journal) Damaged() <-chan struct{} { return j.store.shelf.damaged }

// Damage is the first damage that was found while the journal is open, a
// [*journal.DamageError], or nil.
func (j *Journal) Damage() error { return j.store.shelf.damage() }

// Open opens the journal in dir, which it makes if it is not there. What was not
// vouched for by the file state is read and checked first, then handed to the
// folds; only then JetStream is let at it.
//
// It returns [journal.ErrLocked] if the journal is open already, here or in
// another process, and a [*journal.DamageError] if what is there does not hold
// together or is less than it was. No file was changed then.
func Open(ctx context.Context, dir string, opts Options) (*Journal, error) {
	opts = opts.orDefault()
	j, err := open(ctx, dir, opts)
	if errors.Is(err, journal.ErrDamaged) {
		err = fmt.Errorf("%w; nothing was changed: `bugle journal salvage` copies what can be proved into a new journal, `bugle restore` brings back a backup", err)
	}
	if err != nil {
		return nil, fmt.Errorf("open journal %s: %w", dir, err)
	}
	return j, nil
}

func open(ctx context.Context, dir string, opts Options) (*Journal, error) {
	if err := opts.check(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	unlock, err := lock.Take(filepath.Join(dir, lockFile))
	if err != nil {
		return nil, err
	}
	found, err := inspect(ctx, dir, &opts)
	if err != nil {
		unlock()
		return nil, err
	}
	s, err := openStore(ctx, found, opts)
	if err != nil {
		unlock()
		return nil, err
	}
	j := &Journal{engine: found.start.Open(s), store: s}
	j.keeper = keep(j.engine, s, &opts, unlock)
	return j, nil
}

// Close implements [journal.Journal]. What is known is kept for the next start.
func (j *Journal) Close() error {
	j.closing.Do(func() {
		j.keeper.stop()
		j.closeErr = errors.Join(j.engine.Close(), j.keeper.finish())
	})
	return j.closeErr
}
