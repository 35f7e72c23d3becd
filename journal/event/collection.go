package event

import (
	"time"

	"github.com/bugle-fleet/bugle/listener/wire/bounded"
)

// RootCollection is the collection that is always there and holds every device.
const RootCollection = "SMS00001"

// Bounds of a definition.
const (
	MaxCollectionID = 16       // bytes; site code and five hexadecimal digits are 8
	MaxQueries      = 64       // query rules of a collection
	MaxQuery        = 32 << 10 // bytes of a query
	MaxRules        = 1000     // include and exclude rules each
	MaxWindow       = 4 << 10  // bytes of a maintenance window
)

// A Collection is the definition of one.
type Collection struct {
	ID      string
	Name    string
	Comment string
	Limit   string // the limiting collection
	Direct  []byte // device numbers of direct members, a serialized roaring bitmap; empty for none
	Queries []CollectionQuery
	Include []string
	Exclude []string
	// Schedule of full evaluations: "minute hour day month weekday" in UTC, or the
	// original's recurrence of 16 hexadecimal digits. Empty: none.
	Schedule    string
	Incremental bool
}

// A CollectionQuery is a query rule.
type CollectionQuery struct {
	Name string
	WQL  string
}

func (c *Collection) encode(w *bounded.Writer) {
	if c == nil {
		w.Array(0)
		return
	}
	w.Array(10)
	w.Exact(c.ID, MaxCollectionID)
	w.Exact(c.Name, MaxName)
	w.String(c.Comment, MaxText)
	w.Exact(c.Limit, MaxCollectionID)
	w.Bytes(c.Direct, MaxBitmap)
	w.List(2*len(c.Queries), 2*MaxQueries)
	for _, q := range c.Queries {
		w.Exact(q.Name, MaxName)
		w.Exact(q.WQL, MaxQuery)
	}
	encodeIDs(w, c.Include)
	encodeIDs(w, c.Exclude)
	w.Exact(c.Schedule, MaxName)
	w.Bool(c.Incremental)
}

func decodeCollection(r *bounded.Reader) *Collection {
	if r.Array(32) == 0 {
		r.End()
		return nil
	}
	c := &Collection{ID: r.String(MaxCollectionID), Name: r.String(MaxName), Comment: r.String(MaxText), Limit: r.String(MaxCollectionID), Direct: r.Bytes(MaxBitmap)}
	n := r.Array(2 * MaxQueries)
	for i := 0; i < n/2 && r.Err() == nil; i++ {
		c.Queries = append(c.Queries, CollectionQuery{r.String(MaxName), r.String(MaxQuery)})
	}
	r.End()
	c.Include, c.Exclude = decodeIDs(r), decodeIDs(r)
	c.Schedule = r.String(MaxName)
	c.Incremental = r.Bool()
	r.End()
	return c
}

func encodeIDs(w *bounded.Writer, ids []string) {
	w.List(len(ids), MaxRules)
	for _, id := range ids {
		w.Exact(id, MaxCollectionID)
	}
}

func decodeIDs(r *bounded.Reader) (ids []string) {
	r.Array(MaxRules)
	for r.More() {
		ids = append(ids, r.String(MaxCollectionID))
	}
	r.End()
	return ids
}

// CollectionChanged makes, changes or deletes a collection. What was before is
// part of it, so that nobody needs to look for it.
type CollectionChanged struct {
	ID     string
	Before *Collection // nil: it is new
	After  *Collection // nil: it is deleted
	Reason string
}

// Kind returns collection.changed.
func (*CollectionChanged) Kind() Kind { return KindCollectionChanged }

func (p *CollectionChanged) encode(w *bounded.Writer) {
	w.Array(5)
	w.Uint(1)
	w.Exact(p.ID, MaxCollectionID)
	p.Before.encode(w)
	p.After.encode(w)
	w.String(p.Reason, MaxText)
}

func (p *CollectionChanged) decode(r *bounded.Reader) {
	r.Version(1)
	p.ID = r.String(MaxCollectionID)
	p.Before, p.After = decodeCollection(r), decodeCollection(r)
	p.Reason = r.String(MaxText)
	r.End()
}

// EvaluationRequested asks for an evaluation now.
type EvaluationRequested struct {
	Collections []string
	Dependants  bool // and of all that depend on them
	Reason      string
}

// Kind returns evaluation.requested.
func (*EvaluationRequested) Kind() Kind { return KindEvaluationRequested }

func (p *EvaluationRequested) encode(w *bounded.Writer) {
	w.Array(4)
	w.Uint(1)
	encodeIDs(w, p.Collections)
	w.Bool(p.Dependants)
	w.String(p.Reason, MaxText)
}

func (p *EvaluationRequested) decode(r *bounded.Reader) {
	r.Version(1)
	p.Collections = decodeIDs(r)
	p.Dependants = r.Bool()
	p.Reason = r.String(MaxText)
	r.End()
}

// An EvaluationQueue is the queue that an evaluation waited in. The numbers are on
// disk; the names in brackets are the original's.
type EvaluationQueue uint8

// The queues.
const (
	FullQueue        EvaluationQueue = 1 // on schedule (Primary)
	ManualQueue      EvaluationQueue = 2 // asked for, with dependants (Auxiliary)
	SingleQueue      EvaluationQueue = 3 // asked for, alone (Single)
	IncrementalQueue EvaluationQueue = 4 // devices changed, or the clock went on (Express)
)

// String returns "full", "manual", "single" or "incremental".
func (q EvaluationQueue) String() string {
	switch q {
	case FullQueue:
		return "full"
	case ManualQueue:
		return "manual"
	case SingleQueue:
		return "single"
	case IncrementalQueue:
		return "incremental"
	}
	return "?"
}

