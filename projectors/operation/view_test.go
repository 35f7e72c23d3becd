package operation_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/listener/wire/task"
	"github.com/bugle-fleet/bugle/projectors/operation"
	"github.com/bugle-fleet/bugle/projectors/projectorstest"
)

func start(t testing.TB) (*projectorstest.Site, *operation.Reader) {
	view, r := operation.New()
	return projectorstest.Start(t, view), r
}

func get(t testing.TB, r *operation.Reader, n int) operation.Operation {
	t.Helper()
	o, ok, err := r.Get(opID(n))
	if err != nil || !ok {
		t.Fatalf("operation %d: %v, %v", n, ok, err)
	}
	return o
}

// want says how many targets are at each state: "waiting 2, sent 1".
func want(t testing.TB, r *operation.Reader, n int, states string) operation.Operation {
	t.Helper()
	o := get(t, r, n)
	var got []string
	for _, s := range task.States {
		if o.States[s] > 0 {
			got = append(got, fmt.Sprintf("%s %d", s, o.States[s]))
		}
	}
	if s := strings.Join(got, ", "); s != states {
		t.Errorf("operation %d: %s, want %s", n, s, states)
	}
	consistent(t, r, o)
	return o
}

// consistent compares what is kept with what the devices' states say.
func consistent(t testing.TB, r *operation.Reader, o operation.Operation) {
	t.Helper()
	devices, err := r.Devices(o.ID, task.NoState, 0, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	var states [14]uint32
	for _, d := range devices {
		states[d.State]++
		if one, ok, err := r.Device(o.ID, d.Device); err != nil || !ok || one != d {
			t.Errorf("device %d alone is %+v, among all %+v, %v", d.Device, one, d, err)
		}
	}
	var sum uint32
	for _, n := range o.States {
		sum += n
	}
	if states != o.States || sum != o.Count || uint32(len(devices)) != o.Count {
		t.Errorf("%d targets: states kept are %v, the devices' are %v", o.Count, o.States, states)
	}
	wavesAreConsistent(t, r, &o, devices)
	if c := o.Completed() + o.Failed() + o.Offline() + o.Unknown(); c != o.Total() || o.Unknown() > o.Total() || o.Success() > o.Total() {
		t.Errorf("classic columns: %d completed, %d failed, %d offline, %d unknown of %d", o.Completed(), o.Failed(), o.Offline(), o.Unknown(), o.Total())
	}
}

func TestRequested(t *testing.T) {
	s, r := start(t)
	n := s.Append(requested(t, 1, []uint32{1, 2, 300}, 300))
	o := want(t, r, 1, "waiting 3")
	accepted := projectorstest.Epoch
	if o.Kind != "scan.quick" || string(o.Params) != `{"depth":1}` || o.Target != "devices" || o.Reason != "because" ||
		o.Actor.Subject != "anna" || o.Event != n || !o.Accepted.Equal(accepted) || !o.Requested.Equal(minute(0)) ||
		!o.NotBefore.Equal(minute(0)) || !o.DeliverBy.Equal(minute(61)) || o.RunTimeout != 20*time.Minute || o.Online != 2 || o.Unsent != 3 {
		t.Errorf("operation is %+v", o)
	}
	d, ok, err := r.Device(opID(1), 300)
	if err != nil || !ok || !d.WasOffline || d.State != task.Waiting || d.Event != n || !d.Visible.Equal(accepted) {
		t.Errorf("device 300 is %+v, %v, %v", d, ok, err)
	}
	if _, ok, err := r.Device(opID(1), 4); ok || err != nil {
		t.Errorf("device 4 is no target: %v, %v", ok, err)
	}
	if _, ok, err := r.Get(opID(2)); ok || err != nil {
		t.Errorf("operation 2 was not requested: %v, %v", ok, err)
	}
}

// TestOP3 has a request repeated with other targets: the set stays.
func TestOP3TargetsAreFixed(t *testing.T) {
	s, r := start(t)
	s.Append(requested(t, 1, []uint32{1, 2}), requested(t, 1, []uint32{1, 2, 3}),
		says(&event.DeviceJoined{Device: 3}), results(row(1, 3, task.Sent, 1)))
	want(t, r, 1, "waiting 2")
	i, err := r.Ignored()
	if err != nil || i != (operation.Ignored{Operations: 1, Devices: 1}) {
		t.Errorf("ignored: %+v, %v", i, err)
	}
	open, position, err := r.Open()
	if err != nil || position != 4 || len(open) != 1 || open[0].Targets.GetCardinality() != 2 {
		t.Errorf("open: %+v at %d, %v", open, position, err)
	}
}

func TestReports(t *testing.T) {
	s, r := start(t)
	s.Append(requested(t, 1, []uint32{1, 2, 3}))
	s.Append(results(row(1, 1, task.Sent, 1)), results(row(1, 1, task.Delivered, 2), row(1, 2, task.Sent, 2)))
	want(t, r, 1, "waiting 1, sent 1, delivered 1")
	n := s.Append(results(row(1, 1, task.Deferred, 3)), results(row(1, 1, task.Running, 4)), results(row(1, 1, task.Failed, 9)))
	o := want(t, r, 1, "waiting 1, sent 1, failed 1")
	if o.Failed() != 1 || o.Success() != 1 || o.Offline() != 1 || o.Unknown() != 1 || o.Last != n {
		t.Errorf("operation is %+v", o)
	}
	d, _, err := r.Device(opID(1), 1)
	if err != nil || !d.Sent.Equal(minute(1)) || !d.Delivered.Equal(minute(2)) || !d.Started.Equal(minute(4)) || !d.Ended.Equal(minute(9)) ||
		d.Event != n || d.Attempt != 1 || d.Detail != "failed" || !d.Visible.Equal(projectorstest.Epoch.Add(time.Duration(n-1))) {
		t.Errorf("device 1 is %+v, %v", d, err)
	}
	s.Append(results(row(1, 1, task.Failed, 9), row(1, 1, task.Running, 4), row(1, 2, task.Expired, 4), row(1, 3, task.Waiting, 1)))
	want(t, r, 1, "waiting 1, sent 1, failed 1")
	if i, err := r.Ignored(); err != nil || i.Late != 4 {
		t.Errorf("ignored: %+v, %v", i, err)
	}
}

func TestEnds(t *testing.T) {
	all := []uint32{1, 2, 3, 4, 5, 6}
	reports := results(row(1, 2, task.Sent, 1), row(1, 3, task.Delivered, 1), row(1, 4, task.Running, 1), row(1, 5, task.Deferred, 1), row(1, 6, task.Succeeded, 1))
	expired, cancelled, closed := says(&event.OperationExpired{Operation: opID(1)}), says(&event.OperationCancelled{Operation: opID(1)}), says(&event.OperationClosed{Operation: opID(1)})
	halt := stopped(1)
	for _, c := range []struct {
		name   string
		events []*event.Event
		want   string
	}{
		{"before", nil, "waiting 1, sent 1, delivered 1, running 1, deferred 1, succeeded 1"},
		{"expired", []*event.Event{expired}, "delivered 1, running 1, deferred 1, succeeded 1, expired 2"},
		{"stopped", []*event.Event{halt}, "running 1, succeeded 1, cancelled 4"},
		{"stopped, then cancelled", []*event.Event{halt, results(row(1, 4, task.Deferred, 99)), cancelled}, "succeeded 1, cancelled 5"},
		{"stopped, and two had run", []*event.Event{halt, results(row(1, 2, task.Failed, 99), row(1, 3, task.Succeeded, 99), row(1, 5, task.Refused, 99))}, "running 1, succeeded 2, failed 1, cancelled 2"},
		{"OP-5 cancelled", []*event.Event{cancelled}, "running 1, succeeded 1, cancelled 4"},
		{"cancelled, and put off later", []*event.Event{cancelled, results(row(1, 4, task.Deferred, 99))}, "deferred 1, succeeded 1, cancelled 4"},
		{"closed", []*event.Event{closed}, "succeeded 1, lost 5"},
		{"all", []*event.Event{expired, cancelled, closed, expired}, "succeeded 1, expired 2, cancelled 2, lost 1"},
		{"corrected", []*event.Event{closed, results(row(1, 1, task.Failed, 99), row(1, 4, task.Succeeded, 99), row(1, 5, task.Running, 99))}, "succeeded 2, failed 1, lost 3"},
		{"expired, and what had begun ends", []*event.Event{expired, results(row(1, 1, task.Refused, 99), row(1, 2, task.Delivered, 99), row(1, 3, task.Running, 99))}, "running 2, deferred 1, succeeded 1, expired 2"},
		{"expired, and the report was on its way", []*event.Event{expired, results(row(1, 2, task.Delivered, 99), row(1, 2, task.Running, 99), row(1, 2, task.Succeeded, 99))}, "delivered 1, running 1, deferred 1, succeeded 2, expired 1"},
		{"OP-5 cancelled, and two had run", []*event.Event{cancelled, results(row(1, 2, task.Failed, 99), row(1, 3, task.Succeeded, 99), row(1, 5, task.Refused, 99))}, "running 1, succeeded 2, failed 1, cancelled 2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, r := start(t)
			s.Append(requested(t, 1, all), reports)
			s.Append(c.events...)
			want(t, r, 1, c.want)
		})
	}
}

