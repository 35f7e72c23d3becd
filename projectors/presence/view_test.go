package presence_test

import (
	"fmt"
	"testing"

	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/projectors/presence"
	"github.com/bugle-fleet/bugle/projectors/projectorstest"
)

// want says where devices must be: "1 AAA" is online there, "1 off closed AAA"
// is not.
func want(t *testing.T, r *presence.Reader, lines ...string) {
	t.Helper()
	rows, err := r.List(0, 100)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, row := range rows {
		line := fmt.Sprintf("%d %s", row.Device, row.Listener)
		if !row.Online {
			line = fmt.Sprintf("%d off %s %s", row.Device, row.Reason, row.Listener)
		}
		got = append(got, line)
	}
	if fmt.Sprint(got) != fmt.Sprint(lines) {
		t.Errorf("presence is %q, want %q", got, lines)
	}
	counts(t, r, rows)
}

// counts compares what is kept with what the rows say.
func counts(t *testing.T, r *presence.Reader, rows []presence.Row) {
	t.Helper()
	by := make(map[string]uint64)
	var all uint64
	online := r.Online()
	for _, row := range rows {
		if row.Online {
			by[row.Listener]++
			all++
		}
		if online.Contains(row.Device) != row.Online {
			t.Errorf("device %d: the set of devices online and the row differ", row.Device)
		}
	}
	total, kept := r.Counts()
	if total != all || online.GetCardinality() != all {
		t.Errorf("%d online, kept %d and %d", all, total, online.GetCardinality())
	}
	for name, n := range kept {
		if n != by[name] {
			t.Errorf("%d online at %s, kept %d", by[name], name, n)
		}
	}
}

func start(t *testing.T) (*projectorstest.Site, *presence.Reader) {
	view, r := presence.New()
	return projectorstest.Start(t, view), r
}

func TestPR3DeviceMoves(t *testing.T) {
	s, r := start(t)
	s.Append(delta("AAA", 1, on(1, 1)), delta("BBB", 1, on(1, 5)))
	want(t, r, "1 BBB")
	s.Append(delta("AAA", 2, off(1, 6, event.TimedOut)))
	want(t, r, "1 BBB")
	s.Append(snapshot("AAA", 3, on(1, 1))) // has not noticed yet
	want(t, r, "1 BBB")
	s.Append(snapshot("AAA", 4)) // nor does absence there
	want(t, r, "1 BBB")
	s.Append(delta("BBB", 2, off(1, 7, event.SignedOut)))
	want(t, r, "1 off signed-out BBB")
	s.Append(delta("AAA", 5, on(1, 1))) // still the old session
	want(t, r, "1 off signed-out BBB")
	s.Append(delta("AAA", 6, on(1, 8)))
	want(t, r, "1 AAA")
}

// The files of two listeners may come in any order: what A says last of its own
// session comes before B said that a later one began.
func TestPR3FilesInTheOtherOrder(t *testing.T) {
	s, r := start(t)
	s.Append(delta("AAA", 1, on(1, 1)))
	s.Append(delta("AAA", 2, off(1, 6, event.TimedOut)))
	want(t, r, "1 off timed-out AAA")
	s.Append(delta("BBB", 1, on(1, 5))) // where it has been since before A noticed
	want(t, r, "1 BBB")
	s.Append(delta("BBB", 2, off(1, 9, event.SignedOut)))
	s.Append(snapshot("CCC", 1, on(1, 4))) // an older session, of which nobody has noticed that it is dead
	want(t, r, "1 off signed-out BBB")
	s.Append(snapshot("AAA", 3, on(1, 8)))
	want(t, r, "1 AAA")
}

