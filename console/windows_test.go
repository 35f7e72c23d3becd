package console_test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/agent/window"
	"github.com/bugle-fleet/bugle/console"
	"github.com/bugle-fleet/bugle/console/definitions"
	"github.com/bugle-fleet/bugle/journal/event"
)

func windowPath(collection, name string) string {
	return console.Path(console.PathWindow, collection, name)
}

// put sets a window.
func (r *windowRig) put(collection, name, body string) (w console.WindowsReply) {
	r.t.Helper()
	r.do("PUT", windowPath(collection, name), fmt.Sprintf(`{"window":%s,"reason":"ticket 1"}`, body)).ok(&w)
	r.caughtUp()
	return w
}

func get(r *windowRig, path string, query ...string) *reply {
	r.t.Helper()
	q := url.Values{}
	for i := 0; i+1 < len(query); i += 2 {
		q.Set(query[i], query[i+1])
	}
	return r.do("GET", path+"?"+q.Encode(), nil)
}

// names are the windows of a list, as collection/name.
func windowNames(l console.WindowList) (all []string) {
	for _, w := range l.Items {
		var d window.Window
		if json.Unmarshal(w.Window, &d) == nil {
			all = append(all, w.Collection+"/"+d.Name)
		}
	}
	return all
}

const (
	night = `{"start":"2026-11-28T01:00","minutes":180,"every":{"unit":"day"}}`
	noon  = `{"kind":"updates","utc":true,"start":"2026-11-28T12:00","minutes":60,"every":{"unit":"week"}}`
)

func TestWindowsOfACollection(t *testing.T) {
	r := newWindowRig(t)
	r.device(1, "pc-1")
	r.collection("P0100001", "Pilot", 1)
	w := r.put("pilot", "night/1", night)
	if len(w.Changes) != 1 || w.Changes[0].Collection != "P0100001" || w.Changes[0].CollectionName != "Pilot" || len(w.Changes[0].Before) > 0 || w.Event != r.journal.Head().Event {
		t.Errorf("made: %+v", w)
	}
	p, ok := r.last().Payload.(*event.WindowChanged)
	if !ok || p.Name != "night/1" || p.Reason != "ticket 1" || len(p.Before) > 0 || !strings.Contains(string(p.After), `"name":"night/1"`) || r.last().Actor.Subject == "" {
		t.Errorf("event %+v", r.last())
	}
	var shown console.WindowReply
	q := get(r, windowPath("P0100001", "night/1"))
	q.ok(&shown)
	if shown.Event != w.Event || shown.CollectionName != "Pilot" || q.header.Get("ETag") != fmt.Sprintf("%q", fmt.Sprint(w.Event)) || shown.Changed == nil {
		t.Errorf("shown: %+v, %v", shown, q.header)
	}
	// The same again is nothing.
	if again := r.put("Pilot", "night/1", night); len(again.Changes) != 0 || again.Unchanged != 1 || r.journal.Head().Event != w.Event {
		t.Errorf("again: %+v", again)
	}
	changed := r.put("Pilot", "night/1", `{"name":"night/1","start":"2026-11-28T02:00","minutes":180}`)
	if len(changed.Changes) != 1 || !strings.Contains(string(changed.Changes[0].Before), "T01:00") || !strings.Contains(string(changed.Changes[0].After), "T02:00") {
		t.Errorf("changed: %+v", changed)
	}
	var ev console.Event
	r.do("GET", fmt.Sprintf("%s?change=true", console.Path(console.PathEvent, fmt.Sprint(changed.Event))), nil).ok(&ev)
	if ev.Change == nil || ev.Change.Of != `maintenance window "night/1" of collection P0100001` || ev.Change.Before == nil || ev.Change.After == nil || ev.Why != "ticket 1" {
		t.Errorf("event shows %+v, %+v", ev.Change, ev)
	}

	// As it was, and gone.
	get(r, windowPath("Pilot", "night/1"), "at", fmt.Sprint(w.Event)).ok(&shown)
	if !strings.Contains(string(shown.Window), "T01:00") {
		t.Errorf("as of event %d: %s", w.Event, shown.Window)
	}
	var gone console.WindowsReply
	r.do("DELETE", windowPath("Pilot", "night/1")+"?reason=done", nil).ok(&gone)
	if len(gone.Changes) != 1 || len(gone.Changes[0].After) > 0 || len(gone.Changes[0].Before) == 0 {
		t.Errorf("deleted: %+v", gone)
	}
	r.do("DELETE", windowPath("Pilot", "night/1"), nil).problem(404, "night/1", "Pilot")
	r.caughtUp()
	get(r, windowPath("Pilot", "night/1")).problem(404, "night/1")
	var list console.WindowList
	get(r, console.PathWindows).ok(&list)
	if len(list.Items) != 0 {
		t.Errorf("left: %+v", list)
	}
}

