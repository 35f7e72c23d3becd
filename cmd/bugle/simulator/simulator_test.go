package simulator

import (
	"bufio"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

var (
	seedFlag   = flag.Uint64("seed", 1, "the seed of TestSeed, the first one of TestSeeds")
	seedsFlag  = flag.Int("seeds", 24, "how many seeds TestSeeds runs")
	stepsFlag  = flag.Int("steps", 40, "how many steps a run has")
	planFlag   = flag.String("plan", "", "steps that TestSeed takes instead of those of its seed, as in testdata/found")
	shrinkFlag = flag.Bool("shrink", false, "if TestSeed fails, find out which steps it takes")
	logFlag    = flag.Bool("log", false, "let the parts log to standard error in TestSeed")
)

// shortSeeds is how many seeds are run with -short.
const shortSeeds = 1

// TestSeeds runs seeds, and prints how often each fault hit its moment. The long
// run is, for instance:
//
//	go test ./cmd/bugle/simulator -run 'TestSeeds$' -seed=10000 -seeds=1000 -steps=100 -timeout=2h -v
func TestSeeds(t *testing.T) {
	n := *seedsFlag
	if testing.Short() {
		n = min(n, shortSeeds)
	}
	var mu sync.Mutex
	var passed time.Duration
	all := make(map[string]int)
	events, taken := uint64(0), 0
	t.Run("seeds", func(t *testing.T) {
		for i := range n {
			seed := *seedFlag + uint64(i)
			t.Run(fmt.Sprint(seed), func(t *testing.T) {
				t.Parallel()
				r := Run(t, seed, Plan(seed, *stepsFlag))
				judge(t, r)
				mu.Lock()
				defer mu.Unlock()
				for what, n := range r.Hits {
					all[what] += n
				}
				passed, events, taken = passed+r.Passed, events+r.Events, taken+r.Steps
			})
		}
	})
	t.Logf("seeds %d to %d: %d steps, %d events, %s simulated\n%s", *seedFlag, *seedFlag+uint64(n)-1, taken, events, passed.Round(time.Second), Table(all))
}

func judge(t *testing.T, r Report) {
	t.Helper()
	if r.Err != nil {
		t.Errorf("%s\n%s", strings.Join(r.Said, "\n"), r)
	}
}

// TestFoundPlans runs what once found something.
func TestFoundPlans(t *testing.T) {
	if testing.Short() {
		t.Skip("runs without -short: TLS and the race detector take minutes for these")
	}
	f, err := os.Open(filepath.Join("testdata", "found"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		text, about, _ := strings.Cut(lines.Text(), "#")
		plan, err := ParsePlan(text)
		if err != nil {
			t.Fatalf("line %d: %v", n, err)
		}
		if len(plan) == 0 {
			continue
		}
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			t.Parallel()
			t.Log(strings.TrimSpace(about))
			judge(t, Run(t, 0, plan))
		})
	}
	if err := lines.Err(); err != nil {
		t.Error(err)
	}
}

// TestSeed runs one seed, to look into it.
func TestSeed(t *testing.T) {
	if *logFlag {
		Log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	plan := Plan(*seedFlag, *stepsFlag)
	if *planFlag != "" {
		var err error
		if plan, err = ParsePlan(*planFlag); err != nil {
			t.Fatal(err)
		}
	}
	r := Run(t, *seedFlag, plan)
	t.Log(r)
	judge(t, r)
	if r.Err != nil && *shrinkFlag {
		plan = shrink(plan[:r.Steps], func(plan []Step) bool { return Run(t, *seedFlag, plan).Err != nil })
		t.Logf("these steps are enough, a line for testdata/found:\n%s # %v", strings.Trim(fmt.Sprint(plan), "[]"), r.Err)
	}
}

// shrink leaves out steps, many at once and then fewer, as long as it still fails.
func shrink(plan []Step, fails func([]Step) bool) []Step {
	for size := len(plan) / 2; size > 0; size /= 2 {
		for at := 0; at+size <= len(plan); {
			if less := slices.Concat(plan[:at], plan[at+size:]); fails(less) {
				plan = less
			} else {
				at += size
			}
		}
	}
	return plan
}

func TestShrink(t *testing.T) {
	plan := Plan(1, 40)
	want := []Step{plan[7], plan[31]}
	got := shrink(plan, func(p []Step) bool { return slices.Contains(p, want[0]) && slices.Contains(p, want[1]) })
	if !slices.Equal(got, want) {
		t.Errorf("it takes steps %v", got)
	}
}

// A plan is the same whenever it is drawn, and every kind of step is drawn.
func TestPlan(t *testing.T) {
	plan := Plan(3, 5000)
	if !slices.Equal(plan[:100], Plan(3, 100)) {
		t.Error("the plan of a seed begins differently if it is longer")
	}
	again, err := ParsePlan(strings.Trim(fmt.Sprint(plan), "[]"))
	if err != nil || !slices.Equal(again, plan) {
		t.Errorf("a plan is read as another one: %v", err)
	}
	for _, wrong := range []string{"push", "push:", "push:xyz", "pusch:1", ":1"} {
		if p, err := ParsePlan(wrong); err == nil {
			t.Errorf("%q is read as %v", wrong, p)
		}
	}
	for _, s := range steps {
		if !slices.ContainsFunc(plan, func(p Step) bool { return p.Name == s.name }) {
			t.Errorf("step %s is never drawn", s.name)
		}
	}
}
