package commit_test

import (
	"context"
	"fmt"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/commit"
	"github.com/bugle-fleet/bugle/journal/event"
)

// A slice is a store, if not a durable one.
type slice struct{ pages [][]byte }

func (s *slice) Len(context.Context) (uint64, error) { return uint64(len(s.pages)), nil }

func (s *slice) Put(page *journal.Sealed) error {
	s.pages = append(s.pages, append([]byte(nil), page.Bytes()...))
	return nil
}

func (s *slice) Load(_ context.Context, n, _ uint64) ([][]byte, error) {
	if n > uint64(len(s.pages)) {
		return nil, commit.ErrNoPage
	}
	return s.pages[n-1 : n], nil
}

func (s *slice) Close() error { return nil }

// A store that keeps pages is all that a journal needs.
func Example() {
	ctx := context.Background()
	s := new(slice)
	j, err := commit.Open(ctx, s, journal.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	a := &event.Event{Payload: &event.FileRequeued{Name: "a"}}
	b := &event.Event{Payload: &event.FileRequeued{Name: "b"}}
	fmt.Println(j.Append(ctx, a, b), a.Number, b.Number)
	fmt.Println(j.Close(), len(s.pages), "page")

	j, err = commit.Open(ctx, s, journal.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer j.Close()
	fmt.Println(j.Head().Event, "events")
	// Output:
	// <nil> 1 2
	// <nil> 1 page
	// 2 events
}
