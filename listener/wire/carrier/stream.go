package carrier

import (
	"context"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// maxBuffer is when a buffer takes no more; what was taken last may exceed it
// by less than a chunk.
const maxBuffer = 64 << 10

// A stream is what both ends of a long poll have: a buffer for either direction,
// and the net.Conn on this side of them. What moves the bytes to and from the
// other end is the matter of [served] and [polling].
type stream struct {
	peer   address
	rd, wr deadline

	mu      sync.Mutex
	in, out buffer
	err     error         // why the connection is of no more use
	changed chan struct{} // closed, and another made, at each change of these
}

type buffer struct {
	b     []byte
	ended bool // nothing follows
}

func (b *buffer) full() bool { return len(b.b) >= maxBuffer }

// take removes at most n bytes.
func (b *buffer) take(n int) []byte {
	n = min(n, len(b.b))
	piece := b.b[:n:n]
	if b.b = b.b[n:]; len(b.b) == 0 {
		b.b = nil // an idle connection holds nothing
	}
	return piece
}

func (s *stream) init(peer string) {
	s.peer, s.changed = address(peer), make(chan struct{})
}

// notify is called with mu held.
func (s *stream) notify() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// fail ends both directions; what has come can still be read. Only the first
// reason counts.
func (s *stream) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failLocked(err)
}

func (s *stream) failLocked(err error) {
	if s.err == nil {
		s.err = err
		s.notify()
	}
}

// await calls done with mu held until it returns true, at each change anew.
func (s *stream) await(ctx context.Context, done func() bool) error {
	for ctx.Err() == nil {
		s.mu.Lock()
		ok, changed := done(), s.changed
		s.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
	return os.ErrDeadlineExceeded
}

func (s *stream) Read(p []byte) (n int, err error) {
	if len(p) == 0 {
		return 0, nil
	}
	late := s.await(s.rd.context(), func() bool {
		switch {
		case len(s.in.b) > 0:
			n = copy(p, s.in.take(len(p)))
			s.notify()
		case s.in.ended:
			err = io.EOF
		case s.err != nil:
			err = s.err
		default:
			return false
		}
		return true
	})
	if late != nil {
		return 0, late
	}
	return n, err
}

func (s *stream) Write(p []byte) (n int, err error) {
	ctx := s.wr.context()
	late := s.await(ctx, func() bool {
		switch {
		case s.err != nil:
			err = s.err
		case s.out.ended:
			err = io.ErrClosedPipe
		case len(p) > 0 && !s.out.full():
			k := min(len(p), maxBuffer-len(s.out.b))
			s.out.b = append(s.out.b, p[:k]...)
			n, p = n+k, p[k:]
			s.notify()
		}
		return err != nil || len(p) == 0
	})
	if late != nil {
		return n, late
	}
	return n, err
}

func (s *stream) CloseWrite() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.out.ended {
		s.out.ended = true
		s.notify()
	}
	return s.err
}

func (s *stream) LocalAddr() net.Addr  { return address("") }
func (s *stream) RemoteAddr() net.Addr { return s.peer }

func (s *stream) SetDeadline(t time.Time) error {
	s.rd.set(t)
	s.wr.set(t)
	return nil
}

func (s *stream) SetReadDeadline(t time.Time) error {
	s.rd.set(t)
	return nil
}

func (s *stream) SetWriteDeadline(t time.Time) error {
	s.wr.set(t)
	return nil
}
