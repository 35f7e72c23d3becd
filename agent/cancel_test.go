package agent

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bugle-fleet/bugle/agent/action"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// again is what an agent has on record of a kind that may start again.
func again(m *taskMessage, attempt uint8, state task.State) Entry {
	tk := must(m.Signed.Task())
	return Entry{Reached, tk.Kind, tk.DeliverBy.Add(keepAfter), true, "",
		task.Result{Operation: tk.Operation, Attempt: attempt, State: state, At: tk.Requested}}
}

// endsWith waits for the end of an operation.
func (p *peer) endsWith(id task.ID, state task.State, detail string) {
	p.s.t.Helper()
	r := p.result()
	for r.Operation != id || !r.State.Final() {
		r = p.result()
	}
	if r.State != state || r.Detail != detail {
		p.s.t.Errorf("ended %s %q, want %s %q", r.State, r.Detail, state, detail)
	}
}

// killedWhileItRuns is an agent that was killed while a task ran that may start
// again, after or before the cancel of it came.
func killedWhileItRuns(t *testing.T, cancelled bool) (*site, string, *taskMessage) {
	s := newSite(t, 0)
	dir := s.device(s.listen())
	if err := os.WriteFile(filepath.Join(dir, "block"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	kill := s.spawn(dir)
	m, other := s.order("test.again", nil), s.order("test.again", nil)
	p := s.accept().welcome()
	p.send(m)
	p.expect(operationOf(m), task.Delivered, task.Running)
	for begun := time.Now(); runs(dir) == 0; time.Sleep(time.Millisecond) {
		if time.Since(begun) > patience {
			t.Fatal("it does not begin")
		}
	}
	if cancelled {
		p.send(s.cancelOf(operationOf(m)))
		p.send(s.cancelOf(operationOf(other)))
		p.expect(operationOf(other), task.Refused) // so the first is on record
	}
	kill()
	s.spawn(dir)
	return s, dir, m
}

// doesNotComeBack sends a task that ran once again, and another one.
func doesNotComeBack(p *peer, dir string, m *taskMessage) {
	p.s.t.Helper()
	if err := os.Remove(filepath.Join(dir, "block")); err != nil {
		p.s.t.Fatal(err)
	}
	other := p.s.order("test.once", nil)
	p.send(m)
	p.send(other)
	if got := *p.final(operationOf(other)); got != task.Succeeded {
		p.s.t.Errorf("another task is %s", got)
	}
	if n := runs(dir); n != 2 {
		p.s.t.Errorf("%d tasks ran, the first once and another one", n)
	}
}

// OP-5: what may start again and was cancelled while it ran does not start again
// when its agent was killed, and has an end at once.
func TestOP5KilledAfterACancelThatCameWhileItRan(t *testing.T) {
	s, dir, m := killedWhileItRuns(t, true)
	p := s.accept()
	if !slices.Contains(p.SignIn.Open, operationOf(m)) {
		t.Errorf("sign-in names %v", p.SignIn.Open)
	}
	p.welcome()
	p.endsWith(operationOf(m), task.Failed, detailCutOff)
	doesNotComeBack(p, dir, m)
}

// OP-5: the same if the cancel came while the agent was away. It hears of it
// because it lists what it began.
func TestOP5CancelledWhileTheAgentWasKilled(t *testing.T) {
	s, dir, m := killedWhileItRuns(t, false)
	p := s.accept()
	if !slices.Contains(p.SignIn.Open, operationOf(m)) {
		t.Fatalf("sign-in names %v", p.SignIn.Open)
	}
	p.welcome()
	p.send(s.cancelOf(operationOf(m)))
	p.endsWith(operationOf(m), task.Failed, detailCutOff)
	doesNotComeBack(p, dir, m)
}

// What was cancelled while it ran goes on to its end; if the agent is stopped
// before, that is its end.
func TestOP5CancelledWhileItRuns(t *testing.T) {
	for name, stopped := range map[string]bool{"goes on": false, "stopped": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, n := newSite(t, 0), &count{wait: make(chan struct{})}
				cfg := s.config()
				cfg.Actions = []action.Description{n.kind("test.again", true)}
				dir := s.device()
				a := s.start(dir, cfg)
				m := s.order("test.again", nil)
				p := s.accept().welcome()
				p.send(m)
				p.expect(operationOf(m), task.Delivered, task.Running)
				p.send(s.cancelOf(operationOf(m)))
				settle()
				if stopped {
					halted := make(chan struct{})
					go func() {
						defer close(halted)
						a.halt()
					}()
					p.endsWith(operationOf(m), task.Failed, detailCutOff)
					<-p.bye
					<-halted
					return
				}
				close(n.wait)
				p.endsWith(operationOf(m), task.Succeeded, "done ")
				if n.n.Load() != 1 {
					t.Errorf("started %d times", n.n.Load())
				}
			})
		})
	}
}

