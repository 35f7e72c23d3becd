package console_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/console"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/listener/wire/task"
	"github.com/bugle-fleet/bugle/projectors/operation"
)

func TestRetry(t *testing.T) {
	r := newRig(t)
	r.join("pc-1", "pc-2", "pc-3", "pc-4")
	if _, err := r.authority.Block(t.Context(), event.Actor{}, 4, ""); err != nil {
		t.Fatal(err)
	}
	o := r.operation(t, task.Waiting)
	o.Priority = 1
	r.operations[o.ID] = o
	r.states[o.ID] = []operation.DeviceState{{Device: 1, State: task.Failed}, {Device: 2, State: task.Succeeded}, {Device: 3, State: task.Lost}, {Device: 4, State: task.Failed}}
	path := console.Path(console.PathOperationRetry, o.ID.String())
	body := console.RetryRequest{Only: []string{"failed", "lost"}, DeliverBySeconds: 7200, Reason: "again"}
	var got, again console.PushReply
	r.do("POST", path, body, key, "r").ok(&got)
	p := r.last().Payload.(*event.OperationRequested)
	if !slices.Equal(set(t, p.Targets), []uint32{1, 3}) || p.RetryOf != o.ID || p.Reason != "again" || p.Priority != 1 ||
		p.Target != "failed, lost of operation "+o.ID.String()+" as of event 3" {
		t.Errorf("event says %+v", p)
	}
	signed, err := p.Task.Verify("P01", r.authority.TaskPublicKeys()...)
	if err != nil || signed.Kind != o.Kind || string(signed.Params) != string(o.Params) || signed.RunTimeout != o.RunTimeout || !signed.DeliverBy.Equal(start.Add(2*time.Hour)) {
		t.Errorf("task %+v, %v", signed, err)
	}
	if got.RetryOf != o.ID.String() || got.Target != p.Target || got.Targets != 2 || got.Operation == o.ID.String() {
		t.Errorf("answer %+v", got)
	}
	r.states[o.ID] = nil // the retry is for whom it was for
	if r.do("POST", path, body, key, "r").ok(&again); fmt.Sprint(again) != fmt.Sprint(got) {
		t.Errorf("again: %+v", again)
	}
	head := r.journal.Head()
	r.do("POST", path, body).problem(422, "failed or lost")
	r.do("POST", path, `{"only":[]}`).problem(422, "only")
	r.do("POST", path, `{}`).problem(422, "only")
	r.do("POST", path, `{"only":["broken"]}`).problem(422, `"broken"`)
	r.do("POST", console.Path(console.PathOperationRetry, task.NewID(start).String()), body).problem(404, "no operation")
	r.do("POST", console.Path(console.PathOperationRetry, "x"), body).problem(422)
	r.states[o.ID] = []operation.DeviceState{{Device: 1, State: task.Failed}}
	r.do("POST", path, `{"only":["failed"],"dryRun":true,"waves":["50%"]}`).ok(&got)
	if !got.DryRun || got.Plan == nil || !slices.Equal(got.Devices, []string{"pc-1"}) {
		t.Errorf("dry run %+v", got)
	}
	if r.journal.Head() != head {
		t.Error("what was refused or rehearsed is an event")
	}
}

// TestOP3Retry reads states as of an event of the past, through the real views:
// what became of the devices since does not matter.
func TestOP3Retry(t *testing.T) {
	r := newWholeRig(t)
	var token console.TokenReply
	r.do("POST", console.PathTokens, `{"uses":3}`).ok(&token)
	for n := range 3 {
		r.joinWith(token.Token, fmt.Sprintf("pc-%d", n+1))
	}
	var push console.PushReply
	r.do("POST", console.PathOperations, `{"kind":"scan.quick","all":true}`).ok(&push)
	id, err := task.ParseID(push.Operation)
	if err != nil {
		t.Fatal(err)
	}
	r.append(&event.ResultsReported{Rows: []event.ResultRow{report(id, 1, task.Failed, 5), report(id, 2, task.Running, 5)}})
	then := r.journal.Head().Event
	r.append(&event.ResultsReported{Rows: []event.ResultRow{report(id, 2, task.Failed, 9), report(id, 3, task.Failed, 9)}})
	r.do("GET", fmt.Sprintf("%s?min-event=%d", console.PathDevices, r.journal.Head().Event), nil)
	path := console.Path(console.PathOperationRetry, push.Operation)
	for body, want := range map[string][]uint32{
		fmt.Sprintf(`{"only":["failed"],"statesAt":%d}`, then):            {1},
		fmt.Sprintf(`{"only":["running","waiting"],"statesAt":%d}`, then): {2, 3},
		`{"only":["failed"]}`: {1, 2, 3},
	} {
		var got console.PushReply
		r.do("POST", path, body).ok(&got)
		p := r.last().Payload.(*event.OperationRequested)
		if !slices.Equal(set(t, p.Targets), want) || p.RetryOf != id || strings.Contains(body, "statesAt") && !strings.HasSuffix(p.Target, fmt.Sprint("event ", then)) {
			t.Errorf("%s: for %v, %q", body, set(t, p.Targets), p.Target)
		}
	}
	r.do("POST", path, `{"only":["failed"],"statesAt":100000}`).problem(422, "event 100000")
}
