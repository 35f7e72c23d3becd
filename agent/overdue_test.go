package agent

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// What an earlier process left without an end, and nobody sends again, comes to
// its end when its deadline has passed; what may still come does not.
func TestOverdueTasksEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, 0)
		cfg, rec := s.config(), &memoryRecord{}
		want := map[task.ID]task.State{}
		leave := func(state, end task.State, again bool, deadline time.Duration) task.ID {
			id := operationOf(s.order("test.x", nil))
			want[id] = end
			rec.entries = append(rec.entries, Entry{Reached, "test.x", s.now().Add(deadline).Add(keepAfter), again, "",
				task.Result{Operation: id, Attempt: 1, State: state, At: s.now()}})
			return id
		}
		began := s.now()
		leave(task.Delivered, task.Refused, false, -time.Second)
		leave(task.Deferred, task.Refused, false, -time.Second)
		leave(task.Running, task.Failed, true, -time.Second)
		later := leave(task.Delivered, task.Refused, true, 10*time.Minute)
		cfg.Record = rec
		s.start(s.device(), cfg)
		p := s.accept().welcome()
		for ends := 0; ends < 3; {
			r := p.result()
			if !r.State.Final() {
				continue // what was on record goes first
			}
			if ends++; r.State != want[r.Operation] || r.Detail == "" {
				t.Errorf("ended %s %q, want %s", r.State, r.Detail, want[r.Operation])
			}
		}
		p.expectLater(30*time.Minute, later, task.Refused)
		if d := s.now().Sub(began); d < 10*time.Minute {
			t.Errorf("the last one ended after %s", d)
		}
	})
}
