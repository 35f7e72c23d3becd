package poll

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// pair is both ends of a TCP connection, ours parked.
func pair(t testing.TB) (*Conn, *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	theirs, err := net.Dial("tcp", l.Addr().String())
	must(t, err)
	ours, err := l.Accept()
	must(t, err)
	t.Cleanup(func() { theirs.Close() })
	c := NewConn(ours.(*net.TCPConn))
	must(t, c.Park())
	t.Cleanup(func() { c.Close() })
	return c, theirs.(*net.TCPConn)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func start(t testing.TB, workers int) *Loop {
	t.Helper()
	l, err := New(workers)
	if errors.Is(err, errors.ErrUnsupported) {
		t.Skip("there is no poller on this system")
	}
	must(t, err)
	t.Cleanup(l.Close)
	return l
}

func add(l *Loop, c *Conn, h Handler) *Source {
	var s atomic.Pointer[Source]
	l.Add(c, h, &s)
	return s.Load()
}

// A turnFunc is a handler of which only Turn matters.
type turnFunc func(Events)

func (f turnFunc) Turn(why Events, _ time.Time) { f(why) }

// echo sends back what it reads, and stops reading while nothing more fits.
type echo struct {
	c    *Conn
	busy atomic.Int32
	bad  atomic.Int32
	gone chan struct{}
}

func (e *echo) Turn(why Events, _ time.Time) {
	if e.busy.Add(1) != 1 {
		e.bad.Add(1)
	}
	defer e.busy.Add(-1)
	e.c.Allow(1<<30, why)
	if err := e.c.Flush(); err != nil {
		return
	}
	var buf [4096]byte
	for e.c.Pending() == 0 {
		n, err := e.c.Read(buf[:])
		if n > 0 {
			if _, err := e.c.Write(buf[:n]); err != nil {
				return
			}
		}
		if errors.Is(err, ErrWait) {
			return
		}
		if err != nil {
			select {
			case <-e.gone:
			default:
				close(e.gone)
			}
			return
		}
	}
}

func TestEcho(t *testing.T) {
	l := start(t, 3)
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			c, theirs := pair(t)
			e := &echo{c: c, gone: make(chan struct{})}
			s := add(l, c, e)
			sent := make([]byte, 3<<20)
			draw := rand.NewPCG(1, uint64(i))
			for j := range sent {
				sent[j] = byte(draw.Uint64())
			}
			go func() {
				theirs.Write(sent)
				theirs.CloseWrite()
			}()
			got := make([]byte, len(sent))
			if _, err := io.ReadFull(theirs, got); err != nil || !bytes.Equal(got, sent) {
				t.Errorf("got other bytes back: %v", err)
			}
			<-e.gone
			s.Remove()
			if e.bad.Load() > 0 {
				t.Error("two turns were under way at once")
			}
		})
	}
	all.Wait()
	if n := l.Len(); n != 0 {
		t.Errorf("%d sources are left", n)
	}
}

// TestCallsAreNotLost calls from many goroutines: after the last call there is a
// turn.
func TestCallsAreNotLost(t *testing.T) {
	l := start(t, 2)
	c, _ := pair(t)
	var asked, seen atomic.Int64
	caught := make(chan struct{}, 1)
	s := add(l, c, turnFunc(func(Events) {
		seen.Store(asked.Load())
		select {
		case caught <- struct{}{}:
		default:
		}
	}))
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 2000 {
				asked.Add(1)
				s.Call()
			}
		})
	}
	all.Wait()
	for seen.Load() != asked.Load() {
		select {
		case <-caught:
		case <-time.After(30 * time.Second):
			t.Fatalf("of %d calls, %d were seen", asked.Load(), seen.Load())
		}
	}
}

func TestHangUp(t *testing.T) {
	for name, end := range map[string]func(ours *Conn, theirs *net.TCPConn){
		"closed":          func(_ *Conn, theirs *net.TCPConn) { theirs.Close() },
		"half closed":     func(_ *Conn, theirs *net.TCPConn) { theirs.CloseWrite() },
		"reset":           func(_ *Conn, theirs *net.TCPConn) { theirs.SetLinger(0); theirs.Close() },
		"cut on our side": func(ours *Conn, _ *net.TCPConn) { ours.Cut() },
	} {
		t.Run(name, func(t *testing.T) {
			l := start(t, 1)
			c, theirs := pair(t)
			over := make(chan error, 1)
			add(l, c, turnFunc(func(why Events) {
				c.Allow(1, why)
				if _, err := c.Read(make([]byte, 1)); !errors.Is(err, ErrWait) {
					select {
					case over <- err:
					default:
					}
				}
			}))
			end(c, theirs)
			select {
			case err := <-over:
				if err == nil {
					t.Error("something was read")
				}
			case <-time.After(30 * time.Second):
				t.Fatal("nobody was told")
			}
		})
	}
}

