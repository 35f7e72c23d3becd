package upkeep

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/archive"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/journal/generation"
	"github.com/bugle-fleet/bugle/journal/tree"
)

// A Journal is what the upkeep reads and appends to.
type Journal interface {
	AppendIf(ctx context.Context, guard func() error, events ...*event.Event) error
	Read(ctx context.Context, from uint64) (journal.Reader, error)
}

// A Store is what keeps the journal in generations, as the one of package
// jetstream does. A method that was ended by a crash may be called again, and goes
// on or begins anew.
type Store interface {
	// Generations are all there are; the last one is open.
	Generations() generation.List
	// Archive writes, verifies and syncs the archive of a closed generation.
	Archive(ctx context.Context, number uint32, t archive.Tree, progress func(done, total uint64)) (generation.Generation, error)
	// Remove takes an archived generation out of the live store.
	Remove(ctx context.Context, number uint32) error
	// Check compares the files with themselves. It calls pace with the bytes that
	// it has read since, and stops if that fails.
	Check(ctx context.Context, pace func(bytes int) error) error
	// Damaged is closed when damage was found by whoever read.
	Damaged() <-chan struct{}
}

// Checkpoints is what the upkeep needs of a [tree.Tree].
type Checkpoints interface {
	archive.Tree
	Checkpoint() (text []byte, c tree.Checkpoint)
}

// Config is what an [Upkeep] needs.
type Config struct {
	Journal     Journal
	Store       Store
	Checkpoints Checkpoints
	Notes       *Notes // a fold of Journal
	Settings    Settings

	Log *slog.Logger     // default slog.Default()
	Now func() time.Time // default time.Now
}

// lookEvery is how often the upkeep looks at what is due, firstCheck how long
// after the start an overdue check begins, for a start has enough to do.
const (
	lookEvery  = 10 * time.Second
	firstCheck = 5 * time.Minute
)

// An Upkeep works while [Upkeep.Run] runs. Its other methods are safe for
// concurrent use.
type Upkeep struct {
	cfg Config
	set Settings

	checking sync.Mutex // one check at a time

	mu     sync.Mutex
	stats  Stats
	failed string // why generations are not archived or removed, empty if all are
}

// New makes the upkeep of a journal.
func New(cfg Config) (*Upkeep, error) {
	if cfg.Journal == nil || cfg.Store == nil || cfg.Checkpoints == nil || cfg.Notes == nil {
		return nil, errors.New("configure upkeep: Journal, Store, Checkpoints and Notes must be set")
	}
	if err := cfg.Settings.Check(); err != nil {
		return nil, fmt.Errorf("configure upkeep: %w", err)
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Upkeep{cfg: cfg, set: cfg.Settings.orDefault()}, nil
}

// Run does what is due until ctx ends, and returns nil; it may end earlier when
// the journal is closed. What fails is logged and tried again.
func (u *Upkeep) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var parts sync.WaitGroup
	parts.Go(func() { defer cancel(); u.runChecks(ctx) })
	defer parts.Wait()
	defer cancel()
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		err := u.look(ctx)
		switch {
		case ctx.Err() != nil || errors.Is(err, journal.ErrClosed):
			return nil
		case err != nil:
			u.cfg.Log.Error("the journal's upkeep failed and is tried again", "again in", lookEvery, "error", err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// look does once what is due but checks.
func (u *Upkeep) look(ctx context.Context) error {
	return errors.Join(u.tend(ctx), u.sign(ctx))
}

// errSaid is what a guard returns if the history says it already.
var errSaid = errors.New("it is in the history already")

// say appends events unless said holds when their turn comes; appended tells
// whether it did.
func (u *Upkeep) say(ctx context.Context, key string, said func() bool, payloads ...event.Payload) (appended bool, err error) {
	events := make([]*event.Event, len(payloads))
	for i, p := range payloads {
		events[i] = &event.Event{Observed: u.cfg.Now(), Actor: event.Actor{Issuer: "site", Subject: "upkeep"}, Payload: p}
	}
	events[0].Key = key
	err = u.cfg.Journal.AppendIf(ctx, func() error {
		if said() {
			return errSaid
		}
		return nil
	}, events...)
	switch {
	case errors.Is(err, errSaid):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("append %s: %w", payloads[0].Kind(), err)
	}
	return true, nil
}

// sign puts the last checkpoint into the history if it is time.
func (u *Upkeep) sign(ctx context.Context) error {
	text, c := u.cfg.Checkpoints.Checkpoint()
	if text == nil || !u.due(c) {
		return nil
	}
	appended, err := u.say(ctx, fmt.Sprintf("upkeep/checkpoint/%d", c.Pages), func() bool { return !u.due(c) },
		&event.CheckpointSigned{Events: c.Events, Text: text})
	if appended {
		u.count(func(s *Stats) { s.Checkpoints++ })
	}
	return err
}

// due tells whether a checkpoint belongs into the history now.
func (u *Upkeep) due(c tree.Checkpoint) bool {
	if !u.cfg.Notes.fresh(c) {
		return false
	}
	if sealed, ok := u.cfg.Notes.hurry(); ok && c.Events >= sealed {
		return true
	}
	return u.cfg.Now().Sub(u.cfg.Notes.last()) >= u.set.CheckpointEvery
}

// jitter is up to a tenth of d.
func jitter(d time.Duration) time.Duration { return rand.N(d/10 + 1) }
