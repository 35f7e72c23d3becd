package inventory_test

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/journal/journaltest"
	"github.com/bugle-fleet/bugle/projectors"
	"github.com/bugle-fleet/bugle/projectors/collection/schema"
	"github.com/bugle-fleet/bugle/projectors/inventory"
)

func Example() {
	dir, err := os.MkdirTemp("", "views")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	j := journaltest.NewMemory(journal.Options{})
	defer j.Close()

	view, devices := inventory.New(schema.Standard())
	views, err := projectors.Open(projectors.Options{Dir: dir, Journal: j}, view)
	if err != nil {
		log.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	stopped := make(chan error)
	go func() { stopped <- views.Run(ctx) }()

	err = j.Append(ctx, &event.Event{Payload: &event.DeviceJoined{Device: 1, Name: "ws-0001", Agent: "1.0"}},
		&event.Event{Payload: &event.DeviceDiscovered{Device: 1, Facts: []event.Fact{{Name: "system.model", Value: "T14"}, {Name: "memory.bytes", Value: "17179869184"}}}})
	if err != nil {
		log.Fatal(err)
	}
	if err := views.Wait(ctx, 2); err != nil {
		log.Fatal(err)
	}
	shown, _, err := devices.Show(1)
	if err != nil {
		log.Fatal(err)
	}
	for _, c := range shown.Classes[1:3] {
		for _, v := range c.Rows[0].Values {
			fmt.Println(c.Name, v.Property, v.Value.Text, v.Value.Number, "by event", v.Event)
		}
	}
	stop()
	fmt.Println(<-stopped, views.Close())
	// Output:
	// SMS_G_System_COMPUTER_SYSTEM Model T14 0 by event 2
	// SMS_G_System_COMPUTER_SYSTEM TotalPhysicalMemory  16777216 by event 2
	// SMS_G_System_COMPUTER_SYSTEM_PRODUCT Name T14 0 by event 2
	// <nil> <nil>
}
