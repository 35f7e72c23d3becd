package agent

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bugle-fleet/bugle/agent/action"
	"github.com/bugle-fleet/bugle/agent/window"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// diary is an action that notes when each operation ran.
type diary struct {
	mu    sync.Mutex
	lines []string
	busy  int // that run now
	most  int
	takes time.Duration
}

func (d *diary) kind(name string, c action.Class) action.Description {
	return action.Description{Kind: name, Class: c, Action: action.Func(func(ctx context.Context, req action.Request) action.Outcome {
		d.mu.Lock()
		d.lines = append(d.lines, name)
		d.busy++
		d.most = max(d.most, d.busy)
		d.mu.Unlock()
		sleep(ctx, d.takes)
		d.mu.Lock()
		d.lines = append(d.lines, name+" ended")
		d.busy--
		d.mu.Unlock()
		return action.Outcome{State: task.Succeeded}
	})}
}

func (d *diary) String() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return strings.Join(d.lines, ", ")
}

// in an hour, for that long.
func opensIn(s *site, d, length time.Duration, kind window.Kind) window.List {
	return window.List{{Name: "w", Enabled: true, Kind: kind, UTC: true, Start: s.now().Add(d).Truncate(time.Minute), Length: length}}
}

func TestIntrusiveTaskWaitsForItsWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, d := newSite(t, 3*time.Hour), &diary{}
		cfg := s.config()
		cfg.Location = time.UTC
		cfg.Actions = []action.Description{d.kind("test.intrusive", action.Intrusive)}
		dir := s.device()
		a := s.start(dir, cfg)
		windows := opensIn(s, 10*time.Hour, 2*time.Hour, window.General)
		opens := windows[0].Start
		p := s.accept().publishAll(document{Windows: windows}).welcome()
		hasPolicy(t, p)
		m := s.order("test.intrusive", func(t *task.Task) { t.RunTimeout, t.DeliverBy = time.Hour, s.now().Add(24*time.Hour) })
		id := operationOf(m)
		p.send(m)
		r := p.expect(id, task.Delivered, task.Deferred)
		if want := "opens " + opens.Format("Mon 15:04") + " for 120 min; needs 65"; r.Detail != want {
			t.Errorf("detail %q, want %q", r.Detail, want)
		}
		settle()
		st := must(ReadStatus(dir))
		if len(st.Deferred) != 1 || st.Deferred[0].Operation != id || !st.Deferred[0].Until.Equal(opens) || len(st.Windows) != 1 || !strings.HasPrefix(st.Opening(s.now(), time.UTC), "the next opens ") {
			t.Errorf("status %+v", st)
		}
		a.halt() // a restart does not lose it: the site sends it again

		s.start(dir, cfg)
		p = s.accept().publishAll(document{Windows: windows}).welcome()
		p.send(m)
		settle()
		time.Sleep(opens.Sub(s.now()) - time.Second)
		settle()
		if d.String() != "" {
			t.Fatal("started before the window")
		}
		r = p.expect(id, task.Running)
		if r.At.Before(opens) || r.At.After(opens.Add(time.Minute)) {
			t.Errorf("started at %s, the window opens %s", r.At, opens)
		}
		p.expect(id, task.Succeeded)
		settle()
		if st := must(ReadStatus(dir)); len(st.Deferred) != 0 {
			t.Errorf("still deferred: %+v", st.Deferred)
		}
	})
}

