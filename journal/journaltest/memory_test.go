package journaltest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/commit"
)

func TestMemory(t *testing.T) {
	disks := make(map[string]*disk)
	Run(t, func(t *testing.T, dir string, opts journal.Options) journal.Journal {
		if disks[dir] == nil {
			disks[dir] = new(disk)
		}
		m, err := openMemory(disks[dir], opts, nil)
		if err != nil {
			t.Fatal(err)
		}
		return m
	})
}

// A saving is a journal that keeps what it knows when it is closed.
type saving struct {
	*Memory
	keep func(*commit.Saved)
}

func (s saving) Close() error {
	err := s.Memory.Close()
	saved, failed := s.Save(context.Background())
	s.keep(saved)
	return errors.Join(err, failed)
}

// A journal that is opened with what was saved passes the same suite.
func TestMemorySaved(t *testing.T) {
	disks, saved := make(map[string]*disk), make(map[string]*commit.Saved)
	Run(t, func(t *testing.T, dir string, opts journal.Options) journal.Journal {
		if disks[dir] == nil {
			disks[dir] = new(disk)
		}
		m, err := openMemory(disks[dir], opts, saved[dir])
		if err != nil {
			t.Fatal(err)
		}
		return saving{m, func(s *commit.Saved) { saved[dir] = s }}
	})
}

// Every fault, what the caller hears, what a later caller hears, and what is
// there after a new start. It is one table so that nobody is told something
// that does not hold.
func TestFaults(t *testing.T) {
	for _, c := range []struct {
		fault       Fault
		told, later error
		stored      bool
	}{
		{NoFault, nil, nil, true},
		{NotStored, journal.ErrUnavailable, nil, false},
		{StoredButFailed, nil, nil, true},
		{Lost, journal.ErrUnknown, journal.ErrUnavailable, false},
		{LostButStored, journal.ErrUnknown, journal.ErrUnavailable, true},
	} {
		for _, guarded := range []bool{false, true} {
			t.Run(fmt.Sprintf("fault %d, guarded %t", c.fault, guarded), func(t *testing.T) {
				var l list
				m := NewMemory(journal.Options{Folds: []journal.Fold{&l}})
				mustAppend(t, m, named("before"))
				m.Inject(c.fault)
				var guard func() error
				if guarded {
					guard = func() error { return nil }
				}
				if err := m.AppendIf(context.Background(), guard, named("x")); !errors.Is(err, c.told) {
					t.Errorf("told %v, want %v", err, c.told)
				}
				if err := m.Append(context.Background(), named("after")); !errors.Is(err, c.later) {
					t.Errorf("told later %v, want %v", err, c.later)
				}
				if lost := c.told == journal.ErrUnknown; lost && (len(l.names) != 1 || m.Head().Event != 1) {
					t.Errorf("what nobody can tell was folded or shown: %q, %+v", l.names, m.Head())
				}
				select {
				case <-m.Failed():
					if c.told != journal.ErrUnknown {
						t.Error("the journal says that it takes nothing more")
					}
				default:
					if c.told == journal.ErrUnknown {
						t.Error("the journal does not say that it takes nothing more")
					}
				}
				checkReopened(t, m, c.stored, c.later == nil)
			})
		}
	}
}

