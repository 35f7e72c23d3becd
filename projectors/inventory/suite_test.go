package inventory_test

import (
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/listener/wire/task"
	"github.com/bugle-fleet/bugle/projectors"
	"github.com/bugle-fleet/bugle/projectors/collection/schema"
	"github.com/bugle-fleet/bugle/projectors/inventory"
	"github.com/bugle-fleet/bugle/projectors/projectorstest"
)

var at = time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC)

// few is a table of some of the standard classes: rows name properties by their
// place, and those of golden files do not move.
func few(t testing.TB) *schema.Schema {
	text := func(names ...string) (all []schema.Property) {
		for _, n := range names {
			all = append(all, schema.Property{Name: n, Type: schema.Text})
		}
		return all
	}
	list := func(name string) schema.Property { return schema.Property{Name: name, Type: schema.Text, List: true} }
	key := func(name string) schema.Property {
		return schema.Property{Name: name, Type: schema.Text, Key: true}
	}
	number := func(name string) schema.Property { return schema.Property{Name: name, Type: schema.Number} }
	date := func(name string) schema.Property { return schema.Property{Name: name, Type: schema.Date} }
	s, err := (&schema.Schema{}).Extend([]schema.Class{
		{Name: schema.System, Properties: append(text("Name", "NetbiosName", "ClientVersion", "SMSUniqueIdentifier", "OperatingSystemNameandVersion"),
			number("Client"), number("Active"), date("CreationDate"), list("IPAddresses"), list("MACAddresses"))},
		{Name: "SMS_G_System_OPERATING_SYSTEM", Properties: append(text("Caption", "Version", "BuildNumber"), date("LastBootUpTime"))},
		{Name: "SMS_G_System_COMPUTER_SYSTEM", Properties: append(text("Model", "Manufacturer"), number("TotalPhysicalMemory"))},
		{Name: "SMS_G_System_LOGICAL_DISK", Properties: []schema.Property{key("DeviceID"), number("Size"), number("FreeSpace")}},
		{Name: "SMS_G_System_NETWORK_ADAPTER_CONFIGURATION", Properties: append(text("MACAddress", "IPAddress"), schema.Property{Name: "Index", Type: schema.Number, Key: true})},
		{Name: "SMS_G_System_ADD_REMOVE_PROGRAMS", Properties: append(text("DisplayName", "Version", "Publisher"), key("ProdID"))},
		{Name: "SMS_G_System_WORKSTATION_STATUS", Properties: []schema.Property{date("LastHardwareScan")}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func joined(number uint32, name string) *event.Event {
	return &event.Event{Observed: at, Payload: &event.DeviceJoined{Device: number, ID: task.ID{15: byte(number)}, Name: name, Agent: "1.0"}}
}

// discovered brings facts, name and value in turn, minutes after at.
func discovered(number uint32, minutes int, facts ...string) *event.Event {
	p := &event.DeviceDiscovered{Device: number}
	for i := 0; i < len(facts); i += 2 {
		p.Facts = append(p.Facts, event.Fact{Name: facts[i], Value: facts[i+1]})
	}
	return &event.Event{Observed: at.Add(time.Duration(minutes) * time.Minute), Payload: p}
}

func imported(devices ...event.ImportedDevice) *event.Event {
	return &event.Event{Observed: at, Payload: &event.DevicesImported{Source: "pcs.jsonl", Devices: devices}}
}

func fresh(number uint32, name string, classes ...event.ClassChange) event.ImportedDevice {
	return event.ImportedDevice{Device: number, New: true, ID: task.ID{15: byte(number)}, Name: name, Classes: classes}
}

func changed(number uint32, classes ...event.ClassChange) event.ImportedDevice {
	return event.ImportedDevice{Device: number, Classes: classes}
}

// class changes the only row of a class.
func class(name string, properties ...event.PropertyValue) event.ClassChange {
	return event.ClassChange{Class: name, Rows: []event.RowChange{{Properties: properties}}}
}

func rows(name string, whole bool, rows ...event.RowChange) event.ClassChange {
	return event.ClassChange{Class: name, Whole: whole, Rows: rows}
}

func row(key string, properties ...event.PropertyValue) event.RowChange {
	return event.RowChange{Key: key, Properties: properties}
}

func text(name, s string) event.PropertyValue {
	return event.PropertyValue{Name: name, Value: event.Value{Type: event.TextValue, Text: s}}
}

func number(name string, n int64) event.PropertyValue {
	return event.PropertyValue{Name: name, Value: event.Value{Type: event.NumberValue, Number: n}}
}

func none(name string) event.PropertyValue { return event.PropertyValue{Name: name} }

func removed(number uint32) *event.Event {
	return &event.Event{Payload: &event.DeviceRemoved{Device: number, Reason: "scrapped"}}
}

func defined(classes ...event.DefinedClass) *event.Event {
	return &event.Event{Payload: &event.ClassesDefined{Classes: classes}}
}

const (
	programs = "SMS_G_System_ADD_REMOVE_PROGRAMS"
	disks    = "SMS_G_System_LOGICAL_DISK"
	computer = "SMS_G_System_COMPUTER_SYSTEM"
)

// history brings every kind of event that the view folds.
func history() []*event.Event {
	rack := event.DefinedClass{Name: "Acme_Rack", Properties: []event.ClassProperty{{Name: "Row", Type: event.TextProperty}, {Name: "Unit", Type: event.NumberProperty}}}
	return []*event.Event{
		joined(1, "alpha.example.com"),
		discovered(1, 60, "os.platform", "debian", "os.version", "12.11", "memory.bytes", "8589934592", "disk.0.mount", "/", "disk.0.bytes", "1073741824",
			"net.0.mac", "aa:bb", "net.0.addresses", "10.0.0.7/24 fe80::7/64", "software.000", "7-Zip\t23\nvim\t9.1", "software.001", "zsh\t5.9", "software.parts", "2", "health.firewall", "on"),
		imported(fresh(2, "beta", class(computer, text("Model", "T14"), number("TotalPhysicalMemory", 8)),
			rows(programs, true, row("7-zip", text("ProdID", "7-Zip"), text("Version", "22")), row("vim", text("ProdID", "vim")))), fresh(3, "gamma")),
		discovered(1, 90, "software.000", "7-Zip\t24\nvim\t9.1", "software.001", "", "software.parts", "1", "disk.0.free", "524288000", "net.0.mac", ""),
		discovered(1, 30, "os.version", "11", "disk.1.mount", "/old"),
		imported(changed(2, class(computer, text("Model", "T15"), none("TotalPhysicalMemory")), rows(programs, true, row("7-zip", text("Version", "23"))),
			class("Acme_Rack", text("Row", "A"), text("Other", "x")))),
		defined(rack, event.DefinedClass{Name: "1 bad name"}),
		imported(changed(2, class("Acme_Rack", number("Unit", 7))), changed(9, class(computer, text("Model", "none")))),
		joined(1, "delta"),
		removed(3), removed(9), joined(3, "again"), joined(4, "four"),
	}
}

func TestSuite(t *testing.T) {
	projectorstest.Run(t, projectorstest.Suite{
		New:    func() *projectors.View { v, _ := inventory.New(few(t)); return v },
		Golden: "testdata/rows.golden",
		Events: history(),
	})
}
