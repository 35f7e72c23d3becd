package inbox

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/bugle-fleet/bugle/inbox/box"
	"github.com/bugle-fleet/bugle/journal"
)

// Config says what an inbox reads, whom it believes, and where it appends.
// Dir, Site, Journal, Ledger, ListenerKey and ResultKey must be there.
type Config struct {
	Dir     string // the folder of the box; it is made if it is not there
	Site    string // files of other sites are put aside
	Journal journal.Journal
	Ledger  *Ledger // is among the folds of Journal

	// ListenerKey returns the key that a listener signs with in an epoch.
	// ResultKey returns the key that a device's results carry a code of. Both are
	// called from several goroutines.
	ListenerKey func(listener string, epoch uint32) (ed25519.PublicKey, bool)
	ResultKey   func(device uint32) (key []byte, ok bool)
	// ListenerScope returns what tells which devices a listener may speak for in an
	// epoch, nil for all; it never changes for one epoch. Without it every listener
	// may speak for all devices.
	ListenerScope func(listener string, epoch uint32) func(device uint32) bool

	Poll      bool          // do not watch the folder: for network file systems, which tell nothing
	Every     time.Duration // how often the folder is read in any case; default 1 s
	Grace     time.Duration // how long a file waits for one that is missing before it; default 1 s
	KeepAge   time.Duration // how long archived files are kept; default 7 days
	KeepBytes int64         // how much disk they may take; default 1 GiB
	Log       *slog.Logger  // default slog.Default()
}

func (c *Config) check() error {
	switch {
	case c.Dir == "":
		return errors.New("no folder")
	case c.Site == "":
		return errors.New("no site")
	case c.Journal == nil || c.Ledger == nil:
		return errors.New("no journal, or no ledger of it")
	case c.ListenerKey == nil || c.ResultKey == nil:
		return errors.New("no keys to check by")
	}
	c.Every = cmp.Or(c.Every, time.Second)
	c.Grace = cmp.Or(c.Grace, time.Second)
	c.KeepAge = cmp.Or(c.KeepAge, 7*24*time.Hour)
	c.KeepBytes = cmp.Or(c.KeepBytes, 1<<30)
	if c.Log == nil {
		c.Log = slog.Default()
	}
	return nil
}

// An Inbox turns the files of one box into events. One goroutine runs it; the
// other methods may be called from any.
type Inbox struct {
	cfg  Config
	box  *box.Box
	log  *slog.Logger
	gate *gate
	wake chan struct{} // "scan now"

	complained map[string]bool // by label; a file that cannot be claimed is logged once
	ends       uint64          // items that came to their end; the goroutine of Run's

	mu    sync.Mutex
	stats Stats
	kept  int64 // bytes that were archived since the archive was last pruned
}

// New opens the box. Close frees it.
func New(cfg Config) (*Inbox, error) {
	if err := cfg.check(); err != nil {
		return nil, fmt.Errorf("open inbox: %w", err)
	}
	b, err := box.Open(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("open inbox: %w", err)
	}
	return &Inbox{cfg: cfg, box: b, log: cfg.Log, gate: newGate(cfg.Ledger, cfg.Grace),
		wake: make(chan struct{}, 1), complained: make(map[string]bool)}, nil
}

func (in *Inbox) scope(n box.Name) func(device uint32) bool {
	if in.cfg.ListenerScope == nil {
		return nil
	}
	return in.cfg.ListenerScope(n.Listener, n.Epoch)
}

// Close frees what New took. Run must have returned.
func (in *Inbox) Close() error { return in.box.Close() }

// now is the one place where the inbox reads the clock.
func (in *Inbox) now() time.Time { return time.Now().UTC() }

// Requeue puts a file that was put aside back among those that wait. That an
// administrator did so is the caller's to append, before.
func (in *Inbox) Requeue(ctx context.Context, name string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if _, err := in.box.Requeue(name); err != nil {
		return err
	}
	in.scanNow()
	return nil
}

// Bad lists what was put aside.
func (in *Inbox) Bad() ([]box.BadFile, error) { return in.box.Bad() }

func (in *Inbox) scanNow() {
	select {
	case in.wake <- struct{}{}:
	default:
	}
}

// Stats are counts since New, and what waits.
type Stats struct {
	Files      uint64    // taken: the journal has them
	Events     uint64    // appended
	Duplicates uint64    // files that the journal had already
	BadFiles   uint64    // put aside
	BadRecords uint64    // put aside out of files that were taken
	Gaps       uint64    // reports of missing numbers
	Waiting    int       // files in the folder at the last scan
	Oldest     time.Time // when the longest waiting of them was written, zero if none waits
	Stalled    time.Time // since when the journal or the disk takes nothing, zero if it does
}

// Stats returns the counts of now.
func (in *Inbox) Stats() Stats {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.stats
}

func (in *Inbox) count(change func(*Stats)) {
	in.mu.Lock()
	defer in.mu.Unlock()
	change(&in.stats)
}

// ended counts an item that is at its end.
func (in *Inbox) ended(it *item) {
	in.ends++
	in.mu.Lock()
	defer in.mu.Unlock()
	switch {
	case it.reason != "":
		in.stats.BadFiles++
		return
	case it.told:
		in.stats.Files++
		in.stats.BadRecords += uint64(it.bad)
	default:
		in.stats.Duplicates++
	}
	in.kept += int64(it.size)
}

func (in *Inbox) stalled(err error) {
	in.count(func(s *Stats) {
		if s.Stalled.IsZero() {
			s.Stalled = in.now()
			in.log.Warn("the inbox waits", "error", err)
		}
	})
}

func (in *Inbox) working() {
	in.count(func(s *Stats) {
		if !s.Stalled.IsZero() {
			in.log.Info("the inbox goes on", "after", in.now().Sub(s.Stalled))
			s.Stalled = time.Time{}
		}
	})
}