func TestWindowsAreChecked(t *testing.T) {
	r := newWindowRig(t)
	r.collection("P0100001", "Pilot")
	for body, words := range map[string][]string{
		`{"start":"2026-11-28T01:00","minutes":0}`:                                               {"minutes 0: 5 to 44640"},
		`{"start":"2026-11-28T01:00","minutes":-60}`:                                             {"minutes -60"},
		`{"start":"2026-11-28T01:00Z","minutes":60}`:                                             {"no zone"},
		`{"start":"2026-11-28T01:00","minutes":60,"color":"red"}`:                                {"unknown field", "color"},
		`{"name":"other","start":"2026-11-28T01:00","minutes":60}`:                               {`named "other" and not "w"`},
		`{"start":"2026-02-28T01:00","minutes":60,"every":{"unit":"month","n":12,"day":30}}`:     {"day 30: none of its months has one"},
		`{"start":"2026-02-28T01:00","minutes":60,"every":{"unit":"week","n":60}}`:               {"n 60: 1 to 52"},
		`{"start":"2026-02-28T01:00","minutes":60,"every":{"unit":"month","offset":2,"day":30}}`: {"offset"},
		`[]`: {"a window is a JSON object"}, `"x"`: {"a window is a JSON object"}, `null`: {"a window is a JSON object"},
	} {
		before := r.journal.Head().Event
		r.do("PUT", windowPath("Pilot", "w"), fmt.Sprintf(`{"window":%s}`, body)).problem(422, words...)
		if r.journal.Head().Event != before {
			t.Errorf("%s is in the journal", body)
		}
	}
	r.do("PUT", windowPath("nobody", "w"), fmt.Sprintf(`{"window":%s}`, night)).problem(404, "nobody")
	r.do("PUT", windowPath("All Systems", "w"), fmt.Sprintf(`{"window":%s}`, night)).problem(422, "SMS00001", "bugle policy edit")
	r.do("PUT", windowPath(event.RootCollection, "w"), fmt.Sprintf(`{"window":%s}`, night)).problem(422, "policy of the site")
}

// What was changed meanwhile is not changed again, and the same call twice is one.
func TestWindowsPreconditionsAndKeys(t *testing.T) {
	r := newWindowRig(t)
	r.collection("P0100001", "Pilot")
	body := fmt.Sprintf(`{"window":%s}`, night)
	var first, second console.WindowsReply
	r.do("PUT", windowPath("Pilot", "w"), body, "If-Match", `"7"`).problem(412, "no window")
	r.do("PUT", windowPath("Pilot", "w"), body, "If-Match", `"0"`, key, "k1").ok(&first)
	r.do("PUT", windowPath("Pilot", "w"), body, "If-Match", `"0"`, key, "k1").ok(&second)
	if second.Event != first.Event || len(second.Changes) != 1 {
		t.Errorf("the same call again: %+v, %+v", first, second)
	}
	r.do("PUT", windowPath("Pilot", "w"), fmt.Sprintf(`{"window":%s}`, noon), key, "k1").problem(409, "key")
	r.do("PUT", windowPath("Pilot", "w"), body, "If-Match", `"0"`).problem(412, fmt.Sprint(first.Event))
	r.do("DELETE", windowPath("Pilot", "w"), nil, "If-Match", `"0"`).problem(412, fmt.Sprint(first.Event))
	var gone, again console.WindowsReply
	r.do("DELETE", windowPath("Pilot", "w"), nil, "If-Match", fmt.Sprintf("%q", fmt.Sprint(first.Event)), key, "k2").ok(&gone)
	r.do("DELETE", windowPath("Pilot", "w"), nil, "If-Match", fmt.Sprintf("%q", fmt.Sprint(first.Event)), key, "k2").ok(&again)
	if gone.Event != again.Event {
		t.Errorf("deleted twice: %+v, %+v", gone, again)
	}
}

