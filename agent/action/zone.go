package action

import (
	"os"
	"path/filepath"
	"strings"
	"time"
)

// clock says where the machine's clock hangs, so that others can tell when its
// local maintenance windows open.
func (f *facts) clock() {
	now := time.Now()
	tz, set := os.LookupEnv("TZ")
	f.add("os.timezone", zoneName(tz, set, "/etc", now))
	f.add("os.utcOffset", now.Format("-07:00"))
}

// zoneName is the name in the IANA database of the zone that now is in; empty if it
// cannot be told. tz is the variable TZ if it is set.
func zoneName(tz string, set bool, etc string, now time.Time) string {
	var names []string
	if set {
		names = []string{strings.TrimPrefix(tz, ":")}
		if names[0] == "" {
			return "UTC"
		}
	} else {
		link, _ := os.Readlink(filepath.Join(etc, "localtime"))
		text, _ := os.ReadFile(filepath.Join(etc, "timezone"))
		names = []string{link, strings.TrimSpace(string(text))}
	}
	for _, name := range names {
		if _, behind, ok := strings.Cut(name, "zoneinfo/"); ok {
			name = behind
		}
		if sameClock(name, now) {
			return name
		}
	}
	return ""
}

// sameClock tells whether the clock of a zone shows what now's does, all year: a
// name that is left over from another zone is none.
func sameClock(name string, now time.Time) bool {
	if name == "" || name == "Local" {
		return false
	}
	loc, err := time.LoadLocation(name)
	for day := 0; err == nil && day < 366; day += 15 {
		at := now.AddDate(0, 0, day)
		_, here := at.Zone()
		if _, there := at.In(loc).Zone(); here != there {
			return false
		}
	}
	return err == nil
}
