package journaltest_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/journal/journaltest"
)

// What does a caller hear when the machine dies in the middle of a write, and
// what is there afterwards?
func ExampleMemory_Inject() {
	ctx := context.Background()
	m := journaltest.NewMemory(journal.Options{})
	m.Inject(journaltest.LostButStored)
	err := m.Append(ctx, &event.Event{Payload: &event.FileRequeued{Name: "a"}})
	fmt.Println("unknown:", errors.Is(err, journal.ErrUnknown))

	m, err = m.Reopen(journal.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer m.Close()
	fmt.Println("stored:", m.Head().Event == 1)
	// Output:
	// unknown: true
	// stored: true
}