func checkReopened(t *testing.T, m *Memory, stored, after bool) {
	t.Helper()
	again, err := m.Reopen(journal.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer closeJournal(t, again)
	want := []string{"before"}
	if stored {
		want = append(want, "x")
	}
	if after {
		want = append(want, "after")
	}
	if got := names(t, again); !slices.Equal(got, want) {
		t.Errorf("after a new start there are %q, want %q", got, want)
	}
	mustAppend(t, again, named("on"))
}

// Whoever waits behind a page that is lost was not stored.
func TestLostAnswersThoseBehind(t *testing.T) {
	Bubble(t, func(t *testing.T) {
		m := NewMemory(journal.Options{})
		defer closeJournal(t, m)
		release := m.Hold()
		m.Inject(Lost)
		answers := make(chan error, 3)
		appendAll := func() {
			for i := range 3 {
				// Guards keep them from sharing a page.
				go func() { answers <- m.AppendIf(context.Background(), func() error { return nil }, named("%d", i)) }()
			}
		}
		appendAll()
		release()
		unknown, unavailable := 0, 0
		for range 3 {
			switch err := <-answers; {
			case errors.Is(err, journal.ErrUnknown):
				unknown++
			case errors.Is(err, journal.ErrUnavailable):
				unavailable++
			default:
				t.Errorf("answered %v", err)
			}
		}
		if unknown != 1 || unavailable != 2 {
			t.Errorf("%d unknown and %d unavailable, want 1 and 2", unknown, unavailable)
		}
	})
}

// A crash in the middle of a write answers the callers; what they were told
// agrees with what is there.
func TestReopenWhileHeld(t *testing.T) {
	Bubble(t, func(t *testing.T) {
		m := NewMemory(journal.Options{})
		m.Hold()
		answer := make(chan error)
		go func() { answer <- m.Append(context.Background(), named("x")) }()
		opened := make(chan *Memory)
		go func() {
			again, err := m.Reopen(journal.Options{})
			if err != nil {
				t.Error(err)
			}
			opened <- again
		}()
		err := <-answer
		if !errors.Is(err, journal.ErrUnknown) && !errors.Is(err, journal.ErrClosed) {
			t.Errorf("told %v", err)
		}
		again := <-opened
		defer closeJournal(t, again)
		if got := names(t, again); len(got) != 0 {
			t.Errorf("stored: %q", got)
		}
	})
}

// Any one bit that flips on disk is found, on opening and by a reader.
func TestDamage(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		m := NewMemory(journal.Options{})
		fill(t, m, 100)
		n := rapid.IntRange(1, 100).Draw(rt, "page")
		m.Damage(uint64(n), func(page []byte) []byte {
			bit := rapid.IntRange(0, 8*len(page)-1).Draw(rt, "bit")
			page[bit/8] ^= 1 << (bit % 8)
			return page
		})
		inMemory := n > 100-commit.RingPages
		if err := readAll(m); !inMemory && !errors.Is(err, journal.ErrDamaged) || inMemory && err != io.EOF {
			rt.Errorf("reading met damage in page %d and said %v", n, err)
		}
		again, err := m.Reopen(journal.Options{})
		if n == 100 { // only a head that is kept elsewhere could tell
			if err == nil {
				closeJournal(t, again)
			}
			return
		}
		var damage *journal.DamageError
		if !errors.As(err, &damage) {
			rt.Fatalf("opening met damage in page %d and said %v", n, err)
		}
		if damage.Page != uint64(n) && damage.Page != uint64(n)+1 {
			rt.Errorf("damage in page %d, reported in page %d", n, damage.Page)
		}
	})
}

// readAll reads everything and returns how it ended.
func readAll(j journal.Journal) error {
	r, err := j.Read(context.Background(), 1)
	if err != nil {
		return err
	}
	defer r.Close()
	for {
		if _, err := r.Next(context.Background()); err != nil {
			return err
		}
	}
}

func TestMissingPage(t *testing.T) {
	m := NewMemory(journal.Options{})
	fill(t, m, 10)
	d := m.store.disk
	d.pages = slices.Delete(d.pages, 3, 4)
	_, err := m.Reopen(journal.Options{})
	var damage *journal.DamageError
	if !errors.As(err, &damage) || damage.Page != 4 || damage.Event != 7 {
		t.Errorf("opening without page 4, which begins with event 7: %v", err)
	}
}

// A reader never changes what others see, and sees what was stored.
func TestPagesAreShared(t *testing.T) {
	m := NewMemory(journal.Options{})
	defer closeJournal(t, m)
	mustAppend(t, m, named("x"))
	a, b := pages(t, m, 1)[0], pages(t, m, 1)[0]
	if a != b {
		t.Error("two readers that keep up got two copies of a page")
	}
	if !bytes.Equal(a.Bytes(), m.store.disk.pages[0]) {
		t.Error("what readers got is not what was stored")
	}
}
