package simulator

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A Report is what became of one run.
type Report struct {
	Seed   uint64
	Steps  int            // that were taken
	Hits   map[string]int // how often each fault met its moment, and how much was done
	Events uint64         // in the history at the end
	Passed time.Duration  // in the simulated world
	Said   []string       // the newest of what happened
	Err    error          // the first promise that was broken, or nil
}

// Run takes the steps in a world of its own and settles it in the end. It ends with
// the first promise that is broken.
func Run(t *testing.T, seed uint64, plan []Step) Report {
	t.Helper()
	return play(t, seed, plan, func(*world) {})
}

// play is Run in a world that spoil has changed.
func play(t *testing.T, seed uint64, plan []Step, spoil func(*world)) (rep Report) {
	t.Helper()
	rep.Seed = seed
	dir, err := scratch()
	if err != nil {
		rep.Err = err
		return rep
	}
	defer os.RemoveAll(dir)
	synctest.Test(t, func(*testing.T) {
		w := newWorld(dir)
		spoil(w)
		defer w.end()
		w.draw("begin", seed)
		if err := w.begin(); err != nil {
			w.violated(0, "begin: %v", err)
		}
		w.pass(10 * time.Second)
		for i := 0; i < len(plan) && w.failure() == nil; i++ {
			rep.Steps++
			w.take(plan[i])
		}
		if w.failure() == nil {
			w.draw("settle", seed)
			w.settle()
		}
		rep.Err, rep.Events, rep.Passed = w.failure(), w.model.head.Event, time.Since(w.begun)
		w.mu.Lock()
		rep.Hits, rep.Said = maps.Clone(w.hits), w.said
		w.mu.Unlock()
	})
	return rep
}

// scratch makes a folder, in memory where there is such a file system: what is
// lost in a power cut is simulated, and an fsync costs time.
func scratch() (string, error) {
	const memory = "/dev/shm"
	if info, err := os.Stat(memory); err == nil && info.IsDir() {
		if dir, err := os.MkdirTemp(memory, "bugle-simulator"); err == nil {
			return dir, nil
		}
	}
	return os.MkdirTemp("", "bugle-simulator")
}

// String is the report in a few lines.
func (r Report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "seed %d: %d steps, %d events, %s simulated\n", r.Seed, r.Steps, r.Events, r.Passed.Round(time.Second))
	b.WriteString(Table(r.Hits))
	if r.Err != nil {
		fmt.Fprintf(&b, "%v\n%s\n", r.Err, r.Reproduce())
	}
	return b.String()
}

// Reproduce is the command that does it again.
func (r Report) Reproduce() string {
	return fmt.Sprintf("go test ./cmd/bugle/simulator -run 'TestSeed$' -seed=%d -steps=%d", r.Seed, r.Steps)
}

// Table shows counters, in the order of their names.
func Table(hits map[string]int) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(hits)) {
		fmt.Fprintf(&b, "%8d  %s\n", hits[name], name)
	}
	return b.String()
}
