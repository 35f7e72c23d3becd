package jetstream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/commit"
	"github.com/bugle-fleet/bugle/journal/generation"
)

// A shelf is all generations of a journal, and where to read the pages of each.
type shelf struct {
	dir     string
	history [16]byte
	log     *slog.Logger

	writing sync.Mutex // held while the list on disk is changed

	mu       sync.RWMutex
	list     generation.List
	live     map[uint32]*live
	archived map[uint32]*archived
	damaged  chan struct{}
	first    error // damage that was found

	tables recent[*blk]
	open   recent[*archived]
}

// Bounds of what a shelf keeps for reading.
const (
	maxTables   = 64 // files of which it is known where each page is
	maxArchives = 4  // that are open
)

func newShelf(dir string, list generation.List, log *slog.Logger) *shelf {
	s := &shelf{dir: dir, log: log, list: list, live: make(map[uint32]*live), archived: make(map[uint32]*archived), damaged: make(chan struct{})}
	s.tables = recent[*blk]{most: maxTables, drop: (*blk).forget}
	s.open = recent[*archived]{most: maxArchives, drop: (*archived).close}
	for i := range list {
		if list[i].Removed {
			s.archived[list[i].Number] = &archived{shelf: s, generation: list[i]}
		}
	}
	return s
}

func (s *shelf) generations() generation.List {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return slices.Clone(s.list)
}

// generation returns generation n, or an error.
func (s *shelf) generation(n uint32) (generation.Generation, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if n == 0 || int(n) > len(s.list) {
		return generation.Generation{}, fmt.Errorf("there is no generation %d, the last one is %d", n, len(s.list))
	}
	return s.list[n-1], nil
}

// change makes another list durable, then that of the shelf. After an error the
// list on disk may be either.
func (s *shelf) change(f func(generation.List) generation.List) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	next := f(s.generations())
	if err := generation.Write(s.dir, next); err != nil {
		return err
	}
	s.mu.Lock()
	s.list = next
	s.mu.Unlock()
	return nil
}

// begin closes the open generation and makes next the open one.
func (s *shelf) begin(next *live) error {
	err := s.change(func(l generation.List) generation.List {
		l[len(l)-1].End = next.before.Head
		return append(l, generation.Generation{Number: next.number, Before: next.before.Head})
	})
	if err == nil {
		s.mu.Lock()
		s.live[next.number] = next
		s.mu.Unlock()
	}
	return err
}

// back makes generation n the open one again, in memory: nothing was written to
// the one behind it.
func (s *shelf) back(n uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if int(n) < len(s.list) {
		s.list = slices.Clone(s.list[:n])
		s.list[n-1].End = journal.Head{}
		delete(s.live, n+1)
	}
}

// load returns page n and some behind it up to last; end is the journal's end.
func (s *shelf) load(ctx context.Context, n, last uint64, end journal.Head) ([][]byte, error) {
	for {
		l, a := s.where(n)
		switch {
		case a != nil:
			pages, err := a.load(ctx, n, last)
			s.open.use(a)
			return pages, s.note(err)
		case l == nil:
			return nil, fmt.Errorf("load page %d: %w", n, commit.ErrNoPage)
		}
		b := l.of(n)
		if b == nil {
			return nil, fmt.Errorf("load page %d: %w", n, commit.ErrNoPage)
		}
		pages, err := b.load(ctx, n, min(last, b.last(end)), end)
		s.tables.use(b)
		if err == nil {
			return pages, nil
		}
		if err := s.judge(b, err); err != nil {
			return nil, err
		}
		// It was removed meanwhile, and is in an archive.
	}
}

// where tells where page n is.
func (s *shelf) where(n uint64) (*live, *archived) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	g := s.list.Of(n)
	if g == nil {
		return nil, nil
	}
	return s.live[g.Number], s.archived[g.Number]
}

// note keeps the first damage, and returns err.
func (s *shelf) note(err error) error {
	if !errors.Is(err, journal.ErrDamaged) {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.first == nil {
		s.first = err
		s.log.Error("journal is damaged", "error", err)
		close(s.damaged)
	}
	return err
}

func (s *shelf) damage() error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.first
}

// blocks returns all files of the live store, oldest first.
func (s *shelf) blocks() (all []*blk) {
	for _, l := range s.lives() {
		all = append(all, l.all()...)
	}
	return all
}

// lives returns all generations in the live store, oldest first.
func (s *shelf) lives() (all []*live) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for i := range s.list {
		if l := s.live[s.list[i].Number]; l != nil {
			all = append(all, l)
		}
	}
	return all
}

// away returns all generations that are in archives only, oldest first.
func (s *shelf) away() (all []*archived) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for i := range s.list {
		if a := s.archived[s.list[i].Number]; a != nil {
			all = append(all, a)
		}
	}
	return all
}

// A unit is what is checked at once.
type unit interface {
	verify(ctx context.Context, end journal.Head) error
	first() uint64 // page
}

// judge keeps what was found out about a unit. Of one that was removed meanwhile
// nothing is.
func (s *shelf) judge(u unit, err error) error {
	if _, live := u.(*blk); live && err != nil {
		if _, now := s.where(u.first()); now != nil {
			return nil
		}
	}
	return s.note(err)
}

// units are all files of pages, oldest first.
func (s *shelf) units() (all []unit) {
	for _, a := range s.away() {
		all = append(all, a)
	}
	for _, b := range s.blocks() {
		all = append(all, b)
	}
	return all
}

func (s *shelf) close() {
	for _, a := range s.away() {
		a.close()
	}
}

// recent keeps some things that were used last, and drops the others. A thing may
// be used again after it was dropped.
type recent[T comparable] struct {
	most int
	drop func(T)
	mu   sync.Mutex
	kept []T // the one that was used last stands last
}

func (r *recent[T]) use(t T) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if i := slices.Index(r.kept, t); i >= 0 {
		r.kept = append(slices.Delete(r.kept, i, i+1), t)
		return
	}
	r.kept = append(r.kept, t)
	if len(r.kept) > r.most {
		r.drop(r.kept[0])
		r.kept = slices.Delete(r.kept, 0, 1)
	}
}
