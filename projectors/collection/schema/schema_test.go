package schema_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/bugle-fleet/bugle/projectors/collection/schema"
)

func class(t testing.TB, s *schema.Schema, name string) *schema.Class {
	t.Helper()
	c, ok := s.Class(name)
	if !ok {
		t.Fatalf("class %s is not there", name)
	}
	return c
}

func TestStandard(t *testing.T) {
	s := schema.Standard()
	if s.Classes()[0].Name != schema.System {
		t.Errorf("the first class is %s", s.Classes()[0].Name)
	}
	for i, c := range s.Classes() {
		if c.Index != i {
			t.Errorf("%s is at %d and says %d", c.Name, i, c.Index)
		}
		if got := class(t, s, strings.ToUpper(c.Name)); got != c {
			t.Errorf("%s is found as %s", c.Name, got.Name)
		}
		for j, p := range c.Properties {
			if got, ok := c.Property(strings.ToLower(p.Name)); !ok || got != j {
				t.Errorf("%s.%s is at %d and found at %d", c.Name, p.Name, j, got)
			}
		}
	}
	for _, c := range []struct {
		class, property string
		typ             schema.Type
		list, key       bool
	}{
		{schema.System, "Client", schema.Number, false, false},
		{schema.System, "IsVirtualMachine", schema.Bool, false, false},
		{schema.System, "SystemOUName", schema.Text, true, false},
		{schema.System, "IPSubnets", schema.Text, true, false},
		{schema.System, "CreationDate", schema.Date, false, false},
		{schema.System, "Build", schema.Text, false, false},
		{"SMS_G_System_OPERATING_SYSTEM", "BuildNumber", schema.Text, false, false},
		{"SMS_G_System_SYSTEM_ENCLOSURE", "ChassisTypes", schema.Text, false, false},
		{"SMS_G_System_WORKSTATION_STATUS", "LastHardwareScan", schema.Date, false, false},
		{"SMS_G_System_LOGICAL_DISK", "DeviceID", schema.Text, false, true},
		{"SMS_G_System_LOGICAL_DISK", "FreeSpace", schema.Number, false, false},
		{"SMS_G_System_ADD_REMOVE_PROGRAMS", "ProdID", schema.Text, false, true},
	} {
		k := class(t, s, c.class)
		i, ok := k.Property(c.property)
		if !ok {
			t.Errorf("%s.%s is not there", c.class, c.property)
			continue
		}
		if p := k.Properties[i]; p.Type != c.typ || p.List != c.list || p.Key != c.key {
			t.Errorf("%s is %+v", c.class, p)
		}
	}
	if class(t, s, schema.System).Keyed() || !class(t, s, "SMS_G_System_LOGICAL_DISK").Keyed() {
		t.Error("a device has one row of SMS_R_System and several of its disks")
	}
	update := class(t, s, "SMS_UpdateComplianceStatus")
	if !update.IsDevice("machineid") || !update.IsDevice("RESOURCEID") || update.IsDevice("CI_ID") || class(t, s, schema.System).IsDevice("") {
		t.Error("names of the device's number")
	}
	if !class(t, s, "SMS_WindowsServicingStates").Implied || update.Implied {
		t.Error("only the servicing states go with a device without saying so")
	}
}

