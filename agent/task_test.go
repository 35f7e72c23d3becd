package agent

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bugle-fleet/bugle/agent/action"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// count is an action that counts its starts.
type count struct {
	n    atomic.Int32
	wait chan struct{} // nil: ends at once
}

func (c *count) Run(ctx context.Context, req action.Request) action.Outcome {
	c.n.Add(1)
	if c.wait != nil {
		select {
		case <-c.wait:
		case <-ctx.Done():
			return action.Outcome{State: task.Failed, Detail: "cut"}
		}
	}
	return action.Outcome{State: task.Succeeded, Detail: "done " + string(req.Params)}
}

func (c *count) kind(name string, again bool) action.Description {
	return action.Description{Kind: name, AtLeastOnce: again, Action: c}
}

func TestTaskRunsOnceAndIsAnsweredFromTheRecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, c := newSite(t, 0), &count{}
		cfg := s.config()
		cfg.Actions = []action.Description{c.kind("test.once", false)}
		dir := s.device()
		a := s.start(dir, cfg)
		m := s.order("test.once", nil)
		id := operationOf(m)

		p := s.accept().welcome()
		p.send(m)
		p.expect(id, task.Delivered, task.Running, task.Succeeded)
		settle()  // else it may be in hand still, and is not answered again
		p.send(m) // twice on one connection
		p.expect(id, task.Succeeded)
		p.drop()

		p = s.accept().welcome() // again after a reconnect
		p.send(m)
		p.expect(id, task.Succeeded)
		synctest.Wait()
		a.halt()

		s.start(dir, cfg) // and after a restart
		p = s.accept().welcome()
		p.send(m)
		if r := p.expect(id, task.Succeeded); r.Detail != "done " {
			t.Errorf("detail %q", r.Detail)
		}
		synctest.Wait()
		if n := c.n.Load(); n != 1 {
			t.Errorf("started %d times", n)
		}
		p.drop()
		time.Sleep(time.Second)
	})
}

// settle lets everything that is under way in the bubble come to rest.
func settle() { synctest.Wait() }

func TestDeadlineIsJudgedByTheSitesTime(t *testing.T) {
	// The machine's clock is wrong by three hours, either way.
	for _, skew := range []time.Duration{0, 3 * time.Hour, -3 * time.Hour} {
		for _, c := range []struct {
			name string
			left time.Duration // from the moment the task comes to its deadline
			want task.State
		}{
			{"before", time.Nanosecond, task.Succeeded},
			{"exactly at", 0, task.Refused},
			{"after", -time.Nanosecond, task.Refused},
		} {
			t.Run(c.name+" the deadline, site ahead by "+skew.String(), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s, n := newSite(t, skew), &count{}
					cfg := s.config()
					cfg.Actions = []action.Description{n.kind("test.once", false)}
					s.start(s.device(), cfg)
					p := s.accept().welcome()
					m := s.order("test.once", func(t *task.Task) {
						t.NotBefore = s.now().Add(-time.Hour)
						t.DeliverBy = s.now().Add(time.Minute + c.left)
					})
					time.Sleep(time.Minute)
					p.send(m)
					r := p.result()
					for !r.State.Final() {
						r = p.result()
					}
					if r.State != c.want {
						t.Errorf("state %s %q, want %s", r.State, r.Detail, c.want)
					}
					if r.State == task.Refused && r.Detail != "deadline has passed" {
						t.Errorf("detail %q", r.Detail)
					}
					if ran := n.n.Load() == 1; ran != (c.want == task.Succeeded) {
						t.Errorf("ran: %v", ran)
					}
					if d := r.At.Sub(s.now()); d != 0 {
						t.Errorf("result is stamped %s off the site's time", d)
					}
				})
			})
		}
	}
}

