package console_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/console"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/projectors/collection"
	"github.com/bugle-fleet/bugle/projectors/collection/engine"
	"github.com/bugle-fleet/bugle/projectors/collection/evaluator"
)

// imported says which build of the system a device has.
func imported(device uint32, build string) *event.DevicesImported {
	return &event.DevicesImported{Source: "test", Devices: []event.ImportedDevice{{Device: device, Classes: []event.ClassChange{{Class: "SMS_R_System", Rows: []event.RowChange{
		{Properties: []event.PropertyValue{{Name: "Build", Value: event.Value{Type: event.TextValue, Text: build}}}}}}}}}}
}

// tellBuilds has two devices, a collection by build that excludes another one, and
// a change of a build that comes after the last evaluation.
func (r *rig) tellBuilds() {
	r.join("pc-1", "pc-2")
	r.tell(
		imported(1, "10.0.22631"), imported(2, "10.0.22631"),
		collectionOf("P0100001", "Eleven", func(c *event.Collection) {
			c.Queries = []event.CollectionQuery{{Name: "build", WQL: "select * from SMS_R_System where Build like '10.0.226%' and ResourceID > 0"}}
			c.Exclude = []string{"P0100002"}
		}),
		collectionOf("P0100002", "Broken", nil),
		cycle(1, event.FullQueue, resultOf(event.RootCollection, 1, members(r.t, 1, 2), nil), resultOf("P0100002", 1, members(r.t, 2), nil), resultOf("P0100001", 1, members(r.t, 1), nil)),
		imported(1, "10.0.19045"),
	)
}

func explainPath(collection, device string) string {
	return console.Path(console.PathCollectionExplain, collection, device)
}

func TestExplain(t *testing.T) {
	r := newEvaluationRig(t, nil)
	r.tellBuilds()
	evaluated := r.journal.Head().Event - 1
	var x console.ExplainReply
	r.do(http.MethodGet, explainPath("eleven", "pc-1")+"?at="+fmt.Sprint(evaluated), nil).ok(&x)
	if x.Collection != "P0100001" || x.Name != "Eleven" || x.DeviceName != "pc-1" || !x.Member || !x.ByRules || x.Why != "query 1 selects the device" || x.Event != evaluated || x.Alone {
		t.Errorf("while it was a member: %+v", x)
	}
	if len(x.Limits) != 1 || !x.Limits[0].Member || x.Limits[0].Name != collection.RootName || len(x.Excludes) != 1 || x.Excludes[0].Member || x.Excludes[0].Name != "Broken" {
		t.Errorf("limits are %+v, excludes %+v", x.Limits, x.Excludes)
	}
	if s := x.Since; s == nil || s.Event != evaluated || s.Cause != "devices" || s.By != 2 || s.Never || s.Earlier || s.At == nil {
		t.Errorf("since %+v", s)
	}
	q := x.Queries[0]
	if q.Name != "build" || q.Truth != "true" || q.Condition == nil || len(q.Condition.Terms) != 2 || !strings.Contains(strings.Join(q.Condition.Terms[0].Values, ""), "10.0.22631") {
		t.Errorf("the query is %+v, %+v", q, q.Condition)
	}

	x = console.ExplainReply{}
	r.do(http.MethodGet, r.min(explainPath("P0100001", "1")), nil).ok(&x)
	if !x.Member || x.ByRules || x.Why != "no rule selects the device" || x.Queries[0].Truth != "false" {
		t.Errorf("with another build: %+v", x)
	}
	if first := x.Queries[0].Condition.Terms[0]; !first.Decides || first.Truth != "false" || !strings.Contains(strings.Join(first.Values, ""), "10.0.19045") {
		t.Errorf("what decides is %+v", first)
	}

	x = console.ExplainReply{}
	r.do(http.MethodGet, r.min(explainPath("Eleven", "pc-2")), nil).ok(&x)
	if x.Member || x.ByRules || x.Why != "collection Broken (P0100002) is excluded, and the device is in it" || !x.Excludes[0].Member || x.Since == nil || !x.Since.Never {
		t.Errorf("of an excluded one: %+v, since %+v", x, x.Since)
	}
	x = console.ExplainReply{}
	r.do(http.MethodGet, r.min(explainPath("SMS00001", "pc-2")), nil).ok(&x)
	if !x.Member || x.Why != "every device is a member" || x.Since == nil || x.Since.Event != evaluated {
		t.Errorf("of the root: %+v", x)
	}
	r.do(http.MethodGet, explainPath("nobody", "pc-1"), nil).problem(http.StatusNotFound, "nobody")
	r.do(http.MethodGet, explainPath("Eleven", "nobody"), nil).problem(http.StatusNotFound, "nobody")
}

