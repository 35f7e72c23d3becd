package projectors

import (
	"errors"
	"fmt"
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
	maxBatchSize = 2 << 20
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
	log    *slog.Logger
	tables *compactor

	// Of the goroutine that writes.
	together  int64  // how many changes fit in one transaction
	meta      meta   // of the last commit; its position may be ahead of what is stored
	stored    uint64 // the position on disk
	batch     *Batch // nil between commits
	room      room   // for the next one
	began     time.Time
	broken    error  // what ended it: fold and store may differ from here on
	brokenAt  uint64 // the event that did, 0 if none
	brokenFor event.Kind

	mu      sync.Mutex
	current *Snapshot      // nil when retired
	live    int            // snapshots that somebody holds, current included
	pins    map[uint64]int // snapshots that somebody holds, by position
	floor   uint64         // as of earlier events the store is not exact
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
	g := &generation{number: number, dir: dir, view: v, wants: v.wanted(), db: db, fold: v.Fold(), log: log, tables: newCompactor(),
		together: db.MaxBatchCount() - 2, pins: make(map[uint64]int), closed: make(chan struct{})}
	if err := g.begin(history, head, fresh); err != nil {
		go g.close()
		return nil, errors.Join(fmt.Errorf("open view %s: %w", v.Name, err), g.await(closeWithin))
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
	case m.position > head:
		return fmt.Errorf("position %d is behind the end of the journal, %d", m.position, head)
	}
	if err := forgetBeyond(g.db, g.meta.position); err != nil {
		return err
	}
	g.stored, g.floor = g.meta.position, g.meta.floor
	g.db.SetDiscardTs(g.floor)
	g.tables.look(g.db, badgerLog{g.log})
	return g.load()
}

// load gives the fold what the store holds, and readers their first snapshot.
func (g *generation) load() error {
	s := g.snapshot()
	if err := g.fold.Load(s); err != nil {
		s.txn.Discard()
		return fmt.Errorf("load at position %d: %w", g.meta.position, err)
	}
	g.present(s)
	return nil
}

// snapshot is what is committed, for one holder.
func (g *generation) snapshot() *Snapshot { return g.snapshotAt(g.meta.position) }

func (g *generation) snapshotAt(event uint64) *Snapshot {
	v := at(g.db, event)
	return &Snapshot{view: g.view.Name, rows: v, position: event, gen: g, txn: v.txn, kept: g.meta, refs: 1}
}

