package record_test

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/bugle-fleet/bugle/agent"
	"github.com/bugle-fleet/bugle/cmd/bugle-sim/record"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

func Example() {
	dir, err := os.MkdirTemp("", "record")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)

	log, err := record.Open(filepath.Join(dir, "records"), 0)
	if err != nil {
		fmt.Println(err)
		return
	}
	device := log.Agent(7) // goes into agent.Config.Record
	e := agent.Entry{Act: agent.Reached, Kind: "scan.quick", Result: task.Result{Attempt: 1, State: task.Running}}
	if err := device.Append(true, e); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("on disk, by", log.Syncs(), "fsync")
	fmt.Println("closed:", log.Close())
	// Output:
	// on disk, by 1 fsync
	// closed: <nil>
}