// A cancel of what an earlier process began ends it as that, also if it waits for
// its turn to begin again.
func TestOP5CancelledBeforeItBeginsAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, n, hog := newSite(t, 0), &count{}, &count{wait: make(chan struct{})}
		once, busy := n.kind("test.again", true), hog.kind("test.busy", false)
		once.Class, busy.Class = action.Alone, action.Alone
		rec := &memoryRecord{}
		cfg := s.config()
		cfg.Record, cfg.Actions = rec, []action.Description{once, busy}
		m, running := s.order("test.again", nil), s.order("test.busy", nil)
		rec.entries = []Entry{again(m, 1, task.Running)}
		s.start(s.device(), cfg)
		p := s.accept().welcome()
		p.send(running)
		for r := p.result(); r.Operation != operationOf(running) || r.State != task.Running; {
			r = p.result()
		}
		p.send(m)
		p.expect(operationOf(m), task.Delivered)
		p.send(s.cancelOf(operationOf(m)))
		p.endsWith(operationOf(m), task.Failed, detailCutOff)
		close(hog.wait)
		p.endsWith(operationOf(running), task.Succeeded, "done ")
		settle()
		if n.n.Load() != 0 {
			t.Errorf("started %d times", n.n.Load())
		}
	})
}

// A cancel that comes when the start is on record and the action has not begun, for
// the site must be asked for its time, is not too late.
func TestOP5CancelledBetweenRecordAndStart(t *testing.T) {
	for name, mayRepeat := range map[string]bool{"once": false, "again": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, n, rec := newSite(t, 0), &count{}, &memoryRecord{}
				cfg := s.config()
				cfg.Record, cfg.Actions = rec, []action.Description{n.kind("test.kind", mayRepeat)}
				a := s.start(s.device(), cfg)
				stepped := false
				rec.step = func(bool) fault {
					if !stepped {
						stepped = true
						a.step(-2 * time.Hour)
					}
					return noFault
				}
				p := s.accept().welcome()
				settle()
				mute := func(on bool) {
					p.mu.Lock()
					defer p.mu.Unlock()
					p.mute = on
				}
				mute(true)
				m := s.order("test.kind", nil)
				p.send(m)
				p.expect(operationOf(m), task.Delivered, task.Running)
				p.send(s.cancelOf(operationOf(m)))
				settle()
				mute(false)
				if r := p.expectLater(2*time.Minute, operationOf(m), task.Refused); r.Detail != detailCancelled {
					t.Errorf("detail %q", r.Detail)
				}
				if n.n.Load() != 0 {
					t.Errorf("started %d times", n.n.Load())
				}
			})
		})
	}
}

// While the record cannot be written a cancel of what runs waits, and is on record
// when that can be.
func TestOP5CancelOfWhatRunsWithAFailingRecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, n, rec := newSite(t, 0), &count{wait: make(chan struct{})}, &memoryRecord{}
		cfg := s.config()
		cfg.Record, cfg.Actions = rec, []action.Description{n.kind("test.again", true)}
		s.start(s.device(), cfg)
		m := s.order("test.again", func(t *task.Task) { t.RunTimeout = time.Hour })
		p := s.accept().welcome()
		p.send(m)
		p.expect(operationOf(m), task.Delivered, task.Running)
		settle()
		step := func(f func(bool) fault) {
			rec.mu.Lock()
			defer rec.mu.Unlock()
			rec.step = f
		}
		step(func(bool) fault { return failsEmpty })
		p.send(s.cancelOf(operationOf(m)))
		settle()
		step(nil)
		time.Sleep(20 * time.Minute) // a keep-alive later
		settle()
		l := must(openLedger(&memoryRecord{entries: must(rec.Load())})) // as a kill would leave it
		ends := l.interrupted("")
		if len(ends) != 1 || ends[0].Result.Detail != detailCutOff {
			t.Errorf("after a kill %+v would end", ends)
		}
		close(n.wait)
		p.endsWith(operationOf(m), task.Succeeded, "done ")
	})
}
