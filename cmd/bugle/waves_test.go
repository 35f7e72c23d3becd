package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/bugle-fleet/bugle/console"
)

// TestPushInWaves has waves follow each other through a kill of the site, in real
// processes, and then everything that ends an operation before its time.
func TestPushInWaves(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const agents = 4
	for i := range agents {
		w.agent(fmt.Sprint("pc", i+1))
	}
	w.until("all agents are online", func() bool { return w.online() == agents })

	var pushed console.PushReply
	w.object(&pushed, "push", "policy.machine", "--all", "--yes", "--wave", "1,25%", "--priority", "1")
	if pushed.Plan == nil || len(pushed.Plan.Waves) != 3 || pushed.Plan.Waves[2].Devices != 2 || pushed.Priority != 1 {
		t.Errorf("the push answered %+v", pushed)
	}
	w.until("the first wave is released", func() bool { return w.show(pushed.Operation).Released > 0 })
	w.site.kill()
	w.serve()
	w.until("all succeeded, wave by wave", func() bool { return w.show(pushed.Operation).States["succeeded"] == agents })
	var o console.OperationReply
	w.object(&o, "ops", "show", pushed.Operation)
	if len(o.Pacing.Waves) != 3 || o.Held != 0 {
		t.Fatalf("waves are %+v, %d held", o.Pacing, o.Held)
	}
	for i, v := range o.Pacing.Waves {
		if v.Devices != []uint32{1, 1, 2}[i] || v.Ended != v.Devices || v.Event == 0 {
			t.Errorf("wave %+v", v)
		}
	}
	out := w.text("trace", pushed.Operation)
	if n := strings.Count(out, "released"); n != 3 {
		t.Errorf("the trace tells of %d waves:\n%s", n, out)
	}
	w.cancelled(t, agents)
}

// cancelled is OP-5 while nobody has begun, and what the retry of it makes.
func (w *world) cancelled(t *testing.T, agents uint32) {
	t.Helper()
	var held console.PushReply
	w.object(&held, "push", "policy.machine", "--all", "--yes", "--not-before", "1h", "--deliver-by", "7d")
	var c console.CancelReply
	w.object(&c, "ops", "cancel", held.Operation, "--reason", "mistake")
	if c.Spared == nil || *c.Spared != agents || *c.Running != 0 || *c.Ended != 0 {
		t.Errorf("the cancel answered %+v", c)
	}
	var again console.PushReply
	w.object(&again, "ops", "retry", held.Operation, "--only", "cancelled", "--deliver-by", "1h")
	if again.Targets != agents || again.RetryOf != held.Operation || !strings.HasPrefix(again.Target, "cancelled of operation") {
		t.Errorf("the retry answered %+v", again)
	}
	w.until("the retry succeeded", func() bool { return w.show(again.Operation).States["succeeded"] == int(agents) })
	if s := w.show(held.Operation).States; s["cancelled"] != int(agents) {
		t.Errorf("the cancelled operation is at %v", s)
	}
	var steps []string
	var trace console.TraceReply
	w.object(&trace, "trace", held.Operation)
	for _, s := range trace.Steps {
		steps = append(steps, s.What)
	}
	if !slices.Contains(steps, "cancelled") || slices.Contains(steps, "sent") {
		t.Errorf("the cancelled operation went through %v", steps)
	}
}
