package peer

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestServeEnds is a server that ends with its input, which ends when the process does
// that started it, and with its context.
func TestServeEnds(t *testing.T) {
	for name, open := range servers {
		for _, how := range []string{"input", "context"} {
			t.Run(name+" "+how, func(t *testing.T) { serveEnds(t, open, how) })
		}
	}
}

func serveEnds(t *testing.T, open func(string, io.Writer) (server, error), how string) {
	dir := t.TempDir()
	if _, err := makeTrust(dir, 1); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	in, alive := io.Pipe()
	said, out := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		err := serve(ctx, open, dir, in, out, io.Discard)
		_ = out.CloseWithError(io.EOF)
		ended <- err
	}()
	line, err := bufio.NewReader(said).ReadString('\n')
	if err != nil || !strings.HasPrefix(line, "127.0.0.1:") {
		t.Fatalf("address %q: %v", line, err)
	}
	if how == "input" {
		err = alive.Close()
	} else {
		cancel()
	}
	if err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(patience):
		t.Fatal("the server does not end")
	}
	_ = alive.Close()
}

func TestServerCommandRefuses(t *testing.T) {
	for _, args := range [][]string{{"carrier pigeon", "--dir", t.TempDir()}, {"nats"}, {"--dir", "x"}, {"goroutine", "--dir", t.TempDir()}} {
		c := ServerCommand()
		c.SetArgs(args)
		c.SetIn(new(bytes.Buffer))
		c.SetOut(io.Discard)
		c.SetErr(io.Discard)
		if err := c.ExecuteContext(t.Context()); err == nil {
			t.Errorf("%q: served", args)
		}
	}
}

func TestLastLine(t *testing.T) {
	name := filepath.Join(t.TempDir(), "log")
	for text, want := range map[string]string{"": "", "one\n": "one", "one\ntwo": "two", strings.Repeat("x", 5000) + "\nlast\n": "last"} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := lastLine(name); got != want {
			t.Errorf("%.20q: %q", text, got)
		}
	}
	if got := lastLine(name + ".absent"); got != "" {
		t.Errorf("of no log: %q", got)
	}
}

// TestGivenUp is a sign-in that its caller gives up.
func TestGivenUp(t *testing.T) {
	s := open(t, "goroutine", 1, -1)
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.SignIn(over, 0, true); !errors.Is(err, context.Canceled) {
		t.Errorf("sign in: %v", err)
	}
	s.signIn(t, true)
	if len(s.lost) != 0 {
		t.Errorf("lost: %v", s.lost)
	}
}
