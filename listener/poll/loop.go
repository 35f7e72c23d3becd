package poll

import (
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// Events are reasons for a turn.
type Events uint32

const (
	Readable Events = 1 << iota // something can be read, or the other side has hung up
	Writable                    // there is room again
	Timer                       // the source's timer has come
	Called                      // [Source.Call]
	HungUp                      // nothing more is told of what can be read; from then on with every turn

	queued // the source waits for a worker, or has one
)

const reasons = Readable | Writable | Timer | Called

// A Handler is what a connection does when it has a turn.
type Handler interface {
	// Turn is never called twice at the same time for one source. It began at now, or a
	// moment later: a worker looks at the clock once for the sources that it takes together.
	Turn(why Events, now time.Time)
}

// A Fetcher is a handler that can name the memory which its turn needs.
type Fetcher interface {
	// Fetch asks for the memory ([Prefetch]) that a turn for these reasons needs, as far as
	// they are known yet. A worker calls it for each of the sources that it has taken before
	// it gives them their turns: most connections have been idle for long, so their memory is
	// in no cache, and the processor gets the pieces of several faster at the same time than
	// one after the other. It holds no lock, is never called during a turn, and reads only
	// what nobody changes outside of turns.
	Fetch(why Events)
}

// A Loop gives turns to sources. Close ends it.
type Loop struct {
	poller poller
	wheel  *wheel
	done   chan struct{}
	all    sync.WaitGroup

	mu      sync.Mutex
	waiting sync.Cond // for ready; L is mu
	ready   ring
	closed  bool
	workers int
	idle    int       // workers that wait and are not woken
	taken   time.Time // when a worker took sources last
	enough  int       // workers, while none of them takes long

	sources table
}

// A Source is a connection in a loop.
type Source struct {
	loop    *Loop
	handler Handler
	token   uint64
	state   atomic.Uint32

	// Of the wheel; guarded by its lock.
	slot       int32
	due        int64 // tick, 0 if no timer is set
	prev, next *Source
}

// New starts a loop with some workers: how many turns may be under way at once, at most.
func New(workers int) (*Loop, error) {
	p, err := newPoller()
	if err != nil {
		return nil, fmt.Errorf("wait for connections: %w", err)
	}
	l := &Loop{poller: p, wheel: newWheel(time.Now()), done: make(chan struct{}), workers: max(workers, 1), enough: runtime.GOMAXPROCS(0)}
	l.waiting.L = &l.mu
	l.all.Go(l.poll)
	l.all.Go(l.tick)
	for range l.workers {
		l.all.Go(l.work)
	}
	return l, nil
}

// Add gives a parked connection turns, until [Source.Remove]. Source is set before
// the first one, which comes at once: something may be there already. A connection
// that the kernel does not take is cut, which the first turn finds.
func (l *Loop) Add(c *Conn, h Handler, source *atomic.Pointer[Source]) {
	s := &Source{loop: l, handler: h}
	s.token = l.sources.put(s)
	source.Store(s)
	if err := c.poll(l.poller, s.token); err != nil {
		c.Cut()
	}
	s.wake(Readable | Writable)
}

// Len is how many sources there are.
func (l *Loop) Len() int { return l.sources.len() }

// Waiting is how many sources wait for a turn.
func (l *Loop) Waiting() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ready.len()
}

// Close ends the workers when they have ended their turns. No source gets turns
// from then on.
func (l *Loop) Close() {
	l.mu.Lock()
	closed := l.closed
	l.closed = true
	l.mu.Unlock()
	if closed {
		return
	}
	close(l.done)
	l.waiting.Broadcast()
	l.poller.wake()
	l.all.Wait()
	l.poller.close()
}

// Call gives the source a turn soon.
func (s *Source) Call() { s.wake(Called) }

// CallAll calls sources of the loop, in their order, for less than as many calls cost.
// The slice is the loop's from then on.
func (l *Loop) CallAll(sources []*Source) { l.pushAll(marked(sources, Called)) }

// Set sets the source's timer, or moves it. It is one; zero takes it away.
func (s *Source) Set(at time.Time) { s.loop.wheel.set(s, at) }

// Remove ends the source: after the turn that may be under way there is none. The
// connection is the caller's to close, afterwards.
func (s *Source) Remove() {
	s.loop.wheel.set(s, time.Time{})
	s.loop.sources.remove(s.token)
}

