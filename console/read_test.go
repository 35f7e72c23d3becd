package console_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/google/go-cmp/cmp"

	"github.com/bugle-fleet/bugle/console"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/listener/wire/task"
	"github.com/bugle-fleet/bugle/projectors"
	"github.com/bugle-fleet/bugle/projectors/operation"
	"github.com/bugle-fleet/bugle/projectors/presence"
	"github.com/bugle-fleet/bugle/projectors/status"
)

// operation puts an operation for three devices into the views.
func (r *rig) operation(t *testing.T, state task.State) operation.Operation {
	t.Helper()
	o := operation.Operation{
		ID: task.NewID(start.Add(time.Duration(len(r.operations)) * time.Millisecond)), Kind: "scan.quick", Params: []byte(`{"sha256":["` + digest + `"]}`),
		Target: "devices", Reason: "why", Actor: event.Actor{Subject: "admin"}, Event: 1, Accepted: start.Add(2 * time.Millisecond), Requested: start, NotBefore: start,
		DeliverBy: start.Add(time.Hour), RunTimeout: 90 * time.Minute, Count: 3, Online: 2, Unsent: 1, Last: 9,
	}
	o.States[state] = o.Count
	r.operations[o.ID] = o
	return o
}

func names(page console.DevicePage) (all []string) {
	for _, d := range page.Items {
		all = append(all, d.Name)
	}
	return all
}

func TestDevices(t *testing.T) {
	r := newRig(t)
	for i, name := range []string{"alpha", "Beta", "gamma"} {
		r.add(uint32(i+1), name, i != 1)
	}
	delete(r.presence, 3)
	var page console.DevicePage
	r.do("GET", console.PathDevices, nil).ok(&page)
	first := r.devices[1]
	since := start
	want := console.Device{ID: first.ID.String(), Number: 1, Name: "alpha", OS: "linux", Arch: "amd64", Agent: "0.1.0", Online: true, Reason: "signed-in",
		Since: &since, Listener: "SITE01", Carrier: "tcp", Joined: start, LastEvent: 2}
	if d := cmp.Diff(want, page.Items[0]); d != "" {
		t.Error(d)
	}
	if page.Total != 3 || page.Event != 3 || page.Next != 0 || len(page.Items) != 3 {
		t.Errorf("page %+v", page)
	}
	if d := page.Items[1]; d.Online || d.Reason != "closed" {
		t.Errorf("device %+v", d)
	}
	if d := page.Items[2]; d.Online || d.Reason != "never-seen" || d.Since != nil {
		t.Errorf("device %+v", d)
	}
	for query, want := range map[string][]string{
		"?online=true": {"alpha"}, "?online=false": {"Beta", "gamma"}, "?name=ET": {"Beta"}, "?name=a&online=true": {"alpha"}, "?after=2": {"gamma"}, "?after=4294967295": nil, "?name=x": nil,
	} {
		page = console.DevicePage{}
		if r.do("GET", console.PathDevices+query, nil).ok(&page); !slices.Equal(names(page), want) {
			t.Errorf("%s gives %v", query, names(page))
		}
	}
	for _, query := range []string{"?limit=0", "?limit=1001", "?limit=x", "?online=maybe", "?after=-1", "?nme=x"} {
		r.do("GET", console.PathDevices+query, nil).problem(422)
	}
}

func TestDevicePages(t *testing.T) {
	r := newRig(t)
	for i := range uint32(2500) {
		r.add(i+1, fmt.Sprintf("pc-%d", i+1), true)
	}
	seen := 0
	for after, calls := uint32(0), 0; ; calls++ {
		var page console.DevicePage
		r.do("GET", fmt.Sprintf("%s?limit=700&after=%d", console.PathDevices, after), nil).ok(&page)
		for _, d := range page.Items {
			if seen++; d.Number != uint32(seen) {
				t.Fatalf("device %d at place %d", d.Number, seen)
			}
		}
		if after = page.Next; after == 0 {
			break
		}
		if calls > 10 {
			t.Fatal("the pages do not end")
		}
	}
	if seen != 2500 {
		t.Errorf("%d devices", seen)
	}
}

