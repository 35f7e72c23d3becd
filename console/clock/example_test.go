package clock_test

import (
	"context"
	"fmt"
	"time"

	"github.com/bugle-fleet/bugle/console/clock"
	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/journaltest"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// A clock runs beside the views; here they are two maps.
func Example() {
	operation := task.NewID(time.Now())
	views := &due{expire: map[task.ID]time.Time{operation: time.Now()}, closing: map[task.ID]time.Time{}}
	j := journaltest.NewMemory(journal.Options{Folds: []journal.Fold{views}})
	defer j.Close()

	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	c := clock.New(clock.Config{Journal: j, Operations: views, Listeners: views, Views: views, Interval: 5 * time.Minute})
	go c.Run(ctx)

	follow, err := j.Follow(ctx, 1)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer follow.Close()
	page, err := follow.Next(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(page.Records[0].Kind())
	// Output: operation.expired
}
