package action

import (
	"os"
	"path/filepath"
	"testing"
	"time"
	_ "time/tzdata"
)

func TestZoneName(t *testing.T) {
	etc := func(link, text string) string {
		dir := t.TempDir()
		if link != "" {
			if err := os.Symlink(link, filepath.Join(dir, "localtime")); err != nil {
				t.Skip("no symbolic links here: ", err)
			}
		}
		if err := os.WriteFile(filepath.Join(dir, "timezone"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 11, 28, 12, 0, 0, 0, berlin)
	for _, c := range []struct {
		what string
		tz   string
		set  bool
		etc  string
		now  time.Time
		want string
	}{
		{"a link", "", false, etc("/usr/share/zoneinfo/Europe/Berlin", ""), now, "Europe/Berlin"},
		{"a link of macOS", "", false, etc("/var/db/timezone/zoneinfo/Europe/Berlin", ""), now, "Europe/Berlin"},
		{"a text", "", false, etc("", "Europe/Berlin\n"), now, "Europe/Berlin"},
		{"a text of another zone", "", false, etc("", "Europe/London\n"), now, ""},
		{"one that is the same only in winter", "", false, etc("", "Africa/Algiers"), now, ""},
		{"a link of another zone, and a text", "", false, etc("/usr/share/zoneinfo/Asia/Tokyo", "Europe/Berlin"), now, "Europe/Berlin"},
		{"the environment", ":Europe/Berlin", true, etc("/usr/share/zoneinfo/Asia/Tokyo", ""), now, "Europe/Berlin"},
		{"a file in the environment", "/usr/share/zoneinfo/Europe/Berlin", true, etc("", ""), now, "Europe/Berlin"},
		{"an empty environment", "", true, etc("/usr/share/zoneinfo/Asia/Tokyo", ""), now.UTC(), "UTC"},
		{"nothing", "", false, etc("", ""), now, ""},
		{"nonsense", "../../etc/passwd", true, etc("", ""), now, ""},
	} {
		if got := zoneName(c.tz, c.set, c.etc, c.now); got != c.want {
			t.Errorf("%s: %q, want %q", c.what, got, c.want)
		}
	}
}

// Whatever machine this is, its offset is a fact.
func TestClockIsAFact(t *testing.T) {
	f := &facts{}
	f.clock()
	last := f.list[len(f.list)-1]
	if last.Name != "os.utcOffset" || len(last.Value) != len("+00:00") {
		t.Errorf("facts are %+v", f.list)
	}
}
