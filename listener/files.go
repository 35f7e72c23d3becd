package listener

import (
	"context"
	"fmt"
	"net"
	"os"
	"time"
)

const (
	maxAcceptBackOff = time.Second
	noFiles          = "the process has no file descriptors left"
	keptFiles        = 16  // a 16th of the descriptors is for who is signed in, for files and for administrators
	mostKept         = 256 // but no more
)

// lastFile is the largest descriptor that a newcomer gets; 0: there is no limit.
func lastFile(limit int) int { return limit - min(limit/keptFiles, mostKept) }

// A shortage is what a loop that accepts keeps for when the process has no
// descriptor left: one, to take a connection with that is then hung up on. Who is not
// accepted at all would wait, and not know that it should come later.
type shortage struct {
	spare *os.File
	wait  time.Duration
}

func (s *shortage) reserve() (ok bool) {
	if s.spare == nil {
		s.spare, _ = os.Open(os.DevNull)
	}
	return s.spare != nil
}

func (s *shortage) end() {
	if s.spare != nil {
		s.spare.Close()
		s.spare = nil
	}
}

// over notes that a connection could be accepted.
func (s *shortage) over() {
	s.wait = 0
	s.reserve()
}

// acceptFailed follows an error of accept. If the process has no descriptor left,
// one newcomer is turned away by means of the spare one; a connection that is
// returned is there to be served, for there are descriptors again.
func (l *Listener) acceptFailed(ctx context.Context, s *shortage, socket net.Listener, err error) net.Conn {
	if isShortage(err) {
		l.count.noFiles.Add(1)
		l.status.message(msgNoFiles, 0, fmt.Sprintf("%s: %v", noFiles, err))
		if s.spare != nil {
			s.end()
			if conn, err := socket.Accept(); err == nil {
				if s.reserve() {
					return conn
				}
				l.hangUp(conn)
				s.reserve()
			}
		}
	}
	s.wait = min(max(2*s.wait, 5*time.Millisecond), maxAcceptBackOff)
	l.cfg.Log.Warn("accept agents", "listener", l.cfg.Name, "err", err, "wait", s.wait)
	sleep(ctx, s.wait)
	return nil
}

// shed hangs up on a newcomer if its descriptor is one of the last, unless others
// wait, who can make room. Systems give the smallest descriptor that is free.
func (l *Listener) shed(conn net.Conn, b *lobby) bool {
	last := lastFile(mayOpen())
	short := last > 0 && descriptorOf(conn) > last
	l.scarce.Store(short)
	if !short || b.waits() > 0 {
		return false
	}
	l.count.noFiles.Add(1)
	l.status.message(msgNoFiles, 0, fmt.Sprintf("%s for newcomers: %d are in use", noFiles, last))
	l.hangUp(conn)
	return true
}

// hangUp turns a connection away for want of descriptors.
func (l *Listener) hangUp(conn net.Conn) {
	l.refuse("listener", addressOf(conn.RemoteAddr()), noFiles)
	if tcp, ok := conn.(*net.TCPConn); ok {
		tcp.SetLinger(0)
	}
	conn.Close()
}
