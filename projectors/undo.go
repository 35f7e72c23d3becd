package projectors

import (
	"cmp"
	"slices"
)

// An undoLog notes what the rows of a memory were before each event since its
// floor. When it takes more than its limit it lets go of the oldest notes, and its
// floor rises: what is kept are the last versions that there is room for.
type undoLog struct {
	limit int64
	bytes int64
	floor uint64           // what rows were right after this event, and any later one, is known
	slabs []*slab          // all full but the last
	past  int              // how many notes were let go: the oldest that is here is past+1
	gone  map[string]*cell // rows that are no more, and of which there is a note
}

// slabNotes is how many notes are let go at once.
const slabNotes = 256

type slab struct {
	notes []note
	bytes int64
	arena arena
}

// A note is what a row was before an event.
type note struct {
	cell  *cell
	event uint64
	old   []byte // nil: there was none
	prev  int    // the note before of the same row, 0 if there was none
}

// noteCost is what a note takes besides the value.
const noteCost = 56

// newUndoLog begins right after event floor.
func newUndoLog(floor uint64, limit int64) *undoLog {
	return &undoLog{limit: limit, floor: floor, gone: make(map[string]*cell)}
}

// note is called before c changes. What one event changes twice is noted once.
func (l *undoLog) note(c *cell, event uint64) {
	if n := l.of(c.last); n != nil && n.event == event {
		return
	}
	s := l.room()
	s.notes = append(s.notes, note{c, event, s.arena.keep(c.value), c.last})
	c.last = l.past + (len(l.slabs)-1)*slabNotes + len(s.notes)
	cost := int64(noteCost + len(c.value))
	s.bytes += cost
	for l.bytes += cost; l.bytes > l.limit && len(l.slabs) > 1; {
		l.drop()
	}
}

// room returns a slab with room for a note.
func (l *undoLog) room() *slab {
	if n := len(l.slabs); n > 0 && len(l.slabs[n-1].notes) < slabNotes {
		return l.slabs[n-1]
	}
	l.slabs = append(l.slabs, &slab{notes: make([]note, 0, slabNotes)})
	return l.slabs[len(l.slabs)-1]
}

// of returns note number n, nil if there is none or it was let go.
func (l *undoLog) of(n int) *note {
	if n <= l.past {
		return nil
	}
	i := n - l.past - 1
	return &l.slabs[i/slabNotes].notes[i%slabNotes]
}

func (l *undoLog) drop() {
	s := l.slabs[0]
	l.slabs[0], l.slabs = nil, l.slabs[1:]
	l.past += slabNotes
	l.bytes -= s.bytes
	l.floor = s.notes[slabNotes-1].event
	for i := range s.notes {
		if c := s.notes[i].cell; c.value == nil && c.last <= l.past {
			delete(l.gone, c.key)
		}
	}
}

// since returns the first event as of which m knows all rows, if it holds those of
// event position now.
func (m *memory) since(position uint64) uint64 {
	if m.log == nil {
		return position
	}
	return m.log.floor
}

// history hands visit the versions of all rows since floor: in the order of their
// keys, the newest of each first, the oldest at version floor. A nil value says
// that the row is gone.
func (m *memory) history(floor uint64, visit func(key string, event uint64, value []byte) error) error {
	for _, c := range m.cells() {
		value, n := c.value, m.noteOf(c.last)
		for ; n != nil && n.event > floor; n = m.noteOf(n.prev) {
			if err := visit(c.key, n.event, value); err != nil {
				return err
			}
			value = n.old
		}
		if value == nil {
			continue
		}
		if err := visit(c.key, floor, value); err != nil {
			return err
		}
	}
	return nil
}

func (m *memory) noteOf(n int) *note {
	if m.log == nil {
		return nil
	}
	return m.log.of(n)
}

// cells returns all rows that there are, or were since the floor, in order.
func (m *memory) cells() []*cell {
	all := make([]*cell, 0, len(m.values))
	for _, c := range m.values {
		all = append(all, c)
	}
	if m.log != nil {
		for _, c := range m.log.gone {
			all = append(all, c)
		}
	}
	slices.SortFunc(all, func(a, b *cell) int { return cmp.Compare(a.key, b.key) })
	return all
}
