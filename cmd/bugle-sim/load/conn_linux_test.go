package load

import (
	"io"
	"net"
	"testing"
	"time"
)

// What lies in the kernel came when it came, not when it is read.
func TestConnKnowsWhenBytesCame(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	out, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	in, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	c := NewConn(in.(*net.TCPConn))
	if d := time.Since(c.Came()); d < 0 || d > time.Minute {
		t.Errorf("before anything is read it is %v ago", d)
	}
	b := make([]byte, 8)
	for _, text := range []string{"first", "then"} {
		before := time.Now()
		if _, err := out.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
		after := time.Now()
		n, err := c.Read(b)
		if err != nil || string(b[:n]) != text {
			t.Fatalf("read %q, %v", b[:n], err)
		}
		// The wall clock, as the kernel has it; over loopback bytes come while they are written.
		if at := c.Came(); at.Before(before.Round(0)) || at.After(after.Round(0)) {
			t.Errorf("%q came at %s, and was written from %s to %s", text, at, before, after)
		}
	}
	if err := c.SetReadDeadline(time.Now()); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(b); err == nil || !err.(net.Error).Timeout() {
		t.Errorf("a read behind its deadline: %v", err)
	}
	if err := c.SetReadDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	out.Close()
	if _, err := c.Read(b); err != io.EOF {
		t.Errorf("at the end: %v", err)
	}
}
