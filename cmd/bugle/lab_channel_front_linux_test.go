package main

import (
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// A front stands before an address and hands on connections: it cuts them, stands
// still, or lets little through. It never refuses one while what is behind it
// takes connections.
type front struct {
	to string

	mu    sync.Mutex
	links map[*span]bool
	still chan struct{} // while it stands still: closed when it goes on
	slow  bool
}

// frontPiece and frontRest are how little is let through of each direction.
const (
	frontPiece = 256
	frontRest  = 50 * time.Millisecond
)

func newFront(t *testing.T, at, to string) *front {
	t.Helper()
	socket, err := net.Listen("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	f := &front{to: to, links: map[*span]bool{}}
	go func() {
		for {
			conn, err := socket.Accept()
			if err != nil {
				return
			}
			go f.serve(conn.(*net.TCPConn))
		}
	}()
	t.Cleanup(func() {
		socket.Close()
		f.cut()
	})
	return f
}

// A span is one connection through a front.
type span struct {
	near, far *net.TCPConn
	once      sync.Once
	over      chan struct{}
}

// cut resets both ends.
func (s *span) cut() {
	s.once.Do(func() {
		close(s.over)
		for _, c := range []*net.TCPConn{s.near, s.far} {
			c.SetLinger(0)
			c.Close()
		}
	})
}

func (f *front) serve(near *net.TCPConn) {
	far, err := net.DialTimeout("tcp", f.to, patience)
	if err != nil {
		near.SetLinger(0)
		near.Close()
		return
	}
	s := &span{near: near, far: far.(*net.TCPConn), over: make(chan struct{})}
	f.mu.Lock()
	f.links[s] = true
	f.mu.Unlock()
	var both sync.WaitGroup
	both.Go(func() { f.pump(s, s.near, s.far) })
	both.Go(func() { f.pump(s, s.far, s.near) })
	both.Wait()
	s.cut()
	f.mu.Lock()
	delete(f.links, s)
	f.mu.Unlock()
}

func (f *front) pump(s *span, from, to *net.TCPConn) {
	b := make([]byte, 32<<10)
	for {
		n, err := from.Read(b[:f.pass(s)])
		f.pass(s) // what was read does not slip through
		if _, e := to.Write(b[:n]); e != nil {
			s.cut()
			return
		}
		if err == io.EOF {
			to.CloseWrite()
			return
		}
		if err != nil {
			s.cut()
			return
		}
	}
}

// pass waits until the front lets something of s through, and returns how much.
func (f *front) pass(s *span) int {
	f.mu.Lock()
	still, slow := f.still, f.slow
	f.mu.Unlock()
	if still != nil {
		select {
		case <-still:
		case <-s.over:
		}
	}
	if !slow {
		return 32 << 10
	}
	select {
	case <-time.After(frontRest):
	case <-s.over:
	}
	return frontPiece
}

// cut resets all connections and returns how many they were.
func (f *front) cut() int {
	f.mu.Lock()
	var all []*span
	for s := range f.links {
		all = append(all, s)
	}
	f.mu.Unlock()
	for _, s := range all {
		s.cut()
	}
	return len(all)
}

// stall lets nothing through until the function that it returns is called.
func (f *front) stall() (goOn func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.still != nil {
		return func() {}
	}
	still := make(chan struct{})
	f.still = still
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.still = nil
		close(still)
	}
}

// throttle lets little through until the function that it returns is called.
func (f *front) throttle() (goOn func()) {
	set := func(slow bool) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.slow = slow
	}
	set(true)
	return func() { set(false) }
}
