package console

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	_ "time/tzdata" // zones of devices, also where the site's system has none

	"github.com/bugle-fleet/bugle/projectors/device"
)

// Facts with which a device says where its clock hangs.
const (
	FactZone   = "os.timezone"  // name in the IANA database
	FactOffset = "os.utcOffset" // ±HH:MM, of the moment in which it was reported
)

// A zone is where local windows are reckoned, and how it was found.
type zone struct {
	loc  *time.Location
	name string
	from string
}

// zoneFor returns the zone that was asked for, else that of the device, else UTC.
func zoneFor(asked string, d *device.Device) (zone, error) {
	if asked != "" {
		loc, err := parseZone(asked)
		if err != nil {
			return zone{}, badRequest("The time zone is unknown", "zone: %q is neither in the IANA database, such as Europe/Berlin, nor an offset such as +02:00.", clip(asked))
		}
		return zone{loc, loc.String(), "asked for"}, nil
	}
	if d == nil {
		return zone{time.UTC, "UTC", "assumed: devices may be in other zones"}, nil
	}
	facts := map[string]string{}
	for _, f := range d.Facts {
		facts[f.Name] = f.Value
	}
	if loc, err := parseZone(facts[FactZone]); err == nil {
		return zone{loc, loc.String(), "reported by the device"}, nil
	}
	if loc, err := parseZone(facts[FactOffset]); err == nil {
		return zone{loc, loc.String(), "reported by the device, which did not say when its clock is put forward or back"}, nil
	}
	return zone{time.UTC, "UTC", "assumed: the device has not reported its own"}, nil
}

// parseZone reads the name of a zone, or an offset.
func parseZone(s string) (*time.Location, error) {
	if len(s) == len("+00:00") && (s[0] == '+' || s[0] == '-') && s[3] == ':' {
		hours, err := strconv.ParseUint(s[1:3], 10, 8)
		minutes, err2 := strconv.ParseUint(s[4:], 10, 8)
		if err == nil && err2 == nil && hours <= 18 && minutes < 60 {
			seconds := int(hours*3600 + minutes*60)
			if s[0] == '-' {
				seconds = -seconds
			}
			return time.FixedZone("UTC"+s, seconds), nil
		}
	}
	if s == "" || strings.EqualFold(s, "local") {
		return nil, fmt.Errorf("%q is no zone", s)
	}
	return time.LoadLocation(s)
}
