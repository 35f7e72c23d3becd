package collection

import (
	"math"
	"slices"
	"strings"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/projectors"
)

// A Reader reads the view. It is safe for concurrent use.
type Reader struct{ view projectors.Source }

// At returns the reader of the view as of one event.
func At(past *projectors.Past) *Reader { return &Reader{past.View(name)} }

// At runs read and returns the number of the event that all it saw was after.
func (r *Reader) At(read func(*Snapshot) error) (position uint64, err error) {
	err = r.view.Read(func(s *projectors.Snapshot) error {
		position = s.Position()
		return read(&Snapshot{s: s, published: s.State().(*published)})
	})
	return position, err
}

// A Snapshot is the collections after one event. What it returns may be kept, and
// nobody changes it unless it says otherwise.
type Snapshot struct {
	s *projectors.Snapshot
	*published
}

// published is what readers get of the fold's memory.
type published struct {
	list      []*entry // by id
	names     []named  // by name and id
	lastCycle uint64
}

// A named finds a collection by its name.
type named struct{ folded, id string }

func (n named) compare(o named) int {
	if c := strings.Compare(n.folded, o.folded); c != 0 {
		return c
	}
	return strings.Compare(n.id, o.id)
}

func find(list []*entry, id string) (int, bool) {
	return slices.BinarySearchFunc(list, id, func(e *entry, id string) int { return strings.Compare(e.ID, id) })
}

func (p *published) entry(id string) *entry {
	if i, ok := find(p.list, id); ok {
		return p.list[i]
	}
	return nil
}

// Position is the event that the snapshot is after.
func (s *Snapshot) Position() uint64 { return s.s.Position() }

// List returns all collections by id, the root among them.
func (s *Snapshot) List() []Info {
	all := make([]Info, len(s.list))
	for i, e := range s.list {
		all[i] = e.Info
	}
	return all
}

// Get returns a collection by its id; ok is false if there is none.
func (s *Snapshot) Get(id string) (info Info, ok bool) {
	if e := s.entry(id); e != nil {
		return e.Info, true
	}
	return Info{}, false
}

// Find returns the collection that has word as its id, or else as its name, both in
// any case; ok is false if there is none.
func (s *Snapshot) Find(word string) (info Info, ok bool) {
	if e := s.entry(strings.ToUpper(word)); e != nil {
		return e.Info, true
	}
	if e := s.entry(word); e != nil {
		return e.Info, true
	}
	folded := strings.ToLower(word)
	i, _ := slices.BinarySearchFunc(s.names, named{folded: folded}, named.compare)
	if i < len(s.names) && s.names[i].folded == folded {
		return s.Get(s.names[i].id)
	}
	return Info{}, false
}

// Members returns the devices in a collection, nil if there is no such collection.
// The bitmap is shared: it must not be changed.
func (s *Snapshot) Members(id string) *roaring.Bitmap {
	if e := s.entry(id); e != nil {
		return e.members
	}
	return nil
}

// Page returns at most limit members with numbers above after, rising; after 0
// begins with the first.
func (s *Snapshot) Page(id string, after uint32, limit int) []uint32 {
	e := s.entry(id)
	if e == nil || limit <= 0 || after == math.MaxUint32 {
		return nil
	}
	it := e.members.Iterator()
	it.AdvanceIfNeeded(after + 1)
	page := make([]uint32, 0, min(uint64(limit), e.Members))
	for len(page) < limit && it.HasNext() {
		page = append(page, it.Next())
	}
	return page
}

// Of returns the ids of the collections that a device is in, rising.
func (s *Snapshot) Of(device uint32) (ids []string) {
	for _, e := range s.list {
		if e.members.Contains(device) {
			ids = append(ids, e.ID)
		}
	}
	return ids
}

// Stats returns what is kept of each collection in a queue, by id; a collection
// that never ran in it is left out.
func (s *Snapshot) Stats(queue event.EvaluationQueue) (all []Stat) {
	if queue < 1 || int(queue) > queues {
		return nil
	}
	for _, e := range s.list {
		if st := e.stats[queue-1]; st.Runs > 0 {
			st.ID, st.Name = e.ID, e.Name
			all = append(all, st)
		}
	}
	return all
}

// Runs returns the last runs of a collection in a queue, newest first, at most
// [MaxRuns].
func (s *Snapshot) Runs(id string, queue event.EvaluationQueue) (all []Run, err error) {
	if s.entry(id) == nil {
		return nil, nil
	}
	err = s.s.Scan(runsKey(id, queue), nil, func(_, value []byte) (bool, error) {
		r, err := decodeRun(value)
		all = append(all, r)
		return true, err
	})
	slices.SortFunc(all, func(a, b Run) int {
		if a.Cycle > b.Cycle {
			return -1
		}
		return 1
	})
	return all, err
}

// Cycles returns the last cycles of a queue, newest first, at most limit and
// [MaxCycles].
func (s *Snapshot) Cycles(queue event.EvaluationQueue, limit int) (all []Cycle, err error) {
	if limit <= 0 {
		return nil, nil
	}
	err = s.s.Back(cyclesKey(queue), nil, func(_, value []byte) (bool, error) {
		c, err := decodeCycle(value)
		all = append(all, c)
		return len(all) < limit, err
	})
	return all, err
}

// LastCycle is the highest number of a cycle that there was.
func (s *Snapshot) LastCycle() uint64 { return s.lastCycle }

// Deltas returns the last events that changed the members of a collection.
func (s *Snapshot) Deltas(id string) Deltas {
	e := s.entry(id)
	if e == nil {
		return Deltas{Whole: true}
	}
	events := slices.Clone(e.deltas)
	slices.Reverse(events)
	return Deltas{events, !e.earlier}
}