func TestDevice(t *testing.T) {
	r := newRig(t)
	d := r.add(1, "pc 1/ä", true)
	r.add(2, "17", true)
	r.add(3, "twin", true)
	r.add(4, "Twin", true)
	for _, word := range []string{"1", d.ID.String(), d.Name} {
		var got console.DeviceReply
		r.do("GET", console.Path(console.PathDevice, word), nil).ok(&got)
		if got.Number != 1 || got.Facts["os.version"] != "12.11" || got.Device.LastEvent != 2 {
			t.Errorf("%q gives %+v", word, got)
		}
	}
	var got console.DeviceReply
	if r.do("GET", console.Path(console.PathDevice, "17"), nil).ok(&got); got.Number != 2 {
		t.Errorf("a name of digits gives device %d", got.Number)
	}
	r.do("GET", console.Path(console.PathDevice, "nobody"), nil).problem(404, `"nobody"`)
	r.do("GET", console.Path(console.PathDevice, "twin"), nil).problem(409, "3, 4")
}

func TestBlock(t *testing.T) {
	r := newRig(t)
	r.join("pc-1", "pc-2")
	var w, again console.Written
	r.do("POST", console.Path(console.PathDeviceBlock, "pc-2"), `{"reason":"stolen"}`).ok(&w)
	if p, ok := r.last().Payload.(*event.DeviceBlocked); !ok || p.Device != 2 || p.Reason != "stolen" || r.last().Actor.Subject != "admin" {
		t.Errorf("event %+v", r.last())
	}
	if r.do("POST", console.Path(console.PathDeviceBlock, "2"), `{}`).ok(&again); again != w {
		t.Errorf("blocked again by event %d, first by %d", again.Event, w.Event)
	}
	r.do("POST", console.Path(console.PathDeviceUnblock, "pc-2"), `{}`).ok(&w)
	r.do("POST", console.Path(console.PathDeviceUnblock, "pc-1"), `{}`).problem(409, "not blocked")
	r.do("POST", console.Path(console.PathDeviceBlock, "nobody"), `{}`).problem(404, "nobody")
	r.fleet.onWait = func() error { r.add(9, "late", true); return nil }
	// The views know it, the authority does not: it never joined.
	r.do("POST", console.Path(console.PathDeviceBlock, "late"), `{}`).problem(404, "no device 9")
}

func TestTokens(t *testing.T) {
	r := newRig(t)
	var got console.TokenReply
	r.do("POST", console.PathTokens, `{}`).ok(&got)
	p := r.last().Payload.(*event.TokenCreated)
	if got.Uses != 1 || !got.Expires.Equal(start.Add(time.Hour)) || got.Event != 1 || p.Token != got.ID || p.Uses != 1 {
		t.Errorf("answer %+v, event %+v", got, p)
	}
	r.do("POST", console.PathTokens, `{"ttlSeconds":60,"uses":5}`).ok(&got)
	if got.Uses != 5 || !got.Expires.Equal(start.Add(time.Minute)) {
		t.Errorf("answer %+v", got)
	}
	for _, bad := range []string{`{"ttlSeconds":-1}`, `{"uses":-1}`, `{"uses":1000001}`, `{"ttlSeconds":99999999999}`, `{"use":1}`} {
		r.do("POST", console.PathTokens, bad).problem(422)
	}
	var w console.Written
	r.do("DELETE", console.Path(console.PathToken, got.ID), nil).ok(&w)
	if p, ok := r.last().Payload.(*event.TokenRevoked); !ok || p.Token != got.ID || w.Event != r.last().Number {
		t.Errorf("event %+v", r.last())
	}
	r.do("DELETE", console.Path(console.PathToken, "nobody"), nil).problem(404, "nobody")
}

