package poll

import "sync"

// A table finds sources by their tokens: a place, and how often it was given away,
// so that an event of a connection that is gone finds nobody.
type table struct {
	mu     sync.RWMutex
	places []place
	free   []uint32
}

type place struct {
	source *Source
	times  uint32
}

func (t *table) put(s *Source) (token uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.free) == 0 {
		t.places = append(t.places, place{})
		t.free = append(t.free, uint32(len(t.places)-1))
	}
	i := t.free[len(t.free)-1]
	t.free = t.free[:len(t.free)-1]
	p := &t.places[i]
	p.source = s
	p.times++
	return uint64(p.times)<<32 | uint64(i)
}

// get finds a source. The caller holds the lock.
func (t *table) get(token uint64) *Source {
	i := uint32(token)
	if int(i) >= len(t.places) || t.places[i].times != uint32(token>>32) {
		return nil
	}
	return t.places[i].source
}

// told notes events at their sources, and appends to ready those that are to be
// queued.
func (t *table) told(events []event, ready []*Source) []*Source {
	t.mu.RLock()
	defer t.mu.RUnlock()
	for _, e := range events {
		if s := t.get(e.token); s != nil && s.mark(e.why) {
			ready = append(ready, s)
		}
	}
	return ready
}

func (t *table) remove(token uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	i := uint32(token)
	if p := &t.places[i]; p.times == uint32(token>>32) && p.source != nil {
		p.source = nil
		t.free = append(t.free, i)
	}
}

func (t *table) len() int {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return len(t.places) - len(t.free)
}

// roomy is beyond how many places an empty ring gives them back. That of a listener of
// usual size need not grow anew with each push.
const roomy = 1 << 15

// A ring is a queue that grows as it must.
type ring struct {
	all  []*Source
	head int
	n    int
}

func (r *ring) len() int { return r.n }

func (r *ring) push(s *Source) {
	if r.n == len(r.all) {
		all := make([]*Source, max(64, 2*r.n))
		for i := range r.n {
			all[i] = r.all[(r.head+i)%len(r.all)]
		}
		r.all, r.head = all, 0
	}
	r.all[(r.head+r.n)%len(r.all)] = s
	r.n++
}

func (r *ring) pop() (s *Source, ok bool) {
	if r.n == 0 {
		return nil, false
	}
	s, r.all[r.head] = r.all[r.head], nil
	r.head = (r.head + 1) % len(r.all)
	if r.n--; r.n == 0 && len(r.all) > roomy {
		r.all, r.head = nil, 0
	}
	return s, true
}
