package admin

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/spf13/cobra"
)

func ExampleNewProgress() {
	p := NewProgress(os.Stdout, false, 25)
	p.Update(map[string]int{"waiting": 25})
	p.Update(map[string]int{"waiting": 5, "running": 8, "succeeded": 12})
	p.Update(map[string]int{"waiting": 5, "running": 8, "succeeded": 12}) // nothing new
	p.Update(map[string]int{"succeeded": 23, "failed": 2})
	p.Done()
	// Output:
	// 0 of 25 devices done: waiting 25
	// 12 of 25 devices done: waiting 5, running 8, succeeded 12
	// 25 of 25 devices done: succeeded 23, failed 2
}

func ExampleCommands() {
	o := new(Options)
	root := &cobra.Command{Use: "bugle", SilenceErrors: true}
	o.AddFlags(root.PersistentFlags())
	root.AddCommand(Commands(o)...)
	root.SetArgs([]string{"ops", "show", "4711"})
	err := root.Execute()
	fmt.Println(err)
	fmt.Println("code", ExitCode(err))
	// Output:
	// "4711" is no operation: not a UUID like 01936f5e-8a6b-7c1d-9e2f-0123456789ab; 'bugle ops list' shows them
	// code 2
}

func TestBar(t *testing.T) {
	for _, c := range []struct {
		done, total int
		want        string
	}{
		{0, 25, "[------------------------]"}, {1, 25, "[------------------------]"}, {24, 25, "[#######################-]"},
		{25, 25, "[########################]"}, {0, 0, "[########################]"}, {9, 3, "[########################]"},
		{-1, 3, "[------------------------]"},
	} {
		if got := bar(c.done, c.total); got != c.want {
			t.Errorf("bar(%d, %d) is %s", c.done, c.total, got)
		}
	}
}

func TestProgressOnATerminal(t *testing.T) {
	t.Setenv("NO_COLOR", "")
	var b bytes.Buffer
	p := NewProgress(&b, true, 2)
	p.Update(map[string]int{"waiting": 2})
	p.Update(map[string]int{"waiting": 2})
	p.Update(map[string]int{"not-applicable": 1, "timed-out": 1})
	p.Done()
	p.Done()
	p.Update(map[string]int{"waiting": 2})
	want := "\r" + green + "[------------------------]" + uncoloured + " 0/2  waiting 2\x1b[K" +
		"\r" + green + "[########################]" + uncoloured + " 2/2  timed-out 1, not-applicable 1\x1b[K\n"
	if b.String() != want {
		t.Errorf("got  %q\nwant %q", b.String(), want)
	}
}

func TestProgressDoesNotWrap(t *testing.T) {
	t.Setenv("NO_COLOR", "1")
	var b bytes.Buffer
	states := map[string]int{}
	for _, name := range stateOrder(nil) {
		states[name] = 100_000
	}
	NewProgress(&b, true, 1_300_000).Update(states)
	if line := strings.TrimSuffix(strings.TrimPrefix(b.String(), "\r"), "\x1b[K"); len(line) != 79 {
		t.Errorf("a line of %d characters: %q", len(line), line)
	}
}

func TestProgressWithoutAnythingIsSilent(t *testing.T) {
	for _, terminal := range []bool{true, false} {
		var b bytes.Buffer
		NewProgress(&b, terminal, 5).Done()
		if b.Len() > 0 {
			t.Errorf("terminal %v: %q", terminal, b.String())
		}
	}
}

func TestProgressIsSafeForConcurrentUse(t *testing.T) {
	var b bytes.Buffer
	p := NewProgress(&b, false, 100)
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() { p.Update(map[string]int{"succeeded": i}) })
	}
	wg.Wait()
	p.Done()
	if n := strings.Count(b.String(), "\n"); n != 100 {
		t.Errorf("%d lines for 100 changes", n)
	}
}
