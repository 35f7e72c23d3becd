package admin

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/console"
)

// retryOf answers a retry for so many devices, and its rehearsal.
func retryOf(targets uint32) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		var q console.RetryRequest
		json.Unmarshal(b, &q)
		p := console.PushReply{Operation: "019cabcd-0000-7000-8000-00000000beef", Kind: "scan.quick", Targets: targets, Online: 1, Event: 60, RetryOf: opID,
			Target: strings.Join(q.Only, ", ") + " of operation " + opID + " as of event 50", Priority: 2, NotBefore: at("10:00:00"), DeliverBy: at("11:00:00")}
		if q.DryRun {
			p.Operation, p.Event, p.DryRun, p.Devices = "", 50, true, []string{"pc-0001", "pc-0002"}
		}
		answer(p)(w, r)
	}
}

var plan = &console.Plan{Earliest: at("10:03:00"), Latest: at("12:13:00"), Waves: []console.PlannedWave{
	{Wave: 1, Devices: 50, SpreadSeconds: 60, Earliest: at("10:00:00"), Latest: at("10:00:00")},
	{Wave: 2, Devices: 250, SpreadSeconds: 60, Earliest: at("10:01:00"), Latest: at("11:06:00")},
	{Wave: 3, Devices: 700, SpreadSeconds: 60, Earliest: at("10:02:00"), Latest: at("12:12:00")},
}}

// inWaves is an operation whose first wave has ended and whose second goes.
func inWaves() console.OperationReply {
	op := operationWith(map[string]uint32{"waiting": 900, "running": 45, "succeeded": 50, "failed": 5})
	op.Targets, op.Paced, op.Released, op.Held, op.Priority, op.RetryOf = 1000, true, 300, 700, 3, "019cabcd-0000-7000-8000-00000000beef"
	op.Columns = console.Columns{Total: 1000, Completed: 50, Failed: 5, Offline: 900, Unknown: 45}
	op.Pacing = &console.Pacing{SpreadSeconds: 60, StopOnFailure: 10, Left: &console.Left{Soonest: 120, Likely: 1290, Latest: 7920}, Waves: []console.Wave{
		{Wave: 1, Devices: 50, SpreadSeconds: 60, Released: ptr(at("10:00:00")), Event: 41, Online: 50, OnlineEnded: 50, Ended: 50, Failed: 2},
		{Wave: 2, Devices: 250, SpreadSeconds: 60, Released: ptr(at("10:20:00")), Event: 71, Online: 240, OnlineEnded: 5, Ended: 5, Failed: 3},
		{Wave: 3, Devices: 700, SpreadSeconds: 60},
	}}
	return op
}

// halted is the same operation once the site has stopped it.
func halted() console.OperationReply {
	op := inWaves()
	op.States = map[string]uint32{"cancelled": 900, "succeeded": 60, "failed": 40}
	op.Done, op.Stopped, op.Pacing.Left, op.Pacing.Waves = true, true, nil, op.Pacing.Waves[:2]
	op.Cancel = nil
	op.Stop = &console.Stop{Cut: console.Cut{Event: 99, At: at("10:30:00"), Reason: "of 60 devices that have ended, 10 failed", Running: 40, Ended: 60, Spared: 900},
		Wave: 2, Failed: 10, Final: 60, Limit: 10}
	return op
}

func TestWaves(t *testing.T) {
	paced, cancelled := inWaves(), inWaves()
	cancelled.Cancelled, cancelled.Pacing.Left = true, nil
	cancelled.Cancel = &console.Cut{Event: 98, At: at("10:30:00"), Running: 45, Ended: 55, Spared: 900}
	pushed := pushAnswer
	pushed.Plan, pushed.Targets, pushed.Warnings = plan, 1000, []string{"If no wave ends before its time, it is late."}
	dry := pushed
	dry.Operation, dry.DryRun, dry.Devices = "", true, []string{"pc-0001"}
	var all strings.Builder
	for _, c := range []struct {
		args string
		site map[string]http.HandlerFunc
	}{
		{"push scan.quick --device 1 --wave 5%,25% --dry-run", map[string]http.HandlerFunc{"POST " + console.PathOperations: answer(dry)}},
		{"push scan.quick --device 1 --wave 5%,25%", map[string]http.HandlerFunc{"POST " + console.PathOperations: answer(pushed)}},
		{"ops show " + opID, map[string]http.HandlerFunc{"GET " + console.PathOperation: answer(paced)}},
		{"ops show " + opID, map[string]http.HandlerFunc{"GET " + console.PathOperation: answer(cancelled)}},
		{"ops watch " + opID, map[string]http.HandlerFunc{"GET " + console.PathOperation: inOrder(answer(paced), answer(paced), answer(halted()))}},
		{"ops cancel " + opID, map[string]http.HandlerFunc{"POST " + console.PathOperationCancel: answer(console.CancelReply{Event: 51, Targets: 25})}},
	} {
		s := newFakeSite(t, c.site)
		r := run{}.on(s, strings.Fields(c.args)...)
		fmt.Fprintf(&all, "$ bugle %s\n%s\n", c.args, r.text(s))
	}
	golden(t, "waves", all.String())
}

// A time from now is counted from the caller's clock.
func TestNotBeforeFromNow(t *testing.T) {
	s := site(t)
	r := run{clock: func() time.Time { return at("10:00:00.7") }}.on(s, "push", "scan.quick", "--device", "1", "--not-before", "2h")
	if all := strings.Join(s.called(), " "); r.code != 0 || !strings.Contains(all, `"notBefore":"2026-03-01T12:00:00Z"`) {
		t.Errorf("code %d, %v, called %s", r.code, r.err, all)
	}
}
