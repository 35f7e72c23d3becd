package projectors_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/projectors"
	"github.com/bugle-fleet/bugle/projectors/projectorstest"
)

// damaged is a journal that does not hold together behind its first event.
type damaged struct{ journal.Journal }

func (d damaged) Read(ctx context.Context, from uint64) (journal.Reader, error) {
	r, err := d.Journal.Read(ctx, from)
	return damagedReader{r}, err
}

type damagedReader struct{ journal.Reader }

func (r damagedReader) Next(ctx context.Context) (*journal.Page, error) {
	p, err := r.Reader.Next(ctx)
	if err == nil && p.First > 1 {
		return nil, &journal.DamageError{Event: p.First, Page: 2, Reason: "a bit has flipped"}
	}
	return p, err
}

func TestDamagedJournal(t *testing.T) {
	w := newWords("words")
	j := projectorstest.NewJournal(t)
	n := projectorstest.Append(t, j, 1, say("set a 1"), say("set a 2"), say("set a 3"))
	v, err := projectors.Open(projectors.Options{Dir: t.TempDir(), Journal: damaged{j}, History: projectorstest.History}, w.View)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- v.Run(ctx) }()
	if err := v.Wait(patient(t), n); !errors.Is(err, journal.ErrDamaged) {
		t.Errorf("wait: %v", err)
	}
	if st := v.Status()[0]; st.Position != 1 || !errors.Is(st.Err, journal.ErrDamaged) {
		t.Errorf("status is %+v", st)
	}
	cancel()
	if err := errors.Join(<-done, v.Close()); err != nil {
		t.Error(err)
	}
}

// flaky is a journal that cannot be read for a while.
type flaky struct {
	journal.Journal
	fails int
}

var errAway = errors.New("away")

func (f *flaky) Follow(ctx context.Context, from uint64) (journal.Reader, error) {
	if f.fails--; f.fails >= 0 {
		return nil, errAway
	}
	return f.Journal.Follow(ctx, from)
}

// TestJournalAway runs under fake time: three failures are three waits.
func TestJournalAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWords("words")
		j := projectorstest.NewJournal(t)
		n := projectorstest.Append(t, j, 1, say("set a 1"))
		v, err := projectors.Open(projectors.Options{Dir: t.TempDir(), Journal: &flaky{j, 3}, History: projectorstest.History}, w.View)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- v.Run(ctx) }()
		if err := v.Wait(patient(t), n); err != nil {
			t.Error(err)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := v.Close(); err != nil {
			t.Error(err)
		}
	})
}

// scripted is a journal of pages that a test made.
type scripted struct {
	journal.Journal
	pages []*journal.Page
}

func (s scripted) Head() journal.Head {
	return journal.Head{Event: s.pages[len(s.pages)-1].Last(), Pages: uint64(len(s.pages))}
}

type scriptedReader struct {
	pages []*journal.Page
	end   func(context.Context) error
}

func (s scripted) Read(context.Context, uint64) (journal.Reader, error) {
	return &scriptedReader{s.pages, func(context.Context) error { return journal.ErrClosed }}, nil
}

func (s scripted) Follow(context.Context, uint64) (journal.Reader, error) {
	return &scriptedReader{nil, func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }}, nil
}

func (r *scriptedReader) Next(ctx context.Context) (*journal.Page, error) {
	if len(r.pages) == 0 {
		return nil, r.end(ctx)
	}
	p := r.pages[0]
	r.pages = r.pages[1:]
	return p, nil
}

func (r *scriptedReader) Close() error { return nil }

// TestUndecodableEvent has an event whose bytes are none: it is named, and what
// came before it in the same page is there.
func TestUndecodableEvent(t *testing.T) {
	good, err := say("set a 1").Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	kindOnly := append([]byte{0x98, 1, 0xae}, event.KindStatusMessage...)
	for name, bad := range map[string][]byte{"no kind": {0xc1}, "cut": kindOnly} {
		t.Run(name, func(t *testing.T) {
			page := &journal.Page{First: 1, Records: []journal.Record{{Number: 1, Body: good}, {Number: 2, Body: bad}}}
			w := newWords("words")
			v, err := projectors.Open(projectors.Options{Dir: t.TempDir(), Journal: scripted{pages: []*journal.Page{page}}}, w.View)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(context.Background())
			done := make(chan error, 1)
			go func() { done <- v.Run(ctx) }()
			if err := v.Wait(patient(t), 2); err == nil || !strings.Contains(err.Error(), "event 2") {
				t.Errorf("wait: %v", err)
			}
			cancel()
			if st := v.Status()[0]; st.Position != 1 {
				t.Errorf("status is %+v", st)
			}
			if err := errors.Join(<-done, v.Close()); err != nil {
				t.Error(err)
			}
		})
	}
}
