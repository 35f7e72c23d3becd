package journal_test

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/journal/journaltest"
)

// names is a fold: what it knows is always up to the event before.
type names map[string]uint64

func (n names) Apply(e *event.Event) {
	if p, ok := e.Payload.(*event.TokenCreated); ok {
		n[p.Token] = e.Number
	}
}

var errTaken = errors.New("there is such a token already")

// Append what happened, guard what must not happen twice, read it all again.
func Example() {
	ctx := context.Background()
	taken := make(names)
	var j journal.Journal = journaltest.NewMemory(journal.Options{Folds: []journal.Fold{taken}})
	defer j.Close()

	create := func(token string) error {
		e := &event.Event{Payload: &event.TokenCreated{Token: token, Uses: 1}}
		free := func() error {
			if taken[token] != 0 {
				return errTaken
			}
			return nil
		}
		return j.AppendIf(ctx, free, e)
	}
	fmt.Println(create("red"), create("red"), create("blue"))

	r, err := j.Read(ctx, 1)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer r.Close()
	for {
		page, err := r.Next(ctx)
		if err == io.EOF {
			break
		}
		if err != nil {
			fmt.Println(err)
			return
		}
		for i := range page.Records {
			e, err := page.Records[i].Event()
			if err != nil {
				fmt.Println(err)
				return
			}
			fmt.Println(e.Number, e.Kind(), e.Payload.(*event.TokenCreated).Token)
		}
	}
	// Output:
	// <nil> there is such a token already <nil>
	// 1 token.created red
	// 2 token.created blue
}
