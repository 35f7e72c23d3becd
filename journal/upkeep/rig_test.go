package upkeep_test

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/archive"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/journal/generation"
	"github.com/bugle-fleet/bugle/journal/journaltest"
	"github.com/bugle-fleet/bugle/journal/tree"
	"github.com/bugle-fleet/bugle/journal/upkeep"
)

// A store is generations on paper: what is done with them is done at once, unless
// a fault says otherwise.
type store struct {
	mu      sync.Mutex
	list    generation.List
	calls   int
	damaged chan struct{}
	fault   func(call int, name string) fault // of the call; nil means none
	damage  error                             // what Check finds
	checked int
}

// A fault is what happens to a call.
type fault int

const (
	none   fault = iota
	before       // it fails and nothing is done
	after        // it is done, and fails
)

var errFault = errors.New("a fault was injected")

func newStore() *store {
	return &store{list: generation.List{{Number: 1}}, damaged: make(chan struct{})}
}

func (s *store) do(name string, change func()) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls++
	f := none
	if s.fault != nil {
		f = s.fault(s.calls, name)
	}
	if f != before {
		change()
	}
	if f != none {
		return fmt.Errorf("%s: %w", name, errFault)
	}
	return nil
}

func (s *store) Generations() generation.List {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append(generation.List(nil), s.list...)
}

// seal closes the open generation.
func (s *store) seal(head journal.Head) {
	s.mu.Lock()
	defer s.mu.Unlock()
	last := len(s.list) - 1
	s.list[last].End = head
	s.list = append(s.list, generation.Generation{Number: uint32(last + 2), Before: head})
}

func (s *store) Damaged() <-chan struct{} { return s.damaged }

func (s *store) Archive(_ context.Context, number uint32, _ archive.Tree, _ func(done, total uint64)) (g generation.Generation, err error) {
	err = s.do("archive", func() {
		p := &s.list[number-1]
		p.Archive, p.Size, p.Digest = generation.ArchiveName(number), 1000, [32]byte{byte(number), 1}
		g = *p
	})
	return g, err
}

func (s *store) Remove(_ context.Context, number uint32) error {
	return s.do("remove", func() { s.list[number-1].Removed = true })
}

func (s *store) Check(_ context.Context, pace func(int) error) error {
	s.mu.Lock()
	s.checked++
	damage := s.damage
	s.mu.Unlock()
	if err := pace(1 << 20); err != nil {
		return err
	}
	return damage
}

// A rig is an upkeep on a journal in memory with a tree of files.
type rig struct {
	t       *testing.T
	store   *store
	journal *journaltest.Memory
	notes   *upkeep.Notes
	tree    *tree.Tree
	upkeep  *upkeep.Upkeep
	dir     string
	key     ed25519.PrivateKey
	set     upkeep.Settings
	cancel  context.CancelFunc
	ended   chan struct{} // the upkeep has
	parts   sync.WaitGroup
}

// run gives test a rig in a bubble; it is started with start.
func run(t *testing.T, set upkeep.Settings, test func(r *rig)) {
	t.Helper()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		r := &rig{t: t, store: newStore(), notes: upkeep.NewNotes(), dir: dir, key: ed25519.NewKeyFromSeed(make([]byte, 32)), set: set}
		r.journal = journaltest.NewMemory(journal.Options{Folds: []journal.Fold{r.notes}})
		defer func() { r.journal.Close() }()
		test(r)
		r.stop()
	})
}

// start starts tree and upkeep.
func (r *rig) start() {
	r.t.Helper()
	var err error
	if r.tree, err = tree.Open(filepath.Join(r.dir, "tree"), tree.Options{Journal: r.journal, Origin: "bugle.P01/00", Key: r.key, Log: slog.New(slog.DiscardHandler)}); err != nil {
		r.t.Fatal(err)
	}
	r.upkeep, err = upkeep.New(upkeep.Config{Journal: r.journal, Store: r.store, Checkpoints: r.tree, Notes: r.notes, Settings: r.set, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(r.t.Context())
	r.cancel = cancel
	ended := make(chan struct{})
	r.ended = ended
	r.parts.Go(func() {
		if err := r.tree.Run(ctx); err != nil {
			r.t.Error(err)
		}
	})
	r.parts.Go(func() {
		defer close(ended)
		if err := r.upkeep.Run(ctx); err != nil {
			r.t.Error(err)
		}
	})
}

func (r *rig) stop() {
	if r.cancel == nil {
		return
	}
	r.cancel()
	r.parts.Wait()
	r.cancel = nil
	if err := r.tree.Close(); err != nil {
		r.t.Error(err)
	}
}

// restart is a crash and a new start on the same pages and generations.
func (r *rig) restart() {
	r.t.Helper()
	r.stop()
	r.notes = upkeep.NewNotes()
	var err error
	if r.journal, err = r.journal.Reopen(journal.Options{Folds: []journal.Fold{r.notes}}); err != nil {
		r.t.Fatal(err)
	}
	r.start()
}

// happen appends an event of somebody else.
func (r *rig) happen() {
	r.t.Helper()
	if err := r.journal.Append(r.t.Context(), &event.Event{Payload: &event.TokenRevoked{Token: "t"}}); err != nil {
		r.t.Fatal(err)
	}
}

// seal closes the open generation, as the store itself does when it is large
// enough.
func (r *rig) seal() { r.store.seal(r.journal.Head()) }

// events are all events of the journal but those of happen.
func (r *rig) events() (all []*event.Event) {
	r.t.Helper()
	reader, err := r.journal.Read(r.t.Context(), 1)
	if err != nil {
		r.t.Fatal(err)
	}
	defer reader.Close()
	for {
		p, err := reader.Next(r.t.Context())
		if err != nil {
			return all
		}
		for i := range p.Records {
			e, err := p.Records[i].Event()
			if err != nil {
				r.t.Fatal(err)
			}
			if e.Kind() != event.KindTokenRevoked {
				all = append(all, e)
			}
		}
	}
}

// kinds are the kinds of events, in brief.
func (r *rig) kinds() (all []string) {
	for _, e := range r.events() {
		switch p := e.Payload.(type) {
		case *event.GenerationSealed:
			all = append(all, fmt.Sprint("sealed ", p.Generation))
		case *event.GenerationArchived:
			word := "archived "
			if p.Removed {
				word = "removed "
			}
			all = append(all, fmt.Sprint(word, p.Generation))
		case *event.CheckpointSigned:
			all = append(all, "checkpoint")
		case *event.JournalChecked:
			all = append(all, fmt.Sprint("checked ", p.Good))
		case *event.SiteMessage:
			all = append(all, fmt.Sprint("message ", p.Message))
		}
	}
	return all
}

// pass lets time pass, and what is due then happen.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}