// wake adds reasons, and queues the source unless it is queued.
func (s *Source) wake(why Events) {
	if s.mark(why) {
		s.loop.push(s)
	}
}

// mark adds reasons. If it returns true the source is to be queued by the caller.
func (s *Source) mark(why Events) bool {
	old := Events(s.state.Or(uint32(why | queued)))
	return old&queued == 0
}

// ahead is how many places before its turn a source of a list is asked for.
const ahead = 8

// marked adds a reason to sources, and returns those that are to be queued, in the
// same memory.
func marked(sources []*Source, why Events) []*Source {
	fresh := sources[:0]
	for i, s := range sources {
		if next := i + ahead; next < len(sources) {
			Prefetch(sources[next])
		}
		if s.mark(why) {
			fresh = append(fresh, s)
		}
	}
	return fresh
}

func (l *Loop) push(s *Source) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ready.push(s)
	l.help()
}

func (l *Loop) pushAll(sources []*Source) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range sources {
		l.ready.push(s)
	}
	l.help()
}

// slow is after what time without anybody taking sources there are too few workers.
const slow = 20 * time.Millisecond

// help wakes a worker if there is something for one more. There are as many as
// processors at first: of more, each would be interrupted by the others in the middle of
// its turns, and who has one then would wait for all of them. Only if turns take long
// more are woken, so that short ones need not wait for those. With mu held.
func (l *Loop) help() {
	if l.idle > 0 && l.ready.len() > 0 && (l.workers-l.idle < l.enough || time.Since(l.taken) > slow) {
		l.idle--
		l.waiting.Signal()
	}
}

// turns is how many sources a worker takes at most at once.
const turns = 16

func (l *Loop) work() {
	var mine [turns]*Source
	for {
		n := l.take(mine[:])
		if n == 0 {
			return
		}
		fetch(mine[:n])
		now := time.Now()
		for i, s := range mine[:n] {
			mine[i] = nil
			s.turn(now)
		}
	}
}

// take waits for sources; zero means that the loop ends.
func (l *Loop) take(mine []*Source) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.ready.len() == 0 && !l.closed {
		l.idle++
		l.waiting.Wait() // help has counted it off again
	}
	if l.closed {
		return 0
	}
	// Some are left for the others: they may have to wait for something.
	most := min(len(mine), 1+l.ready.len()/8)
	for n < most {
		s, ok := l.ready.pop()
		if !ok {
			break
		}
		mine[n] = s
		n++
	}
	l.taken = time.Now()
	l.help()
	return n
}

// turn hands the reasons to the handler, and queues the source again if there are
// new ones at its end.
func (s *Source) turn(now time.Time) {
	why := Events(s.state.And(^uint32(reasons))) &^ queued
	s.handler.Turn(why, now)
	for {
		old := Events(s.state.Load())
		if old&reasons != 0 {
			s.loop.push(s)
			return
		}
		if s.state.CompareAndSwap(uint32(old), uint32(old&^queued)) {
			return
		}
	}
}

// An event is what the kernel says of a source.
type event struct {
	token uint64
	why   Events
}

// atOnce is how many events are taken from the kernel at once.
const atOnce = 256

func (l *Loop) poll() {
	events, ready := make([]event, atOnce), make([]*Source, atOnce)
	for {
		n, err := l.poller.wait(events)
		select {
		case <-l.done:
			return
		default:
		}
		if err != nil {
			// Only a bug makes it fail: the descriptor is ours and open.
			panic(fmt.Sprintf("wait for connections: %v", err))
		}
		told := l.sources.told(events[:n], ready[:0])
		l.pushAll(told)
		clear(told)
		for l.crowded() {
			time.Sleep(crowdPause)
		}
	}
}

// While so many sources wait for a turn the kernel is not asked for more: they would
// wait behind them, and each time it is asked interrupts a worker in its turns.
const (
	crowd      = 4 * atOnce
	crowdPause = time.Millisecond
)

func (l *Loop) crowded() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.help()
	return l.ready.len() > crowd && !l.closed
}

func (l *Loop) tick() {
	t := time.NewTicker(Tick)
	defer t.Stop()
	for {
		select {
		case now := <-t.C:
			l.pushAll(marked(l.wheel.pass(now), Timer))
		case <-l.done:
			return
		}
	}
}
