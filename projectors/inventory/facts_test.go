package inventory

import (
	"strings"
	"testing"

	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/projectors/collection/schema"
)

// Every fact goes to a property that there is, and reads as a value of its type.
func TestTargetsAreThere(t *testing.T) {
	s := schema.Standard()
	place := func(class, property string) *schema.Property {
		c, ok := s.Class(class)
		if !ok {
			t.Fatalf("there is no class %s", class)
		}
		i, ok := c.Property(property)
		if !ok {
			t.Fatalf("class %s has no property %s", class, property)
		}
		return &c.Properties[i]
	}
	samples := map[string]string{"health.secureboot": "on", "bios.date": "03/01/2026", "host.booted": "2026-03-01T08:00:00Z", "os.version": "10.0.22631.4317 Build 22631.4317"}
	for fact, all := range targets {
		if !Mapped(strings.Replace(fact, "#", "3", 1)) {
			t.Errorf("%s is not mapped", fact)
		}
		sample, ok := samples[fact]
		if !ok {
			sample = "4096"
		}
		for _, to := range all {
			p := place(to.class, to.property)
			v := fitted(p, to.read(sample, 1))
			if !valueOf(p, &v).Set {
				t.Errorf("%s is %+v, which is no value of %s.%s", fact, v, to.class, to.property)
			}
			if v := to.read("", 1); v.Type != event.NoValue {
				t.Errorf("%s of nothing is %+v", fact, v)
			}
			if c, _ := s.Class(to.class); c.Keyed() && rowKeys[to.class].property == "" && to.class != "SMS_G_System_LOGICAL_DISK" {
				t.Errorf("rows of %s have no key", to.class)
			}
		}
	}
	for class, key := range rowKeys {
		if p := place(class, key.property); !p.Key {
			t.Errorf("%s.%s is no key", class, key.property)
		}
	}
	for _, to := range lists {
		for _, property := range append(to.fields, to.key) {
			place(to.class, property)
		}
	}
	for _, property := range []string{"Name", "NetbiosName", "Client", "Active", "ClientVersion", "CreationDate", "SMSUniqueIdentifier",
		"MACAddresses", "IPAddresses", "IPSubnets", "OperatingSystemNameandVersion"} {
		place(systemClass, property)
	}
}

func TestMapped(t *testing.T) {
	for fact, want := range map[string]bool{
		"os.version": true, "disk.3.mount": true, "disk.mount": false, "disk.x.mount": false, "disk.3.other": false, "disk.12345.mount": false,
		"software.000": true, "software.127": true, "software.parts": true, "software.count": false, "software.1": false, "health.firewall": false, "": false, ".": false,
	} {
		if got := Mapped(fact); got != want {
			t.Errorf("%q: %v, want %v", fact, got, want)
		}
	}
}

func TestReadings(t *testing.T) {
	for _, c := range []struct {
		read       reading
		text, want string
	}{
		{firstNumbers(3), "10.0.22631.4317 Build 22631.4317", "10.0.22631"},
		{firstNumbers(3), "12.11", "12.11"},
		{numberOf(2), "10.0.22631.4317 Build 22631.4317", "22631"},
		{numberOf(2), "12.11", ""},
		{systemType, "amd64", "x64-based PC"},
		{upper, "aa:bb", "AA:BB"},
	} {
		if got := c.read(c.text, 0).Text; got != c.want {
			t.Errorf("%q reads as %q, want %q", c.text, got, c.want)
		}
	}
	if got := addresses("10.0.0.7/24 fe80::7/64", 0).List; len(got) != 2 || got[0] != "10.0.0.7" || got[1] != "fe80::7" {
		t.Errorf("addresses are %q", got)
	}
}
