package site

import (
	"context"
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/listener"
	"github.com/bugle-fleet/bugle/projectors/operation"
	"github.com/bugle-fleet/bugle/projectors/projectorstest"
)

// blocking is asked who is blocked, and right after it has answered, which is when
// it counts, another device is blocked and the view knows of it.
type blocking struct {
	site  *projectorstest.Site
	block uint32
}

func (b *blocking) Keyrings() [][]byte { return nil }

func (b *blocking) Blocked() []uint32 {
	b.site.Wait(b.site.Append(&event.Event{Payload: &event.DeviceBlocked{Device: b.block}}))
	return nil
}

// A device that is blocked while the feed reads the state is told of: in the state
// or behind it.
func TestFeedMissesNoBlock(t *testing.T) {
	view, reader := operation.New()
	site := projectorstest.Start(t, view)
	f, err := newFeed(site.Journal, &blocking{site, 7}, reader)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for {
		u, err := f.Next(ctx)
		if err != nil {
			t.Fatalf("the block is not told of: %v", err)
		}
		if b, ok := u.(listener.BlockDevice); ok && b.Device == 7 {
			return
		}
	}
}

// nobody is blocked, and no keys were changed.
type nobody struct{}

func (nobody) Keyrings() [][]byte { return nil }
func (nobody) Blocked() []uint32  { return nil }

// After an error the feed begins anew: nothing is left out.
func TestFeedBeginsAnew(t *testing.T) {
	view, reader := operation.New()
	site := projectorstest.Start(t, view)
	f, err := newFeed(site.Journal, nobody{}, reader)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	whole := func() {
		t.Helper()
		if u, err := f.Next(ctx); err != nil || u != (listener.Whole{}) {
			t.Fatalf("%v, %v", u, err)
		}
	}
	whole()
	site.Append(&event.Event{Payload: &event.OperationReleased{Operation: [16]byte{1}, Wave: 1, Devices: []byte("no set")}},
		&event.Event{Payload: &event.DeviceBlocked{Device: 7}})
	site.Wait(2)
	if u, err := f.Next(ctx); err == nil {
		t.Fatalf("what cannot be read is told: %v", u)
	}
	whole() // with whoever is blocked by now
	site.Append(&event.Event{Payload: &event.DeviceBlocked{Device: 8}})
	if u, err := f.Next(ctx); err != nil || u != (listener.BlockDevice{Device: 8}) {
		t.Errorf("%v, %v", u, err)
	}
}