func TestPR4LostDelta(t *testing.T) {
	s, r := start(t)
	s.Append(snapshot("AAA", 1, on(1, 1), on(2, 1)), delta("AAA", 2, on(3, 2)))
	s.Append(delta("AAA", 4, on(4, 4))) // 3 took device 2 offline
	want(t, r, "1 AAA", "2 AAA", "3 AAA", "4 AAA")
	if l, ok, err := r.Listener("AAA"); err != nil || !ok || l.Gaps != 1 || !l.Gap {
		t.Errorf("the gap is not on record: %+v, %v", l, err)
	}
	s.Append(snapshot("AAA", 5, on(1, 1), on(3, 2), on(4, 4)))
	want(t, r, "1 AAA", "2 off not-in-snapshot AAA", "3 AAA", "4 AAA")
	if l, _, _ := r.Listener("AAA"); l.Gaps != 1 || l.Gap || l.Full != 5 || l.Last != 5 {
		t.Errorf("the full report did not heal the gap: %+v", l)
	}
}

func TestPR4LateDelta(t *testing.T) {
	s, r := start(t)
	s.Append(snapshot("AAA", 1, on(1, 1), on(2, 1)), delta("AAA", 3, on(2, 5), on(3, 5)))
	s.Append(delta("AAA", 2, off(1, 3, event.Closed), off(2, 3, event.Closed))) // put back from quarantine
	want(t, r, "1 off closed AAA", "2 AAA", "3 AAA")
}

func TestPR5StaleReports(t *testing.T) {
	s, r := start(t)
	s.Append(snapshot("AAA", 3, on(1, 5), on(2, 5)))
	s.Append(snapshot("AAA", 2, on(3, 1)), delta("AAA", 1, off(1, 9, event.Closed)))
	want(t, r, "1 AAA", "2 AAA")
	if l, _, err := r.Listener("AAA"); err != nil || l.Stale != 2 || l.Full != 3 {
		t.Errorf("stale reports are not on record: %+v, %v", l, err)
	}
	s.Append(delta("AAA", 5, on(4, 6)), snapshot("AAA", 5, on(9, 9)), snapshot("AAA", 4, on(9, 9))) // a number again, and a report before a delta
	want(t, r, "1 AAA", "2 AAA", "4 AAA")
	if l, _, err := r.Listener("AAA"); err != nil || l.Stale != 4 || l.Full != 3 || l.Last != 5 {
		t.Errorf("stale reports are not on record: %+v, %v", l, err)
	}
}

func TestSnapshotParts(t *testing.T) {
	s, r := start(t)
	s.Append(snapshot("AAA", 1, on(1, 1), on(2, 1), on(3, 1)))
	s.Append(part(bos("AAA", 1, 2, 1, 3), 2, on(1, 1)), part(bos("AAA", 1, 2, 2, 3), 2))
	want(t, r, "1 AAA", "2 AAA", "3 AAA")
	s.Append(part(bos("AAA", 1, 2, 3, 3), 2, on(4, 2)))
	want(t, r, "1 AAA", "2 off not-in-snapshot AAA", "3 off not-in-snapshot AAA", "4 AAA")
	if row, _, _ := r.Get(2); !row.Since.Equal(minute(100)) {
		t.Errorf("offline since %v, want when the report was made", row.Since)
	}
}

func TestSnapshotIsVoid(t *testing.T) {
	for name, parts := range map[string][]*event.Event{
		"first part missing":  {part(bos("AAA", 1, 2, 2, 3), 1), part(bos("AAA", 1, 2, 3, 3), 1, on(4, 2))},
		"middle part missing": {part(bos("AAA", 1, 2, 1, 3), 1), part(bos("AAA", 1, 2, 3, 3), 1, on(4, 2))},
		"last part missing":   {part(bos("AAA", 1, 2, 1, 3), 1, on(4, 2)), part(bos("AAA", 1, 2, 2, 3), 1)},
		"entries missing":     {part(bos("AAA", 1, 2, 1, 1), 2, on(4, 2))},
		"files mixed":         {part(bos("AAA", 1, 2, 1, 2), 1), part(bos("AAA", 1, 3, 2, 2), 1, on(4, 2))},
		"another epoch":       {part(bos("AAA", 1, 2, 1, 2), 1), part(bos("AAA", 2, 2, 2, 2), 1, on(4, 2))},
	} {
		t.Run(name, func(t *testing.T) {
			s, r := start(t)
			s.Append(snapshot("AAA", 1, on(1, 1)))
			s.Append(parts...)
			want(t, r, "1 AAA", "4 AAA")
		})
	}
}

