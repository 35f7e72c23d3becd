package poll

import (
	"errors"
	"io"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A reader reads when it likes, as much as it likes in a turn: it remembers as a
// handler must that there may be something.
type reader struct {
	c      *Conn
	source atomic.Pointer[Source]
	draw   *rand.Rand
	unread bool
	n      int
	ended  bool
	over   chan error
}

func (r *reader) Turn(why Events, _ time.Time) {
	r.unread = r.unread || why&Readable != 0
	if !r.unread || r.ended {
		return
	}
	if r.draw.IntN(3) == 0 { // later
		r.source.Load().Call()
		return
	}
	r.c.Allow(1+r.draw.IntN(300), why)
	buf := make([]byte, 1+r.draw.IntN(200))
	for {
		n, err := r.c.Read(buf)
		r.n += n
		if errors.Is(err, ErrWait) {
			break
		}
		if err != nil {
			r.ended = true
			r.over <- err
			return
		}
	}
	if r.unread = r.c.More(); r.unread {
		r.source.Load().Call()
	}
}

// TestEndIsNotMissed sends in pieces and hangs up: whatever the reader puts off, it
// learns of everything, although it does not ask the kernel again behind a short read.
func TestEndIsNotMissed(t *testing.T) {
	l := start(t, 2)
	var all sync.WaitGroup
	for i := range 200 {
		c, theirs := pair(t)
		r := &reader{c: c, draw: rand.New(rand.NewPCG(3, uint64(i))), over: make(chan error, 1)}
		l.Add(c, r, &r.source)
		all.Go(func() {
			draw, sent := rand.New(rand.NewPCG(4, uint64(i))), 0
			for range draw.IntN(8) {
				n, err := theirs.Write(make([]byte, draw.IntN(400)))
				if err != nil {
					t.Error(err)
				}
				sent += n
				time.Sleep(time.Duration(draw.IntN(300)) * time.Microsecond)
			}
			if draw.IntN(2) == 0 {
				theirs.CloseWrite()
			} else {
				theirs.Close()
			}
			select {
			case err := <-r.over:
				if err != io.EOF || r.n != sent {
					t.Errorf("got %d bytes of %d, then %v", r.n, sent, err)
				}
			case <-time.After(30 * time.Second):
				t.Error("the end was missed")
			}
			r.source.Load().Remove()
		})
	}
	all.Wait()
}

// A fetcher notes whether it was asked to fetch before its turns, and never in one.
type fetcher struct {
	source  atomic.Pointer[Source]
	fetches int // since the turn before; of a worker
	inTurn  bool
	turned  chan *fetcher
	hold    chan struct{} // turns wait for it
	over    chan struct{} // no turn waits any more
}

func (f *fetcher) Fetch(Events) {
	if f.inTurn {
		panic("fetched in a turn")
	}
	f.fetches++
}

func (f *fetcher) Turn(Events, time.Time) {
	f.inTurn = true
	select {
	case f.turned <- f:
		<-f.hold
	case <-f.over:
	}
	f.inTurn = false
}

// TestFetch has many sources wait while the only worker is held: those it takes together
// are fetched once each, before the first of them has its turn.
func TestFetch(t *testing.T) {
	l := start(t, 1)
	turned, hold, over := make(chan *fetcher), make(chan struct{}), make(chan struct{})
	defer close(over)
	var all []*fetcher
	for range 1 + 8*turns {
		c, _ := pair(t)
		f := &fetcher{turned: turned, hold: hold, over: over}
		l.Add(c, f, &f.source)
		all = append(all, f)
	}
	most := 0
	for i := range all {
		f := <-turned
		if f.fetches > 1 {
			t.Fatalf("turn %d: fetched %d times", i, f.fetches)
		}
		ahead := 0
		for _, other := range all {
			ahead += other.fetches
		}
		most = max(most, ahead)
		f.fetches = 0
		hold <- struct{}{}
	}
	if most != turns { // as many as are taken when so many wait
		t.Errorf("at most %d were fetched ahead", most)
	}
}

// A busy fetcher calls itself in its turns.
type busy struct {
	source atomic.Pointer[Source]
	turns  int
	inTurn bool
	over   *sync.WaitGroup
}

func (b *busy) Fetch(Events) {
	if b.inTurn {
		panic("fetched in a turn")
	}
}

func (b *busy) Turn(Events, time.Time) {
	b.inTurn = true
	if b.turns++; b.turns == 200 {
		b.over.Done()
	}
	if b.turns < 200 {
		b.source.Load().Call()
	}
	b.inTurn = false
}

// TestFetchBesideTurns has several workers fetch and give turns: it is for the race
// detector, too.
func TestFetchBesideTurns(t *testing.T) {
	l := start(t, 4)
	var over sync.WaitGroup
	for range 100 {
		over.Add(1)
		c, _ := pair(t)
		b := &busy{over: &over}
		l.Add(c, b, &b.source)
	}
	over.Wait()
}

// TestShortRead asks the kernel once where that is enough.
func TestShortRead(t *testing.T) {
	c, theirs := pair(t)
	buf := make([]byte, 10)
	read := func(why Events) int {
		t.Helper()
		for c.Allow(100, why); ; c.Allow(100, why) {
			n, err := c.Read(buf)
			if err == nil {
				return n
			}
			if !errors.Is(err, ErrWait) {
				t.Fatal(err)
			}
		}
	}
	send := func(n int) {
		t.Helper()
		_, err := theirs.Write(make([]byte, n))
		must(t, err)
	}
	send(3)
	if n := read(Readable); n != 3 {
		t.Fatalf("read %d bytes", n)
	}
	send(3)
	if n, err := c.Read(buf); !errors.Is(err, ErrWait) || c.More() {
		t.Errorf("behind a short read came %d bytes, %v, more %v", n, err, c.More())
	}
	if n := read(Called); n != 3 {
		t.Fatalf("read %d bytes in the next turn", n)
	}
	send(3)
	if n := read(Readable | HungUp); n != 3 {
		t.Fatalf("read %d bytes", n)
	}
	must(t, theirs.CloseWrite())
	for limit := time.Now().Add(30 * time.Second); ; {
		_, err := c.Read(buf)
		if err == io.EOF {
			break
		}
		if !errors.Is(err, ErrWait) || time.Now().After(limit) {
			t.Fatalf("behind a short read of one who hangs up: %v", err)
		}
	}
}

// TestCallAll calls many sources at once, again and again, while single calls come
// too: behind the last call each source has a turn.
func TestCallAll(t *testing.T) {
	l := start(t, 3)
	const many = 100
	var asked atomic.Int64
	var seen [many]atomic.Int64
	sources := make([]*Source, many)
	for i := range sources {
		c, _ := pair(t)
		sources[i] = add(l, c, turnFunc(func(Events) { seen[i].Store(asked.Load()) }))
	}
	var all sync.WaitGroup
	for i := range 4 {
		all.Go(func() {
			draw := rand.New(rand.NewPCG(5, uint64(i)))
			for range 300 {
				asked.Add(1)
				if draw.IntN(3) == 0 {
					sources[draw.IntN(many)].Call()
					continue
				}
				l.CallAll(append([]*Source(nil), sources...))
			}
			asked.Add(1)
			l.CallAll(append([]*Source(nil), sources...))
		})
	}
	all.Wait()
	limit := time.Now().Add(30 * time.Second)
	for i := range seen {
		for seen[i].Load() != asked.Load() {
			if time.Now().After(limit) {
				t.Fatalf("of %d calls, source %d saw %d", asked.Load(), i, seen[i].Load())
			}
			time.Sleep(time.Millisecond)
		}
	}
	l.CallAll(nil)
}

// TestLongTurns lets turns take long on all workers but one: whoever is called then has
// a turn all the same.
func TestLongTurns(t *testing.T) {
	const workers = 8
	l := start(t, workers)
	open := make(chan struct{})
	defer close(open)
	begun := make(chan struct{}, workers)
	for range workers - 1 {
		c, _ := pair(t)
		add(l, c, turnFunc(func(Events) {
			select {
			case begun <- struct{}{}:
			default:
			}
			<-open
		}))
	}
	await := func(c <-chan struct{}) {
		t.Helper()
		select {
		case <-c:
		case <-time.After(30 * time.Second):
			t.Fatal("a turn waits for others")
		}
	}
	for range workers - 1 {
		await(begun)
	}
	c, _ := pair(t)
	served := make(chan struct{}, 1)
	add(l, c, turnFunc(func(Events) {
		select {
		case served <- struct{}{}:
		default:
		}
	}))
	await(served)
}
