package simulator_test

import (
	"fmt"
	"slices"

	"github.com/bugle-fleet/bugle/cmd/bugle/simulator"
)

// A seed stands for steps. Written down, they stay what they are.
func ExamplePlan() {
	long, short := simulator.Plan(1, 40), simulator.Plan(1, 3)
	fmt.Println(slices.Equal(long[:3], short))
	plan, err := simulator.ParsePlan("push:2a cut:7")
	fmt.Println(plan, err)
	// Output:
	// true
	// [push:2a cut:7] <nil>
}
