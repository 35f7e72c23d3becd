package operation_test

import (
	"bytes"
	"crypto/ed25519"
	"slices"
	"testing"
	"time"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/listener/wire/task"
	"github.com/bugle-fleet/bugle/projectors"
	"github.com/bugle-fleet/bugle/projectors/operation"
	"github.com/bugle-fleet/bugle/projectors/projectorstest"
)

var (
	at  = time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC)
	key = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize))
)

func minute(n int) time.Time { return at.Add(time.Duration(n) * time.Minute) }

// opID is the id of the n-th operation of a test.
func opID(n int) task.ID { return task.ID{0: 1, 6: 0x70, 8: 0x80, 14: byte(n >> 8), 15: byte(n)} }

// requested is operation n for devices, of which offline were not online; it is
// valid for an hour and may run for 20 minutes.
func requested(t testing.TB, n int, devices []uint32, offline ...uint32) *event.Event {
	t.Helper()
	targets, err := task.NewTargets(slices.Values(devices))
	if err != nil {
		t.Fatal(err)
	}
	signed, err := (&task.Task{Site: "P01", Operation: opID(n), Kind: "scan.quick", Params: []byte(`{"depth":1}`),
		Root: targets.Root(), Leaves: targets.Leaves(), NotBefore: minute(0), DeliverBy: minute(60 + n), RunTimeout: 20 * time.Minute,
		Requested: minute(0)}).Sign(key)
	if err != nil {
		t.Fatal(err)
	}
	return &event.Event{Observed: minute(0), Actor: event.Actor{Issuer: "local", Subject: "anna"}, Payload: &event.OperationRequested{
		Task: signed, Targets: bitmap(t, devices), Count: uint32(len(devices)), Online: uint32(len(devices) - len(offline)),
		Offline: bitmap(t, offline), Target: "devices", Reason: "because"}}
}

func bitmap(t testing.TB, numbers []uint32) []byte {
	t.Helper()
	b, err := roaring.BitmapOf(numbers...).ToBytes()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// row is a report: what device said of operation n, so many minutes after at.
func row(n int, device uint32, s task.State, minutes int) event.ResultRow {
	return event.ResultRow{Result: task.Result{Operation: opID(n), Device: device, Attempt: 1, State: s, At: minute(minutes), Detail: s.String()}}
}

func results(rows ...event.ResultRow) *event.Event {
	return &event.Event{Observed: at, Source: &event.Source{Listener: "AAA", Epoch: 1, File: event.BTS, Number: 1, Part: 1, Of: 1},
		Payload: &event.ResultsReported{Rows: rows}}
}

func says(p event.Payload) *event.Event {
	return &event.Event{Observed: at, Actor: event.Actor{Issuer: "site"}, Payload: p}
}

// paced is requested with waves of so many devices and a stop at 10 %; the task
// may also come by policy.
func paced(t testing.TB, n int, devices []uint32, waves ...uint32) *event.Event {
	t.Helper()
	e := requested(t, n, devices)
	p := e.Payload.(*event.OperationRequested)
	p.Priority, p.Durable, p.Pacing = 1, true, event.Pacing{Waves: waves, Spread: time.Minute, Rate: 5, StopOnFailure: 10}
	return e
}

// released lets wave number of operation n go to devices, of which online were
// online.
func released(t testing.TB, n int, number uint32, devices []uint32, online ...uint32) *event.Event {
	t.Helper()
	return says(&event.OperationReleased{Operation: opID(n), Wave: number, Devices: bitmap(t, devices), Count: uint32(len(devices)),
		Online: bitmap(t, online), Spread: time.Minute})
}

// stopped is the site's own end of operation n.
func stopped(n int) *event.Event {
	return says(&event.OperationStopped{Operation: opID(n), Wave: 2, Failed: 3, Final: 12, Limit: 10, Cancel: []byte("stop"), Reason: "too much failed"})
}

// history brings every kind of event that the view folds.
func history(t *testing.T) []*event.Event {
	return []*event.Event{
		requested(t, 1, []uint32{1, 2, 3, 4, 300}, 4, 300),
		results(row(1, 1, task.Sent, 1), row(1, 2, task.Sent, 1), row(1, 1, task.Delivered, 1)),
		requested(t, 2, []uint32{1, 9}),
		results(row(1, 1, task.Running, 2), row(2, 1, task.Delivered, 2), row(3, 1, task.Sent, 2), row(1, 7, task.Sent, 2)),
		results(row(1, 1, task.Succeeded, 3), row(1, 3, task.Deferred, 3)),
		says(&event.OperationExpired{Operation: opID(1)}),
		results(row(1, 2, task.Delivered, 70), row(1, 3, task.Running, 70)),
		says(&event.OperationCancelled{Operation: opID(2), Reason: "mistake"}),
		says(&event.OperationClosed{Operation: opID(1)}),
		results(row(1, 3, task.Failed, 200), row(2, 1, task.Running, 200)),
		requested(t, 2, []uint32{5}),
		says(&event.OperationExpired{Operation: opID(3)}),
		requested(t, 4, []uint32{5, 6}, 6),
		results(row(4, 5, task.NotApplicable, 3)),
		results(row(4, 6, task.TimedOut, 3)),
		paced(t, 5, []uint32{1, 2, 3, 4, 5, 6}, 2, 2),
		released(t, 5, 1, []uint32{2, 4}, 2),
		results(row(5, 2, task.Deferred, 4), row(5, 4, task.Failed, 4)),
		released(t, 5, 2, []uint32{1, 3}, 1, 3),
		released(t, 5, 2, []uint32{5, 6}),
		results(row(5, 2, task.TimedOut, 5), row(5, 1, task.Running, 5)),
		stopped(5),
		paced(t, 6, []uint32{7, 8}),
		released(t, 6, 1, []uint32{7, 8}, 7),
		says(&event.OperationCancelled{Operation: opID(6), Reason: "no", Cancel: []byte("cancel")}),
		results(row(5, 1, task.Failed, 6)),
	}
}

func TestSuite(t *testing.T) {
	projectorstest.Run(t, projectorstest.Suite{
		New:    func() *projectors.View { v, _ := operation.New(); return v },
		Golden: "testdata/rows2.golden",
		Events: history(t),
	})
}
