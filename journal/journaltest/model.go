package journaltest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/event"
)

// A model is what a journal must be: a list of names in groups, and one follower.
type model struct {
	s     suite
	outer *testing.T
	dir   string

	j     journal.Journal
	fold  *list
	pages [][]string

	follower journal.Reader
	followed int // pages that the follower has had, from the first
}

func testModel(t *testing.T, s suite) {
	dir := t.TempDir()
	rapid.Check(t, func(rt *rapid.T) {
		m := &model{s: s, outer: t, dir: folder(dir)}
		m.reopen(rt)
		defer func() { closeJournal(t, m.j) }()
		for range rapid.IntRange(1, 12).Draw(rt, "steps") {
			switch rapid.IntRange(0, 9).Draw(rt, "step") {
			case 0:
				m.reopen(rt)
			case 1, 2:
				m.guarded(rt)
			case 3, 4:
				m.follow(rt)
			case 5:
				m.read(rt)
			default:
				m.append(rt)
			}
			m.check(rt)
		}
	})
}

func (m *model) batch(t *rapid.T) (events []*event.Event, names []string) {
	for i := range rapid.IntRange(0, 4).Draw(t, "events") {
		name := fmt.Sprintf("%d.%d", len(m.pages), i)
		events, names = append(events, named("%s", name)), append(names, name)
	}
	return events, names
}

func (m *model) store(names []string) {
	if len(names) > 0 {
		m.pages = append(m.pages, names)
	}
}

func (m *model) append(t *rapid.T) {
	events, names := m.batch(t)
	if err := m.j.Append(context.Background(), events...); err != nil {
		t.Fatalf("append: %v", err)
	}
	m.store(names)
}

func (m *model) guarded(t *rapid.T) {
	events, names := m.batch(t)
	var refuse error
	if rapid.Bool().Draw(t, "refuse") {
		refuse = errors.New("refused by the model")
	}
	if err := m.j.AppendIf(context.Background(), func() error { return refuse }, events...); err != refuse {
		t.Fatalf("append behind a guard that says %v: %v", refuse, err)
	}
	if refuse == nil {
		m.store(names)
	}
}

func (m *model) reopen(*rapid.T) {
	if m.j != nil {
		closeJournal(m.outer, m.j)
	}
	m.fold, m.follower = new(list), nil
	m.j = m.s.open(m.outer, m.dir, journal.Options{Folds: []journal.Fold{m.fold}})
}

// follow takes what the follower can have without waiting.
func (m *model) follow(t *rapid.T) {
	if m.follower == nil {
		m.followed = rapid.IntRange(0, len(m.pages)).Draw(t, "from page")
		f, err := m.j.Follow(context.Background(), m.event(m.followed))
		if err != nil {
			t.Fatalf("follow: %v", err)
		}
		m.follower = f
	}
	for range rapid.IntRange(0, len(m.pages)-m.followed).Draw(t, "pages") {
		p, err := m.follower.Next(context.Background())
		if err != nil {
			t.Fatalf("follow: %v", err)
		}
		m.same(t, m.followed, p)
		m.followed++
	}
}

// event is the first event of page i, counted from 0.
func (m *model) event(i int) uint64 {
	n := uint64(1)
	for _, p := range m.pages[:i] {
		n += uint64(len(p))
	}
	return n
}

func (m *model) same(t *rapid.T, i int, p *journal.Page) {
	if p.First != m.event(i) {
		t.Fatalf("page %d begins with event %d, want %d", i, p.First, m.event(i))
	}
	var got []string
	for k := range p.Records {
		got = append(got, nameOf(m.outer, &p.Records[k]))
	}
	if !slices.Equal(got, m.pages[i]) {
		t.Fatalf("page %d holds %q, want %q", i, got, m.pages[i])
	}
}

func (m *model) read(t *rapid.T) {
	i := rapid.IntRange(0, len(m.pages)).Draw(t, "from page")
	r, err := m.j.Read(context.Background(), m.event(i))
	if err != nil {
		t.Fatalf("read: %v", err)
	}
	defer r.Close()
	for ; ; i++ {
		p, err := r.Next(context.Background())
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("read: %v", err)
		}
		m.same(t, i, p)
	}
	if i != len(m.pages) {
		t.Fatalf("the reader ended behind page %d of %d", i, len(m.pages))
	}
}

func (m *model) check(t *rapid.T) {
	events := m.event(len(m.pages)) - 1
	if h := m.j.Head(); h.Event != events || h.Pages != uint64(len(m.pages)) {
		t.Fatalf("the journal ends with event %d on page %d, want %d on %d", h.Event, h.Pages, events, len(m.pages))
	}
	if len(m.fold.names) != int(events) {
		t.Fatalf("the fold knows %d events of %d", len(m.fold.names), events)
	}
}
