package agent

import (
	"encoding/json"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bugle-fleet/bugle/agent/action"
	"github.com/bugle-fleet/bugle/agent/window"
	"github.com/bugle-fleet/bugle/listener/wire"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// document is a policy as the site writes it.
type document struct {
	Version   int         `json:"version"`
	Tasks     [][]byte    `json:"tasks,omitempty"`
	Windows   window.List `json:"windows,omitempty"`
	Listeners []listener  `json:"listeners,omitempty"`
	LogFiles  []string    `json:"logFiles,omitempty"`
	Serial    int         `json:"serial,omitempty"` // makes it another one
}

// publishAll lets the listener answer with a policy that lists tasks.
func (p *peer) publishAll(d document, orders ...*taskMessage) *peer {
	d.Version = 1
	var proofs [][]byte
	for _, m := range orders {
		d.Tasks, proofs = append(d.Tasks, m.Signed), append(proofs, m.Proof)
	}
	p.publish(string(must(json.Marshal(d))))
	p.mu.Lock()
	defer p.mu.Unlock()
	p.proofs = proofs
	return p
}

// cancelOf is the site's word that an operation is cancelled.
func (s *site) cancelOf(id task.ID) *wire.Cancel {
	c := task.Cancel{Site: s.id.Site, Operation: id, At: s.now()}
	return &wire.Cancel{Signed: c.Sign(s.tasks)}
}

// hasPolicy waits until the agent asked for policy and has applied it.
func hasPolicy(t *testing.T, p *peer) {
	t.Helper()
	m := p.s.order("policy.machine", nil)
	p.send(m)
	p.expect(operationOf(m), task.Delivered, task.Running, task.Succeeded)
}

// OP-1: the deadline, from minutes before it to minutes after.
func TestOP1AgentDoesNotStartAtTheDeadline(t *testing.T) {
	for _, c := range []struct {
		after time.Duration
		want  task.State
	}{{59 * time.Minute, task.Succeeded}, {time.Hour, task.Refused}, {61 * time.Minute, task.Refused}} {
		t.Run(c.after.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, n := newSite(t, 0), &count{}
				cfg := s.config()
				cfg.Actions = []action.Description{n.kind("test.once", false)}
				m := s.order("test.once", nil)
				time.Sleep(c.after)
				s.start(s.device(), cfg)
				p := s.accept().welcome()
				p.send(m)
				r := p.result()
				for !r.State.Final() {
					r = p.result()
				}
				if r.State != c.want || n.n.Load() == 1 != (c.want == task.Succeeded) {
					t.Errorf("%s, started %d times, want %s", r.State, n.n.Load(), c.want)
				}
			})
		})
	}
}

// OP-2: the same task by policy and by channel, in either order, over a reconnect
// and a restart: it runs once.
func TestOP2TaskByChannelAndPolicyRunsOnce(t *testing.T) {
	for name, first := range map[string]string{"policy first": "policy", "channel first": "channel"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, n := newSite(t, 0), &count{}
				cfg := s.config()
				cfg.Actions = []action.Description{n.kind("test.once", false)}
				dir := s.device()
				a := s.start(dir, cfg)
				m := s.order("test.once", nil)
				id := operationOf(m)
				p := s.accept()
				if first == "channel" {
					p.welcome().send(m)
					p.expect(id, task.Delivered, task.Running, task.Succeeded)
					p.publishAll(document{}, m)
					hasPolicy(t, p)
				} else {
					p.publishAll(document{}, m).welcome()
					p.expect(id, task.Delivered, task.Running, task.Succeeded)
					p.send(m)
					p.expect(id, task.Succeeded) // answered from the record
				}
				settle()
				p.drop()
				p = s.accept().publishAll(document{Serial: 1}, m).welcome()
				p.send(m)
				p.expect(id, task.Succeeded)
				hasPolicy(t, p)
				settle()
				a.halt()
				s.start(dir, cfg)
				p = s.accept().publishAll(document{Serial: 1}, m).welcome()
				hasPolicy(t, p)
				time.Sleep(3 * time.Hour)
				if n.n.Load() != 1 {
					t.Errorf("started %d times", n.n.Load())
				}
			})
		})
	}
}

