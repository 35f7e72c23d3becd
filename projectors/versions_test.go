package projectors

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/dgraph-io/badger/v4"
)

// tally is a view of devices that were blocked and unblocked: some rows of each,
// of which each event changes a few and removes one.
var tally = func() *View {
	return &View{Name: "tally", Schema: 1, Kinds: []event.Kind{event.KindDeviceBlocked}, Fold: func() Fold { return tallyFold{} }}
}

type tallyFold struct{}

func (tallyFold) Load(*Snapshot) error { return nil }
func (tallyFold) Publish() any         { return nil }

func (tallyFold) Apply(b *Batch, e *event.Event) error {
	n := e.Payload.(*event.DeviceBlocked).Device
	for i := range 3 {
		b.Set([]byte{'k', byte(n+uint32(i)) % 20}, binary.BigEndian.AppendUint64(nil, e.Number))
	}
	b.Delete([]byte{'k', byte(n+7) % 20})
	b.Set([]byte{'e'}, nil) // a row without a value
	return nil
}

// history is n events, three to a page.
func history(t testing.TB, n int) (pages []*journal.Page) {
	draw := rand.New(rand.NewPCG(1, 2))
	p := &journal.Page{First: 1}
	for i := 1; i <= n; i++ {
		body, err := (&event.Event{Payload: &event.DeviceBlocked{Device: uint32(1 + draw.IntN(20))}}).Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		p.Records = append(p.Records, journal.Record{Number: uint64(i), Accepted: int64(i) * 1000, Body: body})
		if len(p.Records) == 3 || i == n {
			pages = append(pages, p)
			p = &journal.Page{First: uint64(i + 1)}
		}
	}
	return pages
}

// told is a journal of such pages.
type told []*journal.Page

func (j told) Head() journal.Head { return journal.Head{Event: j[len(j)-1].Last()} }

func (j told) Read(_ context.Context, from uint64) (journal.Reader, error) {
	for len(j) > 0 && j[0].Last() < from {
		j = j[1:]
	}
	return &toldReader{j}, nil
}

func (j told) Follow(ctx context.Context, from uint64) (journal.Reader, error) {
	return j.Read(ctx, from)
}

type toldReader struct{ left told }

func (r *toldReader) Next(context.Context) (*journal.Page, error) {
	if len(r.left) == 0 {
		return nil, io.EOF
	}
	p := r.left[0]
	r.left = r.left[1:]
	return p, nil
}

func (r *toldReader) Close() error { return nil }

// waiting is told to which nothing is added.
type waiting struct{ told }

func (w waiting) Follow(context.Context, uint64) (journal.Reader, error) { return w, nil }

