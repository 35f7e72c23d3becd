package console_test

import (
	"context"
	"crypto/ed25519"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/bugle-fleet/bugle/console"
	"github.com/bugle-fleet/bugle/console/definitions"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/listener/wire/task"
	"github.com/bugle-fleet/bugle/projectors/collection/engine"
)

// forecast says the same whatever it is asked, and keeps what that was.
type forecast struct {
	says    []engine.Change
	fails   error
	changed []event.Collection
	deleted []string
}

func (f *forecast) WhatIf(_ context.Context, changed []event.Collection, deleted []string) ([]engine.Change, error) {
	f.changed, f.deleted = changed, deleted
	return f.says, f.fails
}

// pushed is an operation for the members of a collection.
func pushed(t testing.TB, id, collection string, devices ...uint32) *event.OperationRequested {
	t.Helper()
	targets, err := task.NewTargets(slices.Values(devices))
	if err != nil {
		t.Fatal(err)
	}
	operation, err := task.ParseID(id)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := (&task.Task{Site: "P01", Operation: operation, Kind: "scan.quick", Params: []byte(`{}`), Root: targets.Root(), Leaves: targets.Leaves(),
		NotBefore: start, DeliverBy: start.Add(time.Hour), RunTimeout: time.Minute, Requested: start}).Sign(ed25519.NewKeyFromSeed(make([]byte, 32)))
	if err != nil {
		t.Fatal(err)
	}
	set, err := roaring.BitmapOf(devices...).ToBytes()
	if err != nil {
		t.Fatal(err)
	}
	return &event.OperationRequested{Task: signed, Targets: set, Count: uint32(len(devices)), Target: "collection", Priority: 2, Collection: collection, AsOf: 9}
}

func TestWhatIf(t *testing.T) {
	f := &forecast{says: []engine.Change{
		{ID: "P0100001", Added: roaring.BitmapOf(3), Removed: roaring.BitmapOf(1, 2), Members: 1},
		{ID: "P0100003", Added: roaring.New(), Removed: roaring.BitmapOf(1), Members: 0},
		{ID: "P0100002", Added: roaring.New(), Removed: roaring.New(), Members: 1},
	}}
	r := newEvaluationRig(t, func(_ *rig, cfg *console.Config) { cfg.Forecast = f })
	r.join("pc-1", "pc-2", "pc-3", "pc-4")
	r.tellEstate()
	const id, other = "019cabcd-0000-7000-8000-0123456789ab", "019cabcd-0000-7000-8000-0123456789ac"
	r.tell(pushed(t, id, "P0100001", 1, 2, 4), pushed(t, other, "P0100002", 1),
		&event.WindowChanged{Collection: "P0100003", Name: "patch night", After: []byte(`{"name":"patch night"}`)})
	head := r.journal.Head().Event
	r.do(http.MethodGet, r.min(console.PathDevices), nil)
	ask := console.WhatIfRequest{Names: 1, Document: definitions.Document{Collections: []definitions.Collection{{Name: "Laptops", Direct: []string{"pc-3"}}}}}
	var reply console.WhatIfReply
	r.do(http.MethodPost, console.PathWhatIf, ask).ok(&reply)
	if len(f.changed) != 1 || f.changed[0].ID != "P0100001" || len(f.deleted) != 0 || r.journal.Head().Event != head {
		t.Errorf("asked for %+v and %q, the journal has %d events", f.changed, f.deleted, r.journal.Head().Event)
	}
	if len(reply.Changes) != 1 || reply.Changes[0].Action != "change" || len(reply.Changes[0].Diff) == 0 || reply.Devices != 3 {
		t.Errorf("changes are %+v of %d devices", reply.Changes, reply.Devices)
	}
	if len(reply.Collections) != 2 {
		t.Fatalf("collections are %+v", reply.Collections)
	}
	c := reply.Collections[0]
	if c.ID != "P0100001" || c.Name != "Laptops" || c.How != "change" || c.Before != 2 || c.After != 1 || c.Entered != 1 || c.Left != 2 ||
		len(c.Enter) != 1 || c.Enter[0].Name != "pc-3" || len(c.Leave) != 1 || c.Leave[0].Name != "pc-1" {
		t.Errorf("laptops are %+v", c)
	}
	if c := reply.Collections[1]; c.Name != "Mobile" || c.How != "dependant" || c.Before != 1 || c.After != 0 {
		t.Errorf("mobile is %+v", c)
	}
	if o := reply.Operations; len(o) != 1 || o[0].Operation != id || o[0].Kind != "scan.quick" || o[0].AsOf != 9 || o[0].Targets != 3 || o[0].Leaving != 2 || o[0].Entering != 1 {
		t.Errorf("operations are %+v", o)
	}
	if w := reply.Windows; len(w) != 1 || w[0].Name != "Mobile" || !slices.Equal(w[0].Windows, []string{"patch night"}) {
		t.Errorf("windows are %+v", w)
	}
}

func TestWhatIfOneIsDeleted(t *testing.T) {
	f := new(forecast)
	r := newEvaluationRig(t, func(_ *rig, cfg *console.Config) { cfg.Forecast = f })
	r.tellEstate()
	r.do(http.MethodGet, r.min(console.PathDevices), nil)
	r.do(http.MethodPost, console.PathWhatIf, console.WhatIfRequest{Delete: []string{"laptops"}}).problem(http.StatusUnprocessableEntity, "Mobile")
	var reply console.WhatIfReply
	r.do(http.MethodPost, console.PathWhatIf, console.WhatIfRequest{Delete: []string{"mobile"}}).ok(&reply)
	if !slices.Equal(f.deleted, []string{"P0100003"}) || len(reply.Collections) != 1 {
		t.Fatalf("asked for %q, collections are %+v", f.deleted, reply.Collections)
	}
	if c := reply.Collections[0]; c.Name != "Mobile" || c.How != "delete" || c.Before != 1 || c.After != 0 || c.Left != 1 {
		t.Errorf("mobile is %+v", c)
	}
}

func TestWhatIfRefuses(t *testing.T) {
	f := &forecast{fails: errors.New("it is still reading")}
	r := newEvaluationRig(t, func(_ *rig, cfg *console.Config) { cfg.Forecast = f })
	r.tellEstate()
	define := func(c definitions.Collection) console.WhatIfRequest {
		return console.WhatIfRequest{Document: definitions.Document{Collections: []definitions.Collection{c}}}
	}
	r.do(http.MethodPost, console.PathWhatIf, define(definitions.Collection{Name: "new"})).problem(http.StatusServiceUnavailable, "it is still reading")
	var refused console.DefinitionProblem
	p := r.do(http.MethodPost, console.PathWhatIf, define(definitions.Collection{Name: "Laptops", Limit: "Mobile"}))
	if p.problem(http.StatusUnprocessableEntity); !strings.Contains(string(p.body), "Mobile") {
		t.Errorf("a cycle is refused with %s, %+v", p.body, refused)
	}
	var reply console.WhatIfReply
	r.do(http.MethodPost, console.PathWhatIf, console.WhatIfRequest{}).ok(&reply)
	if len(reply.Changes)+len(reply.Collections) != 0 {
		t.Errorf("nothing does %+v", reply)
	}
	newRig(t).do(http.MethodPost, console.PathWhatIf, console.WhatIfRequest{}).problem(http.StatusServiceUnavailable)
}
