package console_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/bugle-fleet/bugle/console"
	"github.com/bugle-fleet/bugle/console/definitions"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/projectors/collection/engine"
)

func defining(names ...string) (r console.ApplyRequest) {
	for _, n := range names {
		r.Collections = append(r.Collections, definitions.Collection{Name: n})
	}
	return r
}

func changes(r *console.ApplyReply) string {
	var all []string
	for _, c := range r.Changes {
		all = append(all, c.Action+" "+c.Name+" "+c.ID)
	}
	return strings.Join(all, ", ")
}

// Applying twice changes nothing the second time and appends nothing; what was
// applied is read back as it was written.
func TestApplyDefinitions(t *testing.T) {
	r := newEvaluationRig(t, nil)
	r.join("pc-1", "pc-2", "pc-3", "pc-3")
	request := console.ApplyRequest{Reason: "ticket 1"}
	request.Collections = []definitions.Collection{
		{Name: "Pilot", Limit: "clients", Direct: []string{"PC-1", "3"}, Exclude: []string{"Kiosks"}, Incremental: true},
		{Name: "Clients", Schedule: "0 4 * * *", Queries: []definitions.Query{{Name: "all", WQL: "select * from SMS_R_System"}}},
		{Name: "Kiosks", Include: []string{"Clients"}},
	}
	request.Classes = []definitions.Class{{Name: "SMS_G_System_BADGE", Properties: []definitions.Property{{Name: "Number", Type: "text", Key: true}}}}
	before := r.journal.Head().Event
	dry := request
	dry.DryRun = true
	var reply console.ApplyReply
	r.do("POST", console.PathCollections, dry).ok(&reply)
	if !reply.DryRun || len(reply.Changes) != 4 || reply.Event != 0 || r.journal.Head().Event != before {
		t.Errorf("dry run: %+v", reply)
	}
	reply = console.ApplyReply{}
	r.do("POST", console.PathCollections, request, key, "k").ok(&reply)
	const want = "create SMS_G_System_BADGE , create Clients P0100002, create Kiosks P0100003, create Pilot P0100001"
	if got := changes(&reply); got != want || reply.Event != before+4 || reply.Changes[3].Event != before+4 || r.last().Payload.(*event.CollectionChanged).Reason != "ticket 1" {
		t.Errorf("applied %s: %+v", got, reply)
	}
	again := console.ApplyReply{}
	r.do("POST", console.PathCollections, request, key, "k").ok(&again)
	if changes(&again) != want || again.Event != reply.Event || r.journal.Head().Event != before+4 {
		t.Errorf("again with the same key: %+v", again)
	}
	r.do("POST", console.PathCollections, defining("X"), key, "k").problem(409, "new key")
	again = console.ApplyReply{}
	r.do("POST", console.PathCollections, request, key, "k2").ok(&again)
	if len(again.Changes) != 0 || again.Unchanged != 4 || again.Event != 0 || r.journal.Head().Event != before+4 {
		t.Errorf("again: %+v", again)
	}

	var shown console.CollectionReply
	r.do("GET", console.Path(console.PathCollection, "PILOT"), nil).ok(&shown)
	d := shown.Definition
	if shown.ID != "P0100001" || shown.LimitName != "Clients" || shown.Direct != 2 || fmt.Sprint(d.Direct) != "[pc-1 3]" || d.Limit != "Clients" ||
		fmt.Sprint(d.Exclude) != "[Kiosks]" || !d.Incremental || len(shown.Inputs) != 2 || shown.Inputs[0].How != "is limited by" {
		t.Errorf("shown %+v", shown)
	}
	shown = console.CollectionReply{}
	r.do("GET", console.Path(console.PathCollection, "P0100002"), nil).ok(&shown)
	if len(shown.Dependants) != 2 || shown.Dependants[0].Name != "Kiosks" || shown.Dependants[0].How != "includes" || shown.Defined.Event != before+2 {
		t.Errorf("shown %+v", shown)
	}
	r.do("GET", console.Path(console.PathCollection, "none"), nil).problem(404, `"none"`)
	var list console.CollectionList
	r.do("GET", console.PathCollections+"?definitions=true", nil).ok(&list)
	if len(list.Items) != 4 || list.Items[0].ID != event.RootCollection || list.Items[1].Name != "Clients" || len(list.Definitions) != 3 {
		t.Errorf("list %+v", list)
	}
	// What the site gives, it takes.
	whole := console.ApplyRequest{Document: definitions.Document{Collections: list.Definitions}}
	again = console.ApplyReply{}
	if r.do("POST", console.PathCollections, whole).ok(&again); len(again.Changes) != 0 {
		t.Errorf("its own definitions change %+v", again)
	}
	// A direct member that was removed is named no more.
	r.tell(&event.DeviceRemoved{Device: 1, Reason: "scrapped"})
	shown = console.CollectionReply{}
	r.do("GET", r.min(console.Path(console.PathCollection, "PILOT")), nil).ok(&shown)
	if fmt.Sprint(shown.Definition.Direct) != "[3]" || shown.Direct != 2 {
		t.Errorf("after the removal %+v", shown)
	}
	var classes console.ClassList
	r.do("GET", console.PathClasses, nil).ok(&classes)
	if !slices.ContainsFunc(classes.Items, func(c definitions.Class) bool { return c.Name == "SMS_G_System_BADGE" && c.Properties[0].Key }) {
		t.Error("the new class is not listed")
	}
}

