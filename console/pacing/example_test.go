package pacing_test

import (
	"fmt"
	"time"

	"github.com/bugle-fleet/bugle/console/pacing"
	"github.com/bugle-fleet/bugle/journal/event"
)

// A push to 10,000 devices: 5 % first, then a quarter, then the rest, at most 100
// a second.
func Example() {
	waves, err := pacing.ParseWaves([]string{"5%", "25%"}, 10_000)
	if err != nil {
		fmt.Println(err)
		return
	}
	plan := pacing.PlanOf(&event.Pacing{Waves: waves, Rate: 100}, 10_000, 10*time.Minute)
	for i, w := range plan.Waves {
		fmt.Printf("wave %d: %d devices over %s, after %s to %s\n", i+1, w.Devices, w.Spread, w.Earliest, w.Latest)
	}
	fmt.Printf("sent after %s to %s\n", plan.Soonest, plan.Latest)
	// Output:
	// wave 1: 500 devices over 5s, after 0s to 0s
	// wave 2: 2500 devices over 25s, after 5s to 15m5s
	// wave 3: 7000 devices over 1m10s, after 30s to 30m30s
	// sent after 1m40s to 31m40s
}
