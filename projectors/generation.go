package projectors

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/dgraph-io/badger/v4"
)

// Bounds of one commit: whichever comes first ends it, at the end of an event.
const (
	maxBatchRows = 20_000
	maxBatchTime = 10 * time.Millisecond
	// maxUnsaved is how far the position in memory may run ahead of the stored
	// one while no event changes a row.
	maxUnsaved = 10_000
)

// A generation is one store of a view with the fold that writes it.
type generation struct {
	number uint32
	dir    string
	view   *View
	wants  map[event.Kind]bool
	db     *badger.DB
	fold   Fold

	// Of the goroutine that writes.
	maxCount, maxSize int64
	meta              meta   // of the last commit; its position may be ahead of what is stored
	stored            uint64 // the position on disk
	batch             *Batch // nil between commits
	began             time.Time
	broken            error // what ended it: fold and store may differ from here on

	mu      sync.Mutex
	current *Snapshot // nil when retired
	live    int       // snapshots that somebody holds, current included
	closed  chan struct{}
	failed  error // of closing the store
}

// newGeneration opens the store in dir. A fresh one is given its first meta row;
// any other must be of this schema and history, whole, and not beyond head.
func newGeneration(v *View, number uint32, dir string, history [16]byte, head uint64, fresh bool, log *slog.Logger) (*generation, error) {
	db, err := openStore(dir, log)
	if err != nil {
		return nil, err
	}
	g := &generation{number: number, dir: dir, view: v, wants: v.wanted(), db: db, fold: v.Fold(),
		maxCount: db.MaxBatchCount(), maxSize: db.MaxBatchSize(), closed: make(chan struct{})}
	if err := g.begin(history, head, fresh); err != nil {
		return nil, errors.Join(fmt.Errorf("open view %s: %w", v.Name, err), db.Close())
	}
	return g, nil
}

func (g *generation) begin(history [16]byte, head uint64, fresh bool) (err error) {
	if fresh {
		g.meta = meta{schema: g.view.Schema, history: history}
		if err := g.save(); err != nil {
			return err
		}
	} else if g.meta, err = readMeta(g.db); err != nil {
		return err
	}
	switch m := &g.meta; {
	case m.schema != g.view.Schema:
		return fmt.Errorf("rows of schema %d, this bugle writes %d", m.schema, g.view.Schema)
	case m.history != history:
		return fmt.Errorf("rows of history %x, the journal is %x", m.history, history)
	case m.torn:
		return fmt.Errorf("event %d is there in part", m.position+1)
	case m.position > head:
		return fmt.Errorf("position %d is behind the end of the journal, %d", m.position, head)
	}
	g.stored = g.meta.position
	s := &Snapshot{gen: g, txn: g.db.NewTransaction(false), position: g.meta.position, kept: g.meta, refs: 1}
	if err := g.fold.Load(s); err != nil {
		s.txn.Discard()
		return fmt.Errorf("load at position %d: %w", g.meta.position, err)
	}
	s.state = g.fold.Publish()
	g.current, g.live = s, 1
	return nil
}

// save writes the meta row alone.
func (g *generation) save() error {
	txn := g.db.NewTransaction(true)
	defer txn.Discard()
	if err := g.put(txn, g.meta); err != nil {
		return err
	}
	if err := txn.Commit(); err != nil {
		return fmt.Errorf("write position %d: %w", g.meta.position, err)
	}
	g.stored = g.meta.position
	return nil
}

// position is the last event that is applied, committed or not.
func (g *generation) position() uint64 {
	if g.batch != nil {
		return g.batch.meta.position
	}
	return g.meta.position
}

// A GapError says that the journal handed a view an event that is not the next.
type GapError struct {
	View      string
	Want, Got uint64 // event numbers
}

func (e *GapError) Error() string {
	return fmt.Sprintf("view %s stops at a gap: event %d must be next, the journal has %d", e.View, e.Want, e.Got)
}

// apply applies the events of p behind the position, up to and with event
// through, and commits as often as the bounds ask. What came before an event that
// cannot be applied is committed.
func (g *generation) apply(p *journal.Page, through uint64) error {
	for i := range p.Records {
		r := &p.Records[i]
		want := g.position() + 1
		if r.Number < want {
			continue
		}
		if r.Number > through {
			break
		}
		if r.Number > want {
			return g.stop(&GapError{g.view.Name, want, r.Number})
		}
		if err := g.one(r); err != nil {
			return err
		}
	}
	return nil
}