// One bad of a hundred: nothing is done, and every error has its place.
func TestApplyAllOrNothing(t *testing.T) {
	r := newEvaluationRig(t, nil)
	r.join("pc-1", "pc-2", "pc-2")
	request := defining()
	for i := range 100 {
		request.Collections = append(request.Collections, definitions.Collection{Name: fmt.Sprintf("c %d", i)})
	}
	request.Collections[57].Queries = []definitions.Query{{WQL: "select * from SMS_R_System\nwhere Nome = 'x'"}}
	request.Collections[60].Schedule = "0 0 30 2 *"
	head := r.journal.Head()
	var p console.DefinitionProblem
	a := r.do("POST", console.PathCollections, request)
	a.problem(422, "collections[57].queries[0].wql: line 2, column 7", "1 more")
	a.status = http.StatusOK
	a.ok(&p)
	if len(p.Refused) != 2 || p.Refused[0].Path != "collections[57].queries[0].wql" || p.Refused[0].Line != 2 || p.Refused[0].Column != 7 || p.Refused[1].Path != "collections[60].schedule" {
		t.Errorf("problem %+v", p)
	}
	if r.journal.Head() != head {
		t.Error("something was appended")
	}
	for _, c := range []struct {
		request console.ApplyRequest
		words   []string
	}{
		{console.ApplyRequest{Document: definitions.Document{Collections: []definitions.Collection{{Name: "X", Direct: []string{"pc-1", "pc-9"}}}}}, []string{"collections[0].direct[1]", `"pc-9"`}},
		{console.ApplyRequest{Document: definitions.Document{Collections: []definitions.Collection{{Name: "X", Direct: []string{"pc-2"}}}}}, []string{"2 devices are named"}},
		{console.ApplyRequest{Document: definitions.Document{Collections: []definitions.Collection{{Name: "X", Limit: "Y"}}}}, []string{"collections[0].limit", `no collection "Y"`}},
		{console.ApplyRequest{Delete: []string{"Y"}}, []string{"delete[0]", `no collection "Y"`}},
	} {
		r.do("POST", console.PathCollections, c.request).problem(422, c.words...)
	}
	r.do("POST", console.PathCollections, `{"collection":[]}`).problem(422, "unexpected property")
	if r.journal.Head() != head {
		t.Error("something was appended")
	}
}

