package agent

import (
	"fmt"
	"slices"
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

// A task that could not be recorded comes again although another one runs, for
// that may take longer than there is time.
func TestTaskIsNotLostBehindALongOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, 0)
		long, short := &count{wait: make(chan struct{})}, &count{}
		rec := &memoryRecord{}
		cfg := s.config()
		cfg.Record = rec
		cfg.Actions = []action.Description{long.kind("test.long", false), short.kind("test.short", false)}
		s.start(s.device(), cfg)
		p := s.accept().welcome()
		first, second := s.order("test.long", nil), s.order("test.short", nil)
		p.send(first)
		p.expect(operationOf(first), task.Delivered, task.Running)
		settle()
		failed := false
		rec.mu.Lock()
		rec.step = func(bool) fault {
			if failed {
				return noFault
			}
			failed = true
			return failsEmpty
		}
		rec.mu.Unlock()
		p.send(second)
		p = s.accept().welcome()
		p.send(first)
		p.send(second)
		p.expect(operationOf(second), task.Delivered, task.Running, task.Succeeded)
		close(long.wait)
		p.expect(operationOf(first), task.Succeeded)
		if long.n.Load() != 1 || short.n.Load() != 1 {
			t.Errorf("started %d and %d times", long.n.Load(), short.n.Load())
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
			rec.entries = append(rec.entries, Entry{Reached, tk.Kind, tk.DeliverBy.Add(keepAfter), tk.Kind == "test.again", "",
				task.Result{Operation: tk.Operation, Attempt: 1, State: task.Running, At: s.now()}})
		}
		cfg.Record = rec
		s.start(s.device(), cfg)
		p := s.accept()
		if open := p.SignIn.Open; len(open) != 2 || !slices.Contains(open, operationOf(m)) || !slices.Contains(open, operationOf(m2)) {
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

// What runs now is not taken for something that an earlier stop interrupted,
// however late the record of that can be written.
func TestWhatRunsIsNotInterrupted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, n := newSite(t, 0), &count{wait: make(chan struct{})}
		before, now := s.order("test.once", nil), s.order("test.once", nil)
		tk := must(before.Signed.Task())
		rec := &memoryRecord{entries: []Entry{{Reached, tk.Kind, tk.DeliverBy.Add(keepAfter), false, "",
			task.Result{Operation: tk.Operation, Attempt: 1, State: task.Running, At: s.now()}}}}
		failed := false
		rec.step = func(bool) fault {
			if failed {
				return noFault
			}
			failed = true
			return failsEmpty
		}
		cfg := s.config()
		cfg.Record = rec
		cfg.Actions = []action.Description{n.kind("test.once", false)}
		s.start(s.device(), cfg)
		p := s.accept().welcome()
		settle() // the end of the first task could not be recorded
		p.send(now)
		ends := make(map[task.ID]task.State)
		for running := false; !running; {
			r := p.result()
			running = r.Operation == operationOf(now) && r.State == task.Running
		}
		settle()
		p.drop()
		p = s.accept().welcome()
		settle()
		close(n.wait)
		for len(ends) < 2 {
			if r := p.result(); r.State.Final() {
				ends[r.Operation] = r.State
			}
		}
		if ends[operationOf(before)] != task.Failed || ends[operationOf(now)] != task.Succeeded {
			t.Errorf("interrupted one ended %s, running one %s", ends[operationOf(before)], ends[operationOf(now)])
		}
	})
}

// An end that could not be recorded at once is not left until the connection
// happens to break.
func TestInterruptedTaskIsReportedOnceTheDiskWorks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, 0)
		m := s.order("test.once", nil)
		tk := must(m.Signed.Task())
		rec := &memoryRecord{entries: []Entry{{Reached, tk.Kind, tk.DeliverBy.Add(keepAfter), false, "",
			task.Result{Operation: tk.Operation, Attempt: 1, State: task.Running, At: s.now()}}}}
		failed := false
		rec.step = func(bool) fault {
			if failed {
				return noFault
			}
			failed = true
			return failsEmpty
		}
		cfg := s.config()
		cfg.Record = rec
		s.start(s.device(), cfg)
		p := s.accept().welcome()
		p.send(m)
		p.expect(operationOf(m), task.Running)
		p.expectLater(15*time.Minute, operationOf(m), task.Failed)
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