func TestOperations(t *testing.T) {
	r := newRig(t)
	o := r.operation(t, task.Succeeded)
	var got console.OperationReply
	r.do("GET", console.Path(console.PathOperation, o.ID.String()), nil).ok(&got)
	if got.Kind != "scan.quick" || got.Actor != "admin" || got.Reason != "why" || got.Targets != 3 || got.Online != 2 || !got.Done || got.RunTimeoutSeconds != 5400 || got.First != 1 || got.Event != 3 {
		t.Errorf("answer %+v", got)
	}
	if d := cmp.Diff(console.Columns{Total: 3, Completed: 3, Offline: 1, Unknown: 4294967295}, got.Columns); d != "" {
		t.Error(d) // the fake's counts do not add up; what is shown is what the view says
	}
	sum := uint32(0)
	for _, n := range got.States {
		sum += n
	}
	if len(got.States) != len(task.States) || sum != 3 || got.States["succeeded"] != 3 {
		t.Errorf("states %v", got.States)
	}
	if fmt.Sprint(got.Params) != fmt.Sprintf("map[sha256:[%s]]", digest) {
		t.Errorf("parameters %v", got.Params)
	}
	second := r.operation(t, task.Waiting)
	var page console.OperationPage
	r.do("GET", console.PathOperations+"?limit=1", nil).ok(&page)
	if len(page.Items) != 1 || page.Items[0].Operation != second.ID.String() || page.Next != second.ID.String() {
		t.Errorf("page %+v", page)
	}
	r.do("GET", console.PathOperations+"?before="+page.Next, nil).ok(&page)
	if len(page.Items) != 1 || page.Items[0].Operation != o.ID.String() {
		t.Errorf("page %+v", page)
	}
	r.do("GET", console.PathOperations+"?before=x", nil).problem(422, "UUID")
	r.do("GET", console.Path(console.PathOperation, "x"), nil).problem(422, "UUID")
	r.do("GET", console.Path(console.PathOperation, task.NewID(start).String()), nil).problem(404, "There is no operation")
}

func at(ms int) time.Time { return start.Add(time.Duration(ms) * time.Millisecond) }

// states gives the operation three devices: one that succeeded, one that runs,
// one that waits.
func (r *rig) deviceStates(o operation.Operation) {
	r.add(1, "pc-1", true)
	r.add(2, "pc-2", true)
	r.add(3, "pc-3", false)
	r.states[o.ID] = []operation.DeviceState{
		{Device: 1, State: task.Succeeded, Attempt: 1, Code: 7, Detail: "clean", Sent: at(5), Delivered: at(8), Started: at(9), Ended: at(109), Event: 6, Visible: at(159)},
		{Device: 2, State: task.Running, Attempt: 1, Sent: at(15), Delivered: at(14), Started: at(20), Event: 5, Visible: at(40)},
		{Device: 3, State: task.Waiting, WasOffline: true},
	}
}

func TestTargets(t *testing.T) {
	r := newRig(t)
	o := r.operation(t, task.Running)
	r.deviceStates(o)
	path := console.Path(console.PathOperationDevices, o.ID.String())
	var page console.TargetPage
	r.do("GET", path, nil).ok(&page)
	sent, delivered, running, ended := at(5), at(8), at(9), at(109)
	want := console.Target{Device: 1, Name: "pc-1", State: "succeeded", Online: true, Attempt: 1, Code: 7, Detail: "clean", Sent: &sent, Received: &delivered, Running: &running, Ended: &ended, Event: 6}
	if d := cmp.Diff(want, page.Items[0]); d != "" {
		t.Error(d)
	}
	if last := page.Items[2]; len(page.Items) != 3 || last.Online || last.Sent != nil || page.Next != 0 {
		t.Errorf("page %+v", page)
	}
	r.do("GET", path+"?state=running", nil).ok(&page)
	if len(page.Items) != 1 || page.Items[0].Device != 2 {
		t.Errorf("page %+v", page)
	}
	r.do("GET", path+"?limit=1&after=1", nil).ok(&page)
	if len(page.Items) != 1 || page.Items[0].Device != 2 || page.Next != 2 {
		t.Errorf("page %+v", page)
	}
	r.do("GET", path+"?state=gone", nil).problem(422, "gone")
}

func TestLatency(t *testing.T) {
	r := newRig(t)
	o := r.operation(t, task.Running)
	r.deviceStates(o)
	get := func() map[string]console.Hop {
		var got console.OperationReply
		r.do("GET", console.Path(console.PathOperation, o.ID.String()), nil).ok(&got)
		return got.Latency
	}
	want := map[string]console.Hop{
		console.HopRequestedSent:    {Count: 2, P50: 5, P99: 15, Max: 15},
		console.HopReleasedSent:     {},
		console.HopSentDelivered:    {Count: 2, P50: 0, P99: 3, Max: 3}, // clocks differ: below nothing is nothing
		console.HopDeliveredRunning: {Count: 2, P50: 1, P99: 6, Max: 6},
		console.HopRunningEnded:     {Count: 1, P50: 100, P99: 100, Max: 100},
		console.HopEndedVisible:     {Count: 1, P50: 50, P99: 50, Max: 50},
	}
	if d := cmp.Diff(want, get()); d != "" {
		t.Error(d)
	}
	var counts console.OperationReply
	r.do("GET", console.Path(console.PathOperation, o.ID.String())+"?"+console.QueryLatency+"=false", nil).ok(&counts)
	if counts.Latency != nil || counts.Targets != o.Count {
		t.Errorf("without latencies: %+v", counts)
	}
	// What the site said is no report: it took no time of a device.
	r.states[o.ID] = []operation.DeviceState{{Device: 1, State: task.Lost, Sent: at(5), Started: at(9), Ended: at(100), Visible: at(100)}}
	if d := cmp.Diff(want, get()); d != "" {
		t.Error("measured again although nothing changed: " + d)
	}
	o.Last++
	r.operations[o.ID] = o
	if hops := get(); hops[console.HopRunningEnded].Count != 0 || hops[console.HopRequestedSent].Count != 1 {
		t.Errorf("hops %v", hops)
	}
}