// Changes of definitions that need no device, at one site.
func TestChangeDefinitions(t *testing.T) {
	r := newEvaluationRig(t, nil)
	t.Run("COL-5", r.refusesCycles)
	t.Run("delete", r.deletesCollections)
	t.Run("preconditions", r.checksPreconditions)
	t.Run("at once", r.appliesAtOnce)
	t.Run("evaluate", r.asksForEvaluation)
}

// COL-5, by the API: refused, and the cycle is printed.
func (r *rig) refusesCycles(t *testing.T) {
	r.do("POST", console.PathCollections, defining("A")).ok(&console.ApplyReply{})
	request := defining("B")
	request.Collections[0].Include = []string{"A"}
	r.do("POST", console.PathCollections, request).ok(&console.ApplyReply{})
	request = defining("A")
	request.Collections[0].Limit = "B"
	r.do("POST", console.PathCollections, request).problem(422, `this closes a cycle: "A" is limited by "B", which includes "A"`)
}

func (r *rig) deletesCollections(t *testing.T) {
	request := defining("A", "B")
	request.Collections[1].Limit = "A"
	r.do("POST", console.PathCollections, request).ok(&console.ApplyReply{})
	r.do("DELETE", console.Path(console.PathCollection, "A"), nil).problem(422, `collection "A" is needed: "B" is limited by it`)
	r.do("DELETE", console.Path(console.PathCollection, "all systems"), nil).problem(422, "always there")
	var reply console.ApplyReply
	r.do("DELETE", console.Path(console.PathCollection, "b")+"?reason=over", nil, key, "k").ok(&reply)
	if changes(&reply) != "delete B P0100002" || r.last().Payload.(*event.CollectionChanged).Reason != "over" {
		t.Errorf("deleted %+v", reply)
	}
	again := console.ApplyReply{}
	r.do("DELETE", console.Path(console.PathCollection, "b")+"?reason=over", nil, key, "k").ok(&again)
	if again.Event != reply.Event {
		t.Errorf("again %+v", again)
	}
	r.do("GET", console.Path(console.PathCollection, "B"), nil).problem(404)
}

// Whoever changes what somebody else has changed meanwhile is told.
func (r *rig) checksPreconditions(t *testing.T) {
	var reply console.ApplyReply
	r.do("POST", console.PathCollections, defining("P")).ok(&reply)
	first := reply.Event
	r.do("POST", console.PathCollections, console.ApplyRequest{IfVersion: &first, Document: definitions.Document{Collections: []definitions.Collection{{Name: "P", Comment: "x", IfEvent: &first}}}}).ok(&reply)
	for _, request := range []console.ApplyRequest{
		{IfVersion: &first, Document: defining("C").Document},
		{Document: definitions.Document{Collections: []definitions.Collection{{Name: "P", IfEvent: &first}}}},
		{Document: definitions.Document{Collections: []definitions.Collection{{Name: "P", IfEvent: new(uint64)}}}},
	} {
		r.do("POST", console.PathCollections, request).problem(412)
	}
}

// Many who change definitions at the same moment all get what they asked for.
func (r *rig) appliesAtOnce(t *testing.T) {
	var wait sync.WaitGroup
	replies := make([]*reply, 20)
	for i := range replies {
		wait.Go(func() { replies[i] = r.do("POST", console.PathCollections, defining(fmt.Sprintf("c%d", i))) })
	}
	wait.Wait()
	ids := map[string]bool{}
	for _, p := range replies {
		var a console.ApplyReply
		p.ok(&a)
		ids[a.Changes[0].ID] = true
	}
	if len(ids) != len(replies) {
		t.Errorf("%d ids for %d collections", len(ids), len(replies))
	}
}

// A foreseen is a forecaster that knows the answer.
type foreseen struct {
	mu      sync.Mutex
	changes []engine.Change
	err     error
	asked   [][]string
}

func (f *foreseen) WhatIf(_ context.Context, changed []event.Collection, deleted []string) ([]engine.Change, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	words := deleted
	for _, c := range changed {
		words = append(words, c.ID+" "+c.Name)
	}
	f.asked = append(f.asked, words)
	return f.changes, f.err
}

