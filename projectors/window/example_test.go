package window_test

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/journal/journaltest"
	"github.com/bugle-fleet/bugle/projectors"
	"github.com/bugle-fleet/bugle/projectors/window"
)

func Example() {
	dir, err := os.MkdirTemp("", "views")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	j := journaltest.NewMemory(journal.Options{})
	defer j.Close()

	view, windows := window.New()
	views, err := projectors.Open(projectors.Options{Dir: dir, Journal: j}, view)
	if err != nil {
		log.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	stopped := make(chan error)
	go func() { stopped <- views.Run(ctx) }()

	e := &event.Event{Payload: &event.WindowChanged{Collection: "P0100001", Name: "patch night",
		After: []byte(`{"name":"patch night","start":"2026-11-28T01:00","minutes":180,"every":{"unit":"week"}}`)}}
	if err := j.Append(ctx, e); err != nil {
		log.Fatal(err)
	}
	if err := views.Wait(ctx, e.Number); err != nil {
		log.Fatal(err)
	}
	found, err := windows.Of("P0100001")
	for _, w := range found {
		fmt.Println(w.Collection, w.Name, w.Event, err)
	}
	stop()
	fmt.Println(<-stopped, views.Close())
	// Output:
	// P0100001 patch night 1 <nil>
	// <nil> <nil>
}