// OP-4: both clocks are hours apart; a task in policy is judged by the site's.
func TestOP4PolicyTasksAreJudgedByTheSitesTime(t *testing.T) {
	for _, skew := range []time.Duration{3 * time.Hour, -3 * time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			s, n := newSite(t, skew), &count{}
			cfg := s.config()
			cfg.Actions = []action.Description{n.kind("test.once", false)}
			good := s.order("test.once", func(t *task.Task) { t.DeliverBy = s.now().Add(time.Minute) })
			old := s.order("test.once", func(t *task.Task) {
				t.NotBefore, t.DeliverBy = s.now().Add(-time.Hour), s.now()
			})
			s.start(s.device(), cfg)
			p := s.accept().publishAll(document{}, good, old).welcome()
			ends := map[task.ID]task.State{}
			for len(ends) < 2 {
				if r := p.result(); r.State.Final() {
					ends[r.Operation] = r.State
				}
			}
			if ends[operationOf(good)] != task.Succeeded || ends[operationOf(old)] != task.Refused || n.n.Load() != 1 {
				t.Errorf("skew %s: %v, started %d times", skew, ends, n.n.Load())
			}
		})
	}
}

// OP-5: what has not begun does not begin, whatever it waits for, and no later
// copy does; what has begun goes on.
func TestOP5CancelledTaskDoesNotBegin(t *testing.T) {
	for name, c := range map[string]struct {
		kind   string
		change func(*site) func(*task.Task)
		shown  []task.State
	}{
		"waits for not-before": {"test.once", func(s *site) func(*task.Task) {
			return func(t *task.Task) { t.NotBefore = s.now().Add(10 * time.Minute) }
		}, []task.State{task.Delivered}},
		"waits for a window": {"test.intrusive", nil, []task.State{task.Delivered, task.Deferred}},
		"waits for a place":  {"test.alone", nil, []task.State{task.Delivered}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, n, hog := newSite(t, 0), &count{}, &count{wait: make(chan struct{})}
				cfg := s.config()
				once, intrusive, alone, busy := n.kind("test.once", false), n.kind("test.intrusive", false), n.kind("test.alone", false), hog.kind("test.busy", false)
				intrusive.Class, alone.Class, busy.Class = action.Intrusive, action.Alone, action.Alone
				cfg.Actions = []action.Description{once, intrusive, alone, busy}
				dir := s.device()
				a := s.start(dir, cfg)
				p := s.accept().publishAll(document{Windows: closed(s)}).welcome()
				hasPolicy(t, p)
				running := s.order("test.busy", func(t *task.Task) { t.RunTimeout = time.Hour })
				p.send(running)
				p.expect(operationOf(running), task.Delivered, task.Running)
				var change func(*task.Task)
				if c.change != nil {
					change = c.change(s)
				}
				m := s.order(c.kind, change)
				id := operationOf(m)
				p.send(m)
				p.expect(id, c.shown...)
				p.send(s.cancelOf(id))
				if r := p.expect(id, task.Refused); r.Detail != detailCancelled {
					t.Errorf("detail %q", r.Detail)
				}
				p.send(s.cancelOf(operationOf(running))) // too late
				settle()
				p.send(m) // a late copy
				p.expect(id, task.Refused)
				p.publishAll(document{Serial: 2}, m) // and one in policy, with windows open
				hasPolicy(t, p)
				close(hog.wait)
				p.expect(operationOf(running), task.Succeeded)
				settle()
				a.halt()

				s.start(dir, cfg) // and after a restart
				p = s.accept().welcome()
				p.send(m)
				p.expect(id, task.Refused)
				time.Sleep(50 * time.Minute)
				if n.n.Load() != 0 || hog.n.Load() != 1 {
					t.Errorf("the cancelled task started %d times, the one that ran %d", n.n.Load(), hog.n.Load())
				}
			})
		})
	}
}

// closed are windows of which none is open for a day.
func closed(s *site) window.List {
	return window.List{{Name: "later", Enabled: true, Kind: window.General, UTC: true,
		Start: s.now().Add(24 * time.Hour).Truncate(time.Minute), Length: 3 * time.Hour}}
}