// Whoever changes a window at the same moment as somebody else changes what that
// one made of it: the events tell one story, and no limit is passed.
func TestWindowsChangedAtOnce(t *testing.T) {
	r := newWindowRig(t)
	r.collection("P0100001", "Pilot")
	many := make([]string, definitions.MaxCollectionWindows-3)
	for i := range many {
		many[i] = "Pilot " + named(fmt.Sprint("w", i), night)
	}
	r.do("POST", console.PathWindowsApply, windowsRequest(false, false, many...)).ok(new(console.WindowsReply))
	var all sync.WaitGroup
	for i := range 12 {
		all.Go(func() { // what it answers depends on the others
			r.do("PUT", windowPath("Pilot", fmt.Sprint("new", i)), fmt.Sprintf(`{"window":%s}`, night))
			r.do("PUT", windowPath("Pilot", "w0"), fmt.Sprintf(`{"window":{"start":"2026-11-28T01:00","minutes":%d}}`, 100+i))
		})
	}
	all.Wait()
	stands := map[string]string{}
	for _, e := range r.events() {
		if p, ok := e.Payload.(*event.WindowChanged); ok {
			if stands[p.Name] != string(p.Before) {
				t.Errorf("event %d: %s was %q before, and not %q", e.Number, p.Name, stands[p.Name], p.Before)
			}
			stands[p.Name] = string(p.After)
		}
	}
	if len(stands) != definitions.MaxCollectionWindows {
		t.Errorf("the collection has %d windows", len(stands))
	}
}

func windowsRequest(prune, dryRun bool, windows ...string) console.WindowsRequest {
	q := console.WindowsRequest{Prune: prune, DryRun: dryRun, Reason: "ticket 2"}
	for _, w := range windows {
		collection, raw, _ := strings.Cut(w, " ")
		q.Windows = append(q.Windows, definitions.Windows{Collection: collection, Windows: []json.RawMessage{json.RawMessage(raw)}})
	}
	return q
}

func named(name, body string) string { return fmt.Sprintf(`{"name":%q,%s`, name, body[1:]) }

func TestApplyWindowsAllOrNothing(t *testing.T) {
	r := newWindowRig(t)
	r.collection("P0100001", "Pilot")
	r.collection("P0100002", "Wide")
	r.put("Pilot", "old", night)
	words := func(w console.WindowsReply) (text string) {
		for _, c := range w.Changes {
			sign := "~"
			if len(c.Before) == 0 {
				sign = "+"
			} else if len(c.After) == 0 {
				sign = "-"
			}
			text += sign + c.CollectionName + "/" + c.Name + " "
		}
		return fmt.Sprint(text, w.Unchanged)
	}
	want := []string{"Pilot " + named("night", night), "wide " + named("noon", noon), "P0100001 " + named("old", night)}
	before := r.journal.Head().Event
	var w console.WindowsReply
	r.do("POST", console.PathWindowsApply, windowsRequest(false, true, want...)).ok(&w)
	if words(w) != "+Pilot/night +Wide/noon 1" || !w.DryRun || r.journal.Head().Event != before {
		t.Errorf("dry run: %s, %+v", words(w), w)
	}
	r.do("POST", console.PathWindowsApply, windowsRequest(false, false, want...)).ok(&w)
	if words(w) != "+Pilot/night +Wide/noon 1" || w.Event != before+2 {
		t.Errorf("applied: %s, %+v", words(w), w)
	}
	r.do("POST", console.PathWindowsApply, windowsRequest(false, false, want...)).ok(&w)
	if words(w) != "3" {
		t.Errorf("applied again: %s", words(w))
	}
	r.do("POST", console.PathWindowsApply, windowsRequest(true, false, "Pilot "+named("night", noon))).ok(&w)
	if words(w) != "~Pilot/night -Pilot/old 0" {
		t.Errorf("pruned: %s", words(w))
	}
	before = r.journal.Head().Event
	bad := windowsRequest(false, false, "Wide "+named("good", night), "Wide "+named("bad", `{"start":"2026-11-28T01:00","minutes":1}`), "Nowhere "+named("x", night), "Wide {}")
	r.do("POST", console.PathWindowsApply, bad).problem(422, `windows[1].windows[0]: "bad": minutes 1`, "windows[2].collection", "Nowhere", "windows[3]")
	r.do("POST", console.PathWindowsApply, windowsRequest(false, false, "Wide "+named("a", night), "Wide "+named("a", noon))).problem(422, "twice")
	if r.journal.Head().Event != before {
		t.Error("something of it is in the journal")
	}
}

