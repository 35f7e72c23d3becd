package device_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/listener/wire/task"
	"github.com/bugle-fleet/bugle/projectors/device"
	"github.com/bugle-fleet/bugle/projectors/projectorstest"
	"github.com/google/go-cmp/cmp"
)

func start(t *testing.T) (*projectorstest.Site, *device.Reader) {
	view, r := device.New()
	return projectorstest.Start(t, view), r
}

func get(t *testing.T, r *device.Reader, number uint32) device.Device {
	t.Helper()
	d, ok, err := r.Get(number)
	if err != nil || !ok {
		t.Fatalf("device %d: %v, %v", number, ok, err)
	}
	return d
}

func fact(name, value string) event.Fact { return event.Fact{Name: name, Value: value} }

func TestJoined(t *testing.T) {
	s, r := start(t)
	n := s.Append(joined(7, "alpha"))
	want := device.Device{Number: 7, ID: task.ID{15: 7}, Name: "alpha", OS: "linux", Arch: "amd64", Agent: "1.0", Token: "T1",
		Joined: projectorstest.Epoch, Expires: at.AddDate(1, 0, 0), Issued: projectorstest.Epoch, Certified: n, Event: n}
	if diff := cmp.Diff(want, get(t, r, 7)); diff != "" {
		t.Error(diff)
	}
	if d, ok, err := r.ByID(task.ID{15: 7}); err != nil || !ok || d.Number != 7 {
		t.Errorf("by id: %+v, %v, %v", d, ok, err)
	}
	if _, ok, err := r.ByID(task.ID{15: 8}); ok || err != nil {
		t.Errorf("by an id that is none: %v, %v", ok, err)
	}
	if _, ok, err := r.Get(8); ok || err != nil {
		t.Errorf("device 8: %v, %v", ok, err)
	}
}

func TestJoinedAgain(t *testing.T) {
	s, r := start(t)
	s.Append(joined(1, "alpha"), discovered(1, fact("cpu", "4")), blocked(1, "stolen"))
	again := joined(1, "beta")
	again.Payload.(*event.DeviceJoined).ID = task.ID{15: 99}
	n := s.Append(again)
	d := get(t, r, 1)
	if d.Name != "beta" || d.ID != (task.ID{15: 99}) || !d.Blocked || d.BlockReason != "stolen" || len(d.Facts) != 1 || d.Event != n {
		t.Errorf("device is %+v", d)
	}
	if _, ok, _ := r.ByID(task.ID{15: 1}); ok {
		t.Error("the former id still leads to it")
	}
	if found, err := r.Find("alpha"); err != nil || len(found) != 0 {
		t.Errorf("the former name still leads to %+v, %v", found, err)
	}
	if count, err := r.Count(); err != nil || count != 1 {
		t.Errorf("%d devices, %v", count, err)
	}
	if numbers, err := r.Numbers(); err != nil || !numbers.IsEmpty() {
		t.Errorf("numbers: %v, %v", numbers, err)
	}
}

func TestDiscovered(t *testing.T) {
	s, r := start(t)
	s.Append(joined(1, "alpha"), discovered(1, fact("os", "Debian"), fact("cpu", "4"), fact("note", "")))
	n := s.Append(discovered(1, fact("cpu", "8"), fact("disk", "1 TB")))
	d := get(t, r, 1)
	want := []event.Fact{fact("cpu", "8"), fact("disk", "1 TB"), fact("os", "Debian")} // the note has no value
	if !slices.Equal(d.Facts, want) || d.Event != n || !d.Discovered.Equal(at.Add(time.Hour)) {
		t.Errorf("device is %+v", d)
	}
	s.Append(discovered(2, fact("cpu", "8")))
	if _, ok, err := r.Get(2); ok || err != nil {
		t.Errorf("facts made a device: %v, %v", ok, err)
	}
}