func TestTrace(t *testing.T) {
	r := newRig(t)
	o := r.operation(t, task.Running)
	r.deviceStates(o)
	for _, p := range []event.Payload{&event.OperationCancelled{Operation: o.ID, Reason: "mistake"}, &event.OperationExpired{Operation: o.ID}} {
		if err := r.journal.Append(t.Context(), &event.Event{Payload: p}); err != nil {
			t.Fatal(err)
		}
	}
	o.Cancelled, o.Expired = true, true
	o.Cancel = operation.Cut{Event: 1, Reason: "mistake", Running: 1, Ended: 2, Spared: 3}
	r.operations[o.ID] = o
	r.history[o.ID] = []operation.Entry{{Event: 1, Kind: event.KindOperationCancel, Accepted: at(500)}, {Event: 2, Kind: event.KindOperationExpired, Accepted: at(900)}}
	path := console.Path(console.PathOperationTrace, o.ID.String())
	var got console.TraceReply
	r.do("GET", path+"?device=pc-1", nil).ok(&got)
	want := []console.TraceStep{
		{At: at(0), What: "requested", Detail: "admin"},
		{At: at(2), What: "accepted", Event: 1, HopMS: 2},
		{At: at(5), What: "sent", Device: 1, Name: "pc-1", HopMS: 5},
		{At: at(8), What: "delivered", Device: 1, Name: "pc-1", HopMS: 3},
		{At: at(9), What: "running", Device: 1, Name: "pc-1", HopMS: 1},
		{At: at(109), What: "succeeded", Device: 1, Name: "pc-1", HopMS: 100, Detail: "clean"},
		{At: at(159), What: "visible", Device: 1, Name: "pc-1", Event: 6, HopMS: 50, Detail: "succeeded"},
		{At: at(500), What: "cancelled", Event: 1, HopMS: 500, Detail: "mistake; 2 had ended, 1 had begun and went on, 3 had not begun"},
		{At: at(900), What: "expired", Event: 2, HopMS: 900},
	}
	if d := cmp.Diff(want, got.Steps); d != "" {
		t.Error(d)
	}
	// The agent's estimate of the time lags the listener's clock.
	lags := r.states[o.ID][0]
	lags.Sent, lags.Delivered = at(10), at(8)
	r.states[o.ID] = append([]operation.DeviceState{lags}, r.states[o.ID][1:]...)
	r.do("GET", path+"?device=pc-1", nil).ok(&got)
	for i, hop := range map[int]float64{2: 10, 3: 0, 4: 0, 5: 99} {
		if got.Steps[i].What != want[i].What || got.Steps[i].HopMS != hop {
			t.Errorf("step %d is %+v, want %s after %v ms", i, got.Steps[i], want[i].What, hop)
		}
	}
	// Before not-before nobody is sent it.
	later := o
	later.NotBefore = at(4)
	r.operations[o.ID] = later
	if r.do("GET", path+"?device=pc-1", nil).ok(&got); got.Steps[2].HopMS != 6 {
		t.Errorf("the send is %+v", got.Steps[2])
	}
	r.operations[o.ID] = o
	r.do("GET", path, nil).ok(&got)
	if len(got.Steps) != 2+5+4+1+2 || got.Cut || got.Steps[11].What != "waiting" || got.Steps[11].Name != "pc-3" {
		t.Errorf("%d steps: %+v", len(got.Steps), got.Steps)
	}
	r.add(4, "pc-4", true)
	r.do("GET", path+"?device=pc-4", nil).problem(404, "no target")
	r.do("GET", path+"?device=nobody", nil).problem(404, "nobody")
	for i := range uint32(600) {
		r.states[o.ID] = append(r.states[o.ID], operation.DeviceState{Device: 10 + i, State: task.Waiting})
	}
	if r.do("GET", path, nil).ok(&got); !got.Cut {
		t.Error("a trace of 603 devices is not cut")
	}
}

