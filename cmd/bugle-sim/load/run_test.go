package load_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bugle-fleet/bugle/cmd/bugle-sim/load"
)

func TestAllPhases(t *testing.T) {
	const n = 30
	lines, f, err := run(t, load.Options{Agents: n, Jitter: 10 * time.Second, Pushes: 3, Round: 2}, nil)
	if err != nil {
		t.Fatal(err)
	}
	var phases []string
	for _, l := range lines {
		phases = append(phases, l.Phase)
		if l.Target != "fake" || l.Agents != n || l.Round != 2 {
			t.Errorf("line %+v", l)
		}
		for _, name := range []string{"missing", "unsafe", "uncounted", "doubled", "astray", "refused", "lostSessions", "late"} {
			if v, ok := l.Figures.Of(name); ok && v != 0 {
				t.Errorf("%s: %s is %v", l.Phase, name, v)
			}
		}
	}
	if want := []string{"connect", "known", "resumed", "idle", "push", "tenth", "storm-resumed", "storm-full",
		"storm-resumed-jitter", "storm-full-jitter", "churn"}; !slices.Equal(phases, want) {
		t.Errorf("phases %v, want %v", phases, want)
	}
	for _, want := range []struct {
		phase, figure string
		value         float64
	}{
		{"connect", "resumed", 0}, {"known", "resumed", 0}, {"resumed", "resumed", n},
		{"connect", "signInP50Ms", 2}, {"resumed", "signInP99Ms", 1}, {"connect", "cpuPerSignInUs", 1000},
		{"idle", "rssPerAgentBytes", 1 << 10}, {"idle", "cpuPercent", 0}, {"idle", "settled", 1},
		{"push", "taskP50Ms", 14}, {"push", "taskLastMs", n - 1}, {"push", "safeLastMs", n}, {"push", "countedLastMs", n},
		{"push", "pushReturnedMs", 0.5}, {"push", "pushes", 3},
		{"tenth", "taskLastMs", 21}, // of 20, 21 and 22
		{"storm-resumed", "resumed", n}, {"storm-full", "resumed", 0},
		{"storm-resumed", "taskLastS", 0.030}, {"storm-full", "taskLastS", 0.031}, {"storm-full", "safeLastS", 0.032},
		{"storm-full-jitter", "apiP50Ms", 3}, {"storm-full-jitter", "apiMaxMs", 9}, {"storm-resumed", "apiErrors", 0},
		{"churn", "signIns", 4 * n}, {"churn", "goroutinesBegin", 7}, {"churn", "goroutinesEnd", 7},
	} {
		if got := of(t, lines, want.phase, want.figure); got < want.value-1e-9 || got > want.value+1e-9 {
			t.Errorf("%s: %s is %v, want %v", want.phase, want.figure, got, want.value)
		}
	}
	for _, phase := range []string{"storm-resumed-jitter", "storm-full-jitter"} {
		if back := of(t, lines, phase, "backLastS"); back < 9 || back > 10.1 {
			t.Errorf("%s: the last one was back after %v s, want about 10", phase, back)
		}
	}
	if resumed := of(t, lines, "churn", "resumed"); resumed < n || resumed > 3*n {
		t.Errorf("%v of %d sign-ins of the churn were resumed, want about half", resumed, 4*n)
	}
	if f.signIns != (3+4+4)*n || f.resets != 5 || f.probes != 4 || f.probing {
		t.Errorf("%d sign-ins, %d resets of the peak, %d times probed, probing %v", f.signIns, f.resets, f.probes, f.probing)
	}
}

func TestQuestionsWithoutAnswersAreCounted(t *testing.T) {
	o := load.Options{Agents: 3, Phases: []string{load.PhaseStorm}}
	lines, _, err := run(t, o, func(f *fake) { f.probed = load.Probes{Failed: 4} })
	if err != nil || of(t, lines, "storm-full", "apiErrors") != 4 {
		t.Errorf("lines %v, %v", lines, err)
	}
	for _, l := range lines {
		if v, ok := l.Figures.Of("apiP50Ms"); ok {
			t.Errorf("half of no answers came in %v ms", v)
		}
	}
	lines, _, err = run(t, o, func(f *fake) { f.probed = load.Probes{} })
	if err != nil {
		t.Error(err)
	}
	for _, l := range lines {
		if v, ok := l.Figures.Of("apiErrors"); ok {
			t.Errorf("%v of no questions had no answer", v)
		}
	}
}

func TestProbingThatFailsEndsTheRun(t *testing.T) {
	broken := errors.New("broken by the test")
	for name, change := range map[string]func(f *fake){
		"at its begin":          func(f *fake) { f.noProbe = broken },
		"at its end":            func(f *fake) { f.badProbe = broken },
		"with what it measures": func(f *fake) { f.badProbe, f.deaf = broken, 1 },
	} {
		lines, f, err := run(t, load.Options{Agents: 3, Phases: []string{load.PhaseStorm}, Timeout: 5 * time.Second}, change)
		if !errors.Is(err, broken) || len(lines) != 3 || f.probing {
			t.Errorf("%s: %v, %d lines, probing %v", name, err, len(lines), f.probing)
		}
	}
}

func TestAChurnForATime(t *testing.T) {
	lines, f, err := run(t, load.Options{Agents: 20, Phases: []string{load.PhaseChurn}, ChurnFor: 2 * time.Minute, Sample: 18 * time.Second, InFlight: 2}, nil)
	if err != nil {
		t.Fatal(err)
	}
	samples := 0
	for _, l := range lines {
		if l.Phase == "churn-sample" {
			samples++
		}
	}
	signIns := of(t, lines, "churn", "signIns")
	if samples != 6 || signIns < 10_000 || int(signIns) != f.signIns-3*20 {
		t.Errorf("%d samples, %v sign-ins of %d", samples, signIns, f.signIns)
	}
	if begin, end := of(t, lines, "churn", "rssBeginMiB"), of(t, lines, "churn", "rssEndMiB"); begin != end {
		t.Errorf("memory was %v MiB and is %v", begin, end)
	}
}