// What was seen earlier and comes later changes nothing that was seen since.
func TestDiscoveredInTheOtherOrder(t *testing.T) {
	s, r := start(t)
	older, newer := discovered(1, fact("cpu", "4"), fact("note", "old")), discovered(1, fact("cpu", "8"))
	older.Observed = newer.Observed.Add(-time.Minute)
	n := s.Append(joined(1, "alpha"), newer, older)
	d := get(t, r, 1)
	if want := []event.Fact{fact("cpu", "8"), fact("note", "old")}; !slices.Equal(d.Facts, want) || d.Event != n || !d.Discovered.Equal(newer.Observed) {
		t.Errorf("device is %+v", d)
	}
}

func TestFactsAreBounded(t *testing.T) {
	s, r := start(t)
	s.Append(joined(1, "alpha"))
	for i := 0; i < device.MaxFacts+200; i += 500 {
		var facts []event.Fact
		for j := range 500 {
			facts = append(facts, fact(fmt.Sprintf("fact %05d", i+j), "x"))
		}
		s.Append(discovered(1, facts...))
	}
	s.Append(discovered(1, fact("fact 00001", "y"), fact("new", "z")))
	d := get(t, r, 1)
	if len(d.Facts) != device.MaxFacts || d.Facts[1].Value != "y" {
		t.Errorf("%d facts, the second is %+v", len(d.Facts), d.Facts[1])
	}
}

func TestBlocked(t *testing.T) {
	s, r := start(t)
	s.Append(joined(1, "alpha"), joined(2, "beta"))
	n := s.Append(blocked(1, "stolen"), blocked(9, "nobody"))
	if d := get(t, r, 1); !d.Blocked || d.BlockReason != "stolen" || d.Event != n-1 {
		t.Errorf("device is %+v", d)
	}
	numbers, err := r.Numbers()
	if err != nil || !slices.Equal(numbers.ToArray(), []uint32{2}) {
		t.Errorf("numbers: %v, %v", numbers, err)
	}
	numbers.Add(77) // it is the caller's
	s.Append(unblocked(1))
	if d := get(t, r, 1); d.Blocked || d.BlockReason != "" {
		t.Errorf("device is %+v", d)
	}
	if numbers, _ := r.Numbers(); !slices.Equal(numbers.ToArray(), []uint32{1, 2}) {
		t.Errorf("numbers: %v", numbers)
	}
}

func TestFind(t *testing.T) {
	s, r := start(t)
	s.Append(joined(1, "Alpha"), joined(2, "beta"), joined(3, "ALPHA"), joined(4, "2"), joined(5, "alphabet"))
	for word, want := range map[string][]uint32{
		"alpha": {1, 3}, "BETA": {2}, "2": {2, 4}, "5": {5}, "alph": nil, "": nil, "99": nil,
		task.ID{15: 3}.String(): {3}, task.ID{15: 9}.String(): nil, "4294967296": nil,
	} {
		found, err := r.Find(word)
		var got []uint32
		for _, d := range found {
			got = append(got, d.Number)
		}
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%q finds %v, want %v, %v", word, got, want, err)
		}
	}
}

func TestList(t *testing.T) {
	s, r := start(t)
	for n := range uint32(5) {
		s.Append(joined(300*n+1, "x"))
	}
	var got []uint32
	for after := uint32(0); ; {
		page, err := r.List(after, 2)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range page {
			got = append(got, d.Number)
			after = d.Number
		}
		if len(page) < 2 {
			break
		}
	}
	if !slices.Equal(got, []uint32{1, 301, 601, 901, 1201}) {
		t.Errorf("list is %v", got)
	}
}

func TestReadsAtOnePosition(t *testing.T) {
	s, r := start(t)
	s.Append(joined(1, "alpha"))
	position, err := r.At(func(snap *device.Snapshot) error {
		s.Append(joined(2, "beta"))
		if snap.Count() != 1 || snap.Numbers().Contains(2) {
			t.Error("a snapshot changed")
		}
		_, ok, err := snap.Get(2)
		if ok {
			t.Error("a snapshot changed")
		}
		return err
	})
	if err != nil || position != 1 {
		t.Errorf("read at event %d, %v", position, err)
	}
}

