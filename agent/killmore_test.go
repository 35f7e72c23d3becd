package agent

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// final waits for the end of one operation.
func (p *peer) final(id task.ID) *task.State {
	p.s.t.Helper()
	for {
		if r := p.result(); r.Operation == id && r.State.Final() {
			return &r.State
		}
	}
}

// A cancel that the agent answered is on disk: killed right then, it does not run
// the task when it comes again, by whatever way.
func TestKilledAfterACancel(t *testing.T) {
	s := newSite(t, 0)
	dir := s.device(s.listen())
	kill := s.spawn(dir)
	m := s.order("test.once", func(t *task.Task) { t.NotBefore = s.now().Add(2 * time.Second) })
	id := operationOf(m)
	p := s.accept()
	p.acks = false
	p.welcome().send(m)
	p.expect(id, task.Delivered)
	p.send(s.cancelOf(id))
	p.expect(id, task.Refused)
	kill()
	s.spawn(dir)
	p = s.accept().publishAll(document{}, m).welcome()
	p.send(m)
	p.expect(id, task.Delivered, task.Refused)
	late := s.order("test.once", func(t *task.Task) { t.NotBefore = must(m.Signed.Task()).NotBefore.Add(time.Second) })
	p.send(late) // ends after the cancelled one would have begun
	if got := *p.final(operationOf(late)); got != task.Succeeded {
		t.Errorf("the next task is %s", got)
	}
	if n := runs(dir); n != 1 {
		t.Errorf("%d tasks ran, one was not cancelled", n)
	}
}

// Killed at any moment after a task and its cancel were sent: it ran once and
// said so, or it never runs. So it is with what may start again.
func TestKilledAroundACancel(t *testing.T) {
	seed := rand.Uint64()
	rng := rand.New(rand.NewPCG(seed, 1))
	ends := map[task.State]int{}
	for i := range 12 {
		kind := []string{"test.once", "test.again"}[i%2]
		s := newSite(t, 0)
		dir := s.device(s.listen())
		kill := s.spawn(dir)
		m := s.order(kind, nil)
		id := operationOf(m)
		p := s.accept().welcome()
		p.send(m)
		time.Sleep(time.Duration(rng.Int64N(int64(3 * time.Millisecond)))) // how far it comes is left to chance
		p.send(s.cancelOf(id))
		time.Sleep(time.Duration(rng.Int64N(int64(4 * time.Millisecond))))
		kill()
		before := runs(dir)
		s.spawn(dir)
		p = s.accept()
		if kind == "test.once" { // the other would start again before it hears of the cancel
			p.publishAll(document{}, m)
		}
		p.welcome()
		p.send(s.cancelOf(id)) // as the listener does
		p.send(m)
		end := *p.final(id)
		ends[end]++
		after := runs(dir)
		if after > 1 || after > before || end == task.Refused && after != 0 || end == task.Succeeded && after != 1 {
			t.Errorf("seed %d: %s ran %d times before the kill and %d in all, ended %s", seed, kind, before, after, end)
		}
	}
	t.Logf("seed %d: ended %v", seed, ends)
}

// Killed at any moment while a task comes by policy: with and without it from the
// channel it runs once at most, and its end is told.
func TestKilledWithATaskInPolicy(t *testing.T) {
	seed := rand.Uint64()
	rng := rand.New(rand.NewPCG(seed, 2))
	ends := map[task.State]int{}
	for range 6 {
		s := newSite(t, 0)
		dir := s.device(s.listen())
		kill := s.spawn(dir)
		m := s.order("test.once", nil)
		id := operationOf(m)
		s.accept().publishAll(document{}, m).welcome()
		time.Sleep(time.Duration(rng.Int64N(int64(25 * time.Millisecond)))) // how far it comes is left to chance
		kill()
		before := runs(dir)
		s.spawn(dir)
		p := s.accept().publishAll(document{Serial: 1}, m).welcome()
		if rng.IntN(2) == 0 {
			p.send(m)
		}
		end := *p.final(id)
		ends[end]++
		if after := runs(dir); after > 1 || end == task.Succeeded && after != 1 {
			t.Errorf("seed %d: ran %d times before the kill and %d in all, ended %s", seed, before, after, end)
		}
	}
	t.Logf("seed %d: ended %v", seed, ends)
}
