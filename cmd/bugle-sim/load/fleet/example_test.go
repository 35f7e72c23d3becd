package fleet_test

import (
	"context"
	"fmt"
	"os"

	"github.com/bugle-fleet/bugle/cmd/bugle-sim/load"
	"github.com/bugle-fleet/bugle/cmd/bugle-sim/load/fleet"
	"github.com/bugle-fleet/bugle/cmd/bugle-sim/site"
)

// A thousand light agents under which a site of this machine is measured. Here none
// runs.
func ExampleOpen() {
	dir, err := os.MkdirTemp("", "fleet-")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	r := load.New(load.Options{Agents: 1000, Phases: []string{load.PhasePush}, Line: func(l load.Line) { fmt.Println(l.Phase, l.Figures) }})
	f, err := fleet.Open(context.Background(), fleet.Config{
		Agents: 1000, Observer: r.Observer(), Dir: dir, Place: site.Place{Data: "no-such-site"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer f.Close()
	if err := r.Run(context.Background(), f); err != nil {
		fmt.Println(err)
	}
	// Output: open fleet: find site: none runs with this folder: open no-such-site/run/addresses.json: no such file or directory
}