// save writes the meta row alone.
func (g *generation) save() error {
	if err := writeMeta(g.db, g.meta); err != nil {
		return err
	}
	g.stored = g.meta.position
	g.tables.wrote(metaSize, g.db, badgerLog{g.log})
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

// decode returns the event of r if the view folds it, nil if it does not. An
// error stops the view in front of r.
func (v *View) decode(r *journal.Record, wants map[event.Kind]bool, position uint64) (*event.Event, error) {
	if r.Number != position+1 {
		return nil, &GapError{v.Name, position + 1, r.Number}
	}
	kind := r.Kind()
	if kind != "" && !wants[kind] { // what has no kind is damaged; Event says how
		return nil, nil
	}
	e, err := r.Event()
	if err != nil {
		return nil, fmt.Errorf("view %s stops: %w", v.Name, err)
	}
	if u, ok := e.Payload.(*event.Unknown); ok && wants[kind] {
		return nil, fmt.Errorf("view %s stops: event %d is %s of version %d, which this bugle does not know", v.Name, r.Number, kind, u.Version)
	}
	if !wants[kind] {
		return nil, nil
	}
	return e, nil
}

// apply applies the events of p behind the position, up to and with event
// through, and commits as often as the bounds ask. What came before an event that
// cannot be applied is committed.
func (g *generation) apply(p *journal.Page, through uint64) error {
	for i := range p.Records {
		r := &p.Records[i]
		if r.Number <= g.position() {
			continue
		}
		if r.Number > through {
			break
		}
		if err := g.one(r); err != nil {
			return err
		}
	}
	return nil
}

func (g *generation) one(r *journal.Record) error {
	e, err := g.view.decode(r, g.wants, g.position())
	if err != nil {
		return g.stop(err, g.position()+1, r.Kind())
	}
	g.start()
	if e != nil {
		g.batch.event = r.Number
		err := g.fold.Apply(g.batch, e)
		if g.batch.err != nil {
			err = g.batch.err
		}
		if err != nil {
			return g.abandon(fmt.Errorf("view %s stops at event %d (%s): %w", g.view.Name, r.Number, e.Kind(), err), r.Number, e.Kind())
		}
	}
	g.batch.meta.position, g.batch.meta.accepted = r.Number, r.Accepted
	if g.full() {
		return g.flush()
	}
	return nil
}

func (g *generation) start() {
	if g.batch == nil {
		g.batch = newBatch(at(g.db, g.meta.position), g.meta, g.room)
		g.began = time.Now()
	}
}

// drop ends the batch without a commit.
func (g *generation) drop() {
	if g.batch != nil {
		g.batch.before.(version).txn.Discard()
		g.room, g.batch = g.batch.leave(), nil
	}
}

func (g *generation) full() bool {
	return g.batch != nil && (len(g.batch.changes) >= maxBatchRows || g.batch.size >= maxBatchSize || time.Since(g.began) >= maxBatchTime)
}

// flush makes the batch durable and shows it to readers. A batch without rows
// only moves the position: it is stored with the next rows, or when it is far
// ahead, and costs no write until then.
func (g *generation) flush() error {
	b := g.batch
	if b == nil {
		return nil
	}
	if len(b.changes) > 0 || b.meta.position-g.stored >= maxUnsaved {
		if err := g.commit(b); err != nil {
			return g.abandon(fmt.Errorf("view %s stops at event %d: %w", g.view.Name, b.meta.position, err), 0, "")
		}
		g.stored = b.meta.position
		g.tables.wrote(b.size+metaSize, g.db, badgerLog{g.log})
	}
	g.meta = b.meta
	g.drop()
	g.present(g.snapshot())
	return nil
}

// commit writes rows and position at once as far as Badger takes them at once:
// one event in a transaction, several side by side. What is larger is written
// before the position.
func (g *generation) commit(b *Batch) error {
	n := len(b.changes)
	fits := int64(n) < g.together && b.size < g.db.MaxBatchSize()/2
	b.meta.since, b.meta.beside = g.stored, b.sum
	switch {
	case n == 0:
	case fits && b.changes[0].event == b.changes[n-1].event:
		return writeTogether(g.db, b.changes, b.meta, b.changes[0].event)
	case fits:
		return writeRows(g.db, b.changes, &b.meta)
	default:
		if err := writeRows(g.db, b.changes, nil); err != nil {
			return err
		}
	}
	return writeMeta(g.db, b.meta)
}

// stop commits what was applied and ends the generation with err, over an event
// if that is not 0.
func (g *generation) stop(err error, event uint64, kind event.Kind) error {
	if flushed := g.flush(); flushed != nil {
		return flushed
	}
	g.broken, g.brokenAt, g.brokenFor = err, event, kind
	return err
}

// abandon drops the batch and ends the generation: its fold has seen more than
// its store.
func (g *generation) abandon(err error, event uint64, kind event.Kind) error {
	g.drop()
	g.broken, g.brokenAt, g.brokenFor = err, event, kind
	return err
}

// present replaces the snapshot that readers get.
func (g *generation) present(s *Snapshot) {
	state := g.fold.Publish()
	s.state = func() any { return state }
	g.mu.Lock()
	old := g.current
	g.current = s
	g.hold(s)
	g.mu.Unlock()
	if old != nil {
		g.release(old)
	}
}

// hold counts a snapshot in; mu is held.
func (g *generation) hold(s *Snapshot) {
	g.live++
	g.pins[s.position]++
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

// acquireAt returns a snapshot as of an event that the generation holds exactly,
// which the caller releases. It is nil if the generation does not hold it, or is
// retired.
func (g *generation) acquireAt(event uint64) *Snapshot {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.current == nil || event < g.floor || event > g.current.position {
		return nil
	}
	v := at(g.db, event)
	s := &Snapshot{view: g.view.Name, rows: v, position: event, gen: g, txn: v.txn, refs: 1}
	g.hold(s)
	return s
}

func (g *generation) release(s *Snapshot) {
	g.mu.Lock()
	s.refs--
	gone := s.refs == 0
	if gone {
		g.live--
		if g.pins[s.position]--; g.pins[s.position] == 0 {
			delete(g.pins, s.position)
		}
	}
	last := gone && g.live == 0
	g.mu.Unlock()
	if gone {
		s.txn.Discard()
	}
	if last {
		go g.close() // whoever reads last must not wait for the disk
	}
}

// slide lets the store forget what there was before event: it keeps the rows as
// of event and every later one. Whoever reads an earlier one now holds it back.
func (g *generation) slide(event uint64) error {
	g.mu.Lock()
	for position := range g.pins {
		event = min(event, position)
	}
	up := event > g.floor
	if up {
		g.floor = event
	}
	g.mu.Unlock()
	if !up {
		return nil
	}
	g.meta.floor = event
	if err := g.save(); err != nil {
		return g.abandon(fmt.Errorf("view %s stops: %w", g.view.Name, err), 0, "")
	}
	g.db.SetDiscardTs(event)
	return nil
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
	g.drop()
	g.retire()
	return err
}
