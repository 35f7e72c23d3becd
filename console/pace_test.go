package console_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bugle-fleet/bugle/console"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/listener/wire/task"
	"github.com/bugle-fleet/bugle/projectors/operation"
)

// many adds n devices, every other one online.
func (r *rig) many(n int) {
	for i := range n {
		r.add(uint32(i+1), fmt.Sprintf("pc-%d", i+1), i%2 == 0)
	}
}

func TestPushInWaves(t *testing.T) {
	r := newRig(t)
	r.many(200)
	body := console.PushRequest{Kind: "scan.quick", All: true, DeliverBySeconds: 4 * 3600,
		Pace: console.Pace{Priority: 3, Waves: []string{"5%", "50"}, SpreadSeconds: 60, Rate: 10, StopOnFailure: 20}}
	var dry, got, again console.PushReply
	rehearse := body
	rehearse.DryRun = true
	r.do("POST", console.PathOperations, rehearse).ok(&dry)
	r.do("POST", console.PathOperations, body, key, "w").ok(&got)
	p := r.last().Payload.(*event.OperationRequested)
	if p.Priority != 3 || p.Durable || fmt.Sprint(p.Pacing) != fmt.Sprint(event.Pacing{Waves: []uint32{10, 50}, Spread: time.Minute, Rate: 10, StopOnFailure: 20}) {
		t.Errorf("event says %+v", p)
	}
	after := func(m int) time.Time { return start.Add(time.Duration(m) * time.Minute) }
	want := &console.Plan{Earliest: after(3), Latest: after(3 + 2*65), Waves: []console.PlannedWave{
		{Wave: 1, Devices: 10, SpreadSeconds: 60, Earliest: start, Latest: start},
		{Wave: 2, Devices: 50, SpreadSeconds: 60, Earliest: after(1), Latest: after(66)},
		{Wave: 3, Devices: 140, SpreadSeconds: 60, Earliest: after(2), Latest: after(2 * 66)},
	}}
	if d := cmp.Diff(want, got.Plan); d != "" || len(got.Warnings) > 0 || got.Priority != 3 || got.Durable {
		t.Errorf("%s, answer %+v", d, got)
	}
	if d := cmp.Diff(want, dry.Plan); d != "" {
		t.Error(d)
	}
	if r.do("POST", console.PathOperations, body, key, "w").ok(&again); cmp.Diff(got, again) != "" {
		t.Errorf("again: %+v", again)
	}
}

func TestPushThatMayNotFit(t *testing.T) {
	r := newRig(t)
	r.many(200)
	push := func(p console.Pace) *reply {
		return r.do("POST", console.PathOperations, console.PushRequest{Kind: "scan.quick", All: true, Pace: p})
	}
	head := r.journal.Head()
	for _, c := range []struct {
		pace  console.Pace
		words []string
	}{
		{console.Pace{Waves: []string{"10%"}, SpreadSeconds: 1800}, []string{"2 waves", "200 devices", "1h0m0s"}},
		{console.Pace{SpreadSeconds: 7200}, []string{"one wave", "2h0m0s"}},
		{console.Pace{Waves: []string{"10%", "all"}}, []string{`"all"`, "5%"}},
		{console.Pace{Waves: []string{"0"}}, []string{"waves"}},
		{console.Pace{Priority: 4}, []string{"priority"}},
		{console.Pace{StopOnFailure: 100}, []string{"stopOnFailure"}},
		{console.Pace{SpreadSeconds: -1}, []string{"spreadSeconds"}},
		{console.Pace{Waves: slices.Repeat([]string{"1"}, 65)}, []string{"waves"}},
	} {
		push(c.pace).problem(422, c.words...)
	}
	if r.journal.Head() != head {
		t.Error("a refused push is an event")
	}
	var got console.PushReply
	push(console.Pace{Waves: []string{"10%"}, SpreadSeconds: 60}).ok(&got)
	if len(got.Warnings) != 1 || !strings.Contains(got.Warnings[0], "13:06:00") || !strings.Contains(got.Warnings[0], "13:00:00") {
		t.Errorf("warnings %q", got.Warnings)
	}
	r.do("POST", console.PathOperations, console.PushRequest{Kind: "scan.quick", Devices: []string{"1", "2"}, Pace: console.Pace{StopOnFailure: 10}}).ok(&got)
	if len(got.Warnings) != 1 || !strings.Contains(got.Warnings[0], "only 2 targets") || len(got.Plan.Waves) != 1 {
		t.Errorf("warnings %q, plan %+v", got.Warnings, got.Plan)
	}
}