func TestClosedLoop(t *testing.T) {
	l, err := New(2)
	if errors.Is(err, errors.ErrUnsupported) {
		t.Skip("there is no poller on this system")
	}
	must(t, err)
	c, _ := pair(t)
	s := add(l, c, turnFunc(func(Events) {}))
	l.Close()
	l.Close()
	s.Call()
	s.Remove()
	must(t, c.Close())
	if _, err := c.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("write on a closed connection: %v", err)
	}
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("read of a closed connection: %v", err)
	}
}

func TestTableForgets(t *testing.T) {
	var all table
	a, b := new(Source), new(Source)
	first := all.put(a)
	all.remove(first)
	second := all.put(b)
	if all.get(first) != nil || all.get(second) != b || first == second || first == 0 {
		t.Errorf("tokens %x and %x find %p and %p", first, second, all.get(first), all.get(second))
	}
	all.remove(first)
	if all.len() != 1 {
		t.Error("an old token removed another source")
	}
}

func TestWheel(t *testing.T) {
	begin := time.Unix(1000, 0)
	draw := rand.New(rand.NewPCG(7, 7))
	w := newWheel(begin)
	due := make(map[*Source]time.Time)
	all := make([]*Source, 200)
	for i := range all {
		all[i] = new(Source)
	}
	for now := begin; now.Before(begin.Add(20 * time.Minute)); now = now.Add(time.Duration(draw.IntN(700)) * time.Millisecond) {
		for _, s := range w.pass(now) {
			at, set := due[s]
			if !set || now.Before(at) {
				t.Fatalf("a timer for %v came at %v", at, now)
			}
			delete(due, s)
		}
		for _, at := range due {
			if now.Sub(at) > Tick {
				t.Fatalf("a timer for %v has not come at %v", at, now)
			}
		}
		s := all[draw.IntN(len(all))]
		if draw.IntN(10) == 0 {
			w.set(s, time.Time{})
			delete(due, s)
			continue
		}
		at := now.Add(time.Duration(1+draw.IntN(300_000)) * time.Millisecond)
		w.set(s, at)
		due[s] = at
	}
}

// TestBounds reads no more than a turn may, and keeps no more than there is room for.
func TestBounds(t *testing.T) {
	c, theirs := pair(t)
	_, err := theirs.Write(make([]byte, 100))
	must(t, err)
	buf := make([]byte, 60)
	c.Allow(61, HungUp)
	for n := 0; n < 61; {
		m, err := c.Read(buf[:min(60, 61-n)])
		if n += m; err != nil && !errors.Is(err, ErrWait) {
			t.Fatal(err)
		}
	}
	if _, err := c.Read(buf); !errors.Is(err, ErrWait) || !c.More() {
		t.Errorf("read beyond the turn: %v, more %v", err, c.More())
	}
	if c.Allow(1, 0); c.More() {
		t.Error("a new turn begins with more")
	}
	big := make([]byte, 64<<10)
	for range 1000 {
		if _, err = c.Write(big); err != nil {
			break
		}
	}
	if !errors.Is(err, ErrPending) || c.Pending() > MaxPending {
		t.Errorf("%d bytes are kept for one who does not read: %v", c.Pending(), err)
	}
}

// TestParkBesideDeadlines parks while others still set deadlines or cut.
func TestParkBesideDeadlines(t *testing.T) {
	for i := range 50 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		must(t, err)
		theirs, err := net.Dial("tcp", l.Addr().String())
		must(t, err)
		ours, err := l.Accept()
		must(t, err)
		c := NewConn(ours.(*net.TCPConn))
		var all sync.WaitGroup
		all.Go(func() { c.SetReadDeadline(time.Unix(1, 0)) })
		if i%2 == 0 {
			all.Go(c.Abort)
		}
		if err := c.Park(); err != nil && !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
		all.Wait()
		c.Close()
		theirs.Close()
		l.Close()
	}
}
