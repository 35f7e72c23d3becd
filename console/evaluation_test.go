package console_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/bugle-fleet/bugle/console"
	"github.com/bugle-fleet/bugle/console/definitions"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/journal/journaltest"
	"github.com/bugle-fleet/bugle/projectors"
	"github.com/bugle-fleet/bugle/projectors/collection"
	"github.com/bugle-fleet/bugle/projectors/collection/schema"
	"github.com/bugle-fleet/bugle/projectors/device"
	"github.com/bugle-fleet/bugle/projectors/inventory"
	"github.com/bugle-fleet/bugle/projectors/operation"
	"github.com/bugle-fleet/bugle/projectors/presence"
	"github.com/bugle-fleet/bugle/projectors/status"
	"github.com/bugle-fleet/bugle/projectors/window"
)

// newEvaluationRig is a rig with the real views, collections among them; change
// adds what a test needs.
func newEvaluationRig(t *testing.T, change func(r *rig, cfg *console.Config)) *rig {
	t.Helper()
	r := &rig{t: t, fleet: newFleet(), clock: &clock{now: start}, box: &box{files: map[string]bool{}}, dir: t.TempDir()}
	r.folds()
	defined := definitions.New("P01")
	opt := r.options()
	opt.Folds = append(opt.Folds, defined)
	r.journal = journaltest.NewMemory(opt)
	r.serve()
	devices, dr := device.New()
	presences, pr := presence.New()
	operations, or := operation.New()
	messages, sr := status.New()
	collections, cr := collection.New()
	windows, wr := window.New()
	known, ir := inventory.New(schema.Standard())
	all, err := projectors.Open(projectors.Options{Dir: t.TempDir(), Journal: r.journal, History: [16]byte{1}, Log: slog.New(slog.DiscardHandler)},
		devices, presences, operations, messages, collections, windows, known)
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
	cfg := r.config()
	cfg.Devices, cfg.Presence, cfg.Operations, cfg.Status, cfg.Views = dr, pr, or, sr, all
	cfg.Definitions, cfg.Collections, cfg.Windows, cfg.Inventory = defined, cr, wr, ir
	if change != nil {
		change(r, &cfg)
	}
	if r.console, err = console.New(cfg); err != nil {
		t.Fatal(err)
	}
	r.server.Config.Handler = r.console.Handler()
	return r
}

// tell appends events and returns the number of the last one.
func (r *rig) tell(payloads ...event.Payload) uint64 {
	r.t.Helper()
	for _, p := range payloads {
		if err := r.journal.Append(r.t.Context(), &event.Event{Payload: p}); err != nil {
			r.t.Fatal(err)
		}
	}
	return r.journal.Head().Event
}

// min waits for the last event.
func (r *rig) min(path string) string {
	sep := "?"
	if strings.Contains(path, "?") {
		sep = "&"
	}
	return path + sep + "min-event=" + fmt.Sprint(r.journal.Head().Event)
}

func collectionOf(id, name string, change func(c *event.Collection)) *event.CollectionChanged {
	c := &event.Collection{ID: id, Name: name, Limit: event.RootCollection}
	if change != nil {
		change(c)
	}
	return &event.CollectionChanged{ID: id, After: c}
}