func (w waiting) Next(ctx context.Context) (*journal.Page, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func (w waiting) Close() error { return nil }

// truth is the digest of the view after every event, folded in memory.
func truth(t testing.TB, pages []*journal.Page) (all [][32]byte) {
	p, err := newReplica(tally(), newMemory(), 0, 0, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	last := pages[len(pages)-1].Last()
	for n := uint64(0); n <= last; n++ {
		if err := p.follow(t.Context(), told(pages), n, nil); err != nil {
			t.Fatal(err)
		}
		p.rows.freeze()
		digest, err := (&Snapshot{rows: p.rows}).Digest()
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, digest)
	}
	return all
}

func open(t testing.TB, dir string, fresh bool) (*generation, error) {
	return newGeneration(tally(), 1, dir, [16]byte{}, 1<<40, fresh, slog.New(slog.DiscardHandler))
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// exact compares what g holds as of each event from its floor on, or of some fifty
// if there are more.
func exact(t testing.TB, g *generation, want [][32]byte) {
	t.Helper()
	now := g.acquire()
	defer now.release()
	if err := now.verify(); err != nil {
		t.Error(err)
	}
	if ok, err := now.Get([]byte{'e'}, func([]byte) error { return nil }); ok != (now.position > 0) || err != nil {
		t.Errorf("the row without a value is there: %v, %v", ok, err)
	}
	step := 1 + (now.position-g.meta.floor)/50
	for n := now.position; n >= g.meta.floor && n <= now.position; n -= step {
		s := g.acquireAt(n)
		if s == nil {
			t.Fatalf("event %d is not in the window from %d to %d", n, g.meta.floor, now.position)
		}
		digest, err := s.Digest()
		s.release()
		if err != nil || digest != want[n] {
			t.Errorf("as of event %d of %d there are other rows, %v", n, now.position, err)
		}
	}
}

// TestTornLog cuts Badger's log at many places, as a kill and a power cut may:
// the store is then at one of the positions that were written, holds every event
// up to it exactly, and goes on without a trace of what was lost.
func TestTornLog(t *testing.T) {
	pages := history(t, 60)
	want := truth(t, pages)
	dir := t.TempDir()
	g, err := open(t, dir, true)
	must(t, err)
	for _, p := range pages {
		must(t, g.apply(p, 1<<40))
		must(t, g.flush()) // each page is a batch of three events
	}
	log := image(t, dir)
	must(t, g.end())
	<-g.closed
	seen := make(map[uint64]bool)
	for cut := len(log.mem); cut > 0; cut -= 1 + len(log.mem)/17 {
		left := t.TempDir()
		log.write(t, left, cut)
		g, err := open(t, left, false)
		if errors.Is(err, errNoMeta) {
			continue // cut in front of the very first row
		}
		must(t, err)
		seen[g.meta.position] = true
		exact(t, g, want)
		must(t, g.follow(t.Context(), told(pages), 60, nil))
		exact(t, g, want)
		must(t, g.end())
		<-g.closed
	}
	if len(seen) < 6 {
		t.Errorf("the cuts left only %d positions", len(seen))
	}
}

// TestTornBatch has batches of which some rows are there and some are not, with
// and without the position: the log is written in no order.
func TestTornBatch(t *testing.T) {
	pages := history(t, 12)
	want := truth(t, pages)
	for lost := range 6 {
		for _, position := range []bool{true, false} {
			t.Run(fmt.Sprint(lost, position), func(t *testing.T) {
				dir := t.TempDir()
				g, err := open(t, dir, true)
				must(t, err)
				for _, p := range pages[:2] {
					must(t, g.apply(p, 1<<40))
					must(t, g.flush())
				}
				must(t, g.apply(pages[2], 1<<40))
				b := g.batch
				b.meta.since, b.meta.beside = g.stored, b.sum
				m := &b.meta
				if !position {
					m = nil
				}
				whole := b.changes
				b.changes = append(append([]change{}, whole[:lost]...), whole[lost+1:]...)
				must(t, writeRows(g.db, b.changes, m))
				g.drop()
				g.retire()
				<-g.closed
				g, err = open(t, dir, false)
				must(t, err)
				if g.meta.position != 6 {
					t.Fatalf("the store is at event %d, want 6", g.meta.position)
				}
				exact(t, g, want)
				// What is left over must not be seen, whatever comes next.
				s := at(g.db, 1<<40)
				rows, err := (&Snapshot{rows: s}).Digest()
				s.txn.Discard()
				if err != nil || rows != want[6] {
					t.Errorf("there are traces of lost events, %v", err)
				}
				must(t, g.follow(t.Context(), told(pages), 12, nil))
				exact(t, g, want)
				must(t, g.end())
				<-g.closed
			})
		}
	}
}

// A logImage is the files of an open store, and the part of its log that is used.
type logImage struct {
	files map[string][]byte
	name  string
	mem   []byte
}

func image(t testing.TB, dir string) (i logImage) {
	i.files = make(map[string][]byte)
	names, err := filepath.Glob(filepath.Join(dir, "*"))
	must(t, err)
	for _, name := range names {
		b, err := os.ReadFile(name)
		must(t, err)
		if filepath.Ext(name) == ".mem" {
			for len(b) > 0 && b[len(b)-1] == 0 {
				b = b[:len(b)-1]
			}
			i.name, i.mem = filepath.Base(name), b
			continue
		}
		for len(b) > 1<<20 && b[len(b)-1] == 0 && b[len(b)/2] == 0 {
			b = b[:len(b)/2]
		}
		i.files[filepath.Base(name)] = b
	}
	return i
}

func (i logImage) write(t testing.TB, dir string, cut int) {
	for name, b := range i.files {
		must(t, os.WriteFile(filepath.Join(dir, name), b, 0o600))
	}
	must(t, os.WriteFile(filepath.Join(dir, i.name), i.mem[:cut], 0o600))
	must(t, os.Truncate(filepath.Join(dir, i.name), 64<<20))
}

// TestCompactionDropsVersions slides the window over a history and lets Badger
// tidy up: as of every event of the window the store is exact, and what is older
// is gone.
func TestCompactionDropsVersions(t *testing.T) {
	pages := history(t, 300)
	want := truth(t, pages)
	dir := t.TempDir()
	g, err := open(t, dir, true)
	must(t, err)
	must(t, g.follow(t.Context(), told(pages), 100, nil))
	pin := g.acquireAt(50)
	must(t, g.slide(90))
	if g.meta.floor != 50 {
		t.Errorf("the window went to event %d although somebody reads as of event 50", g.meta.floor)
	}
	before := versions(t, g.db)
	for through := uint64(120); through <= 300; through += 20 {
		must(t, g.end()) // what is in memory goes to a table; Badger merges more than five
		pin = released(pin)
		<-g.closed
		g, err = open(t, dir, false)
		must(t, err)
		must(t, g.follow(t.Context(), told(pages), through, nil))
		must(t, g.slide(through-20))
		exact(t, g, want)
	}
	must(t, g.end())
	<-g.closed
	g, err = open(t, dir, false)
	must(t, err)
	g.tables.aside.Wait()
	must(t, g.db.Flatten(2))
	exact(t, g, want)
	after := versions(t, g.db)
	if g.meta.floor != 280 || after > before/2 {
		t.Errorf("floor is %d; there were %d versions of 100 events, and %d are left of 300", g.meta.floor, before, after)
	}
	if g.acquireAt(279) != nil {
		t.Error("an event before the window is read from the store")
	}
	must(t, g.end())
	<-g.closed
}

// TestTake begins a store with what a replica holds, with as many versions as it
// had room for, and goes on.
func TestTake(t *testing.T) {
	const end, through = 4000, 4050
	pages := history(t, 4100)
	want := truth(t, pages)
	one := int64(noteCost + 8)
	for _, c := range []struct {
		name     string
		from     uint64 // the first event whose versions are kept; 0 none
		limit    int64
		min, max uint64 // of the floor
	}{
		{"none", 0, 0, end, end},
		{"window", 3001, 1 << 30, 3000, 3000},
		{"all", 1, 1 << 30, 0, 0},
		{"as many as there is room for", 1, 1000 * one, end - 300, end - 100},
		{"hardly any", 1, 1, end - slabNotes, end},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			g, err := open(t, dir, true)
			must(t, err)
			p, err := newReplica(g.view, newMemory(), 0, 0, 1<<30)
			must(t, err)
			if c.from > 0 {
				must(t, p.follow(t.Context(), told(pages), c.from-1, nil))
				p.rows.log = newUndoLog(c.from-1, c.limit)
			}
			must(t, p.follow(t.Context(), told(pages), end, nil))
			must(t, g.take(p))
			if g.meta.floor < c.min || g.meta.floor > c.max {
				t.Errorf("versions are kept from event %d on, want %d to %d", g.meta.floor, c.min, c.max)
			}
			if c.limit > 0 && p.rows.log.bytes > c.limit+2*slabNotes*one {
				t.Errorf("the log takes %d bytes, the limit is %d", p.rows.log.bytes, c.limit)
			}
			exact(t, g, want)
			must(t, g.follow(t.Context(), told(pages), through, nil))
			exact(t, g, want)
			floor := g.meta.floor
			must(t, g.end())
			<-g.closed
			g, err = open(t, dir, false)
			must(t, err)
			if g.meta.floor != floor || g.meta.position != through {
				t.Errorf("the store holds the events %d to %d", g.meta.floor, g.meta.position)
			}
			exact(t, g, want)
			must(t, g.end())
			<-g.closed
		})
	}
}

func released(s *Snapshot) *Snapshot {
	if s != nil {
		s.release()
	}
	return nil
}

func versions(t *testing.T, db *badger.DB) (n int) {
	all := at(db, 1<<60)
	defer all.txn.Discard()
	it := all.txn.NewIterator(badger.IteratorOptions{AllVersions: true})
	defer it.Close()
	for it.Rewind(); it.Valid(); it.Next() {
		n++
	}
	return n
}

// growing is told of which more and more is there.
type growing struct {
	pages told
	mu    sync.Mutex
	shown int
}

func (g *growing) now() told {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.pages[:g.shown]
}

func (g *growing) show(n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shown = n
}

func (g *growing) Head() journal.Head { return g.now().Head() }

func (g *growing) Read(ctx context.Context, from uint64) (journal.Reader, error) {
	return g.now().Read(ctx, from)
}

func (g *growing) Follow(ctx context.Context, from uint64) (journal.Reader, error) {
	return g.Read(ctx, from)
}