// An EvaluationCause is why an evaluation ran. The numbers are on disk.
type EvaluationCause uint8

// The causes.
const (
	BySchedule     EvaluationCause = 1
	ByRequest      EvaluationCause = 2 // [EvaluationRequested]
	ByDefinition   EvaluationCause = 3 // [CollectionChanged] or [ClassesDefined]
	ByDevices      EvaluationCause = 4 // what is known of devices changed
	ByTime         EvaluationCause = 5 // a rule with a date turned
	ByStart        EvaluationCause = 6 // the evaluator began and found something undone
	ByOtherCascade EvaluationCause = 7 // a collection that it depends on changed
)

// String returns "schedule", "request", "definition", "devices", "time", "start" or "cascade".
func (c EvaluationCause) String() string {
	names := [...]string{"?", "schedule", "request", "definition", "devices", "time", "start", "cascade"}
	if int(c) < len(names) {
		return names[c]
	}
	return "?"
}

// Bounds of an evaluation's event.
const (
	// MaxEvaluated is how many collections one event names; further ones are in the
	// next part of the cycle.
	MaxEvaluated = 8192
)

// CollectionsEvaluated is what one cycle of the evaluator found, or a part of it.
type CollectionsEvaluated struct {
	Cycle    uint64 // counts the cycles of the site, from 1
	Part, Of uint16
	Queue    EvaluationQueue
	Cause    EvaluationCause
	By       uint64        // the event that caused it, 0 for none
	Basis    uint64        // the event that all it read was as of
	Started  time.Time     // when the cycle began
	Clock    time.Time     // the time that rules with a date were evaluated for
	Took     time.Duration // the whole cycle, until it was appended
	Devices  uint32        // how many devices were looked at
	Count    uint32        // how many collections were evaluated, in all parts
	Results  []CollectionResult
}

// A CollectionResult is what an evaluation made of one collection. Of incremental
// cycles only those collections are named whose members changed.
type CollectionResult struct {
	ID       string
	Took     time.Duration // of this collection alone
	Members  uint32        // after it
	Added    []byte        // a serialized [DeviceSet], empty for none
	Removed  []byte
	Computed uint32 // conditions that were computed for it
	Reused   uint32 // conditions whose answers were there already
}

// Kind returns collections.evaluated.
func (*CollectionsEvaluated) Kind() Kind { return KindCollectionsEvaluated }

func (p *CollectionsEvaluated) encode(w *bounded.Writer) {
	w.Array(13)
	w.Uint(1)
	w.Uint(p.Cycle)
	w.Uint(uint64(p.Part))
	w.Uint(uint64(p.Of))
	w.Uint(uint64(p.Queue))
	w.Uint(uint64(p.Cause))
	w.Uint(p.By)
	w.Uint(p.Basis)
	w.Int(nanos(p.Started))
	w.Int(nanos(p.Clock))
	w.Int(int64(p.Took))
	w.Uint(uint64(p.Devices))
	w.Array(2)
	w.Uint(uint64(p.Count))
	w.List(len(p.Results), MaxEvaluated)
	for i := range p.Results {
		c := &p.Results[i]
		w.Array(7)
		w.Exact(c.ID, MaxCollectionID)
		w.Int(int64(c.Took))
		w.Uint(uint64(c.Members))
		w.Bytes(c.Added, MaxBitmap)
		w.Bytes(c.Removed, MaxBitmap)
		w.Uint(uint64(c.Computed))
		w.Uint(uint64(c.Reused))
	}
}

func (p *CollectionsEvaluated) decode(r *bounded.Reader) {
	r.Version(1)
	p.Cycle = r.Uint64()
	p.Part = uint16(r.Uint(1<<16 - 1))
	p.Of = uint16(r.Uint(1<<16 - 1))
	p.Queue = EvaluationQueue(r.Uint(1<<8 - 1))
	p.Cause = EvaluationCause(r.Uint(1<<8 - 1))
	p.By = r.Uint64()
	p.Basis = r.Uint64()
	p.Started = instant(r.Int64())
	p.Clock = instant(r.Int64())
	p.Took = time.Duration(r.Int64())
	p.Devices = r.Uint32()
	r.Array(16)
	p.Count = r.Uint32()
	r.Array(MaxEvaluated)
	for r.More() {
		r.Array(16)
		p.Results = append(p.Results, CollectionResult{r.String(MaxCollectionID), time.Duration(r.Int64()), r.Uint32(),
			r.Bytes(MaxBitmap), r.Bytes(MaxBitmap), r.Uint32(), r.Uint32()})
		r.End()
	}
	r.End()
	r.End()
	r.End()
}

// WindowChanged makes, changes or deletes a maintenance window of a collection.
type WindowChanged struct {
	Collection string
	Name       string // of the window, unique within the collection
	Before     []byte // JSON as package window reads it; empty: it is new
	After      []byte // empty: it is deleted
	Reason     string
}

// Kind returns window.changed.
func (*WindowChanged) Kind() Kind { return KindWindowChanged }

func (p *WindowChanged) encode(w *bounded.Writer) {
	w.Array(6)
	w.Uint(1)
	w.Exact(p.Collection, MaxCollectionID)
	w.Exact(p.Name, MaxName)
	w.Bytes(p.Before, MaxWindow)
	w.Bytes(p.After, MaxWindow)
	w.String(p.Reason, MaxText)
}

func (p *WindowChanged) decode(r *bounded.Reader) {
	r.Version(1)
	p.Collection = r.String(MaxCollectionID)
	p.Name = r.String(MaxName)
	p.Before = r.Bytes(MaxWindow)
	p.After = r.Bytes(MaxWindow)
	p.Reason = r.String(MaxText)
	r.End()
}