func TestEndedBySite(t *testing.T) {
	s, r := start(t)
	s.Append(requested(t, 1, []uint32{1, 2}), results(row(1, 1, task.Delivered, 1)))
	n := s.Append(says(&event.OperationClosed{Operation: opID(1)}))
	at := projectorstest.Epoch.Add(time.Duration(n - 1))
	for _, number := range []uint32{1, 2} {
		d, _, err := r.Device(opID(1), number)
		if err != nil || d.State != task.Lost || d.Event != n || !d.Visible.Equal(at) || !d.Ended.Equal(at) {
			t.Errorf("device %d is %+v, %v", number, d, err)
		}
	}
	o := get(t, r, 1)
	if o.Offline() != 1 || o.Unknown() != 1 || !o.Closed || o.Open() || !o.Done() {
		t.Errorf("operation is %+v", o)
	}
}

func TestDevicesByPage(t *testing.T) {
	s, r := start(t)
	var all []uint32
	for n := range uint32(1000) {
		all = append(all, 3*n+1)
	}
	var rows []event.ResultRow
	for _, d := range all[300:600] {
		rows = append(rows, row(1, d, task.Sent, 1))
	}
	s.Append(requested(t, 1, all), results(rows...))
	for _, state := range []task.State{task.NoState, task.Waiting, task.Sent, task.Failed} {
		var got []uint32
		after := uint32(0)
		for {
			page, err := r.Devices(opID(1), state, after, 7)
			if err != nil || len(page) > 7 {
				t.Fatalf("%d devices, %v", len(page), err)
			}
			for _, d := range page {
				got = append(got, d.Device)
				after = d.Device
			}
			if len(page) < 7 {
				break
			}
		}
		wanted := map[task.State][]uint32{task.NoState: all, task.Waiting: slices.Concat(all[:300], all[600:]), task.Sent: all[300:600]}[state]
		if !slices.Equal(got, wanted) {
			t.Errorf("%s: %d devices, want %d", state, len(got), len(wanted))
		}
	}
}

