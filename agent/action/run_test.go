package action

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"
)

// script writes a program for sh, for tests of what it starts.
func script(t testing.TB, body string) string {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("there is no sh on Windows")
	}
	path := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+body), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

// eventually waits until ok, at most half a minute.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for limit := time.After(30 * time.Second); !ok(); {
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("%s did not happen", what)
		}
	}
}

// numberIn reads a process number that a script wrote.
func numberIn(path string) int {
	b, _ := os.ReadFile(path)
	n, _ := strconv.Atoi(strings.TrimSpace(string(b)))
	return n
}

func TestProgramGetsNothingOfOurs(t *testing.T) {
	t.Setenv("BUGLE_CANARY", "secret")
	path := script(t, `cat; env; pwd; echo wrong >&2; echo "$@"; exit 3`)
	e, err := runCommand(context.Background(), command{path: path, args: []string{"$(id)", "; id", "-x"}, stdin: []byte("in\n"), env: []string{"OWN=1"}})
	if err != nil || e.code != 3 || e.errors != "wrong\n" || e.cut {
		t.Fatalf("%+v %v", e, err)
	}
	for _, want := range []string{"in\n", "OWN=1\n", "LC_ALL=C\n", "\n/\n", "$(id) ; id -x\n"} {
		if !strings.Contains(e.output, want) {
			t.Errorf("output has no %q: %s", want, e.output)
		}
	}
	if strings.Contains(e.output, "secret") || strings.Contains(e.output, "uid=") {
		t.Errorf("output: %s", e.output)
	}
}

func TestOutputIsCapped(t *testing.T) {
	path := script(t, `i=0; while [ $i -lt 3000 ]; do echo "0123456789012345678901234567890123456789012345678901234567890123"; i=$((i+1)); done; exit 0`)
	e, err := runCommand(context.Background(), command{path: path})
	if err != nil || len(e.output) != maxOutput || !e.cut {
		t.Errorf("%d bytes, cut %v, %v", len(e.output), e.cut, err)
	}
	if e, err = runCommand(context.Background(), command{path: path, keep: 1 << 20}); err != nil || len(e.output) != 3000*65 || e.cut {
		t.Errorf("%d bytes, cut %v, %v", len(e.output), e.cut, err)
	}
}

func TestProgramsThatAreNotThere(t *testing.T) {
	if _, err := runCommand(context.Background(), command{path: "/nowhere/at-all"}); err == nil || !strings.HasPrefix(err.Error(), "start /nowhere/at-all: ") {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := runCommand(ctx, command{path: script(t, "touch "+filepath.Join(t.TempDir(), "ran"))}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if _, err := lookFor("no-such-program-anywhere"); err == nil {
		t.Error("found what is not there")
	}
}

// A program is killed with its children, and with theirs, when its context ends.
func TestChildrenAreKilled(t *testing.T) {
	dir := t.TempDir()
	path := script(t, `(sh -c 'echo $$ > `+dir+`/grandchild; exec sleep 1000') &
echo $! > `+dir+`/child
echo $$ > `+dir+`/main
wait`)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		_, err := runCommand(ctx, command{path: path})
		done <- err
	}()
	names := []string{"main", "child", "grandchild"}
	eventually(t, "the start of all", func() bool {
		for _, n := range names {
			if numberIn(filepath.Join(dir, n)) == 0 {
				return false
			}
		}
		return true
	})
	group := numberIn(filepath.Join(dir, "main"))
	if n := groupSize(t, group); n < 2 {
		t.Fatalf("%d processes are in the group", n)
	}
	cancel()
	select {
	case err := <-done:
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%v", err)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("it was not ended")
	}
	eventually(t, "the end of all", func() bool { return groupSize(t, group) == 0 })
}

// What a program leaves behind when it ends is killed, unless it is let live.
func TestLeftBehind(t *testing.T) {
	for _, leave := range []bool{false, true} {
		dir := t.TempDir()
		path := script(t, `sleep 1000 >/dev/null 2>&1 &
echo $$ > `+dir+`/main
exit 0`)
		e, err := runCommand(context.Background(), command{path: path, leave: leave})
		if err != nil || e.code != 0 {
			t.Fatalf("%+v %v", e, err)
		}
		group := numberIn(filepath.Join(dir, "main"))
		if leave {
			if n := groupSize(t, group); n != 1 {
				t.Errorf("%d processes are left", n)
			}
			killGroup(group)
		}
		eventually(t, "the end of all", func() bool { return groupSize(t, group) == 0 })
	}
}

func TestOneLine(t *testing.T) {
	e := ending{output: "a\r\nb\n", errors: "\nc"}
	if got := e.said(); got != "a; b; c" {
		t.Errorf("%q", got)
	}
	if got := (&ending{}).said(); got != "it said nothing" {
		t.Errorf("%q", got)
	}
}