func rangeOf(n uint64) *roaring.Bitmap {
	set := roaring.New()
	set.AddRange(1, n+1)
	return set
}

// What moves many devices needs force; what moves none is not even looked at.
func TestApplyImpact(t *testing.T) {
	f := &foreseen{}
	r := newEvaluationRig(t, func(_ *rig, cfg *console.Config) { cfg.Forecast = f })
	request := defining("A", "B")
	request.Collections[1].Limit = "A"
	r.do("POST", console.PathCollections, request).ok(&console.ApplyReply{})
	comment := func(text string, queries ...string) console.ApplyRequest {
		c := definitions.Collection{Name: "A", Comment: text}
		for _, q := range queries {
			c.Queries = append(c.Queries, definitions.Query{WQL: q})
		}
		return console.ApplyRequest{Document: definitions.Document{Collections: []definitions.Collection{c}}}
	}
	r.do("POST", console.PathCollections, comment("only words")).ok(&console.ApplyReply{})
	if len(f.asked) != 0 {
		t.Errorf("asked %v for nothing", f.asked)
	}
	empty := roaring.New()
	few := []engine.Change{{ID: "P0100001", Added: rangeOf(5), Removed: empty, Members: 35}, {ID: "P0100002", Added: empty, Removed: empty, Members: 3}}
	share := []engine.Change{{ID: "P0100001", Added: empty, Removed: empty, Members: 100}, {ID: "P0100002", Added: rangeOf(10), Removed: rangeOf(3), Members: 47}}
	many := []engine.Change{{ID: "P0100001", Added: rangeOf(1001), Removed: empty, Members: 100_000}}
	for i, c := range []struct {
		changes []engine.Change
		force   bool
		why     string
	}{
		{few, false, ""},
		{share, true, `In "B" 10 devices would enter and 3 leave, of 40.`},
		{many, true, `In "A" 1001 devices would enter and 0 leave, of 98999.`},
	} {
		f.changes = c.changes
		request := comment("", fmt.Sprintf("select * from SMS_R_System where Name like '%d%%'", i))
		request.DryRun = true
		var reply console.ApplyReply
		r.do("POST", console.PathCollections, request).ok(&reply)
		if reply.Impact == nil || reply.Impact.Force != c.force || strings.Join(reply.Impact.Why, " ") != c.why || len(reply.Impact.Collections) != 1 {
			t.Errorf("%d: impact %+v", i, reply.Impact)
		}
		request.DryRun = false
		if c.force {
			head := r.journal.Head()
			r.do("POST", console.PathCollections, request).problem(409, c.why, "force")
			if r.journal.Head() != head {
				t.Error("it was done without force")
			}
			request.Force = true
		}
		reply = console.ApplyReply{}
		if r.do("POST", console.PathCollections, request).ok(&reply); len(reply.Changes) != 1 {
			t.Errorf("%d: %+v", i, reply)
		}
	}
	f.changes = nil
	r.tell(cycle(1, event.FullQueue, resultOf("P0100002", 1, members(t, rangeOf(1001).ToArray()...), nil)))
	r.do("GET", r.min(console.PathCollections), nil).ok(&console.CollectionList{})
	r.do("DELETE", console.Path(console.PathCollection, "B"), nil).problem(409, `In "B" 0 devices would enter and 1001 leave, of 1001.`)
	f.err = errors.New("not there yet")
	r.do("DELETE", console.Path(console.PathCollection, "B"), nil).problem(409, "cannot be told now", "not there yet")
	r.do("DELETE", console.Path(console.PathCollection, "B")+"?force=true", nil).ok(&console.ApplyReply{})
}