func TestListenerEnds(t *testing.T) {
	s, r := start(t)
	s.Append(snapshot("AAA", 1, on(1, 1), on(2, 1)), delta("BBB", 1, on(3, 1)))
	s.Append(says(&event.ListenerLost{Listener: "AAA", Epoch: 1}))
	want(t, r, "1 off listener-lost AAA", "2 off listener-lost AAA", "3 BBB")
	s.Append(snapshot("AAA", 2, on(1, 1))) // it was only silent
	want(t, r, "1 AAA", "2 off listener-lost AAA", "3 BBB")
	s.Append(delta("BBB", 2, on(2, 0))) // a conclusion of the site gives way
	want(t, r, "1 AAA", "2 BBB", "3 BBB")
	s.Append(says(&event.ListenerStopped{Listener: "BBB", Epoch: 1}))
	want(t, r, "1 AAA", "2 off listener-stopped BBB", "3 off listener-stopped BBB")
	s.Append(says(&event.DeviceBlocked{Device: 1}))
	want(t, r, "1 AAA", "2 off listener-stopped BBB", "3 off listener-stopped BBB")
}

// A listener that could not reach its site stops and begins again, and then all of
// its files come at once: that it stopped may come last.
func TestStopComesLate(t *testing.T) {
	s, r := start(t)
	s.Append(delta("AAA", 1, on(1, 1), on(2, 1)), snapshot("AAA", 2), delta("AAA", 3, on(1, 3)), delta("AAA", 4, on(2, 2)))
	s.Append(stops("AAA", 2))
	want(t, r, "1 AAA", "2 off listener-stopped AAA")
}

func TestEpochs(t *testing.T) {
	s, r := start(t)
	s.Append(snapshot("AAA", 7, on(1, 1), on(2, 1)), says(&event.ListenerGranted{Listener: "AAA", Epoch: 2}))
	want(t, r, "1 AAA", "2 AAA")
	s.Append(delta("AAA", 8, off(1, 2, event.Closed)), says(&event.ListenerStopped{Listener: "AAA", Epoch: 1}))
	want(t, r, "1 AAA", "2 AAA") // the earlier epoch is over
	s.Append(part(bos("AAA", 2, 1, 1, 1), 1, on(1, 9)))
	want(t, r, "1 AAA", "2 off not-in-snapshot AAA")
	if row, ok, err := r.Get(1); err != nil || !ok || row.Epoch != 2 || !row.Since.Equal(minute(9)) {
		t.Errorf("row is %+v, %v", row, err)
	}
	s.Append(part(bos("AAA", 3, 1, 1, 1), 0)) // a later one, without a word before
	want(t, r, "1 off not-in-snapshot AAA", "2 off not-in-snapshot AAA")
}

func TestNotOfABox(t *testing.T) {
	s, r := start(t)
	d := delta("AAA", 1, on(1, 1))
	d.Source = nil
	wrong := delta("AAA", 1, on(1, 1))
	wrong.Source.File = event.DDR
	s.Append(d, wrong, delta("AAA", 1, on(1<<24, 1)))
	want(t, r)
}

func TestList(t *testing.T) {
	s, r := start(t)
	s.Append(delta("AAA", 1, on(1, 1), on(300, 1), on(70000, 1)))
	rows, err := r.List(1, 1)
	if err != nil || len(rows) != 1 || rows[0].Device != 300 {
		t.Errorf("after 1 comes %+v, %v", rows, err)
	}
	if rows, err := r.List(70000, 5); err != nil || len(rows) != 0 {
		t.Errorf("after the last comes %+v, %v", rows, err)
	}
	if _, ok, err := r.Get(2); ok || err != nil {
		t.Errorf("a device that nobody named: %v, %v", ok, err)
	}
}
