package jetstream

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/event"
)

// Some tests need a second process. The test binary starts itself, with this
// variable set to what it is to do, and a folder.
const (
	childTask = "BUGLE_JOURNAL_CHILD"
	childDir  = "BUGLE_JOURNAL_DIR"
)

func TestMain(m *testing.M) {
	switch task, dir := os.Getenv(childTask), os.Getenv(childDir); task {
	case "":
		// Every step of the model is an fsync here; the memory twin runs more.
		if err := flag.Set("rapid.checks", "30"); err != nil {
			panic(err)
		}
		os.Exit(m.Run())
	case "append":
		appendForever(dir)
	case "open":
		openOnce(dir)
	case "full":
		appendUntilFull(dir)
	}
}

// child starts this binary again.
func child(t *testing.T, task, dir string) (*exec.Cmd, *bufio.Scanner) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), childTask+"="+task, childDir+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, bufio.NewScanner(out)
}

func named(format string, args ...any) *event.Event {
	return &event.Event{Payload: &event.FileRequeued{Name: fmt.Sprintf(format, args...)}}
}

// openOnce tells how opening went.
func openOnce(dir string) {
	j, err := Open(context.Background(), dir, Options{})
	switch {
	case errors.Is(err, journal.ErrLocked):
		fmt.Println("locked")
	case err != nil:
		fmt.Println(err)
	default:
		fmt.Println("open", j.Head().Event, j.Close())
	}
}

// appendForever appends from many goroutines and says of each event, once it was
// acknowledged, its number and name. It ends when it is killed.
func appendForever(dir string) {
	j, err := Open(context.Background(), dir, Options{})
	if err != nil {
		fmt.Println("error", err)
		return
	}
	from := j.Head().Event
	var out sync.Mutex
	for c := range 16 {
		go func() {
			for i := 0; ; i++ {
				name := fmt.Sprintf("%d.%d.%d", from, c, i)
				e := named("%s", name)
				if err := j.Append(context.Background(), e); err != nil {
					fmt.Println("error", err)
					return
				}
				out.Lock()
				fmt.Fprintln(os.Stdout, e.Number, name)
				out.Unlock()
			}
		}()
	}
	select {}
}

// Kill the process in the middle of its work, several times: what it said is
// there, once, and nothing else is wrong.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	acknowledged := make(map[string]string) // name to number
	for cycle := range 5 {
		cmd, lines := child(t, "append", dir)
		said := 0
		for lines.Scan() {
			number, name, ok := strings.Cut(lines.Text(), " ")
			if !ok || number == "error" {
				t.Fatalf("cycle %d: the child says %q", cycle, lines.Text())
			}
			acknowledged[name] = number
			// Go on reading behind the kill: what the pipe holds was said, too.
			if said++; said == 100+37*cycle {
				cmd.Process.Kill()
			}
		}
		if err := cmd.Wait(); err == nil {
			t.Fatalf("cycle %d: the child ended by itself", cycle)
		}
	}
	j, err := Open(context.Background(), dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	there := everything(t, j)
	for name, number := range acknowledged {
		if there[name] != number {
			t.Errorf("event %s was acknowledged as %s; there is %q", number, name, there[name])
		}
	}
	t.Logf("%d events acknowledged, %d there, in 5 cycles", len(acknowledged), len(there))
	if len(acknowledged) < 500 {
		t.Errorf("only %d events were acknowledged: the kills did not hit the work", len(acknowledged))
	}
}

// everything reads the journal, checked, as names and their numbers; a name that
// is there twice fails the test.
func everything(t *testing.T, j journal.Journal) map[string]string {
	t.Helper()
	all := make(map[string]string)
	r, err := j.Read(context.Background(), 1)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for n := uint64(1); n <= j.Head().Event; {
		p, err := r.Next(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		for i := range p.Records {
			e, err := p.Records[i].Event()
			if err != nil {
				t.Fatal(err)
			}
			name := e.Payload.(*event.FileRequeued).Name
			if all[name] != "" {
				t.Errorf("%s is there as event %s and as %d", name, all[name], e.Number)
			}
			all[name] = fmt.Sprint(e.Number)
			n++
		}
	}
	return all
}

func TestLock(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "journal")
	j, err := Open(context.Background(), dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := j.Append(context.Background(), named("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(context.Background(), dir, Options{}); !errors.Is(err, journal.ErrLocked) {
		t.Errorf("opening twice in one process: %v, want ErrLocked", err)
	}
	if got := says(t, "open", dir); got != "locked" {
		t.Errorf("another process says %q, want that the journal is locked", got)
	}
	if err := j.Append(context.Background(), named("y")); err != nil {
		t.Errorf("the journal is not well after others tried to open it: %v", err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	if got := says(t, "open", dir); got != "open 2 <nil>" {
		t.Errorf("another process, after closing, says %q", got)
	}
}

// says returns the first line that a child prints.
func says(t *testing.T, task, dir string) string {
	t.Helper()
	cmd, lines := child(t, task, dir)
	lines.Scan()
	line := lines.Text()
	if err := cmd.Wait(); err != nil {
		t.Errorf("child %s: %v", task, err)
	}
	return line
}
