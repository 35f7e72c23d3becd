package commit_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/commit"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/journal/journaltest"
)

// A noted is a fold that is saved.
type noted struct {
	name  string
	names []string
	told  int
	fail  error // of Save and Restore
}

func (n *noted) Apply(e *event.Event) {
	n.told++
	n.names = append(n.names, e.Payload.(*event.FileRequeued).Name)
}

func (n *noted) Saves() string { return n.name }

func (n *noted) Save() ([]byte, error) { return []byte(strings.Join(n.names, ",")), n.fail }

func (n *noted) Restore(saved []byte) error {
	if n.fail != nil {
		return n.fail
	}
	n.names = strings.Split(string(saved), ",")
	return nil
}

func open(t *testing.T, folds ...journal.Fold) *journaltest.Memory {
	t.Helper()
	m := journaltest.NewMemory(journal.Options{Folds: folds})
	t.Cleanup(func() { m.Close() })
	return m
}

func mustAppend(t *testing.T, m journal.Journal, names ...string) {
	t.Helper()
	for _, name := range names {
		if err := m.Append(context.Background(), named("%s", name)); err != nil {
			t.Fatal(err)
		}
	}
}

func mustSave(t *testing.T, m *journaltest.Memory) *commit.Saved {
	t.Helper()
	s, err := m.Save(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// A journal that is opened with what was saved knows what one knows that has read
// everything, and has read only what came behind.
func TestOpenSaved(t *testing.T) {
	for name, c := range map[string]struct {
		a, b *noted
		told [2]int
	}{
		"both":               {&noted{name: "a"}, &noted{name: "b"}, [2]int{2, 2}},
		"another version":    {&noted{name: "a"}, &noted{name: "b/2"}, [2]int{2, 5}},
		"one cannot":         {&noted{name: "a", fail: errors.New("no")}, &noted{name: "b"}, [2]int{5, 2}},
		"two of one name":    {&noted{name: "a"}, &noted{name: "a"}, [2]int{2, 5}},
		"they change places": {&noted{name: "b"}, &noted{name: "a"}, [2]int{2, 2}},
	} {
		t.Run(name, func(t *testing.T) {
			m := open(t, &noted{name: "a"}, &noted{name: "b"})
			mustAppend(t, m, "1", "2", "3")
			saved := mustSave(t, m)
			mustAppend(t, m, "4", "5")
			if saved.Head.Event != 3 || saved.Missing != nil {
				t.Fatalf("saved %+v", saved)
			}
			again, err := m.ReopenSaved(journal.Options{Folds: []journal.Fold{c.a, c.b}}, saved)
			if err != nil {
				t.Fatal(err)
			}
			defer again.Close()
			mustAppend(t, again, "6")
			want := []string{"1", "2", "3", "4", "5", "6"}
			if c.a.told != c.told[0]+1 || c.b.told != c.told[1]+1 || !slices.Equal(c.a.names, want) || !slices.Equal(c.b.names, want) {
				t.Errorf("told %d and %d events, know %q and %q", c.a.told, c.b.told, c.a.names, c.b.names)
			}
			for event := uint64(1); event <= 6; event++ {
				p, err := again.Page(context.Background(), event)
				if err != nil || p.First != event {
					t.Errorf("the page of event %d: %v, %v", event, p, err)
				}
			}
		})
	}
}

// A fold that does not save, or cannot, is told everything; the others are not.
func TestSaveWithoutSome(t *testing.T) {
	m := open(t, &noted{name: "a"}, &noted{name: "b", fail: errors.New("disk of thoughts is full")}, &fold{})
	mustAppend(t, m, "1", "2")
	saved := mustSave(t, m)
	if saved.Missing == nil || !strings.Contains(saved.Missing.Error(), "disk of thoughts") || !strings.Contains(saved.Missing.Error(), "fold *commit_test.fold does not save") {
		t.Errorf("missing: %v", saved.Missing)
	}
	a, b, c := &noted{name: "a"}, &noted{name: "b"}, &fold{}
	again, err := m.ReopenSaved(journal.Options{Folds: []journal.Fold{a, b, c}}, saved)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if a.told != 0 || b.told != 2 || c.events != 2 || len(a.names) != 2 {
		t.Errorf("told %d, %d and %d events", a.told, b.told, c.events)
	}
}

// What is of another journal, or does not hold together, is refused before any
// fold has seen it.
func TestSavedOfAnother(t *testing.T) {
	m := open(t, &noted{name: "a"})
	mustAppend(t, m, "1", "2", "3")
	saved := mustSave(t, m)
	other := open(t, &noted{name: "a"})
	mustAppend(t, other, "1", "x", "3")
	short := open(t, &noted{name: "a"})
	mustAppend(t, short, "1", "2")
	broken := *saved
	broken.Index = saved.Index[1:]
	for name, c := range map[string]struct {
		m     *journaltest.Memory
		saved *commit.Saved
	}{
		"another history": {other, saved}, "a longer one": {short, saved}, "a broken index": {m, &broken},
	} {
		a := &noted{name: "a"}
		if _, err := c.m.ReopenSaved(journal.Options{Folds: []journal.Fold{a}}, c.saved); !errors.Is(err, commit.ErrSaved) {
			t.Errorf("%s: %v", name, err)
		}
		if a.told != 0 || a.names != nil {
			t.Errorf("%s: the fold was touched", name)
		}
	}
}

// What is saved while many append is what was known between two pages.
func TestSaveWhileAppending(t *testing.T) {
	a := &noted{name: "a"}
	m := open(t, a)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 100 {
				if err := m.Append(context.Background(), named("x"), named("y")); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range 20 {
		saved := mustSave(t, m)
		known := 0
		if len(saved.Folds["a"]) > 0 {
			known = len(strings.Split(string(saved.Folds["a"]), ","))
		}
		if uint64(known) != saved.Head.Event || known%2 != 0 {
			t.Errorf("the fold knew %d events at event %d", known, saved.Head.Event)
		}
	}
	wg.Wait()
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	if saved := mustSave(t, m); saved.Head != m.Head() || saved.Head.Event != 800 {
		t.Errorf("after closing, what is saved ends with %+v", saved.Head)
	}
}

func TestPage(t *testing.T) {
	m := open(t)
	for _, event := range []uint64{0, 1} {
		if _, err := m.Page(context.Background(), event); !errors.Is(err, journal.ErrAhead) {
			t.Errorf("event %d of an empty journal: %v", event, err)
		}
	}
	for range 3 {
		if err := m.Append(context.Background(), named("x"), named("y"), named("z")); err != nil {
			t.Fatal(err)
		}
	}
	check := func(m *journaltest.Memory) {
		t.Helper()
		for event := uint64(1); event <= 9; event++ {
			p, err := m.Page(context.Background(), event)
			if err != nil || p.First != (event-1)/3*3+1 {
				t.Errorf("the page of event %d: %+v, %v", event, p, err)
			}
		}
		for _, event := range []uint64{0, 10, 1 << 60} {
			if _, err := m.Page(context.Background(), event); !errors.Is(err, journal.ErrAhead) {
				t.Errorf("event %d of 9: %v", event, err)
			}
		}
	}
	check(m)
	m, err := m.Reopen(journal.Options{})
	if err != nil {
		t.Fatal(err)
	}
	check(m)
	m.Damage(3, func(page []byte) []byte { page[len(page)-1] ^= 1; return page })
	m.Damage(2, func(page []byte) []byte { return page[:50] })
	for event := uint64(4); event <= 9; event++ {
		if _, err := m.Page(context.Background(), event); !errors.Is(err, journal.ErrDamaged) {
			t.Errorf("event %d in a page that is damaged: %v", event, err)
		}
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Page(context.Background(), 1); !errors.Is(err, journal.ErrClosed) {
		t.Errorf("a page after closing: %v", err)
	}
}
