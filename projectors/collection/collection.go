package collection

import (
	"time"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/bugle-fleet/bugle/journal/event"
)

// How much is kept.
const (
	MaxRuns   = 32   // of a collection and queue
	MaxCycles = 1000 // of a queue
	MaxDeltas = 32   // events of a collection that changed its members
)

// RootName is the name of the root.
const RootName = "All Systems"

// queues is how many there are: their numbers are 1 to queues.
const queues = int(event.IncrementalQueue)

// A Mark is an event and when the journal took it. The zero value: there was none.
type Mark struct {
	Event uint64
	At    time.Time
}

func mark(e *event.Event) Mark { return Mark{e.Number, e.Accepted} }

// An Info is a collection without its members. Nobody changes what it points to.
type Info struct {
	event.Collection        // its definition; of the root only id and name
	Version          uint64 // counts the definitions, from 1; 0 for the root
	Created          Mark   // by the event that made it
	Defined          Mark   // by the event that defined it as it is
	Members          uint64 // how many
	Evaluated        Run    // the last run of any queue; its zero value if there was none
	Changed          Mark   // when its members changed last
}

// A Run is one evaluation of one collection.
type Run struct {
	Queue          event.EvaluationQueue
	Cycle          uint64
	Event          uint64 // that brought the result, or the last part of it
	Done           time.Time
	Cause          event.EvaluationCause
	By, Basis      uint64
	Started        time.Time     // when the cycle began
	Took           time.Duration // this collection alone
	Members        uint64        // after it
	Added, Removed uint64
	Computed       uint32 // conditions
	Reused         uint32
}

// A Stat is how the evaluations of one collection in one queue went.
type Stat struct {
	ID, Name string
	Runs     uint64 // how many there were
	Last     Run
	Changed  Mark // when one of them changed the members last
}

// A Cycle is one cycle of the evaluator.
type Cycle struct {
	Queue          event.EvaluationQueue
	Cycle          uint64
	Event          uint64 // the last of its events
	Done           time.Time
	Cause          event.EvaluationCause
	By, Basis      uint64
	Started, Clock time.Time
	Took           time.Duration
	Devices        uint32 // that were looked at
	Count          uint32 // collections that were evaluated
	Changed        uint32 // collections whose members changed
	Added, Removed uint64 // members, of all collections
	Parts, Of      uint16 // events that came, and that belong to it
}

// Deltas are the events that changed the members of a collection.
type Deltas struct {
	Events []uint64 // newest first, at most [MaxDeltas]
	// Whole says that there were no earlier ones. Else what they do not name has
	// been as it is since before the last of Events.
	Whole bool
}

// An entry is a collection in memory. Once it is published nobody changes it; the
// fold then goes on with a copy.
type entry struct {
	Info
	stats   [queues]Stat // by queue - 1
	deltas  []uint64     // oldest first; a change makes a new slice
	earlier bool         // there were others before deltas
	members *roaring.Bitmap

	published bool
	own       *roaring.Bitmap // of the fold, copy-on-write
}

func root() *entry {
	e := newEntry(event.RootCollection)
	e.Name = RootName
	return e
}

func newEntry(id string) *entry {
	e := &entry{own: roaring.New(), members: roaring.New()}
	e.ID = id
	e.own.SetCopyOnWrite(true)
	return e
}