func TestWindowsAdvice(t *testing.T) {
	r := newWindowRig(t)
	for n := range uint32(3) {
		r.device(n+1, fmt.Sprint("pc-", n+1))
	}
	r.collection("P0100001", "Pilot", 1, 2)
	r.collection("P0100002", "Wide", 2, 3)
	r.collection("P0100003", "Nobody")
	r.collection("P0100004", "Third", 3)
	r.do("POST", console.PathOperations, `{"kind":"update.install","devices":["1"],"runTimeoutSeconds":7200}`).ok(new(console.PushReply))
	r.caughtUp()
	long := `{"start":"2026-11-28T01:00","minutes":%d,"every":{"unit":"day"}}`
	for _, c := range []struct {
		collection, name, body string
		says                   []string // nil: nothing
	}{
		{"Wide", "fine", fmt.Sprintf(long, 66), nil},
		{"Wide", "short", `{"start":"2026-11-28T10:00","minutes":65,"every":{"unit":"day"}}`, []string{"too short for work that takes the default of 60 min: that needs more than 65, it is open for 65"}},
		{"Pilot", "overlap", fmt.Sprintf(long, 126), []string{`overlaps and becomes one with: "fine" of Wide`}},
		{"Pilot", "work", `{"start":"2026-11-28T20:00","minutes":125,"every":{"unit":"day"}}`, []string{"too short for operation", "(update.install), which takes up to 120 min and needs more than 125"}},
		{"Third", "apart", `{"start":"2026-11-28T20:00","minutes":90,"every":{"unit":"day"}}`, nil},
		{"Nobody", "none", fmt.Sprintf(long, 120), []string{"no members"}},
		{"Third", "over", `{"start":"2026-11-20T01:00","minutes":120}`, []string{"it is over and never opens again"}},
		{"Third", "off", `{"enabled":false,"start":"2026-11-28T15:00","minutes":120,"every":{"unit":"day"}}`, []string{"disabled"}},
		{"Third", "days", `{"start":"2026-11-30T12:00","minutes":2940}`, []string{"open for more than a day: 2 days and 60 min", `becomes one with: "fine" of Wide, "apart" of Third, "short" of Wide`}},
		{"Third", "always", `{"kind":"task-sequences","start":"2026-11-28T12:00","minutes":1440,"every":{"unit":"day"}}`, []string{"always open", "no longer to the general ones"}},
	} {
		w := r.put(c.collection, c.name, c.body)
		got := strings.Join(w.Changes[0].Advice, "; ")
		if c.says == nil && got != "" {
			t.Errorf("%s of %s: %s", c.name, c.collection, got)
		}
		for _, says := range c.says {
			if strings.HasPrefix(says, `becomes one with: `) { // in the order of the collections
				says = `becomes one with: `
			}
			if !strings.Contains(got, says) {
				t.Errorf("%s of %s: %q, want %q", c.name, c.collection, got, says)
			}
		}
	}
}