func TestHistory(t *testing.T) {
	r := newRig(t)
	o := r.operation(t, task.Waiting)
	for range 3 {
		if err := r.journal.Append(t.Context(), &event.Event{Payload: &event.OperationExpired{Operation: o.ID}}); err != nil {
			t.Fatal(err)
		}
	}
	r.history[o.ID] = []operation.Entry{{Event: 1}, {Event: 3}}
	path := console.Path(console.PathOperationHistory, o.ID.String())
	var page console.EventPage
	r.do("GET", path+"?limit=1", nil).ok(&page)
	if len(page.Items) != 1 || page.Items[0].Number != 1 || page.Next != 1 {
		t.Errorf("page %+v", page)
	}
	page = console.EventPage{}
	r.do("GET", path+"?after=1", nil).ok(&page)
	if len(page.Items) != 1 || page.Items[0].Number != 3 || page.Next != 0 {
		t.Errorf("page %+v", page)
	}
}

// TestTraceOfAPacedOperation has every hop that an operation may take: waves,
// the policy, a deferral, a stop.
func TestTraceOfAPacedOperation(t *testing.T) {
	r := newRig(t)
	r.join("pc-1", "pc-2")
	o := r.operation(t, task.Waiting)
	o.Pacing, o.Durable, o.Stopped, o.RetryOf = event.Pacing{Waves: []uint32{1}}, true, true, task.ID{9}
	o.Stop = operation.Stop{Cut: operation.Cut{Event: 9, Reason: "too bad", Ended: 1}}
	r.operations[o.ID] = o
	one := operation.Wave{Number: 1, Event: 4, At: at(1000), Count: 1, Online: 1, Spread: time.Minute}
	two := operation.Wave{Number: 2, Event: 5, At: at(3000), Count: 2}
	r.waves[o.ID] = []operation.Members{{Wave: one, Devices: roaring.BitmapOf(1)}, {Wave: two, Devices: roaring.BitmapOf(2, 3)}}
	r.states[o.ID] = []operation.DeviceState{
		{Device: 1, State: task.Succeeded, Delivered: at(1005), Deferred: at(1010), Deferral: "opens at one", Started: at(2000), Ended: at(2500), Visible: at(2600), Event: 6},
		{Device: 2, State: task.Running, Sent: at(3100), Delivered: at(3105), Started: at(3110), Visible: at(3200), Event: 7},
	}
	r.history[o.ID] = []operation.Entry{{Event: 9, Kind: event.KindOperationStopped, Accepted: at(4000)}}
	path := console.Path(console.PathOperationTrace, o.ID.String())
	var got console.TraceReply
	r.do("GET", path+"?device=pc-1", nil).ok(&got)
	want := []console.TraceStep{
		{At: at(0), What: "requested", Detail: "admin"},
		{At: at(2), What: "accepted", Event: 1, HopMS: 2, Detail: "in waves, also by policy, a retry of operation " + o.RetryOf.String()},
		{At: at(1000), What: "released", Event: 4, HopMS: 1000, Detail: "wave 1: 1 devices, 1 of them online, spread over 1m0s"},
		{At: at(1005), What: "delivered", Device: 1, Name: "pc-1", HopMS: 5, Detail: "by policy"},
		{At: at(1010), What: "deferred", Device: 1, Name: "pc-1", HopMS: 5, Detail: "opens at one"},
		{At: at(2000), What: "running", Device: 1, Name: "pc-1", HopMS: 990},
		{At: at(2500), What: "succeeded", Device: 1, Name: "pc-1", HopMS: 500},
		{At: at(2600), What: "visible", Device: 1, Name: "pc-1", HopMS: 100, Event: 6, Detail: "succeeded"},
		{At: at(4000), What: "stopped", Event: 9, HopMS: 4000, Detail: "too bad; 1 had ended, 0 had begun and went on, 0 had not begun"},
	}
	if d := cmp.Diff(want, got.Steps); d != "" {
		t.Error(d)
	}
	r.do("GET", path, nil).ok(&got)
	var what []string
	for _, s := range got.Steps {
		what = append(what, s.What)
	}
	if all := strings.Join(what, " "); !strings.HasPrefix(all, "requested accepted released released delivered") || len(what) != 14 {
		t.Errorf("steps are %s", all)
	}
	var shown console.OperationReply
	r.do("GET", console.Path(console.PathOperation, o.ID.String()), nil).ok(&shown)
	if h := shown.Latency[console.HopReleasedSent]; h.Count != 1 || h.P50 != 100 {
		t.Errorf("from release to send: %+v", h)
	}
}