func members(t testing.TB, numbers ...uint32) []byte {
	t.Helper()
	b, err := event.AppendSet(nil, roaring.BitmapOf(numbers...))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// cycle is one cycle of the evaluator that took 10 ms.
func cycle(n uint64, queue event.EvaluationQueue, results ...event.CollectionResult) *event.CollectionsEvaluated {
	return &event.CollectionsEvaluated{Cycle: n, Part: 1, Of: 1, Queue: queue, Cause: event.ByDevices, By: 2, Basis: 3, Started: start.Add(time.Duration(n) * time.Minute),
		Clock: start, Took: 10 * time.Millisecond, Devices: 4, Count: uint32(len(results)), Results: results}
}

func resultOf(id string, took time.Duration, added, removed []byte) event.CollectionResult {
	return event.CollectionResult{ID: id, Took: took, Added: added, Removed: removed, Computed: 1, Reused: 2}
}

// tellEstate defines four collections and evaluates them in three cycles.
func (r *rig) tellEstate() {
	t := r.t
	r.tell(
		collectionOf("P0100001", "Laptops", func(c *event.Collection) { c.Schedule = "0 4 * * *" }),
		collectionOf("P0100002", "Servers", func(c *event.Collection) { c.Incremental = true }),
		collectionOf("P0100003", "Mobile", func(c *event.Collection) {
			c.Limit, c.Include, c.Exclude = "P0100001", []string{"P0100002"}, []string{"P0100004"}
		}),
		collectionOf("P0100004", "Broken", func(c *event.Collection) {
			c.Queries = []event.CollectionQuery{{Name: "q", WQL: "select * from SMS_R_System where ResourceID in (select ResourceID from SMS_CM_RES_COLL_P0100002)"}}
		}),
		cycle(1, event.FullQueue, resultOf(event.RootCollection, time.Millisecond, members(t, 1, 2, 3, 4), nil), resultOf("P0100001", 3*time.Millisecond, members(t, 1, 2), nil),
			resultOf("P0100002", time.Millisecond, members(t, 3), nil)),
		cycle(2, event.IncrementalQueue, resultOf("P0100002", 2*time.Millisecond, members(t, 4), members(t, 3))),
		cycle(3, event.FullQueue, resultOf("P0100001", 6*time.Millisecond, nil, nil), resultOf("P0100003", 2*time.Millisecond, members(t, 1), nil)),
	)
}

func TestEvaluationStats(t *testing.T) {
	r := newEvaluationRig(t, nil)
	r.tellEstate()
	var s console.EvaluationStats
	r.do(http.MethodGet, r.min(console.PathEvaluationStats), nil).ok(&s)
	if s.Kind != "full" || len(s.Items) != 4 || s.TotalSeconds != 0.010 {
		t.Fatalf("stats are %+v", s)
	}
	laptops := s.Items[0]
	next := time.Date(2026, 11, 29, 4, 0, 0, 0, time.UTC)
	if laptops.ID != "P0100001" || laptops.Name != "Laptops" || laptops.Runs != 2 || laptops.Seconds != 0.006 || laptops.Share != 0.6 || laptops.Members != 2 ||
		laptops.Added != 0 || laptops.MembersChange == nil || laptops.MembersChange.Event != 5 || laptops.Next == nil || !laptops.Next.Equal(next) || laptops.History != nil {
		t.Errorf("laptops are %+v", laptops)
	}
	if servers := s.Items[1]; servers.Next != nil {
		t.Errorf("servers have no schedule, and are due at %s", servers.Next)
	}
	s = console.EvaluationStats{}
	r.do(http.MethodGet, r.min(console.PathEvaluationStats+"?kind=incremental"), nil).ok(&s)
	if len(s.Items) != 1 || s.Items[0].Added != 1 || s.Items[0].Removed != 1 || s.Items[0].Members != 1 || s.Items[0].Cause != "devices" || s.Items[0].By != 2 {
		t.Errorf("incremental stats are %+v", s)
	}
	s = console.EvaluationStats{}
	r.do(http.MethodGet, r.min(console.PathEvaluationStats+"?collection=LAPTOPS&history=true"), nil).ok(&s)
	if len(s.Items) != 1 || len(s.Items[0].History) != 2 || s.Items[0].History[0].Cycle != 3 || s.Items[0].Trend == nil || *s.Items[0].Trend != 2 {
		t.Errorf("with history they are %+v", s.Items)
	}
	s = console.EvaluationStats{}
	r.do(http.MethodGet, console.PathEvaluationStats+"?at=5", nil).ok(&s)
	if len(s.Items) != 3 || s.Items[0].Runs != 1 || s.Event != 5 {
		t.Errorf("as of event 5 they are %+v", s)
	}
	r.do(http.MethodGet, console.PathEvaluationStats+"?collection=nobody", nil).problem(http.StatusNotFound, "nobody")
	r.do(http.MethodGet, console.PathEvaluationStats+"?kind=odd", nil).problem(http.StatusUnprocessableEntity, "kind")
}

func TestEvaluationCycles(t *testing.T) {
	r := newEvaluationRig(t, nil)
	r.tellEstate()
	var l console.CycleList
	r.do(http.MethodGet, r.min(console.PathEvaluationCycles), nil).ok(&l)
	got := []uint64{}
	for _, c := range l.Items {
		got = append(got, c.Cycle)
	}
	if !slices.Equal(got, []uint64{3, 2, 1}) {
		t.Errorf("cycles are %d", got)
	}
	if c := l.Items[2]; c.Kind != "full" || c.Seconds != 0.01 || c.Collections != 3 || c.Changed != 3 || c.Added != 7 || c.Removed != 0 || c.Devices != 4 || c.Event != 5 {
		t.Errorf("the first one is %+v", c)
	}
	l = console.CycleList{}
	r.do(http.MethodGet, r.min(console.PathEvaluationCycles+"?kind=full&limit=1"), nil).ok(&l)
	if len(l.Items) != 1 || l.Items[0].Cycle != 3 {
		t.Errorf("the last full one is %+v", l.Items)
	}
}

func edges(g *console.CollectionGraph) (all []string) {
	for _, e := range g.Edges {
		all = append(all, e.From[5:]+" "+e.How+" "+e.To[5:])
	}
	return all
}

func TestCollectionGraph(t *testing.T) {
	r := newEvaluationRig(t, nil)
	r.tellEstate()
	for _, c := range []struct {
		query string
		nodes int
		want  []string
	}{
		{"", 5, []string{"001 limit 001", "002 limit 001", "003 limit 001", "003 include 002", "003 exclude 004", "004 limit 001", "004 query 002"}},
		{"?collection=servers", 4, []string{"002 limit 001", "003 include 002", "003 exclude 004", "004 query 002"}},
		{"?collection=servers&depth=1", 4, []string{"002 limit 001", "003 include 002", "003 exclude 004", "004 query 002"}},
		{"?collection=mobile&depth=1", 4, []string{"003 limit 001", "003 include 002", "003 exclude 004", "004 query 002"}},
		{"?collection=P0100003", 5, []string{"001 limit 001", "002 limit 001", "003 limit 001", "003 include 002", "003 exclude 004", "004 limit 001", "004 query 002"}},
		{"?collection=SMS00001&depth=1", 4, []string{"001 limit 001", "002 limit 001", "004 limit 001", "004 query 002"}},
	} {
		var g console.CollectionGraph
		r.do(http.MethodGet, r.min(console.PathCollectionGraph+c.query), nil).ok(&g)
		if got := edges(&g); !slices.Equal(got, c.want) || len(g.Nodes) != c.nodes {
			t.Errorf("%s: %d nodes, edges %q, want %d and %q", c.query, len(g.Nodes), got, c.nodes, c.want)
		}
	}
	var g console.CollectionGraph
	r.do(http.MethodGet, console.PathCollectionGraph+"?at=2", nil).ok(&g)
	if len(g.Nodes) != 3 || g.Event != 2 {
		t.Errorf("as of event 2 the graph is %+v", g)
	}
	r.do(http.MethodGet, console.PathCollectionGraph+"?depth=2", nil).problem(http.StatusUnprocessableEntity, "depth")
}

func TestNoCollections(t *testing.T) {
	r := newRig(t)
	for _, path := range []string{console.PathEvaluationStats, console.PathEvaluationCycles, console.PathCollectionGraph} {
		r.do(http.MethodGet, path, nil).problem(http.StatusServiceUnavailable, "no collections")
	}
}

// into reads the answer, whatever its status.
func (p *reply) into(v any) {
	p.t.Helper()
	if err := json.Unmarshal(p.body, v); err != nil {
		p.t.Fatalf("%v in %s", err, p.body)
	}
}
