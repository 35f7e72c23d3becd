package console_test

import (
	"context"
	"log/slog"
	"testing"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/bugle-fleet/bugle/console"
	"github.com/bugle-fleet/bugle/console/definitions"
	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/journal/journaltest"
	"github.com/bugle-fleet/bugle/projectors"
	"github.com/bugle-fleet/bugle/projectors/collection"
	"github.com/bugle-fleet/bugle/projectors/device"
	"github.com/bugle-fleet/bugle/projectors/operation"
	"github.com/bugle-fleet/bugle/projectors/presence"
	"github.com/bugle-fleet/bugle/projectors/status"
	"github.com/bugle-fleet/bugle/projectors/window"
)

// A windowRig is a console with the real views, that of collections and that of
// windows among them. Who is in a collection is said by events, as an evaluator
// would.
type windowRig struct {
	*rig
	views *projectors.Views
	cycle uint64
}

func newWindowRig(t testing.TB) *windowRig {
	t.Helper()
	r := &rig{t: t, fleet: newFleet(), clock: &clock{now: start}, box: &box{files: map[string]bool{}}, dir: t.TempDir()}
	r.folds()
	defined := definitions.New("P01")
	r.journal = journaltest.NewMemory(journal.Options{Folds: []journal.Fold{r.authority, r.policies, r.writes, defined}, Now: r.clock.Now})
	r.serve()

	devices, dr := device.New()
	presences, pr := presence.New()
	operations, or := operation.New()
	messages, sr := status.New()
	collections, cr := collection.New()
	windows, wr := window.New()
	all, err := projectors.Open(projectors.Options{Dir: t.TempDir(), Journal: r.journal, History: [16]byte{1}, Log: slog.New(slog.DiscardHandler)},
		devices, presences, operations, messages, collections, windows)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- all.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if err := all.Close(); err != nil {
			t.Error(err)
		}
	})
	r.policies.Attach(console.PolicyParts{Operations: or, Windows: console.WindowsOf(defined, cr), Now: r.clock.Now})
	cfg := r.config()
	cfg.Devices, cfg.Presence, cfg.Operations, cfg.Status, cfg.Views = dr, pr, or, sr, all
	cfg.Definitions, cfg.Collections, cfg.Windows = defined, cr, wr
	if r.console, err = console.New(cfg); err != nil {
		t.Fatal(err)
	}
	r.server.Config.Handler = r.console.Handler()
	return &windowRig{rig: r, views: all}
}

// caughtUp waits until the views hold all that there is.
func (r *windowRig) caughtUp() {
	r.t.Helper()
	if err := r.views.Wait(r.t.Context(), r.journal.Head().Event); err != nil {
		r.t.Fatal(err)
	}
}

// collection makes a collection with members.
func (r *windowRig) collection(id, name string, members ...uint32) {
	r.t.Helper()
	r.append(&event.CollectionChanged{ID: id, After: &event.Collection{ID: id, Name: name, Limit: event.RootCollection}})
	r.members(id, members, nil)
}

// members adds devices to a collection, and takes others out.
func (r *windowRig) members(id string, added, removed []uint32) {
	r.t.Helper()
	set := func(devices []uint32) []byte {
		if len(devices) == 0 {
			return nil
		}
		raw, err := event.AppendSet(nil, roaring.BitmapOf(devices...))
		if err != nil {
			r.t.Fatal(err)
		}
		return raw
	}
	r.cycle++
	r.append(&event.CollectionsEvaluated{Cycle: r.cycle, Part: 1, Of: 1, Queue: event.FullQueue, Cause: event.ByDefinition, Count: 1,
		Started: start, Clock: start, Results: []event.CollectionResult{{ID: id, Members: uint32(len(added)), Added: set(added), Removed: set(removed)}}})
	r.caughtUp()
}

// device lets devices in, with facts of which names and values alternate.
func (r *windowRig) device(number uint32, name string, facts ...string) {
	r.t.Helper()
	r.append(&event.DeviceJoined{Device: number, ID: [16]byte{15: byte(number)}, Name: name, OS: "linux", PublicKey: append(make([]byte, 64), byte(number)), Expires: start.AddDate(1, 0, 0)})
	d := &event.DeviceDiscovered{Device: number}
	for i := 0; i+1 < len(facts); i += 2 {
		d.Facts = append(d.Facts, event.Fact{Name: facts[i], Value: facts[i+1]})
	}
	if len(facts) > 0 {
		r.append(d)
	}
	r.caughtUp()
}
