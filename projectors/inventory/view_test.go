package inventory_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/projectors"
	"github.com/bugle-fleet/bugle/projectors/collection/schema"
	"github.com/bugle-fleet/bugle/projectors/inventory"
	"github.com/bugle-fleet/bugle/projectors/projectorstest"
)

func start(t *testing.T) (*projectorstest.Site, *inventory.Reader) {
	view, r := inventory.New(few(t))
	return projectorstest.Start(t, view), r
}

// lines are what is known of a device: CLASS[KEY].PROPERTY=VALUE@EVENT.
func lines(t testing.TB, r *inventory.Reader, device uint32) (all []string) {
	t.Helper()
	shown, ok, err := r.Show(device)
	if err != nil {
		t.Fatal(err)
	}
	if !ok {
		return nil
	}
	for _, c := range shown.Classes {
		name := c.Name[strings.LastIndexByte(c.Name, '_')+1:]
		for _, row := range c.Rows {
			mark := ""
			if row.Imported {
				mark = "+"
			}
			if row.Hidden {
				mark = "-"
			}
			for _, v := range row.Values {
				all = append(all, fmt.Sprintf("%s[%s%s].%s=%s@%d", name, mark, row.Key, v.Property, said(v.Value), v.Event))
			}
		}
	}
	return all
}

func said(v event.Value) string {
	switch v.Type {
	case event.NumberValue, event.DateValue:
		return fmt.Sprint(v.Number)
	case event.ListValue:
		return strings.Join(v.List, ",")
	}
	return v.Text
}

