package operation_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/listener/wire/task"
	"github.com/bugle-fleet/bugle/projectors/operation"
	"github.com/bugle-fleet/bugle/projectors/projectorstest"
)

// wavesAreConsistent compares the counts of the waves with their members' states.
func wavesAreConsistent(t testing.TB, r *operation.Reader, o *operation.Operation, devices []operation.DeviceState) {
	t.Helper()
	waves, err := r.Waves(o.ID)
	if err != nil || len(waves) != len(o.Waves) {
		t.Fatalf("%d waves, of %d the members are told, %v", len(o.Waves), len(waves), err)
	}
	out := roaring.New()
	for i, w := range waves {
		var final, failed uint32
		for _, d := range devices {
			if !w.Devices.Contains(d.Device) {
				continue
			}
			if d.State >= task.Succeeded && d.State <= task.NotApplicable {
				final++
			}
			if d.State == task.Failed || d.State == task.TimedOut {
				failed++
			}
		}
		if out.Intersects(w.Devices) {
			t.Errorf("devices of wave %d were released before", i+1)
		}
		out.Or(w.Devices)
		if w.Wave != o.Waves[i] || w.Number != uint32(i+1) || uint64(w.Count) != w.Devices.GetCardinality() || w.Final != final || w.Failed > failed ||
			w.OnlineFinal > w.Online || w.OnlineFinal > w.Final || w.Online > w.Count {
			t.Errorf("wave is %+v, members say %d ended and %d failed", w, final, failed)
		}
	}
	want := uint32(out.GetCardinality())
	if !o.Paced() {
		want = o.Count
	}
	if o.Released != want || o.Held() != o.Count-want {
		t.Errorf("%d released and %d held of %d, the waves hold %d", o.Released, o.Held(), o.Count, want)
	}
	var ended uint32
	for _, d := range devices {
		in, _, ok, err := r.InStates(o.ID, d.State)
		if err != nil || !ok || !in.Contains(d.Device) || uint32(in.GetCardinality()) != o.States[d.State] {
			t.Errorf("at %s are %v, which must hold device %d: %v, %v", d.State, in, d.Device, ok, err)
		}
		if d.State >= task.Succeeded && d.State <= task.NotApplicable {
			ended++
		}
	}
	if o.Reported() != ended {
		t.Errorf("%d have reported an end, the states of %d say so", o.Reported(), ended)
	}
}

func TestWaves(t *testing.T) {
	s, r := start(t)
	s.Append(paced(t, 1, []uint32{1, 2, 3, 4, 5, 6}, 2, 2))
	o := want(t, r, 1, "waiting 6")
	if o.Priority != 1 || !o.Durable || !o.Paced() || o.Pacing.StopOnFailure != 10 || o.Held() != 6 || !o.Open() {
		t.Errorf("operation is %+v", o)
	}
	n := s.Append(released(t, 1, 1, []uint32{2, 4, 700}, 2, 4, 5)) // 700 is no target, 5 not of the wave
	o = want(t, r, 1, "waiting 6")
	first := operation.Wave{Number: 1, Event: n, At: projectorstest.Epoch.Add(time.Duration(n - 1)), Spread: time.Minute, Count: 2, Online: 2}
	if len(o.Waves) != 1 || o.Waves[0] != first || o.Held() != 4 || o.Waves[0].Settled() {
		t.Errorf("waves are %+v", o.Waves)
	}
	s.Append(results(row(1, 2, task.Succeeded, 1), row(1, 2, task.Succeeded, 1), row(1, 4, task.Running, 1)))
	s.Append(results(row(1, 4, task.Failed, 2), row(1, 6, task.Failed, 2))) // 6 was not released
	o = want(t, r, 1, "waiting 3, succeeded 1, failed 2")
	first.OnlineFinal, first.Final, first.Failed = 2, 2, 1
	if o.Waves[0] != first || !o.Waves[0].Settled() || o.Faulty() != 2 || o.Reported() != 3 {
		t.Errorf("waves are %+v", o.Waves)
	}
	// A wave is taken once, in order, and of nobody twice.
	s.Append(released(t, 1, 1, []uint32{1}), released(t, 1, 3, []uint32{1}), released(t, 1, 2, []uint32{2, 1, 6}, 6))
	o = want(t, r, 1, "waiting 3, succeeded 1, failed 2")
	if len(o.Waves) != 2 || o.Waves[1].Count != 2 || o.Waves[1].Final != 1 || !o.Waves[1].Settled() || o.Released != 4 {
		t.Errorf("waves are %+v", o.Waves)
	}
	paced, err := r.Paced()
	if err != nil || len(paced) != 1 || paced[0].ID != o.ID || !slices.Equal(paced[0].Out.ToArray(), []uint32{1, 2, 4, 6}) {
		t.Errorf("paced: %+v, %v", paced, err)
	}
	open, _, err := r.Open()
	if err != nil || len(open) != 1 || !open[0].Held || open[0].Priority != 1 || !open[0].Durable || len(open[0].Waves) != 2 ||
		!open[0].Released.Equals(paced[0].Out) || !open[0].DeliverBy.Equal(minute(61)) {
		t.Errorf("open: %+v, %v", open, err)
	}
	s.Append(says(&event.OperationExpired{Operation: opID(1)}), released(t, 1, 3, []uint32{3, 5}))
	if o = want(t, r, 1, "succeeded 1, failed 2, expired 3"); len(o.Waves) != 2 {
		t.Errorf("an ended operation was released: %+v", o.Waves)
	}
	if paced, err := r.Paced(); err != nil || len(paced) != 0 {
		t.Errorf("an ended operation is paced: %+v, %v", paced, err)
	}
}

