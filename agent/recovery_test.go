package agent

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bugle-fleet/bugle/agent/action"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// A process that dies, or a disk that fails, at any step: the task starts once
// at most, and its end is reported.
func TestFaultAtEveryStep(t *testing.T) {
	for _, f := range []fault{failsEmpty, failsStored, failsHalf} {
		for k := 1; ; k++ {
			hit := false
			t.Run(fmt.Sprintf("fault %d at step %d", f, k), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { hit = faultAt(t, f, k) })
			})
			if !hit {
				if k < 3 {
					t.Errorf("fault %d was never met", f)
				}
				break
			}
		}
	}
}

// faultAt lets the k-th write to the record fail, then the process end, and
// tells whether there was a k-th.
func faultAt(t *testing.T, f fault, k int) (hit bool) {
	s, n := newSite(t, 0), &count{}
	rec := &memoryRecord{}
	steps := 0
	rec.step = func(bool) fault {
		if steps++; steps < k {
			return noFault
		}
		hit = true
		if steps == k {
			return f
		}
		return failsEmpty // what is dead writes no more
	}
	cfg := s.config()
	cfg.Record = rec
	cfg.Actions = []action.Description{n.kind("test.once", false)}
	dir := s.device()
	a := s.start(dir, cfg)
	m := s.order("test.once", nil)
	id := operationOf(m)
	p := s.accept().welcome()
	p.send(m)
	settle()
	p.drop()
	rec.mu.Lock()
	before := steps >= k
	rec.mu.Unlock()
	if !before {
		time.Sleep(time.Minute)
	}
	a.stop()
	a.stop = nil
	<-a.done
	a.Close()

	rec.mu.Lock()
	rec.step = nil
	rec.mu.Unlock()
	s.start(dir, cfg)
	for len(s.conns) > 0 { // of the one that is gone
		(<-s.conns).Close()
	}
	p = s.accept().welcome()
	p.send(m)
	r := p.result()
	for !r.State.Final() {
		r = p.result()
	}
	settle()
	if r.Operation != id || (r.State != task.Succeeded && r.Detail != detailInterrupted) {
		t.Errorf("ended %s %q", r.State, r.Detail)
	}
	if started := n.n.Load(); started > 1 || r.State == task.Succeeded && started != 1 {
		t.Errorf("started %d times, and %s", started, r.State)
	}
	return hit
}

// A disk that is full for a while: nothing runs that is not on record, and the
// agent goes on by itself.
func TestRecordThatFailsForAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, n := newSite(t, 0), &count{}
		rec := &memoryRecord{}
		full := true
		rec.step = func(bool) fault {
			if full {
				return failsHalf
			}
			return noFault
		}
		cfg := s.config()
		cfg.Record = rec
		cfg.Actions = []action.Description{n.kind("test.once", false)}
		s.start(s.device(), cfg)
		m := s.order("test.once", nil)
		p := s.accept().welcome()
		p.send(m)
		settle()
		if len(p.results) > 0 || n.n.Load() > 0 {
			t.Fatal("something happened that is not on record")
		}
		p = s.accept().welcome() // it comes again by itself
		p.send(m)
		settle()
		rec.mu.Lock()
		full = false
		rec.mu.Unlock()
		p = s.accept().welcome()
		p.send(m)
		p.expect(operationOf(m), task.Delivered, task.Running, task.Succeeded)
		if n.n.Load() != 1 {
			t.Errorf("started %d times", n.n.Load())
		}
	})
}

func TestInterruptedTasks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, 0)
		once, again := &count{}, &count{}
		cfg := s.config()
		cfg.Actions = []action.Description{once.kind("test.once", false), again.kind("test.again", true)}
		m, m2 := s.order("test.once", nil), s.order("test.again", nil)
		rec := &memoryRecord{}
		for _, m := range []*taskMessage{m, m2} {
			tk := must(m.Signed.Task())
			rec.entries = append(rec.entries, Entry{Reached, tk.Kind, tk.DeliverBy.Add(keepAfter), tk.Kind == "test.again",
				task.Result{Operation: tk.Operation, Attempt: 1, State: task.Running, At: s.now()}})
		}
		cfg.Record = rec
		s.start(s.device(), cfg)
		p := s.accept()
		if len(p.SignIn.Open) != 1 || p.SignIn.Open[0] != operationOf(m) {
			t.Errorf("sign-in names %v", p.SignIn.Open)
		}
		p.welcome()
		p.send(m)
		p.send(m2)
		var ends []task.State
		for len(ends) < 2 {
			switch r := p.result(); {
			case r.Operation == operationOf(m) && r.State.Final():
				if r.State != task.Failed || r.Detail != detailInterrupted {
					t.Errorf("ended %s %q", r.State, r.Detail)
				}
				ends = append(ends, r.State)
			case r.Operation == operationOf(m2) && r.State.Final():
				if r.State != task.Succeeded || r.Attempt != 2 {
					t.Errorf("ended %s at attempt %d", r.State, r.Attempt)
				}
				ends = append(ends, r.State)
			}
		}
		settle()
		if once.n.Load() != 0 || again.n.Load() != 1 {
			t.Errorf("started %d and %d times", once.n.Load(), again.n.Load())
		}
	})
}

func TestStopEndsWhatRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, n := newSite(t, 0), &count{wait: make(chan struct{})}
		cfg := s.config()
		cfg.Actions = []action.Description{n.kind("test.once", false)}
		a := s.start(s.device(), cfg)
		p := s.accept().welcome()
		m := s.order("test.once", nil)
		p.send(m)
		p.expect(operationOf(m), task.Delivered, task.Running)
		halted := make(chan struct{})
		go func() {
			defer close(halted)
			a.halt()
		}()
		if r := p.expect(operationOf(m), task.Failed); r.Detail != detailInterrupted {
			t.Errorf("detail %q", r.Detail)
		}
		<-p.bye // and it says goodbye, after that
		<-halted
	})
}