// known compares what is known of a device, but for who it is, with lines.
func known(t testing.TB, r *inventory.Reader, device uint32, want ...string) {
	t.Helper()
	got := slices.DeleteFunc(lines(t, r, device), func(s string) bool { return strings.HasPrefix(s, "System[") })
	if !slices.Equal(got, want) {
		t.Errorf("device %d:\n%s\nwant\n%s", device, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// record is a record in words: CLASS(value, value)(…).
func record(t testing.TB, r *inventory.Reader, device uint32) string {
	t.Helper()
	rec, ok, err := r.Record(device)
	if err != nil || !ok {
		t.Fatalf("record of device %d: %v, %v", device, ok, err)
	}
	s, err := r.Schema()
	if err != nil {
		t.Fatal(err)
	}
	return inWords(s, rec)
}

func inWords(s *schema.Schema, r *schema.Record) string {
	var b strings.Builder
	last := -1
	for _, c := range r.Classes {
		if c.Class <= last || len(c.Rows) == 0 {
			fmt.Fprintf(&b, " class %d after %d, %d rows", c.Class, last, len(c.Rows))
		}
		last = c.Class
		class := s.Classes()[c.Class]
		fmt.Fprintf(&b, "%s", class.Name[strings.LastIndexByte(class.Name, '_')+1:])
		for _, row := range c.Rows {
			var values []string
			for i, v := range row {
				values = append(values, schema.FormatValue(&class.Properties[i], v))
			}
			fmt.Fprintf(&b, "(%s)", strings.Join(values, "|"))
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func TestJoined(t *testing.T) {
	s, r := start(t)
	s.Append(joined(7, "alpha.example.com"))
	want := []string{"System[].Active=1@1", "System[].Client=1@1", "System[].ClientVersion=1.0@1",
		fmt.Sprintf("System[].CreationDate=%d@1", projectorstest.Epoch.UnixMilli()), "System[].Name=alpha.example.com@1", "System[].NetbiosName=ALPHA@1",
		"System[].SMSUniqueIdentifier=GUID:00000000-0000-0000-0000-000000000007@1"}
	if got := lines(t, r, 7); !slices.Equal(got, want) {
		t.Errorf("device is\n%s", strings.Join(got, "\n"))
	}
	s.Append(joined(7, "beta"))
	got := lines(t, r, 7)
	if !slices.Contains(got, "System[].Name=beta@2") || !slices.Contains(got, "System[].Client=1@1") || !strings.HasSuffix(got[3], "@1") {
		t.Errorf("joined again the device is\n%s", strings.Join(got, "\n"))
	}
	if live, err := r.Live(); err != nil || !slices.Equal(live.ToArray(), []uint32{7}) {
		t.Errorf("live: %v, %v", live, err)
	}
	if _, ok, err := r.Record(8); ok || err != nil {
		t.Errorf("device 8: %v, %v", ok, err)
	}
}

// The event of a value is the one that changed it, not one that said it again.
func TestDiscovered(t *testing.T) {
	s, r := start(t)
	s.Append(joined(1, "alpha"), discovered(1, 1, "os.platform", "debian", "os.version", "12.11", "disk.0.mount", "/", "disk.0.bytes", "3145728", "disk.10.mount", "/x"))
	s.Append(discovered(1, 2, "os.platform", "debian", "os.version", "12.12", "disk.0.free", "1048576", "disk.10.mount", ""), discovered(9, 2, "os.version", "x"))
	known(t, r, 1, "DISK[/].DeviceID=/@2", "DISK[/].FreeSpace=1@3", "DISK[/].Size=3@2", "SYSTEM[].Caption=debian@2", "SYSTEM[].Version=12.12@3")
	if got, want := record(t, r, 1), "System(alpha|ALPHA|1.0|GUID:00000000-0000-0000-0000-000000000001|debian 12.12|1|1|2026-01-02T03:04:05Z)\n"+
		"SYSTEM(debian|12.12)\nDISK(/|3|1)\n"; got != want {
		t.Errorf("record is\n%s, want\n%s", got, want)
	}
	if _, ok, _ := r.Show(9); ok {
		t.Error("facts made a device")
	}
}

// What was seen earlier and comes later changes nothing that was seen since, nor
// brings back what was gone since.
func TestDiscoveredInTheOtherOrder(t *testing.T) {
	s, r := start(t)
	s.Append(joined(1, "alpha"), discovered(1, 5, "os.version", "2", "os.platform", "", "software.000", "a\t2", "software.parts", "1"))
	s.Append(discovered(1, 3, "os.version", "1", "os.platform", "old", "software.000", "a\t1\nold\t1", "software.001", "b\t1", "software.parts", "2", "disk.0.mount", "/"))
	want := []string{"PROGRAMS[a].DisplayName=a@2", "PROGRAMS[a].ProdID=a@2", "PROGRAMS[a].Version=2@2", "DISK[/].DeviceID=/@3", "SYSTEM[].Version=2@2"}
	known(t, r, 1, want...)
	s.Append(discovered(1, 7, "os.version", "2"), discovered(1, 6, "os.version", "late"))
	known(t, r, 1, want...)
}

func TestLists(t *testing.T) {
	s, r := start(t)
	s.Append(joined(1, "alpha"), discovered(1, 1, "software.000", "a\t1\nb\t1", "software.001", "c\t1", "software.002", "d", "software.parts", "3"))
	known(t, r, 1, "PROGRAMS[a].DisplayName=a@2", "PROGRAMS[a].ProdID=a@2", "PROGRAMS[a].Version=1@2", "PROGRAMS[b].DisplayName=b@2", "PROGRAMS[b].ProdID=b@2", "PROGRAMS[b].Version=1@2",
		"PROGRAMS[c].DisplayName=c@2", "PROGRAMS[c].ProdID=c@2", "PROGRAMS[c].Version=1@2", "PROGRAMS[d].DisplayName=d@2", "PROGRAMS[d].ProdID=d@2")
	// b moves to the next part, c is newer, d is in no part any more.
	s.Append(discovered(1, 2, "software.000", "a\t1", "software.001", "b\t1\nc\t2", "software.parts", "2"))
	known(t, r, 1, "PROGRAMS[a].DisplayName=a@2", "PROGRAMS[a].ProdID=a@2", "PROGRAMS[a].Version=1@2", "PROGRAMS[b].DisplayName=b@2", "PROGRAMS[b].ProdID=b@2", "PROGRAMS[b].Version=1@2",
		"PROGRAMS[c].DisplayName=c@2", "PROGRAMS[c].ProdID=c@2", "PROGRAMS[c].Version=2@3")
	s.Append(discovered(1, 3, "software.000", "", "software.001", "", "software.parts", "0"))
	known(t, r, 1)
}

// What the agent reports and what was imported of the same class are two things;
// where both have a row, the agent's counts.
func TestImportedRows(t *testing.T) {
	s, r := start(t)
	s.Append(imported(fresh(1, "alpha", rows(disks, true, row("c:", text("DeviceID", "C:"), number("Size", 5)), row("/", text("DeviceID", "/"), number("Size", 6))))))
	s.Append(discovered(1, 1, "disk.0.mount", "/", "disk.0.bytes", "3145728"))
	known(t, r, 1, "DISK[-/].DeviceID=/@1", "DISK[-/].Size=6@1", "DISK[/].DeviceID=/@2", "DISK[/].Size=3@2", "DISK[+c:].DeviceID=C:@1", "DISK[+c:].Size=5@1")
	if got := record(t, r, 1); !strings.HasSuffix(got, "DISK(C:|5)(/|3)\n") {
		t.Errorf("record is\n%s", got)
	}
	s.Append(imported(changed(1, rows(disks, false, event.RowChange{Key: "/", Gone: true}, row("d:", text("DeviceID", "D:"))))))
	known(t, r, 1, "DISK[/].DeviceID=/@2", "DISK[/].Size=3@2", "DISK[+c:].DeviceID=C:@1", "DISK[+c:].Size=5@1", "DISK[+d:].DeviceID=D:@3")
	s.Append(imported(changed(1, rows(disks, true, row("d:")))))
	known(t, r, 1, "DISK[/].DeviceID=/@2", "DISK[/].Size=3@2", "DISK[+d:].DeviceID=D:@3")
	s.Append(imported(changed(1, rows(disks, true))))
	known(t, r, 1, "DISK[/].DeviceID=/@2", "DISK[/].Size=3@2")
}

// Of a class without keys whoever said something last is right.
func TestImportedValues(t *testing.T) {
	s, r := start(t)
	s.Append(imported(fresh(1, "alpha", class(computer, text("Model", "T14"), number("TotalPhysicalMemory", 8)), class(schema.System, number("Client", 1)))))
	got := lines(t, r, 1)
	if !slices.Contains(got, "System[].Client=1@1") || !slices.Contains(got, "System[].Name=alpha@1") {
		t.Errorf("device is\n%s", strings.Join(got, "\n"))
	}
	known(t, r, 1, "SYSTEM[].Model=T14@1", "SYSTEM[].TotalPhysicalMemory=8@1")
	later := int(projectorstest.Epoch.Sub(at)/time.Minute) + 60
	s.Append(discovered(1, later, "system.model", "T15"))
	known(t, r, 1, "SYSTEM[].Model=T15@2", "SYSTEM[].TotalPhysicalMemory=8@1", "PRODUCT[].Name=T15@2")
	s.Append(imported(changed(1, class(computer, none("TotalPhysicalMemory"), none("Manufacturer")))))
	known(t, r, 1, "SYSTEM[].Model=T15@2", "PRODUCT[].Name=T15@2")
	s.Append(imported(event.ImportedDevice{Device: 1, Name: "omega", Classes: []event.ClassChange{rows(computer, true)}}), imported(changed(2, class(computer, text("Model", "x")))))
	if got := lines(t, r, 1); !slices.Contains(got, "System[].Name=omega@4") || !slices.Contains(got, "System[].NetbiosName=OMEGA@4") {
		t.Errorf("device is\n%s", strings.Join(got, "\n"))
	}
}

// What nobody defined is kept, and becomes part of the record once it is defined.
func TestDefined(t *testing.T) {
	s, r := start(t)
	s.Append(imported(fresh(1, "alpha", class("Acme_Rack", text("row", "A"), text("Room", "R1")))))
	before, _ := r.Schema()
	known(t, r, 1, "Rack[].Room=R1@1", "Rack[].row=A@1")
	if got := record(t, r, 1); strings.Contains(got, "Rack") {
		t.Errorf("record is\n%s", got)
	}
	s.Append(defined(event.DefinedClass{Name: "Acme_Rack", Properties: []event.ClassProperty{{Name: "Row", Type: event.TextProperty}}},
		event.DefinedClass{Name: "not a name", Properties: []event.ClassProperty{{Name: "Row", Type: event.TextProperty}}}))
	if got := record(t, r, 1); !strings.HasSuffix(got, "Rack(A)\n") {
		t.Errorf("record is\n%s", got)
	}
	known(t, r, 1, "Rack[].Room=R1@1", "Rack[].Row=A@1")
	s.Append(imported(changed(1, class("ACME_RACK", text("ROW", "B")))))
	known(t, r, 1, "Rack[].Room=R1@1", "Rack[].Row=B@3")
	s.Append(defined(event.DefinedClass{Name: "Acme_Rack", Properties: []event.ClassProperty{{Name: "Unit", Type: event.NumberProperty}}}))
	after, err := r.Schema()
	if c, ok := after.Class("acme_rack"); err != nil || !ok || len(c.Properties) != 2 || len(after.Classes()) != len(before.Classes())+1 {
		t.Errorf("schema has %d classes, %v, %v", len(after.Classes()), ok, err)
	}
	s.Stop()
	view, r := inventory.New(few(t))
	s.Open(view)
	if again, err := r.Schema(); err != nil || len(again.Classes()) != len(after.Classes()) {
		t.Errorf("opened anew the schema has %d classes, %v", len(again.Classes()), err)
	}
}

// A device that was removed is nowhere, and comes back under no event.
func TestRemoved(t *testing.T) {
	s, r := start(t)
	s.Append(joined(1, "alpha"), discovered(1, 1, "os.version", "12"), joined(2, "beta"))
	_, with := s.Digest("inventory")
	s.Append(removed(1))
	_, without := s.Digest("inventory")
	s.Append(removed(1), removed(7), discovered(1, 2, "os.version", "13"), imported(fresh(1, "alpha")), joined(1, "alpha"))
	if _, got := s.Digest("inventory"); got != without || got == with {
		t.Error("what came of a removed device changed rows")
	}
	if live, err := r.Live(); err != nil || !slices.Equal(live.ToArray(), []uint32{2}) {
		t.Errorf("live: %v, %v", live, err)
	}
	if _, ok, err := r.Record(1); ok || err != nil {
		t.Errorf("record of a removed device: %v, %v", ok, err)
	}
	for range 2 { // as it is, and opened anew
		var devices []uint32
		if _, err := r.At(func(s *inventory.Snapshot) error {
			return s.Records(func(r *schema.Record) (bool, error) {
				devices = append(devices, r.Device)
				return true, nil
			})
		}); err != nil || !slices.Equal(devices, []uint32{2}) {
			t.Errorf("records of devices %d, %v", devices, err)
		}
		s.Stop()
		var view *projectors.View
		view, r = inventory.New(few(t))
		s.Open(view)
	}
}

// All records at once are the same as one by one, and end when they are told to.
func TestRecords(t *testing.T) {
	s, r := start(t)
	s.Append(history()...)
	var one, all string
	live, err := r.Live()
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range live.ToArray() {
		one += record(t, r, n)
	}
	classes, _ := r.Schema()
	count := func(most int) (n int) {
		all = ""
		if _, err := r.At(func(s *inventory.Snapshot) error {
			return s.Records(func(r *schema.Record) (bool, error) {
				n++
				all += inWords(classes, r)
				return n < most, nil
			})
		}); err != nil {
			t.Error(err)
		}
		return n
	}
	if n := count(1000); n != int(live.GetCardinality()) || all != one {
		t.Errorf("%d records:\n%s\nwant %v\n%s", n, all, live, one)
	}
	for most := 1; most <= int(live.GetCardinality()); most++ {
		if n := count(most); n != most {
			t.Errorf("%d records, %d were asked for", n, most)
		}
	}
	failed := fmt.Errorf("enough")
	if _, err := r.At(func(s *inventory.Snapshot) error {
		return s.Records(func(*schema.Record) (bool, error) { return true, failed })
	}); err == nil {
		t.Error("the error of yield is lost")
	}
}

// A device has no more than the view holds of it, however much comes.
func TestBounded(t *testing.T) {
	s, r := start(t)
	long := strings.Repeat("x", event.MaxValue)
	var all []event.RowChange
	for i := range 50 {
		all = append(all, row(fmt.Sprint(i), text("ProdID", fmt.Sprint(i)), text("DisplayName", long)))
	}
	s.Append(imported(fresh(1, "alpha", rows(programs, false, all...))))
	for i := range all {
		all[i] = row(fmt.Sprint("more ", i), text("ProdID", fmt.Sprint("more ", i)), text("DisplayName", long))
	}
	for range 3 {
		s.Append(imported(changed(1, rows(programs, false, all...))))
	}
	shown, ok, err := r.Show(1)
	if err != nil || !ok || len(shown.Classes) != 2 || len(shown.Classes[1].Rows) < 100 || len(shown.Classes[1].Rows) > 120 {
		t.Errorf("%v, %v", ok, err)
	}
}
