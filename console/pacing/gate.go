package pacing

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/listener/wire/bounded"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// maxOpen is how many paced operations are remembered, those with the latest
// deliver-by. What is not remembered is not released.
const maxOpen = 50_000

// A Gate is the fold of the journal that knows how far every paced operation was
// released, and forgets it when it ends. It is safe for concurrent use; make one
// with [NewGate] and give it to the journal's options.
type Gate struct {
	mu   sync.Mutex
	open map[task.ID]progress
}

type progress struct {
	released uint32    // the last wave
	until    time.Time // deliver-by
}

// NewGate returns an empty fold.
func NewGate() *Gate { return &Gate{open: make(map[task.ID]progress)} }

// Wants implements [journal.SelectiveFold].
func (g *Gate) Wants(k event.Kind) bool {
	switch k {
	case event.KindOperationRequest, event.KindOperationReleased, event.KindOperationCancel,
		event.KindOperationStopped, event.KindOperationExpired, event.KindOperationClosed:
		return true
	}
	return false
}

// Apply implements [journal.Fold].
func (g *Gate) Apply(e *event.Event) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch p := e.Payload.(type) {
	case *event.OperationRequested:
		g.requested(e, p)
	case *event.OperationReleased:
		if o, ok := g.open[p.Operation]; ok && p.Wave == o.released+1 {
			o.released++
			g.open[p.Operation] = o
		}
	case *event.OperationCancelled:
		delete(g.open, p.Operation)
	case *event.OperationStopped:
		delete(g.open, p.Operation)
	case *event.OperationExpired:
		delete(g.open, p.Operation)
	case *event.OperationClosed:
		delete(g.open, p.Operation)
	}
}

// requested remembers an operation. Of one whose targets all reported nobody says
// an end, so what is too late is dropped here.
func (g *Gate) requested(e *event.Event, p *event.OperationRequested) {
	if p.Pacing.IsZero() {
		return
	}
	t, err := p.Task.Task()
	if _, known := g.open[t.Operation]; err != nil || known {
		return
	}
	for id, o := range g.open {
		if o.until.Before(e.Accepted) {
			delete(g.open, id)
		}
	}
	g.open[t.Operation] = progress{until: t.DeliverBy}
	if len(g.open) > maxOpen {
		delete(g.open, g.sorted()[0])
	}
}

// sorted returns the operations by deliver-by.
func (g *Gate) sorted() []task.ID {
	return slices.SortedFunc(maps.Keys(g.open), func(a, b task.ID) int {
		return cmp.Or(g.open[a].until.Compare(g.open[b].until), bytes.Compare(a[:], b[:]))
	})
}

// errSaid is the guard's word for what the view does not know yet.
var errSaid = errors.New("the journal is ahead of the view")

// next is the guard of an event about an operation: it has not ended, and so many
// waves of it are released.
func (g *Gate) next(id task.ID, released int) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if o, ok := g.open[id]; !ok || int(o.released) != released {
		return errSaid
	}
	return nil
}

// What the gate saves is an array, version 1: id, last wave and deliver-by of each
// operation, one behind the other, by deliver-by.
const (
	saves       = "pacing/1"
	saveVersion = 1
)

var saveLimits = bounded.Limits{Bytes: maxOpen * 64, Items: 4 * (maxOpen + 1)}

// Saves implements [journal.SavingFold].
func (g *Gate) Saves() string { return saves }

// Save implements [journal.SavingFold].
func (g *Gate) Save() ([]byte, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	b, err := bounded.Encode(nil, func(w *bounded.Writer) {
		w.Array(2)
		w.Uint(saveVersion)
		w.List(3*len(g.open), 3*maxOpen)
		for _, id := range g.sorted() {
			o := g.open[id]
			w.Raw(id[:])
			w.Uint(uint64(o.released))
			w.Int(o.until.UnixNano())
		}
	})
	if err != nil {
		return nil, fmt.Errorf("save paced operations: %w", err)
	}
	return b, nil
}

// Restore implements [journal.SavingFold].
func (g *Gate) Restore(saved []byte) error {
	open := make(map[task.ID]progress)
	err := bounded.Decode(saved, saveLimits, func(r *bounded.Reader) error {
		r.Version(saveVersion)
		if n := r.Array(3 * maxOpen); n%3 != 0 {
			r.Fail("%d ids, waves and times", n)
		}
		for r.More() {
			var id task.ID
			r.Raw(id[:])
			open[id] = progress{r.Uint32(), time.Unix(0, r.Int64()).UTC()}
		}
		r.End()
		r.End()
		return nil
	})
	if err != nil {
		open, err = make(map[task.ID]progress), fmt.Errorf("restore paced operations: %w", err)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.open = open
	return err
}
