package simulator

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// pair is a link with both its ends.
func pair(t *testing.T) (n *network, l *link, near, far net.Conn) {
	t.Helper()
	n = newNetwork()
	s, err := n.listen("a.sim:1")
	if err != nil {
		t.Fatal(err)
	}
	if near, err = n.dial(t.Context(), "m", "a.sim:1"); err != nil {
		t.Fatal(err)
	}
	if far, err = s.Accept(); err != nil {
		t.Fatal(err)
	}
	return n, n.of("m")[0], near, far
}

func send(t *testing.T, c net.Conn, text string) {
	t.Helper()
	if _, err := c.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
}

func want(t *testing.T, c net.Conn, text string) {
	t.Helper()
	b := make([]byte, len(text))
	if _, err := io.ReadFull(c, b); err != nil || string(b) != text {
		t.Fatalf("read %q: %v, want %q", b, err, text)
	}
}

func wantError(t *testing.T, c net.Conn, want error) {
	t.Helper()
	if n, err := c.Read(make([]byte, 1)); n != 0 || !errors.Is(err, want) {
		t.Fatalf("read %d bytes, %v, want %v", n, err, want)
	}
}

func TestLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, l, near, far := pair(t)
		send(t, near, "hello")
		want(t, far, "hel")
		want(t, far, "lo")
		l.slow(time.Second)
		begun := time.Now()
		send(t, far, "slow")
		want(t, near, "slow")
		if d := time.Since(begun); d != time.Second {
			t.Errorf("a slow byte took %s", d)
		}
		near.SetReadDeadline(time.Now().Add(time.Minute))
		wantError(t, near, os.ErrDeadlineExceeded)
		if d := time.Since(begun); d != time.Minute+time.Second {
			t.Errorf("the deadline came after %s", d)
		}
		near.SetReadDeadline(time.Time{})
		send(t, far, "last")
		far.Close()
		want(t, near, "last")
		wantError(t, near, io.EOF)
		near.Close()
		wantError(t, near, net.ErrClosed)
		if !l.over() {
			t.Error("the link is not over")
		}
	})
}

func TestLinkIsCutInsideAMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, l, near, far := pair(t)
		hits := 0
		l.cut(true, 7, func() { hits++ })
		send(t, near, "12345")
		want(t, far, "12345")
		send(t, near, "67890")
		want(t, far, "67")
		wantError(t, far, syscall.ECONNRESET)
		wantError(t, near, syscall.ECONNRESET)
		if hits != 1 {
			t.Errorf("cut %d times", hits)
		}
	})
}

func TestHalfOpenLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, l, near, far := pair(t)
		l.vanish(true)
		wantError(t, near, syscall.ECONNRESET)
		near.Close()
		send(t, far, "into the void")
		far.SetReadDeadline(time.Now().Add(time.Hour))
		wantError(t, far, os.ErrDeadlineExceeded)
	})
}

func TestStalledLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, l, near, far := pair(t)
		l.stall(true)
		l.stall(true) // for two reasons
		send(t, near, "late")
		far.SetReadDeadline(time.Now().Add(time.Minute))
		wantError(t, far, os.ErrDeadlineExceeded)
		far.SetReadDeadline(time.Time{})
		l.stall(false)
		time.AfterFunc(time.Hour, func() { l.stall(false) })
		begun := time.Now()
		want(t, far, "late")
		if d := time.Since(begun); d != time.Hour {
			t.Errorf("it came after %s", d)
		}
		near.Close()
		far.Close()
	})
}

func TestDial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, _, _, _ := pair(t)
		if _, err := n.dial(t.Context(), "m", "b.sim:1"); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("dial nobody: %v", err)
		}
		n.set("m", "a.sim:1", true)
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		begun := time.Now()
		if _, err := n.dial(ctx, "m", "a.sim:1"); !errors.Is(err, context.DeadlineExceeded) || time.Since(begun) != 30*time.Second {
			t.Errorf("dial who does not answer: %v after %s", err, time.Since(begun))
		}
		if _, err := n.listen("a.sim:1"); !errors.Is(err, syscall.EADDRINUSE) {
			t.Errorf("listen twice: %v", err)
		}
	})
}
