package evaluator_test

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/journal/journaltest"
	"github.com/bugle-fleet/bugle/projectors/collection/evaluator"
)

// An evaluator runs beside the views; here both are one fold in memory. In a site,
// Inventory and Collections make the two functions of readers of the views.
func Example() {
	views := newWorld()
	j := journaltest.NewMemory(journal.Options{Folds: []journal.Fold{views}})
	defer j.Close()
	e := evaluator.New(evaluator.Config{Journal: j, Inventory: views.inventory, Collections: views.collections, Views: views, Log: slog.New(slog.DiscardHandler)})
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	go e.Run(ctx)

	err := j.Append(ctx, &event.Event{Payload: named("pc-berlin", 1)}, &event.Event{Payload: named("pc-paris", 2)},
		&event.Event{Payload: definition("P0100001", where("Name like '%berlin'"))})
	if err != nil {
		fmt.Println(err)
		return
	}
	follow, err := j.Follow(ctx, 4)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer follow.Close()
	for len(views.members("P0100001")) == 0 {
		if _, err := follow.Next(ctx); err != nil {
			fmt.Println(err)
			return
		}
	}
	fmt.Println("members:", views.members("P0100001"))
	answer, err := e.Query(ctx, "select * from SMS_R_System where Name like 'pc-%'", 10)
	fmt.Println("query:", answer.Count, answer.Devices, err)
	// Output:
	// members: [1]
	// query: 2 [1 2] <nil>
}
