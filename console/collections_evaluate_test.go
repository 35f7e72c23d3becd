package console_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/bugle-fleet/bugle/console"
	"github.com/bugle-fleet/bugle/console/definitions"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/projectors/collection/engine"
	"github.com/bugle-fleet/bugle/projectors/collection/evaluator"
)

// computes is an evaluator that says how far it is, and that it was asked.
type computes struct {
	evaluates
	asked chan struct{} // closed at the first question

	mu    sync.Mutex
	once  sync.Once
	stats evaluator.Stats
	state evaluator.State
}

func (e *computes) set(stats evaluator.Stats, state evaluator.State) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.stats, e.state = stats, state
}

func (e *computes) Stats(context.Context) (evaluator.Stats, error) {
	e.once.Do(func() { close(e.asked) })
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.stats, nil
}

func (e *computes) State(context.Context, string) (evaluator.State, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.state, nil
}

// Who narrows a collection and pushes to it at once does not reach whom it had
// before: the push waits for the evaluation.
func TestPushAwaitsEvaluation(t *testing.T) {
	e := &computes{asked: make(chan struct{})}
	r := newEvaluationRig(t, func(_ *rig, cfg *console.Config) { cfg.Evaluator = e })
	r.join("pc-1", "pc-2", "pc-3")
	evaluated := func(n uint64, added, removed []byte) *event.CollectionsEvaluated {
		c := cycle(n, event.SingleQueue, resultOf("P0100001", 1, added, removed))
		c.Basis = r.journal.Head().Event
		return c
	}
	r.tell(collectionOf("P0100001", "Laptops", nil))
	r.tell(evaluated(1, members(t, 1, 2), nil))
	push := func() (targets string) {
		var reply console.PushReply
		r.do("POST", console.PathOperations, `{"kind":"scan.quick","collection":"Laptops"}`).ok(&reply)
		set := roaring.New()
		if err := set.UnmarshalBinary(r.last().Payload.(*event.OperationRequested).Targets); err != nil {
			t.Error(err)
		}
		return fmt.Sprint(set.ToArray())
	}
	was := collectionOf("P0100001", "Laptops", nil).After
	is := collectionOf("P0100001", "Laptops", func(c *event.Collection) {
		c.Queries = []event.CollectionQuery{{WQL: "select * from SMS_R_System where Name = 'pc-1'"}}
	}).After
	narrowed := r.tell(&event.CollectionChanged{ID: is.ID, Before: was, After: is})
	e.set(evaluator.Stats{Devices: 3, Applied: narrowed}, evaluator.State{Stale: true, Pending: 3})
	pushed := make(chan string, 1)
	go func() { pushed <- push() }()
	select {
	case <-e.asked:
	case got := <-pushed:
		t.Fatalf("pushed to %s before the collection was evaluated", got)
	case <-time.After(30 * time.Second):
		t.Fatal("the push neither waits nor ends")
	}
	r.tell(evaluated(2, nil, members(t, 2)))
	if got := <-pushed; got != "[1]" {
		t.Errorf("pushed to %s", got)
	}

	// A new name needs no evaluation, and neither does what the evaluator has computed
	// already and found to be as it was.
	named := *is
	named.Name = "laptops"
	r.tell(&event.CollectionChanged{ID: is.ID, Before: is, After: &named})
	if got := push(); got != "[1]" {
		t.Errorf("with a new name: pushed to %s", got)
	}
	again := named
	again.Direct, _ = roaring.BitmapOf(1).ToBytes()
	same := r.tell(&event.CollectionChanged{ID: is.ID, Before: &named, After: &again})
	e.set(evaluator.Stats{Devices: 3, Applied: same}, evaluator.State{})
	if got := push(); got != "[1]" {
		t.Errorf("with the same members: pushed to %s", got)
	}
}

// A request that is sent again gets its answer also if what it names is gone by now.
func TestApplyAgainAfterARemoval(t *testing.T) {
	r := newEvaluationRig(t, nil)
	r.join("pc-1", "pc-2")
	request := console.ApplyRequest{}
	request.Collections = []definitions.Collection{{Name: "Pilot", Direct: []string{"pc-1"}}}
	var first, again console.ApplyReply
	r.do("POST", console.PathCollections, request, key, "k").ok(&first)
	r.tell(&event.DeviceRemoved{Device: 1})
	r.do("GET", r.min(console.PathDevices), nil).ok(&console.DevicePage{})
	r.do("POST", console.PathCollections, request, key, "k").ok(&again)
	if changes(&again) != changes(&first) || again.Event != first.Event {
		t.Errorf("the same call again: %+v, %+v", first, again)
	}
	request.Collections[0].Direct = []string{"2", "1"}
	r.do("POST", console.PathCollections, request).problem(422, "collections[0].direct[1]", "device 1 was removed")
}

