package collection_test

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/journal/journaltest"
	"github.com/bugle-fleet/bugle/projectors"
	"github.com/bugle-fleet/bugle/projectors/collection"
)

func Example() {
	dir, err := os.MkdirTemp("", "views")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	j := journaltest.NewMemory(journal.Options{})
	defer j.Close()

	view, collections := collection.New()
	views, err := projectors.Open(projectors.Options{Dir: dir, Journal: j}, view)
	if err != nil {
		log.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	stopped := make(chan error)
	go func() { stopped <- views.Run(ctx) }()

	members, err := event.AppendSet(nil, roaring.BitmapOf(3, 5, 8))
	if err != nil {
		log.Fatal(err)
	}
	define := &event.Event{Payload: &event.CollectionChanged{ID: "P0100001", After: &event.Collection{Name: "Laptops", Limit: event.RootCollection}}}
	result := &event.Event{Payload: &event.CollectionsEvaluated{Cycle: 1, Part: 1, Of: 1, Queue: event.FullQueue, Cause: event.ByDefinition,
		Count: 1, Results: []event.CollectionResult{{ID: "P0100001", Added: members}}}}
	if err := j.Append(ctx, define, result); err != nil {
		log.Fatal(err)
	}
	if err := views.Wait(ctx, result.Number); err != nil {
		log.Fatal(err)
	}
	position, err := collections.At(func(s *collection.Snapshot) error {
		c, _ := s.Find("laptops")
		fmt.Println(c.ID, c.Name, c.Members, s.Page(c.ID, 3, 10), s.Of(5))
		return nil
	})
	fmt.Println(position, err)
	stop()
	fmt.Println(<-stopped, views.Close())
	// Output:
	// P0100001 Laptops 3 [5 8] [P0100001]
	// 2 <nil>
	// <nil> <nil>
}
