package site

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/bugle-fleet/bugle/console"
	"github.com/bugle-fleet/bugle/inbox/box"
	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/archive"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/journal/generation"
	"github.com/bugle-fleet/bugle/journal/jetstream"
	"github.com/bugle-fleet/bugle/journal/upkeep"
)

// space watches how much room the disk has. While it is less than least the site
// takes no new work, and so never writes into the last bytes: there the stores
// can no longer tell what they wrote. It goes on by itself once there is room.
type space struct {
	dir   string
	least uint64
	free  func(dir string) (uint64, error)
	log   *slog.Logger
	short atomic.Pointer[spaceError]
	blind bool // the last look failed
}

// spaceEvery is how often the disk is asked; a site writes far less than the
// default of least in that time.
const spaceEvery = 250 * time.Millisecond

// A spaceError says that the disk is too full to take work.
type spaceError struct {
	dir         string
	free, least uint64
}

func (e *spaceError) Error() string {
	return fmt.Sprintf("the disk of %s has %d MiB left and the site keeps %d MiB free (--min-free): make room; nothing is lost, and work is taken again then",
		e.dir, e.free>>20, e.least>>20)
}

// Unwrap makes the error one after which a caller tries again, and one that an
// administrator is told.
func (e *spaceError) Unwrap() []error {
	return []error{journal.ErrUnavailable, &console.Problem{
		Status: http.StatusServiceUnavailable, Title: "The site's disk is full", Detail: e.Error(),
	}}
}

func newSpace(dir string, least uint64, log *slog.Logger) *space {
	s := &space{dir: dir, least: least, free: freeBytes, log: log}
	s.look()
	return s
}

// run looks until ctx ends.
func (s *space) run(ctx context.Context) error {
	tick := time.NewTicker(spaceEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			s.look()
		}
	}
}

func (s *space) look() {
	free, err := s.free(s.dir)
	if err != nil {
		if !s.blind {
			s.log.Warn("cannot tell how full the disk is", "error", err)
		}
		s.blind = true
		return
	}
	s.blind = false
	was := s.short.Load()
	switch {
	case free >= s.least && was != nil:
		s.short.Store(nil)
		s.log.Info("the disk has room again", "free", free)
	case free < s.least:
		now := &spaceError{s.dir, free, s.least}
		s.short.Store(now)
		if was == nil {
			s.log.Error("no new work is taken", "error", now)
		}
	}
}

// check returns a [*spaceError] while there is too little room.
func (s *space) check() error {
	if e := s.short.Load(); e != nil {
		return e
	}
	return nil
}

// roomyJournal is the journal behind that check.
type roomyJournal struct {
	*jetstream.Journal
	space *space
}

func (j roomyJournal) Append(ctx context.Context, events ...*event.Event) error {
	if err := j.space.check(); err != nil {
		return err
	}
	return j.Journal.Append(ctx, events...)
}

func (j roomyJournal) AppendIf(ctx context.Context, guard func() error, events ...*event.Event) error {
	if err := j.space.check(); err != nil {
		return err
	}
	return j.Journal.AppendIf(ctx, guard, events...)
}

// roomyStore is what keeps the generations behind a check: an archive is written
// only if all that it may take leaves as much room as is kept free. Else it could
// stop the site itself, and what it was made of could not be taken away.
type roomyStore struct {
	upkeep.Store
	space *space
	dir   string // of the journal
}

func (s roomyStore) Archive(ctx context.Context, number uint32, t archive.Tree, progress func(done, total uint64)) (generation.Generation, error) {
	need, err := folderBytes(generation.LiveFolder(s.dir, number))
	if err == nil {
		err = s.space.room(need)
	}
	if err != nil {
		return generation.Generation{}, err
	}
	return s.Store.Archive(ctx, number, t, progress)
}

// room tells why so many more bytes would not leave what is kept free.
func (s *space) room(need uint64) error {
	free, err := s.free(s.dir)
	if err == nil && free < s.least+need {
		err = fmt.Errorf("it may take %d MiB, and the disk of %s has %d MiB, of which the site keeps %d MiB free (--min-free): make room",
			need>>20, s.dir, free>>20, s.least>>20)
	}
	return err
}

// tableOverhead is what a table of a view takes at most beside the rows, which take
// no more than twice what they take in the log.
const tableOverhead = 64 << 10

// roomToClose tells why what the views have in memory, which is what is in their logs,
// does not fit on the disk as the tables that they write when they close.
func (s *space) roomToClose(views string) error {
	logs, err := filepath.Glob(filepath.Join(views, "*", "*", "*.mem"))
	if err != nil {
		return err
	}
	var need uint64
	for _, name := range logs {
		if i, err := os.Stat(name); err == nil {
			need += 2*takenBytes(i) + tableOverhead
		}
	}
	free, err := s.free(s.dir)
	if err != nil || free >= need {
		return nil // what is not known now Badger finds out, and says
	}
	return fmt.Errorf("the disk of %s has %d KiB left and closing may take %d KiB: make room before the next start", s.dir, free>>10, need>>10)
}

// folderBytes is how much is in a folder, without those in it.
func folderBytes(name string) (n uint64, err error) {
	entries, err := os.ReadDir(name)
	if err != nil {
		return 0, err
	}
	for _, e := range entries {
		i, err := e.Info()
		if errors.Is(err, os.ErrNotExist) {
			continue // it has gone meanwhile
		}
		if err != nil {
			return 0, err
		}
		n += uint64(i.Size())
	}
	return n, nil
}

// roomyDrop is the box behind that check: an agent keeps a result that is not
// acknowledged.
func (s *space) roomyDrop(spool *box.Spool) func(c box.Contents, from, to time.Time) error {
	return func(c box.Contents, from, to time.Time) error {
		if err := s.check(); err != nil {
			return err
		}
		_, err := spool.Drop(c, from, to)
		return err
	}
}

// roomyDeliver is the same for files of listeners that run apart, which keep what
// is not taken.
func (s *space) roomyDeliver(dir string) func(files []box.Raw) (int, error) {
	return func(files []box.Raw) (int, error) {
		if err := s.check(); err != nil {
			return 0, err
		}
		return box.Deliver(dir, files)
	}
}
