package collection_test

import (
	"slices"
	"testing"
	"time"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/projectors"
	"github.com/bugle-fleet/bugle/projectors/collection"
	"github.com/bugle-fleet/bugle/projectors/projectorstest"
)

var at = time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC)

func definition(id, name string) *event.Collection {
	return &event.Collection{ID: id, Name: name, Comment: "of " + name, Limit: event.RootCollection, Direct: []byte{0x3a, 0x30},
		Queries: []event.CollectionQuery{{Name: "all", WQL: "select * from SMS_R_System"}}, Include: []string{"P0100009"},
		Exclude: []string{"P0100008"}, Schedule: "0 4 * * *", Incremental: true}
}

func defined(id, name string) *event.Event {
	return &event.Event{Payload: &event.CollectionChanged{ID: id, After: definition(id, name)}}
}

func deleted(id string) *event.Event {
	return &event.Event{Payload: &event.CollectionChanged{ID: id, Before: definition(id, "it")}}
}

// set is the devices from the first to the last of each pair.
func set(t testing.TB, pairs ...uint32) []byte {
	s := roaring.New()
	for i := 0; i+1 < len(pairs); i += 2 {
		s.AddRange(uint64(pairs[i]), uint64(pairs[i+1])+1)
	}
	return encoded(t, s)
}

