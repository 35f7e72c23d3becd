package journaltest

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/commit"
)

// A Fault is what happens to one page that a [Memory] journal is about to write.
type Fault int

// The faults. After Lost and LostButStored the journal takes no more events
// until [Memory.Reopen].
const (
	NoFault         Fault = iota // the page is written
	NotStored                    // it is not, and the journal knows: callers get journal.ErrUnavailable
	StoredButFailed              // it is, the store reports an error, reading back finds the page: callers get nil
	Lost                         // it is not, and nobody can tell: callers get journal.ErrUnknown
	LostButStored                // it is, and nobody can tell: callers get journal.ErrUnknown
)

// A Memory is a [journal.Journal] in memory. Its pages outlive it, see
// [Memory.Reopen].
type Memory struct {
	*commit.Journal
	store *memoryStore
}

// NewMemory opens an empty journal. Close it at the end of the test.
func NewMemory(opts journal.Options) *Memory {
	m, err := openMemory(&disk{}, opts, nil)
	if err != nil {
		panic(err) // an empty disk holds nothing that could be damaged
	}
	return m
}

func openMemory(d *disk, opts journal.Options, saved *commit.Saved) (*Memory, error) {
	s := &memoryStore{disk: d, dead: make(chan struct{})}
	open := commit.Open
	if saved != nil {
		open = func(ctx context.Context, s commit.Store, opts journal.Options) (*commit.Journal, error) {
			return commit.OpenSaved(ctx, s, opts, saved)
		}
	}
	j, err := open(context.Background(), s, opts)
	if err != nil {
		return nil, err
	}
	return &Memory{j, s}, nil
}

// Reopen does what a crash and a new start do: whatever waits in m gets
// journal.ErrUnknown or journal.ErrUnavailable, m is closed, and a new journal
// opens on the pages that were stored.
func (m *Memory) Reopen(opts journal.Options) (*Memory, error) { return m.ReopenSaved(opts, nil) }

// ReopenSaved is Reopen with what Save has returned at some time before: only what
// came behind it is read. Nil is nothing.
func (m *Memory) ReopenSaved(opts journal.Options, saved *commit.Saved) (*Memory, error) {
	m.store.crash()
	if err := m.Close(); err != nil {
		return nil, err
	}
	return openMemory(m.store.disk, opts, saved)
}

// Inject gives each of the next pages its fault, one after the other.
func (m *Memory) Inject(faults ...Fault) {
	m.store.mu.Lock()
	defer m.store.mu.Unlock()
	m.store.faults = append(m.store.faults, faults...)
}

// Hold keeps the next page from being written until release is called, which may
// be done more than once: what is appended meanwhile waits in groups.
func (m *Memory) Hold() (release func()) {
	gate := make(chan struct{})
	m.store.mu.Lock()
	m.store.gate = gate
	m.store.mu.Unlock()
	return sync.OnceFunc(func() { close(gate) })
}

// Damage changes page n, from 1, as it is stored, behind the journal's back.
func (m *Memory) Damage(n uint64, change func(page []byte) []byte) {
	d := m.store.disk
	d.mu.Lock()
	defer d.mu.Unlock()
	d.pages[n-1] = change(append([]byte(nil), d.pages[n-1]...))
}

// A disk is what survives a crash.
type disk struct {
	mu    sync.Mutex
	pages [][]byte
}

type memoryStore struct {
	disk *disk

	mu     sync.Mutex
	faults []Fault
	gate   chan struct{} // Put waits for it, if it is not nil
	lost   bool          // nothing answers any more
	dead   chan struct{} // closed by crash
}

var errLost = errors.New("the disk does not answer")

func (s *memoryStore) crash() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lost = true
	select {
	case <-s.dead:
	default:
		close(s.dead)
	}
}

func (s *memoryStore) Len(context.Context) (uint64, error) {
	s.disk.mu.Lock()
	defer s.disk.mu.Unlock()
	return uint64(len(s.disk.pages)), nil
}

// next waits for the gate and returns what is to happen to a page.
func (s *memoryStore) next() (Fault, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.gate != nil && !s.lost {
		gate := s.gate
		s.mu.Unlock()
		select {
		case <-gate:
		case <-s.dead:
		}
		s.mu.Lock()
		if s.gate == gate {
			s.gate = nil
		}
	}
	if s.lost {
		return NoFault, errLost
	}
	if len(s.faults) == 0 {
		return NoFault, nil
	}
	f := s.faults[0]
	s.faults = s.faults[1:]
	s.lost = f == Lost || f == LostButStored
	return f, nil
}

func (s *memoryStore) Put(page *journal.Sealed) error {
	fault, err := s.next()
	if err != nil {
		return err
	}
	if fault != NotStored && fault != Lost {
		if err := s.disk.put(page); err != nil {
			return err
		}
	}
	switch fault {
	case NotStored:
		return fmt.Errorf("%w: a fault was injected", journal.ErrUnavailable)
	case NoFault:
		return nil
	}
	return errors.New("a fault was injected")
}

func (d *disk) put(page *journal.Sealed) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if page.Head.Pages != uint64(len(d.pages))+1 {
		return fmt.Errorf("page %d put behind page %d", page.Head.Pages, len(d.pages))
	}
	d.pages = append(d.pages, append([]byte(nil), page.Bytes()...))
	return nil
}

// loadPages is how many pages one Load brings at most: few, so that tests see
// readers come back.
const loadPages = 4

func (s *memoryStore) Load(ctx context.Context, n, last uint64) ([][]byte, error) {
	s.mu.Lock()
	lost := s.lost
	s.mu.Unlock()
	s.disk.mu.Lock()
	defer s.disk.mu.Unlock()
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case lost:
		return nil, errLost
	case n == 0 || n > uint64(len(s.disk.pages)):
		return nil, fmt.Errorf("page %d: %w", n, commit.ErrNoPage)
	}
	var pages [][]byte
	for _, p := range s.disk.pages[n-1 : min(last, uint64(len(s.disk.pages)), n-1+loadPages)] {
		pages = append(pages, append([]byte(nil), p...))
	}
	return pages, nil
}

func (s *memoryStore) Close() error {
	s.crash()
	return nil
}