func TestExplainWithOtherDevices(t *testing.T) {
	r := newEvaluationRig(t, nil)
	r.tellBuilds()
	r.tell(collectionOf("P0100003", "Alike", func(c *event.Collection) {
		c.Queries = []event.CollectionQuery{{Name: "q", WQL: "select * from SMS_R_System where Client = 1 or not (Build in (select Build from SMS_R_System where ResourceID = 2))"}}
	}))
	var x console.ExplainReply
	r.do(http.MethodGet, r.min(explainPath("Alike", "pc-1")), nil).ok(&x)
	if !x.Alone {
		t.Errorf("nothing says that other devices count: %+v", x)
	}
}

// TestExplainByEvaluator asks the evaluator, which knows all devices.
func TestExplainByEvaluator(t *testing.T) {
	e := &evaluates{why: &engine.Explanation{Collection: "P0100001", Device: 2, Known: true, Limits: []engine.Membership{{Collection: event.RootCollection, Member: true}},
		Rules: []engine.Rule{{Truth: engine.Unknown, Lacks: "SMS_G_System_X86_PC_MEMORY"}}, Why: "no rule selects the device"}}
	r := newEvaluationRig(t, func(_ *rig, cfg *console.Config) { cfg.Evaluator = e })
	r.tellBuilds()
	var x console.ExplainReply
	r.do(http.MethodGet, r.min(explainPath("Eleven", "pc-2")), nil).ok(&x)
	if e.asked != "P0100001 2" || x.Member || len(x.Queries) != 1 || x.Queries[0].Truth != "unknown" || x.Queries[0].Lacks == "" || x.Queries[0].Name != "build" {
		t.Errorf("asked for %q: %+v", e.asked, x)
	}
	e.why, e.fails = nil, &evaluator.BrokenError{Collection: "P0100001", Err: errors.New("class is gone")}
	x = console.ExplainReply{}
	r.do(http.MethodGet, explainPath("Eleven", "pc-1"), nil).ok(&x)
	if !x.Member || x.Broken != "class is gone" || x.Why == "" || x.Since == nil {
		t.Errorf("of a broken one: %+v", x)
	}
	e.fails = evaluator.ErrStopped
	r.do(http.MethodGet, explainPath("Eleven", "pc-1"), nil).problem(http.StatusServiceUnavailable, "has stopped")
}

// TestExplainBroken has a query that cannot be read any more.
func TestExplainBroken(t *testing.T) {
	r := newEvaluationRig(t, nil)
	r.tellBuilds()
	r.tell(collectionOf("P0100001", "Eleven", func(c *event.Collection) {
		c.Queries = []event.CollectionQuery{{WQL: "select * from SMS_R_System where Odd = 1"}}
	}))
	var x console.ExplainReply
	r.do(http.MethodGet, r.min(explainPath("Eleven", "pc-1")), nil).ok(&x)
	if !x.Member || !strings.Contains(x.Broken, "Odd") {
		t.Errorf("it is %+v", x)
	}
}

// TestSinceLongAgo has more changes than the view names: the event is found behind
// them.
func TestSinceLongAgo(t *testing.T) {
	r := newEvaluationRig(t, nil)
	r.join("pc-1", "pc-2", "pc-3")
	first := r.tell(collectionOf("P0100001", "Busy", nil), cycle(1, event.FullQueue, resultOf("P0100001", time.Millisecond, members(t, 1), nil)))
	for i := range uint64(collection.MaxDeltas + 5) {
		set := members(t, 3)
		if i%2 == 0 {
			r.tell(cycle(i+2, event.IncrementalQueue, resultOf("P0100001", 1, set, nil)))
		} else {
			r.tell(cycle(i+2, event.IncrementalQueue, resultOf("P0100001", 1, nil, set)))
		}
	}
	for device, want := range map[string]console.MemberSince{
		"pc-1": {Event: first}, "pc-2": {Event: first - 1, Never: true}, "pc-3": {Event: r.journal.Head().Event},
	} {
		var x console.ExplainReply
		r.do(http.MethodGet, r.min(explainPath("Busy", device)), nil).ok(&x)
		if s := x.Since; s == nil || s.Event != want.Event || s.Never != want.Never || s.Earlier || s.At == nil {
			t.Errorf("%s: since %+v, want %+v", device, s, want)
		}
	}
}
