package projectors

import (
	"context"
	"errors"
	"fmt"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/pb"
	"github.com/dgraph-io/ristretto/v2/z"
)

// Bounds of what a rebuild keeps in memory. A view with more rows than that goes on
// in its store from there; of versions the latest are kept that there is room for.
const (
	maxBulk     = 256 << 20
	maxVersions = 64 << 20
)

// minBulk is how many events are worth a fold in memory, even if none of them is
// older than the window.
const minBulk = 100

// fill brings a generation up to event through, or to the end of what is durable
// now. That is folded in memory as far as there is room, and written at once with
// the versions of the window: those that are older, or more than fit, never get to
// the store.
func (r *runner) fill(ctx context.Context, g *generation, through uint64, progress func(position uint64)) error {
	through = min(through, r.opt.Journal.Head().Event)
	if g.broken == nil && g.position() == 0 && through > min(minBulk, r.opt.Window.Events) {
		p, err := r.bulk(ctx, g.view, through, progress)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			r.log.Debug("fold event by event", "err", err) // which finds out what is wrong, and where
		default:
			if err := g.take(p); err != nil {
				return err
			}
		}
	}
	return g.follow(ctx, r.opt.Journal, through, progress)
}

// bulk folds events up to through, as far as there is memory for the rows, and
// keeps the versions of the window.
func (r *runner) bulk(ctx context.Context, v *View, through uint64, progress func(position uint64)) (*replica, error) {
	accepted, err := TimeOf(ctx, r.opt.Journal, through)
	if err != nil {
		return nil, err
	}
	start, err := r.opt.Window.start(ctx, r.opt.Journal, through, accepted)
	if err != nil {
		return nil, err
	}
	p, err := newReplica(v, newMemory(), 0, 0, maxBulk)
	if err != nil {
		return nil, err
	}
	tell := func(position uint64) {
		r.keepReplica(p)
		if progress != nil {
			progress(position)
		}
	}
	err = p.follow(ctx, r.opt.Journal, start, tell)
	if err == nil {
		p.rows.log = newUndoLog(p.position, maxVersions)
		err = p.follow(ctx, r.opt.Journal, through, tell)
	}
	if errors.Is(err, errLarge) {
		err = nil
	}
	return p, err
}

// keepReplica keeps the state of a replica if that is due.
func (r *runner) keepReplica(p *replica) {
	if !r.kept.due(p.position, p.accepted) {
		return
	}
	p.rows.freeze()
	if err := r.kept.keep(&Snapshot{view: r.view.Name, rows: p.rows, position: p.position}, p.accepted); err != nil {
		r.log.Warn("state is not kept", "err", err)
	}
}

// take writes what a replica holds into the empty store, with all versions that it
// knows, and goes on with its fold.
func (g *generation) take(p *replica) error {
	floor := p.rows.since(p.position)
	err := writeTables(g.db, p.rows, floor)
	if err == nil {
		g.meta.position, g.meta.accepted, g.meta.floor = p.position, p.accepted, floor
		g.meta.rows, g.meta.rolling = p.rows.sum()
		err = g.save()
	}
	if err != nil {
		return g.abandon(fmt.Errorf("view %s stops: %w", g.view.Name, err), 0, "")
	}
	g.mu.Lock()
	g.floor = floor
	g.mu.Unlock()
	g.db.SetDiscardTs(floor)
	g.fold = p.fold
	g.present(g.snapshot())
	return nil
}

// tableBuffer is how much is handed to Badger's stream writer at once.
const tableBuffer = 1 << 20

// deleted marks a version without a row, as Badger writes it into its tables.
var deleted = []byte{1}

// writeTables makes the versions of the rows since floor the only content of the
// store: straight into tables, past the log. That is three times as fast as
// [writeRows].
func writeTables(db *badger.DB, rows *memory, floor uint64) error {
	w := db.NewStreamWriter()
	defer w.Cancel()
	if err := w.Prepare(); err != nil {
		return fmt.Errorf("write tables: %w", err)
	}
	buf := z.NewBuffer(2*tableBuffer, "projectors")
	defer func() { _ = buf.Release() }()
	flush := func() error {
		err := w.Write(buf)
		buf.Reset()
		return err
	}
	err := rows.history(floor, func(key string, event uint64, value []byte) error {
		kv := pb.KV{Key: []byte(key), Value: value, Version: event, StreamId: 1}
		if value == nil {
			kv.Meta = deleted
		}
		badger.KVToBuffer(&kv, buf)
		if buf.LenNoPadding() < tableBuffer {
			return nil
		}
		return flush()
	})
	if err == nil {
		err = flush()
	}
	if err == nil {
		err = w.Flush()
	}
	if err != nil {
		return fmt.Errorf("write tables: %w", err)
	}
	return nil
}