func TestList(t *testing.T) {
	s, r := start(t)
	for n := range 5 {
		s.Append(requested(t, n+1, []uint32{1}))
	}
	var got []task.ID
	var before task.ID
	for {
		page, err := r.List(before, 2)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range page {
			got = append(got, o.ID)
			before = o.ID
		}
		if len(page) < 2 {
			break
		}
	}
	if !slices.Equal(got, []task.ID{opID(5), opID(4), opID(3), opID(2), opID(1)}) {
		t.Errorf("list is %v", got)
	}
}

func TestOpenAndPending(t *testing.T) {
	s, r := start(t)
	s.Append(requested(t, 2, []uint32{1, 2}), requested(t, 1, []uint32{1}), requested(t, 3, []uint32{1}), requested(t, 4, []uint32{1}))
	n := s.Append(results(row(2, 1, task.Succeeded, 1), row(1, 1, task.Running, 1)),
		says(&event.OperationExpired{Operation: opID(3)}), says(&event.OperationCancelled{Operation: opID(4)}))
	open, position, err := r.Open()
	if err != nil || position != n || len(open) != 2 || open[0].ID != opID(2) || open[1].ID != opID(1) {
		t.Fatalf("open: %+v at %d, %v", open, position, err)
	}
	if !open[0].Final.Contains(1) || open[0].Final.Contains(2) || !open[1].Final.IsEmpty() {
		t.Errorf("final: %v, %v", open[0].Final, open[1].Final)
	}
	if signed, err := open[0].Signed.Task(); err != nil || signed.Operation != opID(2) {
		t.Errorf("task: %+v, %v", signed, err)
	}
	for device, ids := range map[uint32][]task.ID{1: {opID(1)}, 2: {opID(2)}, 3: nil} {
		if got, err := r.Pending(device); err != nil || !slices.Equal(got, ids) {
			t.Errorf("pending for %d: %v, %v", device, got, err)
		}
	}
	s.Append(results(row(2, 2, task.Failed, 1)))
	if now, _, err := r.Open(); err != nil || len(now) != 1 {
		t.Errorf("a done operation is open: %+v, %v", now, err)
	}
	if open[0].Final.Contains(2) {
		t.Error("a set that was handed out has changed")
	}
}

