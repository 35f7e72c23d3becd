package window_test

import (
	"fmt"
	"log"
	"time"

	"github.com/bugle-fleet/bugle/agent/window"
)

// Patch night: the second Tuesday of the month and two days, one hour long.
func Example() {
	windows, err := window.Parse([]byte(`[{"name": "patch night", "kind": "updates", "utc": true,
		"start": "2026-01-01T01:00", "minutes": 60,
		"every": {"unit": "month", "nth": "second", "weekday": "tue", "offset": 2}}]`))
	if err != nil {
		log.Fatal(err)
	}
	now := time.Date(2026, 11, 10, 12, 0, 0, 0, time.UTC)
	next, _ := windows.Next(now, time.UTC)
	fmt.Println(next.Open, next.Length())

	a := windows.Fits(now, time.UTC, window.Updates, window.Need(time.Hour))
	fmt.Println(a.Run, a.Why)
	a = windows.Fits(now, time.UTC, window.Updates, window.Need(30*time.Minute))
	fmt.Println(a.Run, a.Why, a.Next.Open.Equal(next.Open))
	// Output:
	// 2026-11-12 01:00:00 +0000 UTC 1h0m0s
	// false opens Thu 01:00 for 60 min; needs 65; no window is long enough
	// false opens Thu 01:00 for 60 min; needs 35 true
}