func TestIntrusiveTaskWithoutAWindowThatFits(t *testing.T) {
	for name, c := range map[string]struct {
		windows func(*site) window.List
		params  string
		kind    string
		states  []task.State
		detail  string
	}{
		"no windows": {func(*site) window.List { return nil }, "", "test.intrusive",
			[]task.State{task.Delivered, task.Running, task.Succeeded}, ""},
		"told to ignore them": {func(s *site) window.List { return opensIn(s, 30*time.Minute, time.Hour, window.General) },
			`{"ignoreWindows":true}`, "test.intrusive", []task.State{task.Delivered, task.Running, task.Succeeded}, ""},
		"too short until the deadline": {func(s *site) window.List { return opensIn(s, 30*time.Minute, time.Hour, window.General) },
			"", "test.intrusive", []task.State{task.Delivered, task.Deferred, task.Refused}, "needs 65; no window is long enough"},
		"opens after the deadline": {func(s *site) window.List { return opensIn(s, 61*time.Minute, 3*time.Hour, window.General) },
			"", "test.intrusive", []task.State{task.Delivered, task.Deferred, task.Refused}, "deadline has passed; opens"},
		"a barrier": {func(s *site) window.List { return opensIn(s, 61*time.Minute, 3*time.Hour, window.General) },
			"", "test.barrier", []task.State{task.Delivered, task.Deferred, task.Refused}, "deadline has passed; opens"},
		"updates in a window for updates": {func(s *site) window.List {
			return append(opensIn(s, -time.Minute, 3*time.Hour, window.General), opensIn(s, 50*time.Minute, 3*time.Hour, window.Updates)...)
		}, "", "update.test", []task.State{task.Delivered, task.Deferred, task.Running, task.Succeeded}, ""},
		"others not": {func(s *site) window.List { return opensIn(s, 50*time.Minute, 3*time.Hour, window.Updates) },
			"", "test.intrusive", []task.State{task.Delivered, task.Running, task.Succeeded}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, d := newSite(t, 0), &diary{}
				cfg := s.config()
				cfg.Actions = []action.Description{d.kind("test.intrusive", action.Intrusive), d.kind("update.test", action.Intrusive),
					d.kind("test.barrier", action.Barrier)}
				s.start(s.device(), cfg)
				p := s.accept().publishAll(document{Windows: c.windows(s)}).welcome()
				hasPolicy(t, p)
				m := s.order(c.kind, func(t *task.Task) { t.RunTimeout, t.Params = time.Hour, []byte(c.params) })
				p.send(m)
				time.Sleep(2 * time.Hour)
				if r := p.expect(operationOf(m), c.states...); !strings.Contains(r.Detail, c.detail) {
					t.Errorf("detail %q, want %q", r.Detail, c.detail)
				}
			})
		})
	}
}

// What is left of the window when it is the task's turn is what counts.
func TestDeferredAgainWhenItsTurnComesLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, d := newSite(t, 0), &diary{takes: 50 * time.Minute}
		cfg := s.config()
		cfg.Actions = []action.Description{d.kind("test.intrusive", action.Intrusive)}
		s.start(s.device(), cfg)
		windows := window.List{{Name: "w", Enabled: true, Kind: window.General, UTC: true, Start: s.now().Truncate(time.Minute),
			Length: 90 * time.Minute, Every: window.Every{Unit: window.Day, N: 1}}}
		p := s.accept().publishAll(document{Windows: windows}).welcome()
		hasPolicy(t, p)
		change := func(t *task.Task) { t.RunTimeout, t.DeliverBy = time.Hour, s.now().Add(72*time.Hour) }
		first, second := s.order("test.intrusive", change), s.order("test.intrusive", change)
		p.send(first)
		p.expect(operationOf(first), task.Delivered, task.Running)
		p.send(second)
		p.expect(operationOf(second), task.Delivered)
		// After 25 minutes 65 are left of 90, which is not more than it needs.
		r := p.expectLater(30*time.Minute, operationOf(second), task.Deferred)
		if r.At.Sub(windows[0].Start) > 26*time.Minute || !strings.Contains(r.Detail, "needs 65") {
			t.Errorf("deferred %s after the window opened: %s", r.At.Sub(windows[0].Start), r.Detail)
		}
		p.expectLater(time.Hour, operationOf(first), task.Succeeded)
		r = p.expectLater(25*time.Hour, operationOf(second), task.Running)
		if got := r.At.Sub(windows[0].Start); got < 24*time.Hour || got > 24*time.Hour+time.Minute {
			t.Errorf("ran %s after the first window opened", got)
		}
	})
}

// Windows that change in policy count at once for what waits.
func TestNewWindowsWakeWhatIsDeferred(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, d := newSite(t, 0), &diary{}
		cfg := s.config()
		cfg.Actions = []action.Description{d.kind("test.intrusive", action.Intrusive)}
		s.start(s.device(), cfg)
		p := s.accept().publishAll(document{Windows: closed(s)}).welcome()
		hasPolicy(t, p)
		m := s.order("test.intrusive", nil)
		p.send(m)
		p.expect(operationOf(m), task.Delivered, task.Deferred)
		p.publishAll(document{Windows: opensIn(s, -time.Minute, 3*time.Hour, window.General)})
		fetch := s.order("policy.machine", nil)
		p.send(fetch)
		p.expect(operationOf(fetch), task.Delivered, task.Running)
		seen := map[task.ID]task.State{}
		for len(seen) < 2 {
			if r := p.result(); r.State.Final() {
				seen[r.Operation] = r.State
			}
		}
		if d.String() == "" {
			t.Error("not started")
		}
	})
}

func TestBarrierRunsAloneAndLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, d := newSite(t, 0), &diary{takes: 10 * time.Minute}
		cfg := s.config()
		cfg.Workers = 2
		cfg.Actions = []action.Description{d.kind("a", action.Normal), d.kind("b", action.Normal), d.kind("c", action.Alone),
			d.kind("after", action.Normal), d.kind("barrier1", action.Barrier), d.kind("barrier2", action.Barrier)}
		s.start(s.device(), cfg)
		p := s.accept().welcome()
		later := s.order("a", func(t *task.Task) {
			t.NotBefore, t.DeliverBy = s.now().Add(24*time.Hour), s.now().Add(48*time.Hour)
		})
		p.send(later) // a barrier does not wait for what has not come to its time
		for _, kind := range []string{"a", "b", "c", "barrier1", "barrier2", "after"} {
			p.send(s.order(kind, func(t *task.Task) { t.RunTimeout, t.DeliverBy = time.Hour, s.now().Add(12*time.Hour) }))
			settle()
		}
		time.Sleep(3 * time.Hour)
		got := d.String()
		_, rest, ok := strings.Cut(got, "barrier1")
		if first := got[:len(got)-len(rest)]; !ok || strings.Count(first, " ended") != 3 || rest != ", barrier1 ended, barrier2, barrier2 ended, after, after ended" {
			t.Errorf("ran %s", got)
		}
		if d.most != 2 {
			t.Errorf("%d at once", d.most)
		}
	})
}

// An update and a restart that wait for the same window: the restart is last.
func TestBarrierComesBehindWhatIsDueWithIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, d := newSite(t, 0), &diary{takes: 10 * time.Minute}
		cfg := s.config()
		cfg.Actions = []action.Description{d.kind("update.test", action.Intrusive), d.kind("restart.test", action.Barrier)}
		s.start(s.device(), cfg)
		p := s.accept().publishAll(document{Windows: opensIn(s, time.Hour, 3*time.Hour, window.General)}).welcome()
		hasPolicy(t, p)
		for range 3 {
			for _, kind := range []string{"restart.test", "update.test"} {
				p.send(s.order(kind, func(t *task.Task) { t.RunTimeout, t.DeliverBy = 20*time.Minute, s.now().Add(12*time.Hour) }))
			}
		}
		time.Sleep(5 * time.Hour)
		if got := d.String(); strings.LastIndex(got, "update.test") > strings.Index(got, "restart.test") || strings.Count(got, " ended") != 6 || d.most != 1 {
			t.Errorf("ran %s, %d at once", got, d.most)
		}
	})
}

// A restart is on record before it begins; what became of it is known at the
// next start.
func TestRestartIsJudgedByTheNextBoot(t *testing.T) {
	for name, c := range map[string]struct {
		boot   string
		state  task.State
		detail string
	}{
		"the machine started again": {"boot 2", task.Succeeded, detailBooted},
		"only the agent did":        {"boot 1", task.Failed, detailNotBooted},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSite(t, 0)
				n := &count{wait: make(chan struct{})} // it waits for its end
				barrier := n.kind("restart", false)
				barrier.Class = action.Barrier
				cfg := s.config()
				cfg.Actions = []action.Description{barrier}
				cfg.Boot = func() string { return "boot 1" }
				dir := s.device()
				a := s.start(dir, cfg)
				p := s.accept().welcome()
				m := s.order("restart", nil)
				id := operationOf(m)
				p.send(m)
				p.expect(id, task.Delivered, task.Running)
				settle()
				a.halt()
				cfg.Boot = func() string { return c.boot }
				s.start(dir, cfg)
				p = s.accept().welcome()
				if r := p.expect(id, c.state); r.Detail != c.detail {
					t.Errorf("detail %q", r.Detail)
				}
				settle()
				p.send(m)
				p.expect(id, c.state)
				if n.n.Load() != 1 {
					t.Errorf("started %d times", n.n.Load())
				}
			})
		})
	}
}

func TestSameBoot(t *testing.T) {
	for _, c := range []struct {
		a, b string
		same bool
	}{{"x", "x", true}, {"x", "y", false}, {"at 100", "at 130", true}, {"at 100", "at 300", false}, {"at 100", "x", false}, {"at 1x", "at 1x", false}} {
		if sameBoot(c.a, c.b) != c.same {
			t.Errorf("%q and %q", c.a, c.b)
		}
	}
	if first, second := bootName(), bootName(); first == "" || first != second {
		t.Error("the boot has no name, or changes it")
	}
}