func TestWindowsOfADevice(t *testing.T) {
	r := newWindowRig(t)
	r.device(1, "pc-1", console.FactZone, "Europe/Berlin")
	r.device(2, "pc-2", console.FactOffset, "-05:30")
	r.device(3, "Pilot")
	r.do("PUT", console.PathPolicy, fmt.Sprintf(`{"policy":{"windows":[%s]}}`, named("site", noon))).ok(new(console.PolicyReply))
	r.collection("P0100001", "Pilot", 1)
	r.collection("P0100002", "Wide", 1, 2)
	r.put("Wide", "night", night)
	r.put("Pilot", "more", `{"start":"2026-11-28T03:30","minutes":120,"every":{"unit":"day"}}`)
	r.put("Pilot", "off", `{"enabled":false,"start":"2026-11-28T03:30","minutes":120,"every":{"unit":"day"}}`)
	r.caughtUp()
	list := func(query ...string) []string {
		var l console.WindowList
		get(r, console.PathWindows, query...).ok(&l)
		return windowNames(l)
	}
	for _, c := range []struct {
		want string
		got  []string
	}{
		{"[/site P0100001/more P0100001/off P0100002/night]", list()},
		{"[/site P0100001/more P0100002/night P0100001/off]", list("device", "pc-1")},
		{"[/site P0100002/night]", list("device", "2")},
		{"[/site]", list("device", "3")},
		{"[P0100001/more P0100001/off]", list("collection", "pilot")},
		{"[/site P0100002/night]", list("device", "pc-1", "at", fmt.Sprint(r.journal.Head().Event-2))},
		{"[]", list("device", "pc-1", "at", "5")},
	} {
		if fmt.Sprint(c.got) != c.want {
			t.Errorf("windows %v, want %v", c.got, c.want)
		}
	}
	get(r, console.PathWindows, "collection", "nowhere").problem(404, "nowhere")
	get(r, console.PathWindows, "collection", "Pilot", "device", "1").problem(422, "not both")

	// Saturday 12:00 in UTC, 13:00 in Berlin: the site's window for updates is open.
	next := func(query ...string) (n console.WindowNext) {
		t.Helper()
		get(r, console.PathWindowNext, query...).ok(&n)
		return n
	}
	n := next("of", "pc-1")
	if !n.IsOpen || n.Zone != "Europe/Berlin" || n.ZoneFrom != "reported by the device" || n.Span.Windows[0].Name != "site" || n.Span.Close.Format("15:04") != "14:00" {
		t.Errorf("next of pc-1: %+v, %+v", n, n.Span)
	}
	n = next("of", "pc-1", "kind", "general")
	if n.IsOpen || n.Span.Open.Format("Mon 15:04 -0700") != "Sun 01:00 +0100" || n.Span.Minutes != 270 || len(n.Span.Windows) != 2 || n.Span.Windows[0].CollectionName != "Pilot" {
		t.Errorf("next of pc-1 for general work: %+v, %+v", n, n.Span)
	}
	n = next("of", "pc-2", "kind", "general")
	if n.Zone != "UTC-05:30" || n.Span.Open.UTC().Format("Mon 15:04") != "Sun 06:30" || !strings.Contains(n.ZoneFrom, "did not say") {
		t.Errorf("next of pc-2: %+v, %+v", n, n.Span)
	}
	n = next("of", "pc-2", "kind", "general", "zone", "Asia/Tokyo")
	if n.Zone != "Asia/Tokyo" || n.ZoneFrom != "asked for" || n.Span.Open.UTC().Format("Mon 15:04") != "Sat 16:00" {
		t.Errorf("next of pc-2 in Tokyo: %+v, %+v", n, n.Span)
	}
	get(r, console.PathWindowNext, "of", "Pilot").problem(409, "device 3 and collection P0100001")
	n = next("collection", "Pilot", "kind", "general")
	if n.Zone != "UTC" || n.Span.Open.Format("Mon 15:04") != "Sun 03:30" || n.Collection != "P0100001" {
		t.Errorf("next of Pilot: %+v, %+v", n, n.Span)
	}
	n = next("device", "Pilot", "kind", "general")
	if !n.Any || n.Span != nil || n.Device != 3 || n.ZoneFrom != "assumed: the device has not reported its own" {
		t.Errorf("next of device Pilot: %+v", n)
	}
	get(r, console.PathWindowNext, "of", "nowhere").problem(404, "nowhere")
	get(r, console.PathWindowNext).problem(422, "device, collection and of")
	get(r, console.PathWindowNext, "of", "pc-1", "zone", "Local").problem(422, "zone", "IANA")
	get(r, console.PathWindowNext, "of", "pc-1", "zone", "../../etc/passwd").problem(422, "zone")
}

