package jetstream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/commit"
)

// Options of [Open]. The zero value is ready.
type Options struct {
	journal.Options
	Log            *slog.Logger  // of the embedded server; nil means none
	MaxStore       int64         // bytes that the journal may take on disk; 0 means 1 TiB
	PublishTimeout time.Duration // after which the outcome of an append is looked into; 0 means 10 s
}

const (
	defaultMaxStore       = 1 << 40
	defaultPublishTimeout = 10 * time.Second
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
	return o
}

type engine = commit.Journal

// A Journal is a [journal.Journal] in a folder.
type Journal struct {
	*engine
	history [16]byte
}

// History names the journal: 16 random bytes, made with it, never changed.
func (j *Journal) History() [16]byte { return j.history }

// Open opens the journal in dir, which it makes if it is not there, reads and
// checks it from the first event to the last, and hands every event to the
// folds. It returns [journal.ErrLocked] if the journal is open already, here or
// in another process, and a [*journal.DamageError] if what is there does not hold
// together. By then JetStream may have cut off or rewritten what it could not
// read: whoever wants to look into the damage copies dir first.
func Open(ctx context.Context, dir string, opts Options) (*Journal, error) {
	opts = opts.orDefault()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open journal: %w", err)
	}
	unlock, err := lock(filepath.Join(dir, "lock"))
	if err != nil {
		return nil, fmt.Errorf("open journal %s: %w", dir, err)
	}
	j, err := open(ctx, dir, opts, unlock)
	if err != nil {
		return nil, fmt.Errorf("open journal %s: %w", dir, err)
	}
	return j, nil
}

func open(ctx context.Context, dir string, opts Options, unlock func()) (*Journal, error) {
	m, err := readMark(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		unlock()
		return nil, err
	}
	s, err := openStore(ctx, dir, opts, unlock)
	if err != nil {
		return nil, err
	}
	core, err := commit.Open(ctx, s, opts.Options)
	if err != nil {
		return nil, errors.Join(err, s.free())
	}
	// From here on the engine owns the store; closing it writes the mark only if
	// the mark is known.
	if err := s.identify(ctx, m, core.Head()); err != nil {
		return nil, errors.Join(err, core.Close())
	}
	return &Journal{core, s.mark.history}, nil
}
