package projectors_test

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/journal/journaltest"
	"github.com/bugle-fleet/bugle/projectors"
)

// counter is a fold that counts logins which failed, by address.
type counter struct{}

func (counter) Load(*projectors.Snapshot) error { return nil }
func (counter) Publish() any                    { return nil }

func (counter) Apply(b *projectors.Batch, e *event.Event) error {
	p := e.Payload.(*event.LoginFailed)
	key := append([]byte{'a'}, p.Address...)
	var n byte
	if _, err := b.Get(key, func(v []byte) error { n = v[0]; return nil }); err != nil {
		return err
	}
	b.Set(key, []byte{n + 1})
	return nil
}

func Example() {
	dir, err := os.MkdirTemp("", "views")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	j := journaltest.NewMemory(journal.Options{})
	defer j.Close()

	view := &projectors.View{Name: "failures", Schema: 1, Kinds: []event.Kind{event.KindLoginFailed},
		Fold: func() projectors.Fold { return counter{} }}
	views, err := projectors.Open(projectors.Options{Dir: dir, Journal: j}, view)
	if err != nil {
		log.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	stopped := make(chan error)
	go func() { stopped <- views.Run(ctx) }()

	failed := &event.Event{Payload: &event.LoginFailed{Where: "console", Address: "192.0.2.7", Count: 1}}
	if err := j.Append(ctx, failed); err != nil {
		log.Fatal(err)
	}
	if err := views.Wait(ctx, failed.Number); err != nil { // read what was written
		log.Fatal(err)
	}
	err = view.Read(func(s *projectors.Snapshot) error {
		return s.Scan([]byte{'a'}, nil, func(key, value []byte) (bool, error) {
			fmt.Printf("event %d: %s failed %d time\n", s.Position(), key[1:], value[0])
			return true, nil
		})
	})
	if err != nil {
		log.Fatal(err)
	}
	stop()
	fmt.Println(<-stopped, views.Close())
	// Output:
	// event 1: 192.0.2.7 failed 1 time
	// <nil> <nil>
}

// What a view said after an earlier event.
func ExampleViews_At() {
	dir, err := os.MkdirTemp("", "views")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	j := journaltest.NewMemory(journal.Options{})
	defer j.Close()
	view := &projectors.View{Name: "failures", Schema: 1, Kinds: []event.Kind{event.KindLoginFailed},
		Fold: func() projectors.Fold { return counter{} }}
	views, err := projectors.Open(projectors.Options{Dir: dir, Journal: j}, view)
	if err != nil {
		log.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	stopped := make(chan error)
	go func() { stopped <- views.Run(ctx) }()
	for range 3 {
		if err := j.Append(ctx, &event.Event{Payload: &event.LoginFailed{Where: "console", Address: "192.0.2.7", Count: 1}}); err != nil {
			log.Fatal(err)
		}
	}

	past, err := views.At(ctx, 2)
	if err != nil {
		log.Fatal(err)
	}
	err = past.View("failures").Read(func(s *projectors.Snapshot) error {
		return s.Scan([]byte{'a'}, nil, func(key, value []byte) (bool, error) {
			fmt.Printf("event %d: %s failed %d times\n", s.Position(), key[1:], value[0])
			return true, nil
		})
	})
	if err != nil {
		log.Fatal(err)
	}
	_, err = views.At(ctx, 4)
	fmt.Println(err)
	stop()
	fmt.Println(<-stopped, views.Close())
	// Output:
	// event 2: 192.0.2.7 failed 2 times
	// read views as of event 4: there is no event 4: the journal ends with event 3
	// <nil> <nil>
}
