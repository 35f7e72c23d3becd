package peer

import (
	"crypto/tls"
	"sync"
)

// maxOutlet is how much waits for the back end before agents have to.
const maxOutlet = 4 << 20

// An outlet gathers what goes to the back end while a write to it is under way.
type outlet struct {
	mu      sync.Mutex
	changed sync.Cond
	waiting []byte
	conn    *tls.Conn // newest back end; nil throws away
	closed  bool
}

func newOutlet() *outlet {
	o := new(outlet)
	o.changed.L = &o.mu
	return o
}

// add appends a frame.
func (o *outlet) add(f frame) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for len(o.waiting) > maxOutlet && o.conn != nil && !o.closed {
		o.changed.Wait()
	}
	if o.conn != nil && !o.closed {
		o.waiting = appendFrame(o.waiting, f.kind, f.number, f.body...)
		o.changed.Broadcast()
	}
}

// drain writes to conn what is added, until it fails or another back end has come.
func (o *outlet) drain(conn *tls.Conn) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.conn = conn
	o.changed.Broadcast()
	var spare []byte
	for {
		for len(o.waiting) == 0 && o.conn == conn && !o.closed {
			o.changed.Wait()
		}
		if o.conn != conn || o.closed {
			return
		}
		b := o.waiting
		o.waiting = spare[:0]
		o.mu.Unlock()
		err := write(conn, b)
		o.mu.Lock()
		o.changed.Broadcast()
		if spare = b; err != nil && o.conn == conn {
			o.conn = nil
		}
	}
}

// close ends drain and lets nobody wait.
func (o *outlet) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	o.changed.Broadcast()
}