// A cancel that comes before its task, and one that is not the site's.
func TestOP5CancelBeforeTheTask(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, n := newSite(t, 0), &count{}
		cfg := s.config()
		cfg.Actions = []action.Description{n.kind("test.once", false)}
		dir := s.device()
		a := s.start(dir, cfg)
		p := s.accept().welcome()
		m, other := s.order("test.once", nil), s.order("test.once", func(t *task.Task) { t.NotBefore = s.now().Add(time.Minute) })
		p.send(s.cancelOf(operationOf(m)))
		p.expect(operationOf(m), task.Refused)
		forged := newSite(t, 0).cancelOf(operationOf(other))
		p.send(other)
		p.expect(operationOf(other), task.Delivered)
		p.send(forged)
		p.send(&wire.Cancel{Signed: []byte("no cancel at all")})
		p.expectLater(2*time.Minute, operationOf(other), task.Running, task.Succeeded)
		settle()
		a.halt()
		s.start(dir, cfg)
		p = s.accept().welcome()
		time.Sleep(25 * time.Hour)
		p.send(s.order("test.once", nil)) // makes the record forget what it may
		settle()
		p.send(m)
		settle()
		if n.n.Load() != 2 {
			t.Errorf("%d tasks started, 2 were not cancelled", n.n.Load())
		}
	})
}

// A record that cannot be written: the cancelled task is held back all the same,
// and the cancel is on record once that can be.
func TestOP5CancelWithAFailingRecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, n, rec := newSite(t, 0), &count{}, &memoryRecord{}
		cfg := s.config()
		cfg.Record = rec
		cfg.Actions = []action.Description{n.kind("test.once", false)}
		dir := s.device()
		a := s.start(dir, cfg)
		p := s.accept().welcome()
		m := s.order("test.once", func(t *task.Task) { t.NotBefore = s.now().Add(time.Minute) })
		p.send(m)
		p.expect(operationOf(m), task.Delivered)
		settle()
		rec.mu.Lock()
		rec.step = func(bool) fault { return failsEmpty }
		rec.mu.Unlock()
		p.send(s.cancelOf(operationOf(m)))
		settle()
		rec.mu.Lock()
		rec.step = nil
		rec.mu.Unlock()
		p.send(m)
		time.Sleep(20 * time.Minute) // a keep-alive later
		settle()
		p.expect(operationOf(m), task.Refused)
		a.halt()
		s.start(dir, cfg)
		p = s.accept().welcome()
		p.send(m)
		p.expect(operationOf(m), task.Refused)
		if n.n.Load() != 0 {
			t.Errorf("started %d times", n.n.Load())
		}
	})
}

// OP-6: what policy lists and is not genuine is refused, reported, and not run.
func TestOP6ForgedTasksInPolicy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, n := newSite(t, 0), &count{}
		cfg := s.config()
		cfg.Actions = []action.Description{n.kind("test.once", false)}
		s.start(s.device(), cfg)
		good := s.order("test.once", nil)
		foreign := newSite(t, 0).order("test.once", nil)
		others := s.orderFor("test.once", 301)
		changed := s.order("test.once", nil)
		changed.Signed = append(task.Signed(nil), changed.Signed...)
		changed.Signed[len(changed.Signed)-1] ^= 1
		p := s.accept().publishAll(document{}, foreign, others, changed, good).welcome()
		ends := map[task.ID]task.State{}
		for len(ends) < 4 {
			if r := p.result(); r.State.Final() {
				ends[r.Operation] = r.State
			}
		}
		for _, m := range []*taskMessage{foreign, others, changed} {
			if got := ends[operationOf(m)]; got != task.Refused {
				t.Errorf("a forged task is %s", got)
			}
		}
		if ends[operationOf(good)] != task.Succeeded || n.n.Load() != 1 {
			t.Errorf("the genuine one is %s, %d were started", ends[operationOf(good)], n.n.Load())
		}
		// Proofs of another number of tasks, or of another policy, are none.
		p.publishAll(document{Serial: 3}, s.order("test.once", nil))
		p.mu.Lock()
		p.proofs = nil
		p.mu.Unlock()
		hasPolicy(t, p)
		settle()
		if n.n.Load() != 1 {
			t.Error("a task without a proof was started")
		}
	})
}