func TestRefusedSignInsAreTriedAgainAndCounted(t *testing.T) {
	lines, _, err := run(t, load.Options{Agents: 20, Phases: []string{load.PhaseStorm}}, func(f *fake) { f.refuse, f.refuses = full, 9 })
	if err != nil {
		t.Fatal(err)
	}
	if got := of(t, lines, "connect", "refused"); got != 9 {
		t.Errorf("%v refused, want 9", got)
	}
	if p99 := of(t, lines, "connect", "signInP99Ms"); p99 < 1000 {
		t.Errorf("p99 of a sign-in is %v ms, less than what the server asked to wait", p99)
	}
	if got := of(t, lines, "storm-full", "refused"); got != 0 {
		t.Errorf("%v refused in the storm, want none", got)
	}
}

func TestWhoNeverSignsInEndsTheRun(t *testing.T) {
	lines, _, err := run(t, load.Options{Agents: 5}, func(f *fake) { f.refuse, f.refuses = files, 1<<30 })
	if !errors.Is(err, load.ErrIncomplete) || !strings.Contains(err.Error(), "5 of 5 agents did not sign in: the bound is open files") {
		t.Errorf("%v", err)
	}
	if len(lines) != 1 || of(t, lines, "connect", "missing") != 5 {
		t.Errorf("lines %v", lines)
	}
}

func TestWhatIsMissingOrTooMuchIsSeen(t *testing.T) {
	phases := []string{load.PhasePush, load.PhaseStorm}
	for name, c := range map[string]struct {
		change func(f *fake)
		figure string
		says   string // in the error; empty if there is none
	}{
		"a task that does not come":        {func(f *fake) { f.deaf = 3 }, "missing", "push: of 8 agents 1 did not get the task, 1 do not know"},
		"an answer that is not counted":    {func(f *fake) { f.mute = 3 }, "uncounted", "0 do not know their answer to be safe, 1 answers were not counted"},
		"a task that comes twice":          {func(f *fake) { f.twice = 3 }, "doubled", ""},
		"a session that ends by itself":    {func(f *fake) { f.breaks = 3 }, "", ""},
		"a process that is not there":      {func(f *fake) { f.closed = true }, "", "the process has ended"},
		"several at once, in all of these": {func(f *fake) { f.deaf, f.mute = 3, 4 }, "uncounted", "storm-full: of 8 agents 1"},
	} {
		t.Run(name, func(t *testing.T) {
			lines, _, err := run(t, load.Options{Agents: 8, Phases: phases, Pushes: 1, Timeout: 5 * time.Second}, c.change)
			switch {
			case c.says == "" && err != nil, c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)):
				t.Fatalf("error %v, want %q", err, c.says)
			}
			if c.figure == "" {
				return
			}
			for _, phase := range []string{"push", "storm-resumed", "storm-full"} {
				if got := of(t, lines, phase, c.figure); got < 1 || got > 2 {
					t.Errorf("%s: %s is %v", phase, c.figure, got)
				}
			}
		})
	}
}

func TestTasksForOthersAreSeen(t *testing.T) {
	lines, _, err := run(t, load.Options{Agents: 20, Phases: []string{load.PhaseTenth}}, func(f *fake) { f.extra = true })
	if err != nil {
		t.Fatal(err)
	}
	if got := of(t, lines, "tenth", "astray"); got != 1 {
		t.Errorf("%v astray, want 1", got)
	}
}

// Whoever is lost comes back, and is counted.
func TestLostSessionsReturn(t *testing.T) {
	lines, f, err := run(t, load.Options{Agents: 8, Phases: []string{load.PhasePush}, Pushes: 1}, func(f *fake) { f.breaks = 5 })
	if err != nil {
		t.Fatal(err)
	}
	if got := of(t, lines, "push", "lostSessions"); got != 1 || f.signIns != 3*8+1 {
		t.Errorf("%v lost, %d sign-ins, want %d", got, f.signIns, 3*8+1)
	}
}

func TestCancelEndsTheRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t, 5)
		r := load.New(load.Options{Agents: 5, Idle: time.Hour})
		f.observer = r.Observer()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := r.Run(ctx, f); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
	})
}

// A task may come before Push has told its number; tasks of earlier pushes that come
// once more count as doubled, those of strangers as nothing.
func TestTasksOfOtherPushes(t *testing.T) {
	lines, _, err := run(t, load.Options{Agents: 4, Phases: []string{load.PhasePush}, Pushes: 3}, nil)
	if err != nil || of(t, lines, "push", "doubled") != 0 {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		var lines []load.Line
		r := load.New(load.Options{Agents: 4, Phases: []string{load.PhasePush}, Pushes: 1, Line: func(l load.Line) { lines = append(lines, l) }})
		f := &repeating{fake: newFake(t, 4)}
		f.observer = r.Observer()
		if err := r.Run(t.Context(), f); err != nil {
			t.Fatal(err)
		}
		if got := of(t, lines, "push", "doubled"); got != 0 {
			t.Errorf("%v doubled of a stranger's task", got)
		}
	})
}

// repeating tells of a stranger's task during each push.
type repeating struct{ *fake }

func (r *repeating) Push(ctx context.Context, agents []int) (uint64, error) {
	r.observer.Task(0, 12345, time.Now())
	return r.fake.Push(ctx, agents)
}