func encoded(t testing.TB, s *roaring.Bitmap) []byte {
	t.Helper()
	b, err := event.AppendSet(nil, s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func result(id string, added, removed []byte) event.CollectionResult {
	return event.CollectionResult{ID: id, Took: 80 * time.Microsecond, Added: added, Removed: removed, Computed: 3, Reused: 4}
}

func evaluated(cycle uint64, queue event.EvaluationQueue, results ...event.CollectionResult) *event.Event {
	return part(cycle, 1, 1, queue, results...)
}

func part(cycle uint64, n, of uint16, queue event.EvaluationQueue, results ...event.CollectionResult) *event.Event {
	return &event.Event{Payload: &event.CollectionsEvaluated{Cycle: cycle, Part: n, Of: of, Queue: queue, Cause: event.ByDevices, By: 17, Basis: 18,
		Started: at.Add(time.Duration(cycle) * time.Minute), Clock: at, Took: 5 * time.Millisecond, Devices: 9, Count: uint32(len(results)), Results: results}}
}

// history brings everything that the view folds: definitions, changes, deletions,
// cycles in parts, small and large changes, and what is to be ignored.
func history(t testing.TB) []*event.Event {
	scattered := roaring.New()
	for i := uint32(1); i < 1500; i++ {
		scattered.Add(i * 97)
	}
	all := set(t, 1, 100_000)
	return []*event.Event{
		evaluated(1, event.FullQueue, result(event.RootCollection, all, nil)),
		defined("P0100001", "Laptops"),
		defined("P0100002", "Servers"),
		defined("P0100003", "Berlin"),
		evaluated(2, event.FullQueue, result("P0100001", set(t, 1, 400, 70_000, 70_003), nil), result("P0100002", encoded(t, scattered), nil), result("P0100009", all, nil)),
		evaluated(3, event.IncrementalQueue, result("P0100001", set(t, 500, 500), set(t, 7, 8))),
		part(4, 1, 2, event.ManualQueue, result("P0100003", set(t, 10, 5000), nil), result("P0100002", nil, encoded(t, scattered))),
		part(4, 2, 2, event.ManualQueue, result("P0100003", set(t, 65_530, 65_540), set(t, 11, 11)), result("P0100002", nil, nil)),
		defined("P0100001", "Notebooks"),
		evaluated(5, event.SingleQueue, result("P0100001", set(t, 7, 7), set(t, 100, 390)), result("P0100003", []byte{9, 9}, nil)),
		evaluated(6, event.IncrementalQueue, result("P0100001", set(t, 8, 8, 100, 390), set(t, 500, 500))),
		deleted("P0100003"),
		evaluated(7, event.IncrementalQueue, result("P0100003", set(t, 3, 3), nil), result(event.RootCollection, set(t, 100_001, 100_001), set(t, 5, 5))),
		defined("P0100003", "Munich"),
		evaluated(8, event.FullQueue, result("P0100003", set(t, 1, 3), nil), result("P0100001", nil, set(t, 1, 400, 70_000, 70_003))),
		deleted("P0100002"),
		{Payload: &event.CollectionChanged{ID: event.RootCollection, After: definition(event.RootCollection, "mine")}},
		evaluated(9, event.FullQueue, result(event.RootCollection, nil, nil)),
	}
}

func TestSuite(t *testing.T) {
	projectorstest.Run(t, projectorstest.Suite{
		New:    func() *projectors.View { v, _ := collection.New(); return v },
		Golden: "testdata/rows.golden",
		Events: history(t),
	})
}

func start(t testing.TB) (*projectorstest.Site, *collection.Reader) {
	t.Helper()
	view, r := collection.New()
	return projectorstest.Start(t, view), r
}

func read(t testing.TB, r *collection.Reader, look func(s *collection.Snapshot)) {
	t.Helper()
	if _, err := r.At(func(s *collection.Snapshot) error { look(s); return nil }); err != nil {
		t.Fatal(err)
	}
}

func TestRootIsAlwaysThere(t *testing.T) {
	_, r := start(t)
	read(t, r, func(s *collection.Snapshot) {
		list := s.List()
		if len(list) != 1 || list[0].ID != event.RootCollection || list[0].Name != collection.RootName || list[0].Version != 0 {
			t.Errorf("of an empty journal there is %+v", list)
		}
		if m := s.Members(event.RootCollection); m == nil || !m.IsEmpty() {
			t.Errorf("the root holds %v", m)
		}
	})
}

func TestDefinitionKeepsMembers(t *testing.T) {
	site, r := start(t)
	site.Append(defined("P0100001", "Laptops"), evaluated(1, event.FullQueue, result("P0100001", set(t, 1, 5), nil)), defined("P0100001", "Mobile"))
	read(t, r, func(s *collection.Snapshot) {
		info, ok := s.Find("MOBILE")
		if !ok || info.ID != "P0100001" || info.Version != 2 || info.Created.Event != 1 || info.Defined.Event != 3 || info.Members != 5 {
			t.Errorf("found %+v, %v", info, ok)
		}
		if _, ok := s.Find("Laptops"); ok {
			t.Error("the former name still finds it")
		}
		if _, ok := s.Find("p0100001"); !ok {
			t.Error("its id in lower case does not find it")
		}
	})
}

func TestDeletedTakesMembersWithIt(t *testing.T) {
	site, r := start(t)
	site.Append(defined("P0100001", "Laptops"), evaluated(1, event.FullQueue, result("P0100001", set(t, 1, 5, 70_000, 79_000), nil)),
		deleted("P0100001"), defined("P0100001", "Laptops"))
	read(t, r, func(s *collection.Snapshot) {
		info, _ := s.Get("P0100001")
		runs, err := s.Runs("P0100001", event.FullQueue)
		if info.Members != 0 || !s.Members("P0100001").IsEmpty() || info.Version != 1 || info.Created.Event != 4 || len(runs) != 0 || err != nil {
			t.Errorf("after it was made anew it is %+v with %v, %v", info, runs, err)
		}
	})
}

func TestPages(t *testing.T) {
	site, r := start(t)
	site.Append(defined("P0100001", "Laptops"), defined("P0100002", "Servers"),
		evaluated(1, event.FullQueue, result("P0100001", set(t, 1, 3, 65_535, 65_537), nil), result("P0100002", set(t, 2, 2), nil)))
	read(t, r, func(s *collection.Snapshot) {
		for _, c := range []struct {
			after uint32
			limit int
			want  []uint32
		}{{0, 2, []uint32{1, 2}}, {2, 2, []uint32{3, 65_535}}, {65_535, 9, []uint32{65_536, 65_537}}, {65_537, 9, nil}, {1<<32 - 1, 9, nil}, {0, 0, nil}} {
			if got := s.Page("P0100001", c.after, c.limit); !slices.Equal(got, c.want) {
				t.Errorf("%d after %d: %d, want %d", c.limit, c.after, got, c.want)
			}
		}
		if got := s.Of(2); !slices.Equal(got, []string{"P0100001", "P0100002"}) {
			t.Errorf("device 2 is in %q", got)
		}
		if got := s.Of(4); got != nil {
			t.Errorf("device 4 is in %q", got)
		}
	})
}

func TestPartsAreOneRun(t *testing.T) {
	site, r := start(t)
	site.Append(defined("P0100001", "Laptops"), part(3, 1, 2, event.FullQueue, result("P0100001", set(t, 1, 4), nil)),
		part(3, 2, 2, event.FullQueue, result("P0100001", set(t, 9, 9), set(t, 2, 2))))
	read(t, r, func(s *collection.Snapshot) {
		stats := s.Stats(event.FullQueue)
		if len(stats) != 1 || stats[0].Runs != 1 || stats[0].Last.Added != 5 || stats[0].Last.Removed != 1 || stats[0].Last.Members != 4 || stats[0].Last.Event != 3 {
			t.Errorf("stats are %+v", stats)
		}
		cycles, err := s.Cycles(event.FullQueue, 9)
		if err != nil || len(cycles) != 1 || cycles[0].Parts != 2 || cycles[0].Of != 2 || cycles[0].Changed != 1 || cycles[0].Added != 5 || cycles[0].Event != 3 {
			t.Errorf("cycles are %+v, %v", cycles, err)
		}
		if s.LastCycle() != 3 {
			t.Errorf("last cycle is %d", s.LastCycle())
		}
		if d := s.Deltas("P0100001"); !slices.Equal(d.Events, []uint64{3, 2}) || !d.Whole {
			t.Errorf("deltas are %+v", d)
		}
	})
}

// TestRings has more runs, cycles and deltas than are kept.
func TestRings(t *testing.T) {
	site, r := start(t)
	events := []*event.Event{defined("P0100001", "Laptops")}
	const n = collection.MaxCycles + 5
	for i := uint64(1); i <= n; i++ {
		events = append(events, evaluated(i, event.IncrementalQueue, result("P0100001", set(t, uint32(i), uint32(i)), nil)))
	}
	site.Wait(projectorstest.Append(t, site.Journal, 100, events...))
	check := func(s *collection.Snapshot) {
		runs, err := s.Runs("P0100001", event.IncrementalQueue)
		if err != nil || len(runs) != collection.MaxRuns || runs[0].Cycle != n || runs[len(runs)-1].Cycle != n-collection.MaxRuns+1 {
			t.Errorf("%d runs, %v", len(runs), err)
		}
		cycles, err := s.Cycles(event.IncrementalQueue, 2*n)
		if err != nil || len(cycles) != collection.MaxCycles || cycles[0].Cycle != n || cycles[len(cycles)-1].Cycle != 6 {
			t.Errorf("%d cycles, %v", len(cycles), err)
		}
		if d := s.Deltas("P0100001"); d.Whole || len(d.Events) != collection.MaxDeltas || d.Events[0] != n+1 {
			t.Errorf("deltas are %+v", d)
		}
		if st := s.Stats(event.IncrementalQueue); len(st) != 1 || st[0].Runs != n {
			t.Errorf("stats are %+v", st)
		}
		if got := s.Members("P0100001").GetCardinality(); got != n {
			t.Errorf("%d members, want %d", got, n)
		}
	}
	read(t, r, check)
	_, digest := site.Digest("collection")
	got, err := site.Views.Rebuild(t.Context(), "collection", nil)
	if err != nil || got.Digest != digest {
		t.Errorf("rebuilt: %+v, %v", got, err)
	}
	read(t, r, check)
}

// TestNonsenseIsIgnored has sets that are none, unknown queues and ids, members
// that are there already and ones that are not: the view goes on.
func TestNonsenseIsIgnored(t *testing.T) {
	site, r := start(t)
	site.Append(defined("P0100001", "Laptops"), defined("", "nameless"), deleted("P0100007"),
		evaluated(1, 0, result("P0100001", set(t, 1, 1), nil)), evaluated(2, 77, result("P0100001", set(t, 1, 1), nil)),
		evaluated(3, event.FullQueue, result("P0100001", []byte{1, 2, 3}, nil), result("", set(t, 1, 1), nil), result("P0100002", set(t, 1, 1), nil)),
		evaluated(4, event.FullQueue, result("P0100001", set(t, 1, 3), nil)),
		evaluated(4, event.FullQueue, result("P0100001", set(t, 2, 4), set(t, 8, 9))))
	read(t, r, func(s *collection.Snapshot) {
		info, _ := s.Get("P0100001")
		if info.Members != 4 || info.Evaluated.Added != 4 || info.Evaluated.Removed != 0 || len(s.List()) != 2 {
			t.Errorf("it is %+v", info)
		}
	})
}

// TestSnapshotStaysAsItIs changes and deletes collections while somebody reads.
func TestSnapshotStaysAsItIs(t *testing.T) {
	site, r := start(t)
	site.Append(defined("P0100001", "Laptops"), defined("P0100002", "Servers"), defined("P0100003", "Tablets"),
		evaluated(1, event.FullQueue, result("P0100001", set(t, 1, 3), nil)))
	read(t, r, func(s *collection.Snapshot) {
		site.Append(deleted("P0100001"), defined("P0100002", "A"), defined("P0100004", "B"), evaluated(2, event.FullQueue, result("P0100003", set(t, 1, 3), nil)))
		for name, id := range map[string]string{"laptops": "P0100001", "servers": "P0100002", "tablets": "P0100003", "all systems": event.RootCollection} {
			if c, ok := s.Find(name); !ok || c.ID != id {
				t.Errorf("%s is %+v, %v", name, c, ok)
			}
		}
		if _, ok := s.Find("B"); ok || len(s.List()) != 4 || s.LastCycle() != 1 || s.Members("P0100001").GetCardinality() != 3 || !s.Members("P0100003").IsEmpty() {
			t.Errorf("a snapshot of event 4 has %+v", s.List())
		}
	})
}