func TestMembers(t *testing.T) {
	r := newEvaluationRig(t, nil)
	r.join("pc-1", "pc-2", "pc-3", "pc-4")
	r.tellEstate()
	var page console.MemberPage
	r.do("GET", r.min(console.Path(console.PathCollectionMembers, "laptops")+"?limit=1"), nil).ok(&page)
	if page.Collection != "P0100001" || page.Total != 2 || page.Next != 1 || len(page.Items) != 1 || page.Items[0].Name != "pc-1" {
		t.Errorf("first page %+v", page)
	}
	page = console.MemberPage{}
	r.do("GET", console.Path(console.PathCollectionMembers, "laptops")+"?limit=1&after=1", nil).ok(&page)
	if page.Next != 0 || len(page.Items) != 1 || page.Items[0].Device != 2 {
		t.Errorf("second page %+v", page)
	}
	page = console.MemberPage{}
	servers := r.do("GET", fmt.Sprintf("%s?at=%d", console.Path(console.PathCollectionMembers, "Servers"), r.journal.Head().Event-2), nil)
	if servers.ok(&page); page.Items[0].Device != 3 {
		t.Errorf("as it was: %+v", page)
	}
	var of console.DeviceCollections
	r.do("GET", console.Path(console.PathDeviceCollections, "pc-1"), nil).ok(&of)
	var names []string
	for _, c := range of.Items {
		names = append(names, c.Name)
	}
	if fmt.Sprint(names) != "[All Systems Laptops Mobile]" || of.Device != 1 {
		t.Errorf("collections of pc-1: %v", names)
	}
	var reply console.CollectionReply
	r.do("GET", fmt.Sprintf("%s?at=%d", console.Path(console.PathCollection, "Laptops"), r.journal.Head().Event-3), nil).ok(&reply)
	if reply.Members != 0 || reply.Evaluated != nil || reply.Schedule != "0 4 * * *" {
		t.Errorf("before the first cycle: %+v", reply)
	}
}

func (r *rig) asksForEvaluation(t *testing.T) {
	var made console.ApplyReply
	r.do("POST", console.PathCollections, defining("E")).ok(&made)
	id := made.Changes[0].ID
	request := console.EvaluateRequest{Collections: []string{"e", id, "All Systems"}, Dependants: true, Reason: "why not"}
	var first, again console.EvaluateReply
	r.do("POST", console.PathCollectionsEvaluate, request, key, "e").ok(&first)
	r.do("POST", console.PathCollectionsEvaluate, request, key, "e").ok(&again)
	p, ok := r.last().Payload.(*event.EvaluationRequested)
	if !ok || fmt.Sprint(p.Collections) != "["+id+" SMS00001]" || !p.Dependants || p.Reason != "why not" || first.Event != again.Event || first.Collections[0].Name != "E" {
		t.Errorf("asked for %+v: %+v and %+v", p, first, again)
	}
	r.do("POST", console.PathCollectionsEvaluate, console.EvaluateRequest{Collections: []string{"none"}}).problem(404, `"none"`)
}

// A site without collections says so.
func TestWithoutCollections(t *testing.T) {
	r := newRig(t)
	r.join("pc-1")
	for _, call := range [][3]string{
		{"GET", console.PathCollections}, {"GET", console.Path(console.PathCollection, "A")}, {"GET", console.Path(console.PathCollectionMembers, "A")},
		{"GET", console.Path(console.PathDeviceCollections, "pc-1")}, {"GET", console.PathClasses}, {"POST", console.PathCollections, `{}`},
		{"POST", console.PathClasses, `{"classes":[{"name":"X","properties":[]}]}`}, {"DELETE", console.Path(console.PathCollection, "A")},
		{"POST", console.PathCollectionsEvaluate, `{"collections":["A"]}`}, {"POST", console.PathOperations, `{"kind":"scan.quick","collection":"A"}`},
		{"GET", console.PathEvents + "?collection=A"},
	} {
		var body any
		if call[2] != "" {
			body = call[2]
		}
		r.do(call[0], call[1], body).problem(503, "no collections")
	}
}