func TestNothingRunsWithoutTheSitesTime(t *testing.T) {
	for name, upset := range map[string]func(a *Agent){
		"no beacon for 90 s":          func(a *Agent) { time.Sleep(freshFor) },
		"the wall clock has been set": func(a *Agent) { a.step(time.Hour) },
		"and set back":                func(a *Agent) { a.step(-time.Hour) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, n := newSite(t, 0), &count{}
				cfg := s.config()
				cfg.Actions = []action.Description{n.kind("test.once", false)}
				a := s.start(s.device(), cfg)
				p := s.accept().welcome()
				settle()
				upset(a.Agent)
				p.mu.Lock()
				p.mute = true
				p.mu.Unlock()
				m := s.order("test.once", nil)
				p.send(m)
				p.expect(operationOf(m), task.Delivered)
				settle()
				if n.n.Load() != 0 {
					t.Fatal("started without a fresh time")
				}
				p.mu.Lock()
				p.mute = false
				p.mu.Unlock()
				p.expectLater(2*time.Minute, operationOf(m), task.Running, task.Succeeded) // it asks again
			})
		})
	}
}

// step lets the wall clock part from the monotonic clock by d.
func (a *Agent) step(d time.Duration) {
	a.clock.mu.Lock()
	defer a.clock.mu.Unlock()
	a.clock.at.Wall = a.clock.at.Wall.Add(d)
}

// A machine that sleeps while the start is being recorded asks for the time
// again: its monotonic clock did not count the sleep.
func TestSleepWhileTheStartIsRecorded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, n := newSite(t, 0), &count{}
		rec := &memoryRecord{}
		cfg := s.config()
		cfg.Record = rec
		cfg.Actions = []action.Description{n.kind("test.once", false)}
		a := s.start(s.device(), cfg)
		slept := false
		rec.step = func(bool) fault {
			if !slept {
				slept = true
				s.skew += 2 * time.Hour
				a.step(-2 * time.Hour)
			}
			return noFault
		}
		p := s.accept().welcome()
		settle()
		m := s.order("test.once", nil)
		p.send(m)
		p.expect(operationOf(m), task.Delivered, task.Running, task.Refused)
		if !slept || n.n.Load() != 0 {
			t.Errorf("slept %t, and started %d times after the deadline", slept, n.n.Load())
		}
	})
}

// A beacon without the agent's nonce, old and replayed by a listener that was
// taken over, does not bring a task back to life.
func TestReplayedBeaconDoesNotReviveATask(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, n := newSite(t, 0), &count{}
		cfg := s.config()
		cfg.Actions = []action.Description{n.kind("test.once", false)}
		m := s.order("test.once", nil)
		old := s.beacon([16]byte{})
		time.Sleep(2 * time.Hour)
		s.start(s.device(), cfg)
		p := s.accept()
		p.mute = true
		p.welcomeWith(welcomeOf(old))
		p.send(m)
		p.expect(operationOf(m), task.Delivered)
		p.send(&ackBeacon{Beacon: old})
		settle()
		if n.n.Load() != 0 {
			t.Fatal("an expired task was started")
		}
		p.mu.Lock()
		p.mute = false
		p.mu.Unlock()
		p.expectLater(2*time.Minute, operationOf(m), task.Refused)
		if n.n.Load() != 0 {
			t.Error("an expired task was started")
		}
	})
}