// The newest certificate of a device counts; joining again brings another one.
func TestCertificates(t *testing.T) {
	s, r := start(t)
	check := func(event uint64, serial byte, expires time.Time) {
		t.Helper()
		d, _, err := r.Get(1)
		if err != nil || d.Certified != event || len(d.Serial) > 0 && d.Serial[0] != serial || !d.Expires.Equal(expires) || d.Issued.IsZero() {
			t.Errorf("device is %+v, %v", d, err)
		}
	}
	s.Append(joined(1, "alpha"))
	check(1, 0, at.AddDate(1, 0, 0))
	s.Append(issued(1, 1), issued(1, 2))
	check(3, 2, at.AddDate(1, 2, 0))
	s.Append(issued(2, 7)) // which never joined
	check(3, 2, at.AddDate(1, 2, 0))
	s.Append(joined(1, "alpha"))
	check(5, 0, at.AddDate(1, 0, 0))
}

// A record that was imported has a name and an id, and nothing can be sent to it
// until an agent joins for it.
func TestImported(t *testing.T) {
	s, r := start(t)
	n := s.Append(imported(1, "alpha"), renamed(2, "nobody"))
	want := device.Device{Number: 1, ID: task.ID{15: 1}, Name: "alpha", Imported: projectorstest.Epoch, Event: n - 1}
	if d := get(t, r, 1); cmp.Diff(want, d) != "" || d.HasJoined() {
		t.Error(cmp.Diff(want, d))
	}
	check := func(numbers ...uint32) {
		t.Helper()
		got, err := r.Numbers()
		if count, err2 := r.Count(); err != nil || err2 != nil || count != 1 || !slices.Equal(got.ToArray(), numbers) {
			t.Errorf("%d devices, of which %v may connect, %v, %v", count, got, err, err2)
		}
	}
	check()
	s.Append(renamed(1, "Beta"), blocked(1, "before it joins"), unblocked(1))
	check()
	if found, err := r.Find("beta"); err != nil || len(found) != 1 {
		t.Errorf("the new name leads to %+v, %v", found, err)
	}
	if found, err := r.Find("alpha"); err != nil || len(found) != 0 {
		t.Errorf("the former name leads to %+v, %v", found, err)
	}
	s.Append(joined(1, "gamma"))
	check(1)
	if d := get(t, r, 1); !d.HasJoined() || d.Imported.IsZero() || d.Name != "gamma" {
		t.Errorf("device is %+v", d)
	}
}

// What was removed is found by its number alone, stays as it was, and is counted no
// more.
func TestRemoved(t *testing.T) {
	s, r := start(t)
	s.Append(joined(1, "alpha"), discovered(1, fact("cpu", "4")), joined(2, "beta"))
	n := s.Append(removed(1, "scrapped"))
	check := func() {
		t.Helper()
		d := get(t, r, 1)
		if !d.Removed() || d.RemoveReason != "scrapped" || d.Event != n || d.Name != "alpha" || len(d.Facts) != 1 || d.Blocked {
			t.Errorf("device is %+v", d)
		}
		for _, word := range []string{"alpha", "1", d.ID.String()} {
			if found, err := r.Find(word); err != nil || len(found) != 0 {
				t.Errorf("%s leads to %+v, %v", word, found, err)
			}
		}
		numbers, err := r.Numbers()
		gone, err2 := r.Removed()
		count, err3 := r.Count()
		if err != nil || err2 != nil || err3 != nil || count != 1 || !slices.Equal(numbers.ToArray(), []uint32{2}) || !slices.Equal(gone.ToArray(), []uint32{1}) {
			t.Errorf("%d devices, %v may connect, %v are gone: %v, %v, %v", count, numbers, gone, err, err2, err3)
		}
		if list, err := r.List(0, 10); err != nil || len(list) != 2 || !list[0].Removed() {
			t.Errorf("list is %+v, %v", list, err)
		}
	}
	check()
	s.Append(removed(1, "again"), removed(9, "nobody"), joined(1, "alpha"), renamed(1, "late"), blocked(1, "late"), unblocked(1), issued(1, 3), discovered(1, fact("cpu", "8")))
	check()
	s.Stop()
	view, again := device.New()
	r = again
	s.Open(view)
	check()
}