func TestWindowsCalendar(t *testing.T) {
	r := newWindowRig(t)
	r.device(1, "pc-1", console.FactZone, "Europe/Berlin")
	r.do("PUT", console.PathPolicy, fmt.Sprintf(`{"policy":{"windows":[%s]}}`, named("site", noon))).ok(new(console.PolicyReply))
	r.collection("P0100001", "Pilot", 1)
	r.put("Pilot", "night", night)
	r.put("Pilot", "more", `{"start":"2026-11-28T03:30","minutes":120,"every":{"unit":"day"}}`)
	var cal console.WindowCalendar
	get(r, console.PathWindowCalendar, "of", "pc-1", "from", "2027-03-26", "to", "2027-03-30").ok(&cal)
	var spans []string
	for _, s := range cal.Spans {
		spans = append(spans, s.Open.Format("02 15:04 -07")+" "+fmt.Sprint(s.Minutes, " ", len(s.Windows)))
	}
	if want := []string{"26 01:00 +01 270 2", "27 01:00 +01 270 2", "27 13:00 +01 60 1", "28 01:00 +01 210 2", "29 01:00 +02 270 2"}; !slices.Equal(spans, want) {
		t.Errorf("the night in which clocks change: %q, want %q", spans, want)
	}
	get(r, console.PathWindowCalendar, "of", "pc-1").ok(&cal)
	if d := cal.To.Sub(cal.From); d != 28*24*time.Hour {
		t.Errorf("a calendar of %s", d)
	}
	get(r, console.PathWindowCalendar, "of", "pc-1", "from", "tomorrow").problem(422, "from", "tomorrow")
	get(r, console.PathWindowCalendar, "of", "pc-1", "from", "2027-03-26", "to", "2027-03-26").problem(422, "ends behind")
	get(r, console.PathWindowCalendar, "of", "pc-1", "from", "2027-03-26", "to", "2037-03-26").problem(422, "400 days")
}

func TestWindowsWhy(t *testing.T) {
	r := newWindowRig(t)
	r.device(1, "pc-1")
	why := func(query ...string) (w console.WindowWhy) {
		t.Helper()
		get(r, console.PathWindowWhy, append([]string{"device", "pc-1"}, query...)...).ok(&w)
		return w
	}
	if w := why(); !w.Run || w.Why != "no window counts for it: any time is good" || w.Kind != "updates" || w.Needs != 65 {
		t.Errorf("without windows: %+v", w)
	}
	r.collection("P0100001", "Pilot", 1)
	r.put("Pilot", "sunday", `{"start":"2026-11-29T01:00","minutes":60}`)
	r.put("Pilot", "open", `{"kind":"task-sequences","start":"2026-11-28T11:00","minutes":180}`)
	if w := why("minutes", "60"); w.Run || w.Why != "opens Sun 01:00 for 60 min; needs 65; no window is long enough" || w.Next != nil || len(w.Windows) != 1 || w.OtherKinds != 1 {
		t.Errorf("too short: %+v", w)
	}
	if w := why("minutes", "30"); w.Run || w.Why != "opens Sun 01:00 for 60 min; needs 35" || w.Next == nil || w.Next.Windows[0].Name != "sunday" {
		t.Errorf("later: %+v", w)
	}
	if w := why("minutes", "60", "kind", "task-sequences"); !w.Run || w.Why != "a window is open for long enough" || w.Current == nil || w.Current.Windows[0].Name != "open" {
		t.Errorf("now: %+v", w)
	}
	set := r.journal.Head().Event
	r.clock.Add(13*time.Hour + 10*time.Minute) // Sunday 01:10
	if w := why("minutes", "30"); !w.Run || w.Current == nil {
		t.Errorf("in the window: %+v", w)
	}
	if w := why("minutes", "50"); w.Run || w.Why != "open for another 50 min; needs 55; no window is long enough" || w.Current == nil {
		t.Errorf("what is left is too little: %+v", w)
	}
	if w := why("minutes", "30", "at", fmt.Sprint(set)); w.Run || w.Now.Format("Mon 15:04") != "Sat 12:00" || w.Event != set {
		t.Errorf("as of event %d: %+v", set, w)
	}
	get(r, console.PathWindowWhy, "device", "pc-9").problem(404, "pc-9")
	get(r, console.PathWindowWhy).problem(422, "device")
}

// A site without collections has no windows of collections.
func TestWindowsWithoutCollections(t *testing.T) {
	r := newWholeRig(t)
	r.do("PUT", windowPath("Pilot", "w"), fmt.Sprintf(`{"window":%s}`, night)).problem(404, "no collections")
	r.do("GET", windowPath("Pilot", "w"), nil).problem(404, "no collections")
	r.do("GET", console.PathWindowNext+"?of=Pilot", nil).problem(404, "no device and no collection")
	var l console.WindowList
	r.do("GET", console.PathWindows, nil).ok(&l)
	if len(l.Items) != 0 {
		t.Errorf("%+v", l)
	}
}
