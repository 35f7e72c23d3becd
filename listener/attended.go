package listener

import (
	"bufio"
	"net"
	"time"

	"github.com/bugle-fleet/bugle/listener/wire"
)

// An attended session has two goroutines: one reads (run), one writes (write).
// So it can be carried by anything, at the price of their stacks and of a buffer.
type attended struct {
	session
	raw net.Conn // what is closed to cut the session, without any goodbye

	gone    chan struct{} // closed when the session ends
	written chan struct{} // closed when the writer has ended
	wake    chan struct{} // one slot: the queue has changed
}

func newAttended(raw net.Conn) *attended {
	a := &attended{raw: raw, gone: make(chan struct{}), written: make(chan struct{}), wake: make(chan struct{}, 1)}
	a.driver = a
	return a
}

func (a *attended) signal() {
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

func (a *attended) over(cut bool) {
	a.raw.SetDeadline(time.Now().Add(a.l.times.close))
	close(a.gone)
	if cut {
		a.raw.Close()
	}
}

func (a *attended) put(b []byte) error {
	a.mu.Lock()
	if !a.hasEnded() {
		a.conn.SetWriteDeadline(time.Now().Add(a.l.times.write))
	}
	a.mu.Unlock()
	_, err := a.conn.Write(b)
	return err
}

// run serves the session until it has ended and its connection is closed.
func (a *attended) run(r *bufio.Reader) {
	a.mu.Lock()
	if !a.hasEnded() { // else the deadline is that of the last words
		a.conn.SetDeadline(time.Time{})
	}
	a.mu.Unlock()
	go a.write()
	reason, words := a.read(r)
	a.end(reason, words)
	drain(r)
	a.raw.Close()
	<-a.written
}

// read handles messages until the session is over, and says why it is.
func (a *attended) read(r *bufio.Reader) (reason uint8, words *wire.Close) {
	var buf []byte
	for {
		a.await()
		m, b, err := wire.ReadFrom(r, buf)
		if err != nil {
			return a.readFailed(err)
		}
		if buf = b; cap(buf) > keepBuffer {
			buf = nil
		}
		if !a.pace() {
			return reasonClosed, nil
		}
		if _, bye := m.(*wire.Bye); bye {
			return reasonSignedOut, nil
		}
		for done := false; !done; {
			full, err := a.handle(m, time.Now())
			if err != nil {
				return a.readFailed(err)
			}
			if done = full == nil; done {
				break
			}
			select {
			case <-full:
			case <-a.gone:
				return reasonClosed, nil
			}
		}
	}
}

// await sets how long the next message may take.
func (a *attended) await() {
	wait := a.patience()
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.hasEnded() {
		a.conn.SetReadDeadline(time.Now().Add(wait))
	}
}

// pace makes an agent wait that sends more than it may; false means that the
// session has ended.
func (a *attended) pace() bool {
	if a.hasEnded() {
		return false
	}
	now := time.Now()
	wait := a.wait(now)
	a.count(now)
	if wait <= 0 {
		return true
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-a.gone:
		return false
	}
}

// write sends what is queued until the session has ended and its last words are
// said.
func (a *attended) write() {
	defer close(a.written)
	for {
		more, ended, err := a.writeNext()
		switch {
		case err != nil:
			a.writeFailed(err)
			a.raw.Close() // if it had ended before, this was its last word
			return
		case more:
		case ended:
			a.conn.CloseWrite()
			return
		default:
			select {
			case <-a.wake:
			case <-a.gone:
			}
		}
	}
}