func TestExtend(t *testing.T) {
	s := schema.Standard()
	before := len(s.Classes())
	disk := class(t, s, "SMS_G_System_LOGICAL_DISK")
	e, err := s.Extend([]schema.Class{
		{Name: "SMS_G_System_BADGE", Properties: []schema.Property{{Name: "Slot", Type: schema.Number, Key: true}, {Name: "Colors", Type: schema.Text, List: true}}},
		{Name: "sms_g_system_logical_disk", Properties: []schema.Property{{Name: "deviceid", Type: schema.Text, Key: true}, {Name: "Label", Type: schema.Text}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	badge := class(t, e, "sms_g_system_badge")
	if badge.Index != before || !badge.Keyed() || len(badge.Properties) != 2 {
		t.Errorf("new class %+v", badge)
	}
	now := class(t, e, "SMS_G_System_LOGICAL_DISK")
	if now.Name != disk.Name || now.Index != disk.Index || !slices.Equal(now.Properties[:len(disk.Properties)], disk.Properties) {
		t.Errorf("extended class %+v", now)
	}
	if i, ok := now.Property("LABEL"); !ok || i != len(disk.Properties) {
		t.Errorf("new property at %d", i)
	}
	// The schema that was extended is as it was.
	if class(t, s, "SMS_G_System_LOGICAL_DISK") != disk {
		t.Error("the old schema has the extended class")
	}
	if _, ok := disk.Property("Label"); ok || len(s.Classes()) != before {
		t.Error("the old schema changed")
	}
	if _, ok := s.Class("SMS_G_System_BADGE"); ok {
		t.Error("the old schema has the new class")
	}
	// Again, and once more on top.
	again, err := e.Extend([]schema.Class{
		{Name: "SMS_G_System_BADGE", Properties: []schema.Property{{Name: "SLOT", Type: schema.Number, Key: true}, {Name: "Issued", Type: schema.Date}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if c := class(t, again, "SMS_G_System_BADGE"); c.Index != before || len(c.Properties) != 3 || c.Properties[2].Name != "Issued" {
		t.Errorf("extended again %+v", c)
	}
	if u := class(t, again, "SMS_UpdateComplianceStatus"); u.Device != "MachineID" {
		t.Errorf("%+v", u)
	}
}

func TestExtendTwiceFromTheSame(t *testing.T) {
	label := func(name string) []schema.Class {
		p := []schema.Property{{Name: name, Type: schema.Text}}
		return []schema.Class{{Name: "SMS_G_System_TPM", Properties: p}, {Name: "New_" + name, Properties: p}}
	}
	base := schema.Standard()
	for _, name := range []string{"First", "Second", "Third", "Fourth"} { // some leave room behind
		var err error
		if base, err = base.Extend(label(name)); err != nil {
			t.Fatal(err)
		}
		a, errA := base.Extend(label("A"))
		b, errB := base.Extend(label("B"))
		if errA != nil || errB != nil {
			t.Fatal(errA, errB)
		}
		for name, s := range map[string]*schema.Schema{"A": a, "B": b} {
			c, n := class(t, s, "SMS_G_System_TPM"), class(t, s, "New_"+name)
			if last := c.Properties[len(c.Properties)-1].Name; last != name || n.Name != "New_"+name {
				t.Errorf("schema %s has property %s and class %s", name, last, n.Name)
			}
		}
	}
}

func TestExtendRefuses(t *testing.T) {
	text := []schema.Property{{Name: "A", Type: schema.Text}}
	many := func(n int) (ps []schema.Property) {
		for i := range n {
			ps = append(ps, schema.Property{Name: "P" + strings.Repeat("x", i%100) + strings.Repeat("y", i/100), Type: schema.Text})
		}
		return ps
	}
	for _, c := range []struct {
		class schema.Class
		err   string
	}{
		{schema.Class{Name: "", Properties: text}, `class : name of 0 bytes: 1 to 128 are taken`},
		{schema.Class{Name: "9lives", Properties: text}, `class 9lives: name "9lives": letters, digits and _ are taken, and a letter or _ first`},
		{schema.Class{Name: "a-b", Properties: text}, `class a-b: name "a-b": letters, digits and _ are taken, and a letter or _ first`},
		{schema.Class{Name: "SMS_CM_res_coll_XYZ00001", Properties: text}, `class SMS_CM_res_coll_XYZ00001: names that begin with SMS_CM_RES_COLL_ are those of collections`},
		{schema.Class{Name: "Empty"}, `class Empty: it has no property`},
		{schema.Class{Name: "C", Properties: []schema.Property{{Name: "resourceid", Type: schema.Number}}},
			`class C: property resourceid: that is the number of the device, which every class has`},
		{schema.Class{Name: "SMS_UpdateComplianceStatus", Properties: []schema.Property{{Name: "machineid", Type: schema.Number}}},
			`class SMS_UpdateComplianceStatus: property machineid: that is the number of the device, which every class has`},
		{schema.Class{Name: "C", Properties: []schema.Property{{Name: "A"}}}, `class C: property A: type 0: it is text, number, date or bool`},
		{schema.Class{Name: "C", Properties: []schema.Property{{Name: "A", Type: 5}}}, `class C: property A: type 5: it is text, number, date or bool`},
		{schema.Class{Name: "C", Properties: []schema.Property{{Name: "A", Type: schema.Date, List: true}}},
			`class C: property A: a list of dates: only texts can be several`},
		{schema.Class{Name: "C", Properties: []schema.Property{{Name: "A", Type: schema.Text, List: true, Key: true}}},
			`class C: property A: a list cannot tell rows apart`},
		{schema.Class{Name: "C", Properties: []schema.Property{{Name: "a b", Type: schema.Text}}},
			`class C: property a b: name "a b": letters, digits and _ are taken, and a letter or _ first`},
		{schema.Class{Name: schema.System, Properties: []schema.Property{{Name: "A", Type: schema.Text, Key: true}}},
			`class SMS_R_System: property A: SMS_R_System has one row of each device, so it takes no key`},
		{schema.Class{Name: "SMS_G_System_TPM", Properties: []schema.Property{{Name: "A", Type: schema.Text, Key: true}}},
			`class SMS_G_System_TPM: property A: the rows of the class are told apart already, so it cannot become a key`},
		{schema.Class{Name: schema.System, Properties: []schema.Property{{Name: "client", Type: schema.Text}}},
			`class SMS_R_System: property client: it is there already as a number`},
		{schema.Class{Name: schema.System, Properties: []schema.Property{{Name: "SystemOUName", Type: schema.Text}}},
			`class SMS_R_System: property SystemOUName: it is there already as a list of texts`},
		{schema.Class{Name: "SMS_G_System_DISK", Properties: []schema.Property{{Name: "DeviceID", Type: schema.Text}}},
			`class SMS_G_System_DISK: property DeviceID: it is there already as a text that is a key`},
		{schema.Class{Name: "C", Properties: many(schema.MaxProperties + 1)}, `there are 256 properties already, more are not taken`},
	} {
		s := schema.Standard()
		before := len(s.Classes())
		_, err := s.Extend([]schema.Class{c.class})
		if err == nil || !strings.HasSuffix(err.Error(), c.err) {
			t.Errorf("%s: %v, want %s", c.class.Name, err, c.err)
		}
		if len(s.Classes()) != before {
			t.Errorf("%s: the schema changed", c.class.Name)
		}
	}
	full := make([]schema.Class, schema.MaxClasses)
	for i := range full {
		full[i] = schema.Class{Name: "C" + strings.Repeat("x", i%100) + strings.Repeat("y", i/100), Properties: text}
	}
	if _, err := schema.Standard().Extend(full); err == nil || !strings.Contains(err.Error(), "there are 1024 classes already") {
		t.Errorf("too many classes: %v", err)
	}
}

func TestNearest(t *testing.T) {
	s := schema.Standard()
	for name, want := range map[string]string{
		"SMS_R_Sytem": schema.System, "sms_r_systme": schema.System, "SMS_G_System_OPERATNG_SYSTEM": "SMS_G_System_OPERATING_SYSTEM",
		"OPERATING_SYSTEM": "SMS_G_System_OPERATING_SYSTEM", "SMS_TPM": "SMS_G_System_TPM", "SMS_G_System_ADD_REMOVE_PROGRAM": "SMS_G_System_ADD_REMOVE_PROGRAMS",
		"Win32_Thing": "", "": "", strings.Repeat("x", 10_000): "", "ü": "",
	} {
		if got := s.Nearest(name); got != want {
			t.Errorf("%.40q is near %q, want %q", name, got, want)
		}
	}
	c := class(t, s, schema.System)
	for name, want := range map[string]string{
		"Nmae": "Name", "ClientVersoin": "ClientVersion", "resourceidd": "ResourceID", "SystemOU": "SystemOUName", "Sys": "", "OperatingSystemNameVersion": "OperatingSystemNameandVersion", "x": "",
	} {
		if got := c.Nearest(name); got != want {
			t.Errorf("%q is near %q, want %q", name, got, want)
		}
	}
}