// A task in policy whose time comes while there is no connection runs, if the
// site's time is known well enough, also after a reconnect and with the policy
// read from disk.
func TestPolicyTaskRunsWithoutAConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, n := newSite(t, 2*time.Hour), &count{}
		cfg := s.config()
		cfg.Actions = []action.Description{n.kind("test.once", false)}
		s.start(s.device(), cfg)
		m := s.order("test.once", func(t *task.Task) {
			t.NotBefore, t.DeliverBy = s.now().Add(6*time.Hour), s.now().Add(7*time.Hour)
		})
		tooFar := s.order("test.once", func(t *task.Task) {
			t.NotBefore, t.DeliverBy = s.now().Add(14*time.Hour), s.now().Add(48*time.Hour)
		})
		p := s.accept().publishAll(document{}, m, tooFar).welcome()
		hasBoth := map[task.ID]bool{}
		for len(hasBoth) < 2 {
			hasBoth[p.result().Operation] = true
		}
		settle()
		p.drop()
		until := time.Now().Add(20 * time.Hour)
		for time.Now().Before(until) { // every connection fails
			select {
			case c := <-s.conns:
				c.Close()
			case <-time.After(time.Until(until)):
			}
		}
		settle()
		if n.n.Load() != 1 {
			t.Errorf("started %d tasks, one is within 12 hours", n.n.Load())
		}
		p = s.accept().welcome()
		p.expect(operationOf(m), task.Running)
		if r := p.expect(operationOf(m), task.Succeeded); r.At.Sub(must(m.Signed.Task()).NotBefore) > time.Minute {
			t.Errorf("it ran at %s", r.At)
		}
		p.expectLater(2*time.Minute, operationOf(tooFar), task.Running, task.Succeeded)
	})
}

// Policy and proofs are on disk: after a restart without the policy being sent
// again the task still waits and runs.
func TestPolicyTaskSurvivesARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, n := newSite(t, 0), &count{}
		cfg := s.config()
		cfg.Actions = []action.Description{n.kind("test.once", false)}
		dir := s.device()
		a := s.start(dir, cfg)
		m := s.order("test.once", func(t *task.Task) { t.NotBefore = s.now().Add(30 * time.Minute) })
		p := s.accept().publishAll(document{}, m).welcome()
		p.expect(operationOf(m), task.Delivered)
		settle()
		a.halt()
		a = s.start(dir, cfg)
		p = s.accept()
		var asked string
		p.mu.Lock()
		p.policyF = nil // unchanged
		p.mu.Unlock()
		p.welcome()
		p.expectLater(31*time.Minute, operationOf(m), task.Running, task.Succeeded)
		asked = a.policy.known()
		settle()
		a.halt()
		if asked == "" {
			t.Error("the policy would be fetched again")
		}
		// Without the proofs the policy comes again, whole.
		if err := os.Remove(filepath.Join(dir, proofsFile)); err != nil {
			t.Fatal(err)
		}
		a = s.start(dir, cfg)
		if a.policy.known() != "" || a.policy.etag() == "" {
			t.Error("a policy whose tasks have no proofs counts as known")
		}
	})
}

// While the listener says that it has no beacon, because the site is away, the
// estimate goes on, and errs on the late side.
func TestTimeIsHeldWhileTheSiteIsAway(t *testing.T) {
	for name, c := range map[string]struct {
		after time.Duration
		upset func(*running)
		runs  bool
	}{
		"for hours":      {11 * time.Hour, nil, true},
		"not for ever":   {12*time.Hour + time.Minute, nil, false},
		"not over steps": {time.Hour, func(a *running) { a.step(time.Minute) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, n := newSite(t, 0), &count{}
				cfg := s.config()
				cfg.Actions = []action.Description{n.kind("test.once", false)}
				a := s.start(s.device(), cfg)
				p := s.accept().welcome()
				settle()
				p.mu.Lock()
				p.away = true
				p.mu.Unlock()
				time.Sleep(c.after)
				if c.upset != nil {
					c.upset(a)
				}
				m := s.order("test.once", nil)
				p.send(m)
				p.expect(operationOf(m), task.Delivered)
				time.Sleep(2 * time.Minute)
				if n.n.Load() == 1 != c.runs {
					t.Errorf("started %d times", n.n.Load())
				}
				if !c.runs {
					p.mu.Lock()
					p.away = false
					p.mu.Unlock()
					p.expectLater(3*time.Minute, operationOf(m), task.Running, task.Succeeded)
					return
				}
				// Ten hours at 200 ppm are 7.2 s.
				edge := s.order("test.once", func(t *task.Task) {
					t.NotBefore, t.DeliverBy = s.now().Add(-time.Minute), s.now().Add(7*time.Second)
				})
				p.expect(operationOf(m), task.Running, task.Succeeded)
				p.send(edge)
				if r := p.expect(operationOf(edge), task.Refused); n.n.Load() != 1 {
					t.Errorf("started within the drift of the clock: %s", r.Detail)
				}
			})
		})
	}
}
