package presence_test

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/journal/journaltest"
	"github.com/bugle-fleet/bugle/projectors"
	"github.com/bugle-fleet/bugle/projectors/presence"
)

func Example() {
	dir, err := os.MkdirTemp("", "views")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	j := journaltest.NewMemory(journal.Options{})
	defer j.Close()

	view, reader := presence.New()
	views, err := projectors.Open(projectors.Options{Dir: dir, Journal: j}, view)
	if err != nil {
		log.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	stopped := make(chan error)
	go func() { stopped <- views.Run(ctx) }()

	e := &event.Event{
		Source:  &event.Source{Listener: "LSN", Epoch: 1, File: event.BOS, Number: 1, Part: 1, Of: 1},
		Payload: &event.PresenceDelta{Entries: []event.PresenceEntry{{Device: 7, Online: true, Carrier: event.TCP}}},
	}
	if err := j.Append(ctx, e); err != nil {
		log.Fatal(err)
	}
	if err := views.Wait(ctx, e.Number); err != nil {
		log.Fatal(err)
	}
	row, ok, err := reader.Get(7)
	fmt.Println(row.Device, row.Online, row.Carrier, row.Listener, ok, err)
	fmt.Println(reader.Counts())
	stop()
	fmt.Println(<-stopped, views.Close())
	// Output:
	// 7 true tcp LSN true <nil>
	// 1 map[LSN:1]
	// <nil> <nil>
}
