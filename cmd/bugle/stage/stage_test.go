package stage_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/bugle-fleet/bugle/cmd/bugle/stage"
)

func Example() {
	failed := make(chan error, 1)
	var store, server stage.Stage
	store.Start(failed, "store", func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
	server.Start(failed, "server", func(context.Context) error { return errors.New("no socket") })
	fmt.Println(<-failed)
	fmt.Println(server.End())
	fmt.Println(store.End())
	// Output:
	// server: no socket
	// server: no socket
	// <nil>
}

// A part that ends before it is told to has failed, even without an error; what it
// says at its end is kept.
func TestEnds(t *testing.T) {
	failed := make(chan error, 1)
	var none, early, late stage.Stage
	if err := none.End(); err != nil {
		t.Error(err)
	}
	early.Start(failed, "early", func(context.Context) error { return nil })
	if err := <-failed; err == nil || err.Error() != "early: ended by itself" {
		t.Error(err)
	}
	if err := early.End(); err == nil {
		t.Error("a part that ended by itself has ended well")
	}
	last := errors.New("not all is written")
	late.Start(failed, "late", func(ctx context.Context) error { <-ctx.Done(); return last })
	if err := late.End(); !errors.Is(err, last) {
		t.Error(err)
	}
	if err := late.End(); err != nil {
		t.Errorf("ended twice: %v", err)
	}
	select {
	case err := <-failed:
		t.Errorf("a part that was ended has failed: %v", err)
	default:
	}
}
