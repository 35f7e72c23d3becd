package load_test

import (
	"context"
	"fmt"
	"os"

	"github.com/bugle-fleet/bugle/cmd/bugle-sim/load"
)

func ExampleTable() {
	connect := func(target string, cpu float64) load.Line {
		return load.Line{Target: target, Agents: 1000, Round: 1, Phase: load.PhaseConnect,
			Figures: load.Figures{{Name: "cpuPerSignInUs", Value: cpu, Better: load.Less}}}
	}
	lines := []load.Line{connect("bugle", 800), connect("nats", 1000), connect("mosquitto", 2500)}
	ours := func(target string) bool { return target == "bugle" }
	if err := load.Table(os.Stdout, lines, ours); err != nil {
		fmt.Println(err)
	}
	// Output:
	// | phase | figure | bugle | nats | mosquitto | bugle ÷ best |
	// |---|---|---:|---:|---:|---:|
	// | connect | cpuPerSignInUs | 800 | 1000 | 2500 | 0.80 |
}

// A runner is made before its target is opened, for the target tells its observer
// what happens.
func ExampleRunner() {
	open := func(load.Observer) (load.Target, error) { return nil, fmt.Errorf("no server here") }

	r := load.New(load.Options{Agents: 1000, Phases: []string{load.PhaseIdle, load.PhasePush}})
	t, err := open(r.Observer())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer t.Close()
	if err := r.Run(context.Background(), t); err != nil {
		fmt.Println(err)
	}
	// Output: no server here
}
