package jetstream_test

import (
	"context"
	"fmt"
	"os"

	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/journal/jetstream"
)

// What Append has returned for is on disk.
func Example() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "journal")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	j, err := jetstream.Open(ctx, dir, jetstream.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	e := &event.Event{Payload: &event.DeviceBlocked{Device: 17, Reason: "stolen"}}
	fmt.Println(j.Append(ctx, e), e.Number)
	history := j.History()
	fmt.Println(j.Close())

	j, err = jetstream.Open(ctx, dir, jetstream.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer j.Close()
	fmt.Println(j.Head().Event, j.History() == history)
	// Output:
	// <nil> 1
	// <nil>
	// 1 true
}
