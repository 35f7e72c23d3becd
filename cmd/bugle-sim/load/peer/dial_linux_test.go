package peer

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestFullQueue dials a server whose queue of connections is full for a while.
func TestFullQueue(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	shorten(t, l.(*net.TCPListener))
	d := net.Dialer{Timeout: 50 * time.Millisecond}
	fill(t, d, l.Addr().String())

	short, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if c, err := dialAgain(short, d, l.Addr().String()); err == nil {
		c.Close()
		t.Fatal("a full queue took a connection")
	}
	got := make(chan error, 1)
	go func() {
		long, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		c, err := dialAgain(long, d, l.Addr().String())
		if err == nil {
			err = c.Close()
		}
		got <- err
	}()
	time.AfterFunc(120*time.Millisecond, func() { // two tries later
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.Close()
		}
	})
	if err := <-got; err != nil {
		t.Error(err)
	}
}

// shorten makes the queue of a listener as short as can be.
func shorten(t *testing.T, l *net.TCPListener) {
	t.Helper()
	raw, err := l.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if failed := raw.Control(func(fd uintptr) { err = unix.Listen(int(fd), 0) }); failed != nil || err != nil {
		t.Fatal(failed, err)
	}
}

// fill dials until the queue is full.
func fill(t *testing.T, d net.Dialer, address string) {
	t.Helper()
	for range 100 {
		c, err := d.Dial("tcp4", address)
		var network net.Error
		if errors.As(err, &network) && network.Timeout() {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
	}
	t.Fatal("the queue does not become full")
}