func TestMinEvent(t *testing.T) {
	r := newRig(t)
	r.join("pc-1")
	var page console.DevicePage
	r.do("GET", console.PathDevices+"?min-event=1", nil).ok(&page)
	if r.waited != 1 {
		t.Errorf("waited for event %d", r.waited)
	}
	r.do("GET", console.PathDevices+"?min-event=2", nil).problem(422, "ends with event 1")
	r.do("GET", console.PathDevices+"?min-event=-2", nil).problem(422)
	r.fleet.onWait = func() error { return fmt.Errorf("wait: %w", context.DeadlineExceeded) }
	r.do("GET", console.PathDevices+"?min-event=1", nil).problem(504, "at event 3")
	r.fleet.onWait = func() error { return errors.New("view device stops at event 1") }
	r.do("GET", console.PathDevices+"?min-event=1", nil).problem(500, "wait for event 1")
}

func TestReadsThatFail(t *testing.T) {
	r := newRig(t)
	o := r.operation(t, task.Waiting)
	id := o.ID.String()
	paths := []string{
		console.PathDevices, console.Path(console.PathDevice, "1"), console.PathOperations, console.Path(console.PathOperation, id),
		console.Path(console.PathOperationDevices, id), console.Path(console.PathOperationHistory, id), console.Path(console.PathOperationTrace, id),
		console.PathInbox, console.PathComponents, console.PathMessages,
	}
	for err, status := range map[error]int{
		projectors.ErrBuilding: 503, projectors.ErrClosed: 503, errors.New("secret innards"): 500,
	} {
		r.fail(err)
		for _, p := range paths {
			got := r.do("GET", p, nil).problem(status)
			if strings.Contains(got.Detail, "innards") {
				t.Errorf("%s tells %q", p, got.Detail)
			}
		}
	}
}

func TestStatus(t *testing.T) {
	r := newRig(t)
	r.messages = []status.Message{
		{Event: 9, Accepted: start, Component: "inbox", Number: 2, Severity: event.Error, Text: "two"},
		{Event: 4, Accepted: start, Component: "listener", Number: 1, Severity: event.Info, Device: 3, Text: "one"},
	}
	r.listeners = []status.Listener{
		{Name: "A01", State: status.Granted, Granted: at(1)},
		{Name: "B01", Epoch: 3, State: status.Started, Version: "0.1.0", Address: "h:1", Started: at(2), Heard: at(5)},
		{Name: "C01", State: status.Lost, Ended: at(3)},
		{Name: "D01"},
	}
	var page console.MessagePage
	r.do("GET", console.PathMessages+"?limit=1", nil).ok(&page)
	if d := cmp.Diff([]console.Message{{Event: 9, At: start, Component: "inbox", Message: 2, Severity: "error", Text: "two"}}, page.Items); d != "" || page.Next != 9 {
		t.Errorf("next %d, %s", page.Next, d)
	}
	page = console.MessagePage{}
	r.do("GET", console.PathMessages+"?before=9&severity=info", nil).ok(&page)
	if len(page.Items) != 1 || page.Items[0].Device != 3 || page.Next != 0 {
		t.Errorf("page %+v", page)
	}
	r.do("GET", console.PathMessages+"?severity=loud", nil).problem(422, "severity")
	var list console.ComponentList
	r.do("GET", console.PathComponents, nil).ok(&list)
	started, heard := at(2), at(5)
	if d := cmp.Diff(console.Component{Component: "listener", Name: "B01", State: "started", Epoch: 3, Version: "0.1.0", Address: "h:1", Since: &started, Heard: &heard}, list.Items[1]); d != "" {
		t.Error(d)
	}
	if !list.Items[0].Since.Equal(at(1)) || !list.Items[2].Since.Equal(at(3)) || list.Items[3].Since != nil || list.Items[3].State != "unknown" {
		t.Errorf("components %+v", list.Items)
	}
}

