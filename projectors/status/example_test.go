package status_test

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/journal/journaltest"
	"github.com/bugle-fleet/bugle/projectors"
	"github.com/bugle-fleet/bugle/projectors/status"
)

func Example() {
	dir, err := os.MkdirTemp("", "views")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	j := journaltest.NewMemory(journal.Options{})
	defer j.Close()

	view, reader := status.New()
	views, err := projectors.Open(projectors.Options{Dir: dir, Journal: j}, view)
	if err != nil {
		log.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	stopped := make(chan error)
	go func() { stopped <- views.Run(ctx) }()

	e := &event.Event{Payload: &event.StatusMessage{Component: "inbox", Message: 2001, Severity: event.Warning, Text: "the box is 3 min behind"}}
	if err := j.Append(ctx, e); err != nil {
		log.Fatal(err)
	}
	if err := views.Wait(ctx, e.Number); err != nil {
		log.Fatal(err)
	}
	messages, err := reader.Messages(0, 10, event.Warning, event.Error)
	for _, m := range messages {
		fmt.Println(m.Severity, m.Component, m.Number, m.Text, err)
	}
	stop()
	fmt.Println(<-stopped, views.Close())
	// Output:
	// warning inbox 2001 the box is 3 min behind <nil>
	// <nil> <nil>
}