// A push takes what its kind says unless it says otherwise, and any deadline up to
// a year.
func TestPushOfDurableKinds(t *testing.T) {
	r := newRig(t)
	r.many(1)
	var kinds console.KindList
	r.do("GET", console.PathKinds, nil).ok(&kinds)
	durable := 0
	for _, k := range kinds.Items {
		if k.Contract != "channel+policy" || k.Schema != nil && strings.Contains(fmt.Sprint(k.Schema), "required") {
			continue
		}
		durable++
		var got console.PushReply
		r.do("POST", console.PathOperations, console.PushRequest{Kind: k.Kind, All: true}).ok(&got)
		p := r.last().Payload.(*event.OperationRequested)
		if !p.Durable || !got.Durable || p.Priority != k.Priority || got.DeliverBy != start.Add(30*24*time.Hour) || !p.Pacing.IsZero() || got.Plan != nil {
			t.Errorf("%s: %+v, answer %+v", k.Kind, p, got)
		}
		year := start.Add(365 * 24 * time.Hour)
		r.do("POST", console.PathOperations, console.PushRequest{Kind: k.Kind, All: true, DeliverBy: &year}).ok(&got)
		if !got.DeliverBy.Equal(year) {
			t.Errorf("%s: deliver by %s", k.Kind, got.DeliverBy)
		}
	}
	if durable == 0 {
		t.Error("no kind is durable")
	}
}

// TestOperationInWaves shows waves that went and waves to come.
func TestOperationInWaves(t *testing.T) {
	r := newRig(t)
	o := r.operation(t, task.Waiting)
	o.Count, o.States, o.Released = 10, [14]uint32{task.Waiting: 8, task.Failed: 1, task.Succeeded: 1}, 2
	o.Priority, o.Durable, o.RetryOf = 1, true, task.ID{1}
	o.Pacing = event.Pacing{Waves: []uint32{2, 3}, Spread: time.Minute, StopOnFailure: 10}
	o.Waves = []operation.Wave{{Number: 1, Event: 4, At: start, Spread: time.Minute, Count: 2, Online: 2, OnlineFinal: 1, Final: 1, Failed: 1}}
	r.operations[o.ID] = o
	r.clock.Add(30 * time.Second)
	path := console.Path(console.PathOperation, o.ID.String())
	var got console.OperationReply
	r.do("GET", path, nil).ok(&got)
	released := start
	want := &console.Pacing{SpreadSeconds: 60, StopOnFailure: 10, Waves: []console.Wave{
		{Wave: 1, Devices: 2, SpreadSeconds: 60, Released: &released, Event: 4, Online: 2, OnlineEnded: 1, Ended: 1, Failed: 1},
		{Wave: 2, Devices: 3, SpreadSeconds: 60}, {Wave: 3, Devices: 5, SpreadSeconds: 60},
	}, Left: &console.Left{Soonest: 150, Likely: 150, Latest: 150 + 2*95*60}}
	if d := cmp.Diff(want, got.Pacing); d != "" {
		t.Error(d)
	}
	if !got.Paced || got.Released != 2 || got.Held != 8 || got.Priority != 1 || !got.Durable || got.RetryOf != o.RetryOf.String() || got.Cancel != nil || got.Stop != nil {
		t.Errorf("operation %+v", got)
	}
	o.Stopped = true
	o.Stop = operation.Stop{Cut: operation.Cut{Event: 7, At: at(5), Reason: "too bad", Running: 1, Ended: 2, Spared: 7}, Wave: 1, Failed: 3, Final: 11, Limit: 10}
	r.operations[o.ID] = o
	got = console.OperationReply{}
	r.do("GET", path, nil).ok(&got)
	if d := cmp.Diff(&console.Stop{Cut: console.Cut{Event: 7, At: at(5), Reason: "too bad", Running: 1, Ended: 2, Spared: 7}, Wave: 1, Failed: 3, Final: 11, Limit: 10}, got.Stop); d != "" {
		t.Error(d)
	}
	if len(got.Pacing.Waves) != 1 || got.Pacing.Left != nil || !got.Stopped {
		t.Errorf("operation %+v", got)
	}
}