func TestRequeue(t *testing.T) {
	const name = "SITE01-00000001-00000000000000000007.BTS"
	r := newRig(t)
	r.bad = []status.Quarantined{
		{Event: 8, Accepted: at(8), File: name, Record: true, Index: 4, Reason: "bad record"},
		{Event: 7, Accepted: at(7), File: name, Size: 10, Reason: "bad checksum"},
	}
	r.box.files[name] = true
	var got console.InboxReply
	r.do("GET", console.PathInbox, nil).ok(&got)
	index := uint32(4)
	want := []console.QuarantinedFile{
		{Name: name, Record: &index, Reason: "bad record", At: at(8), Event: 8}, {Name: name, Reason: "bad checksum", Size: 10, At: at(7), Event: 7},
	}
	if d := cmp.Diff(want, got.Quarantined); d != "" || fmt.Sprint(got.Stats) != "map[badFiles:7]" {
		t.Errorf("stats %v, %s", got.Stats, d)
	}
	path := console.Path(console.PathInboxRequeue, name)
	var w, again console.Written
	r.do("POST", path, nil, key, "q").ok(&w)
	if p, ok := r.last().Payload.(*event.FileRequeued); !ok || p.Name != name || w.Event != r.last().Number || r.box.files[name] {
		t.Errorf("event %+v, still in quarantine %v", r.last(), r.box.files[name])
	}
	r.bad[1].Requeued = at(20)
	if r.do("POST", path, nil, key, "q").ok(&again); again != w {
		t.Errorf("answers %+v and %+v", w, again)
	}
	r.do("POST", path, nil).problem(409, "already")
	r.do("POST", console.Path(console.PathInboxRequeue, "nobody"), nil).problem(404, "nobody")
	if n := r.journal.Head().Event; n != 1 {
		t.Errorf("%d events", n)
	}
	// The event is there, the file did not move: the server ended between the two.
	r.box.files[name] = true
	if r.do("POST", path, nil).ok(&again); r.box.files[name] || r.journal.Head().Event != 1 {
		t.Error("a requeue that was cut short is not finished")
	}
}

// A device is shown with its last changes, how it connects, its certificate and
// what is open for it.
func TestDeviceInFull(t *testing.T) {
	r := newRig(t)
	d := r.add(1, "pc-1", true)
	d.Facts = []event.Fact{{Name: "connection.carrier", Value: "websocket"}, {Name: "connection.why", Value: "tcp: refused"}, {Name: "os.version", Value: "12"}}
	d.Serial, d.Issued, d.Expires, d.Certified = []byte{0xab, 1}, at(0), at(9000), 4
	r.devices[1] = d
	r.changes = map[uint32][]presence.Change{1: {{At: at(5), Online: true, Reason: event.SignedIn, Listener: "SITE01", Carrier: event.WebSocket, Event: 7},
		{At: at(1), Reason: event.Closed, Listener: "OUT01", Carrier: event.TCP, Event: 6}}}
	var got console.DeviceReply
	r.do("GET", console.Path(console.PathDevice, "pc-1"), nil).ok(&got)
	want := []console.PresenceChange{{At: at(5), Online: true, Reason: "signed-in", Listener: "SITE01", Carrier: "websocket", Event: 7},
		{At: at(1), Reason: "closed", Listener: "OUT01", Carrier: "tcp", Event: 6}}
	if diff := cmp.Diff(want, got.Changes); diff != "" {
		t.Error(diff)
	}
	if c := got.Connection; c == nil || c.Carrier != "websocket" || c.Why != "tcp: refused" {
		t.Errorf("connection %+v", c)
	}
	if c := got.Certificate; c.Serial != "ab01" || c.Event != 4 || !c.Expires.Equal(at(9000)) {
		t.Errorf("certificate %+v", c)
	}
	var history console.DeviceHistory
	r.do("GET", console.Path(console.PathDeviceHistory, "1"), nil).ok(&history)
	if diff := cmp.Diff(want, history.Items); diff != "" || history.Name != "pc-1" {
		t.Error(diff)
	}
	r.do("GET", console.Path(console.PathDeviceHistory, "nobody"), nil).problem(404)
}