func TestReleasesOfNothing(t *testing.T) {
	s, r := start(t)
	s.Append(requested(t, 1, []uint32{1, 2}), released(t, 1, 1, []uint32{1}), released(t, 2, 1, []uint32{1}))
	if o := want(t, r, 1, "waiting 2"); len(o.Waves) != 0 || o.Released != 2 || o.Priority != 2 || o.Durable {
		t.Errorf("operation is %+v", o)
	}
	bad := released(t, 1, 1, []uint32{1})
	bad.Payload.(*event.OperationReleased).Devices = []byte{1, 2}
	s.Append(bad)
	if i, err := r.Ignored(); err != nil || i.Operations != 2 {
		t.Errorf("ignored: %+v, %v", i, err)
	}
}

// TestOP5CancelCounts has an operation cancelled while devices are everywhere: the
// event's counts stay what they were, whatever comes later.
func TestOP5CancelCounts(t *testing.T) {
	s, r := start(t)
	s.Append(requested(t, 1, []uint32{1, 2, 3, 4, 5, 6, 7}), results(row(1, 1, task.Sent, 1), row(1, 2, task.Delivered, 1), row(1, 3, task.Running, 1),
		row(1, 4, task.Deferred, 1), row(1, 5, task.Succeeded, 1), row(1, 6, task.NotApplicable, 1)))
	n := s.Append(says(&event.OperationCancelled{Operation: opID(1), Reason: "mistake", Cancel: []byte("signed")}))
	cut := operation.Cut{Event: n, At: projectorstest.Epoch.Add(time.Duration(n - 1)), Reason: "mistake", Running: 1, Ended: 2, Spared: 4}
	if o := want(t, r, 1, "running 1, succeeded 1, not-applicable 1, cancelled 4"); o.Cancel != cut || o.Stop.Event != 0 {
		t.Errorf("the cancel found %+v, want %+v", o.Cancel, cut)
	}
	s.Append(results(row(1, 3, task.Succeeded, 2), row(1, 2, task.Failed, 2), row(1, 1, task.Delivered, 2), row(1, 7, task.Refused, 2)),
		says(&event.OperationCancelled{Operation: opID(1), Reason: "again", Cancel: []byte("other")}))
	if o := want(t, r, 1, "succeeded 2, failed 1, not-applicable 1, cancelled 3"); o.Cancel != cut {
		t.Errorf("the cancel found %+v, want %+v", o.Cancel, cut)
	}
	told := func() (all []string) {
		_, err := r.At(func(s *operation.Snapshot) error {
			for _, c := range s.Cancels() {
				all = append(all, fmt.Sprintf("%d %s %s", c.ID[15], c.Signed, c.Until.Sub(minute(0))))
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
		return all
	}
	if all := told(); !slices.Equal(all, []string{"1 signed 1h1m0s"}) {
		t.Errorf("cancels are %q", all)
	}
	s.Append(requested(t, 2, []uint32{1}), stopped(2), requested(t, 3, []uint32{1}), says(&event.OperationCancelled{Operation: opID(3)}))
	if all := told(); !slices.Equal(all, []string{"1 signed 1h1m0s", "2 stop 1h2m0s"}) {
		t.Errorf("cancels are %q", all)
	}
}

// TestCancelsEnd has operations whose deliver-by the journal's time has passed.
func TestCancelsEnd(t *testing.T) {
	s, r := start(t)
	old := requested(t, 1, []uint32{1})
	p := old.Payload.(*event.OperationRequested)
	signed, err := p.Task.Task()
	if err != nil {
		t.Fatal(err)
	}
	signed.NotBefore, signed.DeliverBy = projectorstest.Epoch.Add(-2*time.Hour), projectorstest.Epoch.Add(2) // ns: the third event
	if p.Task, err = signed.Sign(key); err != nil {
		t.Fatal(err)
	}
	s.Append(old, says(&event.OperationCancelled{Operation: opID(1), Cancel: []byte("old")}))
	count := func() (n int) {
		if _, err := r.At(func(s *operation.Snapshot) error { n = len(s.Cancels()); return nil }); err != nil {
			t.Fatal(err)
		}
		return n
	}
	if count() != 1 {
		t.Error("the cancel is not told")
	}
	s.Append(requested(t, 2, []uint32{1}), requested(t, 3, []uint32{1}), says(&event.OperationCancelled{Operation: opID(2), Cancel: []byte("new")}))
	if count() != 1 {
		t.Error("what no agent needs any more is told for ever")
	}
}

func TestStopped(t *testing.T) {
	s, r := start(t)
	s.Append(paced(t, 1, []uint32{1, 2, 3}), released(t, 1, 1, []uint32{1, 2}, 1, 2), results(row(1, 1, task.Running, 1), row(1, 2, task.Failed, 1)))
	n := s.Append(stopped(1))
	o := want(t, r, 1, "running 1, failed 1, cancelled 1")
	cut := operation.Cut{Event: n, At: projectorstest.Epoch.Add(time.Duration(n - 1)), Reason: "too much failed", Running: 1, Ended: 1, Spared: 1}
	if o.Stop != (operation.Stop{Cut: cut, Wave: 2, Failed: 3, Final: 12, Limit: 10}) || !o.Stopped || o.Cancelled || o.Open() {
		t.Errorf("operation is %+v", o)
	}
	if expire, end, err := r.Due(minute(1000)); err != nil || len(expire) != 0 || !slices.Equal(end, []task.ID{opID(1)}) {
		t.Errorf("due: %v, %v, %v", expire, end, err)
	}
	s.Append(says(&event.OperationClosed{Operation: opID(1)}))
	want(t, r, 1, "failed 1, cancelled 1, lost 1")
}

// TestOP1Expired is the view's part of it: what was sent and not acknowledged by
// deliver-by is expired, also of an operation that is good for a year.
func TestOP1Expired(t *testing.T) {
	s, r := start(t)
	e := requested(t, 1, []uint32{1, 2, 3})
	p := e.Payload.(*event.OperationRequested)
	signed, err := p.Task.Task()
	if err != nil {
		t.Fatal(err)
	}
	signed.DeliverBy = minute(365 * 24 * 60)
	if p.Task, err = signed.Sign(key); err != nil {
		t.Fatal(err)
	}
	p.Durable = true
	s.Append(e, results(row(1, 1, task.Succeeded, 59), row(1, 2, task.Sent, 59)))
	if expire, _, err := r.Due(minute(365*24*60 - 1)); err != nil || len(expire) != 0 {
		t.Errorf("due a minute before: %v, %v", expire, err)
	}
	expire, _, err := r.Due(minute(365 * 24 * 60))
	if err != nil || len(expire) != 1 {
		t.Fatalf("due: %v, %v", expire, err)
	}
	s.Append(says(&event.OperationExpired{Operation: opID(1)}))
	o := want(t, r, 1, "succeeded 1, expired 2")
	if o.Open() || !o.Done() || o.Offline() != 1 {
		t.Errorf("operation is %+v", o)
	}
}
