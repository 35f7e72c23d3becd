package feed

import (
	"iter"
	"slices"
	"time"

	"github.com/bugle-fleet/bugle/listener"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// A state is what a reader of the feed knows after the messages so far.
type state struct {
	rings   [][]byte
	blocked map[uint32]bool
	open    map[task.ID]*operation
	order   []task.ID // of open and of what has ended since it was last tidied
	ended   map[task.ID]listener.EndOperation
}

type operation struct {
	listener.OpenOperation
	deliverBy time.Time
	waves     []listener.ReleaseWave
}

func newState() *state {
	return &state{blocked: make(map[uint32]bool), open: make(map[task.ID]*operation), ended: make(map[task.ID]listener.EndOperation)}
}

// apply takes an update. An operation whose task cannot be read is left out: no
// listener serves it.
func (s *state) apply(u listener.Update) {
	switch u := u.(type) {
	case listener.OpenOperation:
		t, err := u.Signed.Task()
		if err != nil {
			return
		}
		if known := s.open[t.Operation]; known != nil {
			known.OpenOperation = u
			return
		}
		s.open[t.Operation] = &operation{OpenOperation: u, deliverBy: t.DeliverBy}
		s.order = append(s.order, t.Operation)
	case listener.ReleaseWave:
		o := s.open[u.ID]
		if o != nil && !slices.ContainsFunc(o.waves, func(w listener.ReleaseWave) bool { return w.Wave == u.Wave }) {
			o.waves = append(o.waves, u)
		}
	case listener.EndOperation:
		delete(s.open, u.ID)
		if len(u.Cancel) > 0 {
			s.ended[u.ID] = u
		}
	case listener.ChangeKeys:
		if !slices.ContainsFunc(s.rings, func(r []byte) bool { return string(r) == string(u.Ring) }) {
			s.rings = append(s.rings, u.Ring)
		}
	case listener.BlockDevice:
		s.blocked[u.Device] = true
	case listener.UnblockDevice:
		delete(s.blocked, u.Device)
	}
}

// size is about how many updates tell the state.
func (s *state) size() int { return len(s.rings) + len(s.blocked) + len(s.open) + len(s.ended) }

// updates tell the state, listener.Whole at their end. What nobody needs at now
// is forgotten: cancels and operations whose time is over. Answered is who has
// answered what by now, nil of an operation that is sent to nobody any more.
func (s *state) updates(now time.Time, answered map[task.ID]*task.Targets) iter.Seq[listener.Update] {
	for id, o := range s.open {
		if !now.Before(o.deliverBy) {
			delete(s.open, id)
		}
	}
	for id, e := range s.ended {
		if !now.Before(e.Until) {
			delete(s.ended, id)
		}
	}
	for id, done := range answered {
		if o := s.open[id]; o != nil && done != nil {
			o.Done = done
		} else {
			delete(s.open, id)
		}
	}
	s.order = slices.DeleteFunc(s.order, func(id task.ID) bool { return s.open[id] == nil })
	return s.tell
}

func (s *state) tell(yield func(listener.Update) bool) {
	for _, r := range s.rings {
		if !yield(listener.ChangeKeys{Ring: r}) {
			return
		}
	}
	for device := range s.blocked {
		if !yield(listener.BlockDevice{Device: device}) {
			return
		}
	}
	for _, id := range s.order {
		o := s.open[id]
		if !yield(o.OpenOperation) {
			return
		}
		for _, w := range o.waves {
			if !yield(w) {
				return
			}
		}
	}
	for _, e := range s.ended {
		if !yield(e) {
			return
		}
	}
	yield(listener.Whole{})
}
