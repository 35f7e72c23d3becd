package load_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bugle-fleet/bugle/cmd/bugle-sim/load"
)

// A fake is a server in memory. Agent i has a task i milliseconds after the push, or
// after its sign-in; the answer is safe one millisecond later, and counted with that.
type fake struct {
	t        *testing.T
	observer load.Observer

	deaf    int           // an agent that gets no tasks
	twice   int           // one that gets each twice
	mute    int           // one whose answers are not counted
	refuse  func() error  // of the next sign-ins
	refuses int           // how many
	breaks  int           // an agent whose third session ends by itself
	extra   bool          // a task goes to an agent that it is not for, too
	signIn  time.Duration // that a full one takes; a resumed one half

	noProbe  error // of the begin of probing
	badProbe error // of its end
	probed   load.Probes

	mu       sync.Mutex
	sessions []*fakeSession
	busy     []bool // a sign-in is under way
	known    []bool // has a TLS session
	missed   [][]uint64
	number   uint64
	signIns  int
	resets   int
	probing  bool
	probes   int
	usage    load.Usage
	closed   bool
}

type fakeSession struct {
	fake    *fake
	agent   int
	resumed bool
}

const nobody = -1

func newFake(t *testing.T, agents int) *fake {
	return &fake{t: t, deaf: nobody, twice: nobody, mute: nobody, breaks: nobody, signIn: 2 * time.Millisecond,
		sessions: make([]*fakeSession, agents), busy: make([]bool, agents), known: make([]bool, agents), missed: make([][]uint64, agents),
		probed: load.Probes{Took: []time.Duration{9 * time.Millisecond, 2 * time.Millisecond, 3 * time.Millisecond}},
		usage:  load.Usage{RSS: 10 << 20, Peak: 10 << 20}}
}

func (f *fake) Name() string { return "fake" }

func (f *fake) SignIn(ctx context.Context, agent int, full bool) (load.Session, error) {
	f.mu.Lock()
	if f.busy[agent] || f.sessions[agent] != nil {
		f.t.Errorf("agent %d signs in and is in, or about to be", agent)
	}
	f.busy[agent] = true
	resumed := f.known[agent] && !full
	f.mu.Unlock()
	took := f.signIn
	if resumed {
		took /= 2
	}
	time.Sleep(took)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.busy[agent] = false
	if f.refuses > 0 {
		f.refuses--
		return nil, f.refuse()
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	s := &fakeSession{f, agent, resumed}
	f.sessions[agent], f.known[agent] = s, true
	f.signIns++
	f.usage.CPU += time.Millisecond
	f.usage.RSS += 1 << 10
	f.usage.Peak = max(f.usage.Peak, f.usage.RSS)
	for _, number := range f.missed[agent] {
		go f.deliver(agent, number)
	}
	f.missed[agent] = nil
	if f.breaks == agent && f.signIns > 2*len(f.sessions) {
		f.breaks = nobody
		f.sessions[agent] = nil
		go func() {
			time.Sleep(time.Millisecond)
			f.observer.Lost(agent, errors.New("broken by the test"))
		}()
	}
	return s, nil
}

func (s *fakeSession) Resumed() bool { return s.resumed }

func (s *fakeSession) Drop() {
	s.fake.mu.Lock()
	defer s.fake.mu.Unlock()
	if s.fake.sessions[s.agent] == s {
		s.fake.sessions[s.agent] = nil
		s.fake.usage.RSS -= 1 << 10
	}
}

func (f *fake) Push(_ context.Context, agents []int) (uint64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.number++
	if agents == nil {
		for i := range f.sessions {
			agents = append(agents, i)
		}
	} else if f.extra {
		agents = append(slices.Clone(agents), (agents[0]+1)%len(f.sessions))
	}
	for _, i := range agents {
		if f.sessions[i] == nil {
			f.missed[i] = append(f.missed[i], f.number)
			continue
		}
		go f.deliver(i, f.number)
	}
	time.Sleep(time.Millisecond / 2)
	return f.number, nil
}

func (f *fake) deliver(agent int, number uint64) {
	time.Sleep(time.Duration(agent) * time.Millisecond)
	if agent == f.deaf {
		return
	}
	f.observer.Task(agent, number, time.Now())
	if agent == f.twice {
		f.observer.Task(agent, number, time.Now())
	}
	time.Sleep(time.Millisecond)
	f.observer.Safe(agent, number, time.Now())
	if agent != f.mute {
		f.observer.Counted(number, 1, time.Now())
	}
}

func (f *fake) Usage() (load.Usage, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return load.Usage{}, errors.New("the process has ended")
	}
	return f.usage, nil
}

func (f *fake) ResetPeak() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.resets++
	f.usage.Peak = f.usage.RSS
	return nil
}

func (f *fake) Close() error { return nil }

func (f *fake) Probe(context.Context) (stop func() (load.Probes, error), err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.probing {
		f.t.Error("probes while it does")
	}
	if f.noProbe != nil {
		return nil, f.noProbe
	}
	f.probing = true
	f.probes++
	before := f.signIns
	return func() (load.Probes, error) {
		f.mu.Lock()
		defer f.mu.Unlock()
		if !f.probing || f.signIns == before && f.refuses == 0 {
			f.t.Error("stops to probe twice, or before the storm")
		}
		f.probing = false
		return f.probed, f.badProbe
	}, nil
}

func (f *fake) Gauges(context.Context) (map[string]float64, error) {
	return map[string]float64{"goroutines": 7}, nil
}

// run takes a fake through phases in fake time.
func run(t *testing.T, o load.Options, change func(f *fake)) (lines []load.Line, f *fake, err error) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		f = newFake(t, o.Agents)
		if change != nil {
			change(f)
		}
		o.Line = func(l load.Line) { lines = append(lines, l) }
		r := load.New(o)
		f.observer = r.Observer()
		err = r.Run(t.Context(), f)
		for i, s := range f.sessions {
			if s != nil {
				t.Errorf("agent %d is still in", i)
			}
		}
	})
	return lines, f, err
}

// of returns a figure that must be there.
func of(t *testing.T, lines []load.Line, phase, name string) float64 {
	t.Helper()
	for _, l := range lines {
		if l.Phase == phase {
			if v, ok := l.Figures.Of(name); ok {
				return v
			}
			t.Fatalf("phase %s has no figure %s: %v", phase, name, l.Figures)
		}
	}
	t.Fatalf("no phase %s", phase)
	return 0
}

func full() error { return &load.Refused{After: time.Second, Reason: "full"} }

func files() error { return fmt.Errorf("dial: %w", syscall.EMFILE) }