func TestForgedTasksAreRefusedReportedAndNotRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, n := newSite(t, 0), &count{}
		cfg := s.config()
		cfg.Actions = []action.Description{n.kind("test.once", false)}
		var refused atomic.Int32
		cfg.OnEvent = func(e Event) {
			if e.What == TaskRefused {
				refused.Add(1)
			}
		}
		s.start(s.device(), cfg)
		p := s.accept().welcome()

		other := newSite(t, 0)
		forged := map[string]*taskMessage{"signed by another key": other.order("test.once", nil)}
		foreign := newSite(t, 0)
		foreign.tasks = s.tasks
		foreign.id.Site = "P02"
		forged["of another site"] = foreign.order("test.once", nil)
		forged["for another device"] = s.orderFor("test.once", 301)
		cut := s.order("test.once", nil)
		cut.Proof = cut.Proof[:31]
		forged["with a cut proof"] = cut
		wrong := s.order("test.once", nil)
		wrong.Proof[32] ^= 1
		forged["with a changed proof"] = wrong
		sent := int32(0)
		for name, m := range forged {
			p.send(m)
			sent++
			r := p.expect(operationOf(m), task.Refused)
			if r.Detail == "" {
				t.Errorf("%s: refused without a reason", name)
			}
		}
		// One byte changed, wherever: nobody may read it, or it is refused.
		good := s.order("test.once", nil)
		for i := range good.Signed {
			m := &taskMessage{Signed: append(task.Signed(nil), good.Signed...), Proof: good.Proof}
			m.Signed[i] ^= 0x01
			p.send(m)
			sent++
			settle()
		}
		for len(p.results) > 0 {
			if r := p.result(); r.State != task.Refused {
				t.Errorf("changed task is %s", r.State)
			}
		}
		if refused.Load() != sent {
			t.Errorf("%d refusals of %d forged tasks", refused.Load(), sent)
		}
		// None of that spoils the real one.
		p.send(good)
		p.expect(operationOf(good), task.Delivered, task.Running, task.Succeeded)
		if n.n.Load() != 1 {
			t.Errorf("%d tasks were run, one was genuine", n.n.Load())
		}
		bad := &taskMessage{Signed: append(task.Signed(nil), good.Signed...), Proof: good.Proof}
		bad.Signed[len(bad.Signed)-1] ^= 1
		p.send(bad)
		settle()
		if len(p.results) != 0 {
			t.Errorf("a forgery changed what is reported of a real task: %+v", p.result())
		}
	})
}

func TestResultsAreSentUntilTheyAreAcknowledged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, n := newSite(t, 0), &count{}
		cfg := s.config()
		cfg.Actions = []action.Description{n.kind("test.once", false)}
		dir := s.device()
		a := s.start(dir, cfg)
		m := s.order("test.once", nil)
		id := operationOf(m)
		p := s.accept()
		p.acks = false
		p.welcome().send(m)
		p.expect(id, task.Delivered, task.Running, task.Succeeded)
		// On the same connection after a while, with the next keep-alive.
		p.expectLater(15*time.Minute, id, task.Delivered, task.Running, task.Succeeded)
		p.drop()

		p = s.accept() // on the next connection, but what was acknowledged
		p.acks = false
		if p.SignIn.Pending != 3 {
			t.Errorf("sign-in tells of %d results, 3 wait", p.SignIn.Pending)
		}
		p.welcome()
		r := p.expect(id, task.Delivered)
		p.send(ackOf(r))
		p.expect(id, task.Running, task.Succeeded)
		settle()
		a.halt()

		s.start(dir, cfg) // and after a restart
		p = s.accept().welcome()
		p.expect(id, task.Running, task.Succeeded)
		settle()
		p.drop()
		if p = s.accept(); p.SignIn.Pending != 0 {
			t.Errorf("sign-in tells of %d results, none waits", p.SignIn.Pending)
		}
		p.welcome()
		settle()
		if len(p.results) != 0 {
			t.Error("an acknowledged result was sent again")
		}
	})
}

func TestUnknownKindDoesNotApply(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, 0)
		s.start(s.device(), s.config())
		p := s.accept().welcome()
		m := s.order("coffee.brew", nil)
		p.send(m)
		if r := p.expect(operationOf(m), task.NotApplicable); r.Detail != "this agent does not know coffee.brew" {
			t.Errorf("detail %q", r.Detail)
		}
	})
}

func TestNotBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, n := newSite(t, 3*time.Hour), &count{}
		cfg := s.config()
		cfg.Actions = []action.Description{n.kind("test.once", false)}
		s.start(s.device(), cfg)
		p := s.accept().welcome()
		m := s.order("test.once", func(t *task.Task) { t.NotBefore = s.now().Add(10 * time.Minute) })
		p.send(m)
		p.expect(operationOf(m), task.Delivered)
		time.Sleep(10*time.Minute - time.Second)
		settle()
		if n.n.Load() != 0 {
			t.Fatal("started before its time")
		}
		r := p.expect(operationOf(m), task.Running)
		if want := must(m.Signed.Task()).NotBefore; r.At.Before(want) || r.At.After(want.Add(time.Second)) {
			t.Errorf("started at %s, not before %s", r.At, want)
		}
	})
}

func TestTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, n := newSite(t, 0), &count{wait: make(chan struct{})}
		cfg := s.config()
		cfg.Actions = []action.Description{n.kind("test.once", false)}
		s.start(s.device(), cfg)
		p := s.accept().welcome()
		m := s.order("test.once", func(t *task.Task) { t.RunTimeout = 7 * time.Minute })
		p.send(m)
		begun := p.expect(operationOf(m), task.Delivered, task.Running)
		r := p.expectLater(8*time.Minute, operationOf(m), task.TimedOut)
		if d := r.At.Sub(begun.At); d != 7*time.Minute {
			t.Errorf("ended after %s", d)
		}
	})
}

func TestFewTasksRunAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, 0)
		beside, alone := &count{wait: make(chan struct{})}, &count{wait: make(chan struct{})}
		cfg := s.config()
		cfg.Workers = 3
		heavy := alone.kind("test.alone", false)
		heavy.Class = action.Alone
		cfg.Actions = []action.Description{beside.kind("test.beside", false), heavy}
		s.start(s.device(), cfg)
		p := s.accept().welcome()
		const each = 20
		for range each {
			p.send(s.order("test.alone", nil))
		}
		settle()
		for range each {
			p.send(s.order("test.beside", nil))
		}
		settle()
		if a, b := alone.n.Load(), beside.n.Load(); a != 1 || b != 2 {
			t.Errorf("%d of the class that runs alone and %d others run, want 1 and 2", a, b)
		}
		close(alone.wait)
		close(beside.wait)
		final := 0
		for final < 2*each {
			if p.result().State == task.Succeeded {
				final++
			}
		}
		if a, b := alone.n.Load(), beside.n.Load(); a != each || b != each {
			t.Errorf("%d and %d were started, want %d each", a, b, each)
		}
	})
}

// Of more tasks than an agent holds at once, the others come with the next
// sign-in, which it makes by itself.
func TestMoreTasksThanFit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, n := newSite(t, 0), &count{wait: make(chan struct{})}
		cfg := s.config()
		cfg.Actions = []action.Description{n.kind("test.once", false)}
		cfg.Record = &memoryRecord{}
		s.start(s.device(), cfg)
		orders := make([]*taskMessage, maxHeld+10)
		for i := range orders {
			orders[i] = s.order("test.once", func(t *task.Task) { t.RunTimeout = time.Hour })
		}
		p := s.accept().welcome()
		for _, m := range orders {
			p.send(m)
		}
		settle()
		close(n.wait)
		p = s.accept().welcome()
		for _, m := range orders {
			p.send(m)
		}
		settle()
		if got := n.n.Load(); got != int32(len(orders)) {
			t.Errorf("%d tasks were started of %d", got, len(orders))
		}
	})
}

func TestTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, n := newSite(t, 0), &count{}
		turn := make(chan struct{})
		released := false
		cfg := s.config()
		cfg.Actions = []action.Description{n.kind("test.once", false)}
		cfg.Turn = func(ctx context.Context) func() {
			<-turn
			return func() { released = true }
		}
		s.start(s.device(), cfg)
		p := s.accept().welcome()
		m := s.order("test.once", nil)
		p.send(m)
		p.expect(operationOf(m), task.Delivered, task.Running)
		settle()
		if n.n.Load() != 0 {
			t.Fatal("did not wait for its turn")
		}
		close(turn)
		p.expect(operationOf(m), task.Succeeded)
		settle()
		if !released {
			t.Error("its turn was not given back")
		}
	})
}
