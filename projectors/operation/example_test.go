package operation_test

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"log"
	"os"
	"slices"
	"time"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/journal/journaltest"
	"github.com/bugle-fleet/bugle/listener/wire/task"
	"github.com/bugle-fleet/bugle/projectors"
	"github.com/bugle-fleet/bugle/projectors/operation"
)

// request is the event that the console appends.
func request(devices ...uint32) *event.Event {
	targets, err := task.NewTargets(slices.Values(devices))
	if err != nil {
		log.Fatal(err)
	}
	now := time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC)
	t := task.Task{Site: "P01", Operation: task.NewID(now), Kind: "scan.quick", Root: targets.Root(), Leaves: targets.Leaves(),
		NotBefore: now, DeliverBy: now.Add(time.Hour), RunTimeout: time.Hour, Requested: now}
	signed, err := t.Sign(ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)))
	if err != nil {
		log.Fatal(err)
	}
	numbers, err := roaring.BitmapOf(devices...).ToBytes()
	if err != nil {
		log.Fatal(err)
	}
	return &event.Event{Payload: &event.OperationRequested{Task: signed, Targets: numbers, Count: uint32(len(devices)), Target: "devices"}}
}

func Example() {
	dir, err := os.MkdirTemp("", "views")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	j := journaltest.NewMemory(journal.Options{})
	defer j.Close()

	view, reader := operation.New()
	views, err := projectors.Open(projectors.Options{Dir: dir, Journal: j}, view)
	if err != nil {
		log.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	stopped := make(chan error)
	go func() { stopped <- views.Run(ctx) }()

	e := request(1, 2, 3)
	if err := j.Append(ctx, e); err != nil {
		log.Fatal(err)
	}
	if err := views.Wait(ctx, e.Number); err != nil {
		log.Fatal(err)
	}
	open, position, err := reader.Open()
	for _, op := range open {
		o, _, _ := reader.Get(op.ID)
		fmt.Println(position, o.Kind, o.Count, "targets,", o.States[task.Waiting], "waiting", err)
	}
	stop()
	fmt.Println(<-stopped, views.Close())
	// Output:
	// 1 scan.quick 3 targets, 3 waiting <nil>
	// <nil> <nil>
}
