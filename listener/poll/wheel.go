package poll

import (
	"sync"
	"time"
)

// Tick is how late a timer may be.
const Tick = 250 * time.Millisecond

// slots is how many ticks ahead the wheel tells apart: two minutes. What is later
// goes round and is put into its slot when it is near.
const slots = 480

// A wheel has one list of sources for each tick to come.
type wheel struct {
	mu    sync.Mutex
	start time.Time
	at    int64 // the tick that was passed last
	heads [slots]*Source
}

func newWheel(now time.Time) *wheel { return &wheel{start: now} }

// set moves the timer of s; a zero time takes it away. A source whose timer moves
// into the future stays where it is until it is met there: a connection that is
// heard all the time costs no lists.
func (w *wheel) set(s *Source, at time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if at.IsZero() {
		w.unlink(s)
		s.due = 0
		return
	}
	due := max(int64((at.Sub(w.start)+Tick-1)/Tick), w.at+1)
	later := s.due != 0 && due >= s.due
	s.due = due
	if !later {
		w.unlink(s)
		w.link(s)
	}
}

func (w *wheel) link(s *Source) {
	s.slot = int32(min(s.due, w.at+slots-1)%slots) + 1
	head := &w.heads[s.slot-1]
	s.next = *head
	if s.next != nil {
		s.next.prev = s
	}
	*head = s
}

func (w *wheel) unlink(s *Source) {
	if s.slot == 0 {
		return
	}
	if s.prev != nil {
		s.prev.next = s.next
	} else {
		w.heads[s.slot-1] = s.next
	}
	if s.next != nil {
		s.next.prev = s.prev
	}
	s.prev, s.next, s.slot = nil, nil, 0
}

// pass returns the sources whose timers have come.
func (w *wheel) pass(now time.Time) (come []*Source) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for until := int64(now.Sub(w.start) / Tick); w.at < until; {
		w.at++
		s := w.heads[w.at%slots]
		w.heads[w.at%slots] = nil
		for s != nil {
			next := s.next
			s.prev, s.next, s.slot = nil, nil, 0
			if s.due <= w.at {
				s.due = 0
				come = append(come, s)
			} else {
				w.link(s)
			}
			s = next
		}
	}
	return come
}