// A push to a collection is for its members as of one event, which it names.
func TestPushToCollection(t *testing.T) {
	r := newEvaluationRig(t, nil)
	r.join("pc-1", "pc-2", "pc-3", "pc-4")
	online := &event.PresenceSnapshot{Total: 1, Entries: []event.PresenceEntry{{Device: 1, Online: true, Carrier: event.TCP, Since: start}}}
	source := &event.Source{Listener: "SITE01", Epoch: 1, File: event.BOS, Number: 1, Part: 1, Of: 1}
	if err := r.journal.Append(t.Context(), &event.Event{Payload: &event.ListenerGranted{Listener: "SITE01", Epoch: 1, PublicKey: make([]byte, 32)}},
		&event.Event{Observed: start, Source: source, Payload: online}); err != nil {
		t.Fatal(err)
	}
	r.do("POST", console.Path(console.PathDeviceBlock, "pc-2"), `{}`).ok(&console.Written{})
	r.do("POST", console.PathCollections, defining("Laptops")).ok(&console.ApplyReply{})
	first := r.tell(cycle(1, event.FullQueue, resultOf("P0100001", 1, members(t, 1, 2, 3, 9), nil)))
	second := r.tell(cycle(2, event.FullQueue, resultOf("P0100001", 1, members(t, 4), members(t, 3))))
	push := func(body string, headers ...string) console.PushReply {
		t.Helper()
		var reply console.PushReply
		r.do("GET", r.min(console.PathCollections), nil).ok(&console.CollectionList{})
		r.do("POST", console.PathOperations, body, headers...).ok(&reply)
		return reply
	}
	dry := push(`{"kind":"scan.quick","collection":"laptops","dryRun":true}`)
	if dry.Targets != 2 || dry.Online != 1 || dry.LeftOut != 2 || dry.MembersAt < second || dry.Collection != "P0100001" || fmt.Sprint(dry.Devices) != "[pc-1 pc-4]" {
		t.Errorf("dry run %+v", dry)
	}
	now := push(`{"kind":"scan.quick","collection":"P0100001"}`, key, "k")
	p := r.last().Payload.(*event.OperationRequested)
	if now.Targets != 2 || p.Collection != "P0100001" || p.AsOf != now.MembersAt || p.AsOf < second || p.Target != fmt.Sprintf("collection Laptops (P0100001) as of event %d", p.AsOf) {
		t.Errorf("pushed %+v: %+v", now, p)
	}
	if again := push(`{"kind":"scan.quick","collection":"P0100001"}`, key, "k"); again.Operation != now.Operation || again.MembersAt != now.MembersAt {
		t.Errorf("again %+v", again)
	}
	then := push(fmt.Sprintf(`{"kind":"scan.quick","collection":"Laptops","membersAt":%d}`, first))
	p = r.last().Payload.(*event.OperationRequested)
	targets := roaring.New()
	if err := targets.UnmarshalBinary(p.Targets); err != nil || fmt.Sprint(targets.ToArray()) != "[1 3]" || p.AsOf != first || then.MembersAt != first {
		t.Errorf("as of event %d: %v, %+v", first, targets, p)
	}
	var shown console.OperationReply
	r.do("GET", r.min(console.Path(console.PathOperation, then.Operation)), nil).ok(&shown)
	if !strings.Contains(shown.Target, "Laptops (P0100001) as of event") {
		t.Errorf("shown for %q", shown.Target)
	}
	for body, words := range map[string][]string{
		`{"kind":"scan.quick","collection":"Laptops","all":true}`:                           {"Give one"},
		`{"kind":"scan.quick","all":true,"membersAt":1}`:                                    {"membersAt"},
		`{"kind":"scan.quick","collection":"Laptops","membersAt":99999}`:                    {"no event 99999"},
		fmt.Sprintf(`{"kind":"scan.quick","collection":"Laptops","membersAt":%d}`, first-1): {"has no target", "has 0 members"},
	} {
		r.do("POST", console.PathOperations, body).problem(422, words...)
	}
	r.do("POST", console.PathOperations, `{"kind":"scan.quick","collection":"none"}`).problem(404, `"none"`)
}

