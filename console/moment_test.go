package console_test

import (
	"testing"

	"github.com/bugle-fleet/bugle/console"
)

func TestCheckMoment(t *testing.T) {
	for _, s := range []string{"1", "4711", "9223372036854775807", "2h", "90m", "0s", "1h30m", "7d", "36500d", "2026-12-24T18:00:00Z", "2026-12-24T18:00:00.000000001+01:00", "0001-01-01T00:00:00Z"} {
		if err := console.CheckMoment(s); err != nil {
			t.Errorf("%q: %v", s, err)
		}
	}
	for _, s := range []string{"", "0", "-1", "+1", "1.5", "-2h", "h", "d", "-7d", "1.5d", "36501d", "1d2h", "2026-12-24", "2026-12-24T18:00:00", "18:00", "now", "9223372036854775808"} {
		if console.CheckMoment(s) == nil {
			t.Errorf("%q is taken", s)
		}
	}
}