func TestHistory(t *testing.T) {
	s, r := start(t)
	s.Append(requested(t, 1, []uint32{1, 2}), requested(t, 2, []uint32{1}), results(row(2, 1, task.Sent, 1)),
		results(row(1, 1, task.Sent, 1), row(2, 1, task.Failed, 1)), results(row(1, 1, task.Sent, 1)), says(&event.OperationCancelled{Operation: opID(1)}))
	got, err := r.History(opID(1))
	var events []string
	for _, e := range got {
		events = append(events, fmt.Sprintf("%d %s %d", e.Event, e.Kind, e.Accepted.Sub(projectorstest.Epoch)))
	}
	if want := []string{"1 operation.requested 0", "4 results.reported 3", "6 operation.cancelled 5"}; err != nil || !slices.Equal(events, want) {
		t.Errorf("history is %q, want %q, %v", events, want, err)
	}
}

func TestDue(t *testing.T) {
	s, r := start(t)
	due := func(minutes int, expire, close []task.ID) {
		t.Helper()
		e, c, err := r.Due(minute(minutes))
		if err != nil || !slices.Equal(e, expire) || !slices.Equal(c, close) {
			t.Errorf("due after %d min: %v and %v, want %v and %v, %v", minutes, e, c, expire, close, err)
		}
	}
	s.Append(requested(t, 3, []uint32{1}), requested(t, 1, []uint32{1, 2})) // valid for 63 and 61 min
	due(60, nil, nil)
	due(61, []task.ID{opID(1)}, nil)
	due(90, []task.ID{opID(1), opID(3)}, nil)
	due(91, []task.ID{opID(1), opID(3)}, []task.ID{opID(1)}) // 20 min of run time and 10 of grace later
	due(1000, []task.ID{opID(1), opID(3)}, []task.ID{opID(1), opID(3)})
	s.Append(says(&event.OperationExpired{Operation: opID(1)}), says(&event.OperationCancelled{Operation: opID(3)}))
	due(1000, nil, nil) // all targets are final
	s.Append(requested(t, 5, []uint32{1, 2}), results(row(5, 1, task.Running, 1)))
	s.Append(says(&event.OperationExpired{Operation: opID(5)}))
	due(1000, nil, []task.ID{opID(5)})
	s.Append(says(&event.OperationClosed{Operation: opID(5)}))
	due(1000, nil, nil)
}

func TestMalformedRequests(t *testing.T) {
	s, r := start(t)
	bad := func(change func(*event.OperationRequested)) *event.Event {
		e := requested(t, 1, []uint32{1})
		change(e.Payload.(*event.OperationRequested))
		return e
	}
	s.Append(bad(func(p *event.OperationRequested) { p.Task = p.Task[:20] }),
		bad(func(p *event.OperationRequested) { p.Targets = []byte{1, 2, 3} }),
		bad(func(p *event.OperationRequested) { p.Targets = bitmap(t, nil) }),
		bad(func(p *event.OperationRequested) { p.Targets = bitmap(t, []uint32{0, 1}) }),
		bad(func(p *event.OperationRequested) { p.Targets = bitmap(t, []uint32{1, 1 << 24}) }),
		bad(func(p *event.OperationRequested) { p.Offline = []byte{9} }))
	if i, err := r.Ignored(); err != nil || i.Operations != 6 {
		t.Errorf("ignored: %+v, %v", i, err)
	}
	if all, err := r.List(task.ID{}, 10); err != nil || len(all) != 0 {
		t.Errorf("list is %+v, %v", all, err)
	}
}
