package device_test

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/journal/journaltest"
	"github.com/bugle-fleet/bugle/projectors"
	"github.com/bugle-fleet/bugle/projectors/device"
)

func Example() {
	dir, err := os.MkdirTemp("", "views")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	j := journaltest.NewMemory(journal.Options{})
	defer j.Close()

	view, devices := device.New()
	views, err := projectors.Open(projectors.Options{Dir: dir, Journal: j}, view)
	if err != nil {
		log.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	stopped := make(chan error)
	go func() { stopped <- views.Run(ctx) }()

	e := &event.Event{Payload: &event.DeviceJoined{Device: 1, Name: "ws-0001", OS: "linux", Arch: "amd64"}}
	if err := j.Append(ctx, e); err != nil {
		log.Fatal(err)
	}
	if err := views.Wait(ctx, e.Number); err != nil {
		log.Fatal(err)
	}
	found, err := devices.Find("WS-0001")
	for _, d := range found {
		fmt.Println(d.Number, d.Name, d.OS, d.Arch, err)
	}
	stop()
	fmt.Println(<-stopped, views.Close())
	// Output:
	// 1 ws-0001 linux amd64 <nil>
	// <nil> <nil>
}