// The journal shows what definitions changed, and finds what is about a collection.
func TestJournalOfCollections(t *testing.T) {
	r := newEvaluationRig(t, nil)
	r.join("pc-1", "pc-2")
	request := defining("Laptops", "Other")
	request.Collections[0].Direct = []string{"pc-2"}
	request.Classes = []definitions.Class{{Name: "SMS_G_System_BADGE", Properties: []definitions.Property{{Name: "Number", Type: "text"}}}}
	r.do("POST", console.PathCollections, request).ok(&console.ApplyReply{})
	request = defining("Laptops")
	request.Collections[0].Comment = "what people carry"
	request.Reason = "ticket 2"
	r.do("POST", console.PathCollections, request).ok(&console.ApplyReply{})
	r.do("POST", console.PathCollectionsEvaluate, console.EvaluateRequest{Collections: []string{"Laptops"}}).ok(&console.EvaluateReply{})
	r.tell(cycle(1, event.ManualQueue, resultOf("P0100001", 1, members(t, 2), nil), resultOf("P0100002", 1, members(t, 1), nil)),
		cycle(2, event.FullQueue, resultOf("P0100002", 1, members(t, 2), nil)))
	kinds := func(query string) (all []string, events []console.Event) {
		t.Helper()
		var page console.EventPage
		r.do("GET", console.PathEvents+query, nil).ok(&page)
		for _, e := range page.Items {
			all = append(all, e.Kind)
		}
		return all, page.Items
	}
	got, events := kinds("?change=true&collection=laptops")
	if fmt.Sprint(got) != "[collection.changed collection.changed evaluation.requested collections.evaluated]" {
		t.Errorf("about Laptops: %v", got)
	}
	before, _ := events[1].Change.Before.(map[string]any)
	after, _ := events[1].Change.After.(map[string]any)
	direct, _ := before["direct"].(map[string]any)
	if events[1].Why != "ticket 2" || before["comment"] != "" || after["comment"] != "what people carry" || direct["count"] != 1.0 || events[1].Change.Of != "collection P0100001" {
		t.Errorf("change %+v", events[1].Change)
	}
	payload, _ := events[3].Payload.(map[string]any)
	results, _ := payload["results"].([]any)
	if result, _ := results[0].(map[string]any); fmt.Sprint(result["id"], result["added"]) != "P0100001map[count:1 devices:[2]]" {
		t.Errorf("results %v", results)
	}
	if events[0].Change.Before != nil || events[2].Change == nil {
		t.Errorf("changes %+v, %+v", events[0].Change, events[2].Change)
	}
	if got, _ = kinds("?device=pc-2&kind=collection.,collections."); fmt.Sprint(got) != "[collection.changed collection.changed collections.evaluated collections.evaluated]" {
		t.Errorf("about pc-2: %v", got)
	}
	if got, _ = kinds("?device=pc-1&kind=collection.,collections."); fmt.Sprint(got) != "[collections.evaluated]" {
		t.Errorf("about pc-1: %v", got)
	}
	if got, _ = kinds("?collection=p0100002"); fmt.Sprint(got) != "[collection.changed collections.evaluated collections.evaluated]" {
		t.Errorf("about P0100002: %v", got)
	}
	r.do("DELETE", console.Path(console.PathCollection, "Other"), nil).ok(&console.ApplyReply{})
	if got, _ = kinds("?collection=P0100002&kind=collection."); fmt.Sprint(got) != "[collection.changed collection.changed]" {
		t.Errorf("about what was deleted: %v", got)
	}
	r.do("GET", console.PathEvents+"?collection=Other", nil).problem(404, `"Other"`)
	_, events = kinds("?change=true&kind=classes.defined")
	if len(events) != 1 || events[0].Change == nil || events[0].Change.After == nil {
		t.Errorf("classes %+v", events)
	}
}