// An event about thousands of collections is shown with some of the devices alone.
func TestEventOfManyResultsIsBounded(t *testing.T) {
	r := newEvaluationRig(t, nil)
	all := roaring.New()
	all.AddRange(1, 900)
	set, err := event.AppendSet(nil, all)
	if err != nil {
		t.Fatal(err)
	}
	var results []event.CollectionResult
	for i := range 100 {
		results = append(results, resultOf(fmt.Sprintf("P01%05X", i+1), 1, set, nil))
	}
	number := r.tell(cycle(1, event.FullQueue, results...))
	var e console.Event
	r.do("GET", fmt.Sprint(console.PathEvents, "/", number), nil).ok(&e)
	var shown struct {
		Results []struct {
			Added struct {
				Count   int
				Cut     bool
				Devices []uint32
			}
		}
	}
	raw, err := json.Marshal(e.Payload)
	if err == nil {
		err = json.Unmarshal(raw, &shown)
	}
	if err != nil {
		t.Fatal(err)
	}
	devices := 0
	for _, result := range shown.Results {
		devices += len(result.Added.Devices)
		if result.Added.Count != 899 || result.Added.Cut != (len(result.Added.Devices) < 899) {
			t.Errorf("%d of %d devices, cut %t", len(result.Added.Devices), result.Added.Count, result.Added.Cut)
		}
	}
	if len(shown.Results) != 100 || devices != 10_000 {
		t.Errorf("%d results with %d devices", len(shown.Results), devices)
	}
}

// As of the past, the next run is the one that was next then.
func TestNextEvaluationOfThePast(t *testing.T) {
	r := newEvaluationRig(t, nil)
	r.tellEstate()
	then := r.journal.Head().Event
	r.clock.Add(30 * 24 * time.Hour)
	r.tell(collectionOf("P0100009", "Later", nil))
	var s console.EvaluationStats
	r.do(http.MethodGet, fmt.Sprint(console.PathEvaluationStats, "?at=", then), nil).ok(&s)
	want := time.Date(2026, 11, 29, 4, 0, 0, 0, time.UTC)
	for _, of := range s.Items {
		if strings.HasPrefix(of.Name, "Laptops") && (of.Next == nil || !of.Next.Equal(want)) {
			t.Errorf("next is %v and not %s", of.Next, want)
		}
	}
}

// The same windows request with the same key gets the same answer.
func TestApplyWindowsAgain(t *testing.T) {
	r := newWindowRig(t)
	r.collection("P0100001", "Pilot")
	request := windowsRequest(false, false, "Pilot "+named("a", night), "Pilot "+named("b", noon))
	var first, again console.WindowsReply
	r.do("POST", console.PathWindowsApply, request, key, "k").ok(&first)
	r.do("POST", console.PathWindowsApply, request, key, "k").ok(&again)
	if again.Event != first.Event || len(again.Changes) != 2 || again.Changes[1].Name != "b" || again.Changes[1].CollectionName != "Pilot" || string(again.Changes[1].After) != string(first.Changes[1].After) {
		t.Errorf("again %+v, first %+v", again, first)
	}
}

// Who leaves a collection that goes is told once, whether the forecast says it or not.
func TestImpactOfADeletedCollection(t *testing.T) {
	f := &foreseen{}
	r := newEvaluationRig(t, func(_ *rig, cfg *console.Config) { cfg.Forecast = f })
	r.do("POST", console.PathCollections, defining("A")).ok(&console.ApplyReply{})
	r.tell(cycle(1, event.FullQueue, resultOf("P0100001", 1, members(t, rangeOf(1001).ToArray()...), nil)))
	r.do("GET", r.min(console.PathCollections), nil).ok(&console.CollectionList{})
	for _, says := range [][]engine.Change{nil, {{ID: "P0100001", Added: roaring.New(), Removed: rangeOf(1001)}}} {
		f.changes = says
		var reply console.ApplyReply
		r.do("POST", console.PathCollections, console.ApplyRequest{Delete: []string{"A"}, DryRun: true}).ok(&reply)
		if i := reply.Impact; i == nil || len(i.Collections) != 1 || len(i.Why) != 1 || i.Devices != 1001 {
			t.Errorf("impact %+v", i)
		}
	}
}