func (g *generation) one(r *journal.Record) error {
	kind := r.Kind()
	var e *event.Event
	if kind == "" || g.wants[kind] { // what has no kind is damaged; Event says how
		var err error
		if e, err = r.Event(); err != nil {
			return g.stop(fmt.Errorf("view %s stops: %w", g.view.Name, err))
		}
		if u, ok := e.Payload.(*event.Unknown); ok && g.wants[kind] {
			return g.stop(fmt.Errorf("view %s stops: event %d is %s of version %d, which this bugle does not know", g.view.Name, r.Number, kind, u.Version))
		}
	}
	g.start()
	if e != nil && g.wants[kind] {
		err := g.fold.Apply(g.batch, e)
		if g.batch.err != nil {
			err = g.batch.err
		}
		if err != nil {
			return g.abandon(fmt.Errorf("view %s stops at event %d (%s): %w", g.view.Name, r.Number, kind, err))
		}
	}
	g.batch.meta.position = r.Number
	if g.full() {
		return g.flush()
	}
	return nil
}

func (g *generation) start() {
	if g.batch == nil {
		g.batch = &Batch{gen: g, meta: g.meta}
		g.batch.restart()
		g.began = time.Now()
	}
}

func (g *generation) full() bool {
	return g.batch != nil && (g.batch.rows >= maxBatchRows || g.batch.size >= g.maxSize/2 || time.Since(g.began) >= maxBatchTime)
}

// flush makes the batch durable and shows it to readers. A batch without rows
// only moves the position: it is stored with the next rows, or when it is far
// ahead, and costs no write until then.
func (g *generation) flush() error {
	b := g.batch
	if b == nil {
		return nil
	}
	if b.rows == 0 && b.meta.position-g.stored < maxUnsaved {
		b.txn.Discard()
	} else if err := b.commit(); err != nil {
		return g.abandon(fmt.Errorf("view %s stops at event %d: %w", g.view.Name, b.meta.position, err))
	} else {
		g.stored = b.meta.position
	}
	g.meta, g.batch = b.meta, nil
	g.show()
	return nil
}

// stop commits what was applied and ends the generation with err.
func (g *generation) stop(err error) error {
	if flushed := g.flush(); flushed != nil {
		return flushed
	}
	g.broken = err
	return err
}

// abandon drops the batch and ends the generation: its fold has seen more than
// its store.
func (g *generation) abandon(err error) error {
	if g.batch != nil {
		g.batch.txn.Discard()
		g.batch = nil
	}
	g.broken = err
	return err
}

// show replaces the snapshot that readers get.
func (g *generation) show() {
	s := &Snapshot{gen: g, txn: g.db.NewTransaction(false), position: g.meta.position, kept: g.meta, state: g.fold.Publish(), refs: 1}
	g.mu.Lock()
	old := g.current
	g.current = s
	g.live++
	g.mu.Unlock()
	g.release(old)
}

// acquire returns the current snapshot, which the caller releases, or nil if the
// generation is retired.
func (g *generation) acquire() *Snapshot {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.current != nil {
		g.current.refs++
	}
	return g.current
}

func (g *generation) release(s *Snapshot) {
	g.mu.Lock()
	s.refs--
	gone := s.refs == 0
	if gone {
		g.live--
	}
	last := gone && g.live == 0
	g.mu.Unlock()
	if gone {
		s.txn.Discard()
	}
	if last {
		g.failed = g.db.Close()
		close(g.closed)
	}
}

// retire hands out no more snapshots; the store closes when the last one is
// released, which closes g.closed.
func (g *generation) retire() {
	g.mu.Lock()
	s := g.current
	g.current = nil
	g.mu.Unlock()
	if s != nil {
		g.release(s)
	}
}

// end stores the position and retires the generation.
func (g *generation) end() (err error) {
	if g.broken == nil {
		if err = g.flush(); err == nil && g.stored != g.meta.position {
			err = g.save()
		}
	}
	g.retire()
	return err
}

// follow applies what j has, from the position up to event through or the end of
// what is durable now, and commits it. After each page it calls progress, which
// may be nil.
func (g *generation) follow(ctx context.Context, j Journal, through uint64, progress func(position uint64)) error {
	if g.broken != nil {
		return g.broken
	}
	through = min(through, j.Head().Event)
	if g.position() >= through {
		return g.flush()
	}
	r, err := j.Read(ctx, g.position()+1)
	if err != nil {
		return errors.Join(fmt.Errorf("read journal from event %d: %w", g.position()+1, err), g.flush())
	}
	defer r.Close()
	for g.position() < through {
		p, err := r.Next(ctx)
		if err == io.EOF {
			break
		}
		if err != nil {
			return errors.Join(fmt.Errorf("read journal from event %d: %w", g.position()+1, err), g.flush())
		}
		if err := g.apply(p, through); err != nil {
			return err
		}
		if progress != nil {
			progress(g.position())
		}
	}
	return g.flush()
}
