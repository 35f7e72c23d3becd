package console_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/bugle-fleet/bugle/console"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/listener/wire/task"
	"github.com/bugle-fleet/bugle/projectors"
)

// appendAt appends an event that is accepted at a time.
func (r *rig) appendAt(at time.Time, e *event.Event) {
	r.t.Helper()
	r.clock.Add(at.Sub(r.clock.Now()))
	if err := r.journal.Append(r.t.Context(), e); err != nil {
		r.t.Fatal(err)
	}
}

// An event an hour: event n is accepted n hours after the start.
func (r *rig) hourly(n int) {
	for i := range n {
		r.appendAt(start.Add(time.Duration(i+1)*time.Hour), &event.Event{Payload: &event.TokenRevoked{Token: fmt.Sprint(i + 1)}})
	}
}

func TestEventsBetweenMoments(t *testing.T) {
	r := newRig(t)
	r.hourly(10)
	r.clock.Add(30 * time.Minute) // it is half past ten hours
	hour := func(n float64) string {
		return start.Add(time.Duration(n * float64(time.Hour))).Format(time.RFC3339Nano)
	}
	for _, c := range []struct {
		from, to string
		want     []uint64
	}{
		{"3", "5", []uint64{3, 4, 5}}, {"", "2", []uint64{1, 2}}, {"9", "", []uint64{9, 10}}, {"11", "", nil},
		{hour(3), hour(5), []uint64{3, 4, 5}}, {hour(3.5), hour(5.5), []uint64{4, 5}}, {hour(3.1), hour(3.9), nil},
		{hour(-1000), hour(1), []uint64{1}}, {hour(10.1), "", nil}, {hour(9), hour(1e5), []uint64{9, 10}},
		{"2h", "", []uint64{9, 10}}, {"2h", "1h", []uint64{9}}, {"365d", "9h", []uint64{1}}, {"0s", "", nil},
		{"9", "1h", []uint64{9}}, {"0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", []uint64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}},
	} {
		for range 2 { // the second time from what is remembered
			var page console.EventPage
			r.do("GET", console.PathEvents+"?"+values("from", c.from, "to", c.to), nil).ok(&page)
			if !slices.Equal(numbers(page), c.want) || page.Next != 0 {
				t.Errorf("%s to %s: %v, next %d", c.from, c.to, numbers(page), page.Next)
			}
		}
	}
	var page console.EventPage
	r.do("GET", console.PathEvents+"?from=8h&to=2h&limit=3", nil).ok(&page)
	if page.From != 3 || page.To != 8 || page.Next != 6 {
		t.Errorf("page %+v", page)
	}
	for query, word := range map[string]string{
		"from=x": "neither the number", "to=1h30": "neither the number", "from=0": "from 1", "to=-1": "neither", "to=-1h": "neither", "from=99999999d": "neither",
		"from=12": "no event 12 yet", "to=11": "no event 11 yet", "from=5&to=4": "behind to", "from=" + hour(5) + "&to=" + hour(3): "behind to",
	} {
		if strings.HasPrefix(query, "from=5&") { // next to one another is empty, not wrong
			r.do("GET", console.PathEvents+"?"+query, nil).ok(&page)
			query = "from=6&to=4"
		}
		r.do("GET", console.PathEvents+"?"+query, nil).problem(422, word)
	}
}

func values(pairs ...string) string {
	var parts []string
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			parts = append(parts, pairs[i]+"="+strings.ReplaceAll(pairs[i+1], "+", "%2B"))
		}
	}
	return strings.Join(parts, "&")
}

func TestEventFilters(t *testing.T) {
	r := newRig(t)
	r.join("pc-1", "pc-2") // 1, 2
	o := r.operation(t, task.Waiting)
	targets, err := roaring.BitmapOf(2).ToBytes()
	if err != nil {
		t.Fatal(err)
	}
	admin, self := event.Actor{Issuer: "local", Subject: "admin"}, event.Actor{Issuer: "listener", Subject: "SITE01"}
	for _, e := range []*event.Event{
		{Actor: admin, Payload: &event.DeviceBlocked{Device: 1}}, // 3
		{Actor: self, Source: &event.Source{Listener: "SITE01", File: event.BTS, Number: 1, Part: 1, Of: 1}, Payload: &event.ResultsReported{Rows: []event.ResultRow{{Result: task.Result{Operation: o.ID, Device: 2, State: task.Sent}}}}}, // 4
		{Actor: admin, Payload: &event.OperationRequested{RetryOf: o.ID, Targets: targets}}, // 5
		{Actor: admin, Payload: &event.OperationCancelled{Operation: o.ID}},                 // 6
		{Actor: event.Actor{Issuer: "site", Subject: "inbox"}, Source: &event.Source{Listener: "SITE01", File: event.BOS, Number: 1, Part: 1, Of: 1}, Payload: &event.PresenceDelta{Entries: []event.PresenceEntry{{Device: 1}}}}, // 7
	} {
		if err := r.journal.Append(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	for query, want := range map[string][]uint64{
		"device=1": {1, 3, 7}, "device=pc-2": {2, 4, 5}, "operation=" + o.ID.String(): {4, 5, 6}, "actor=admin": {3, 5, 6}, "actor=SITE01": {4, 7},
		"actor=listener:SITE01": {4, 7}, "actor=site:inbox": {7}, "actor=nobody": nil, "kind=operation.": {5, 6}, "kind=operation.,device.blocked": {3, 5, 6},
		"device=1&actor=admin": {3}, "device=2&kind=device.&actor=admin": nil, "operation=" + o.ID.String() + "&device=2&kind=results.reported": {4},
	} {
		var page console.EventPage
		if r.do("GET", console.PathEvents+"?"+query, nil).ok(&page); !slices.Equal(numbers(page), want) {
			t.Errorf("%s gives %v, want %v", query, numbers(page), want)
		}
		if len(want) == 0 {
			continue
		}
		s := r.stream(t, "GET", console.PathEventStream+"?from=1&to=7&"+query)
		for _, n := range want {
			if m, ok := s.next(); !ok || m.id != fmt.Sprint(n) {
				t.Errorf("the stream of %s gives event %s, want %d", query, m.id, n)
			}
		}
		if m, ok := s.next(); ok {
			t.Errorf("the stream of %s goes on behind its end: %+v", query, m)
		}
	}
	for query, status := range map[string]int{
		"device=nobody": 404, "operation=" + task.NewID(start).String(): 404, "operation=x": 422, "actor=nobody:x": 422, "actor=local:": 422, "kind=x.": 422, "kind=device": 422, "to=x": 422,
	} {
		r.do("GET", console.PathEvents+"?"+query, nil).problem(status)
		r.do("GET", console.PathEventStream+"?"+query, nil).problem(status)
	}
}

// Large events do not make an answer without bounds.
func TestEventPagesAreBounded(t *testing.T) {
	r := newRig(t)
	p := &event.PresenceSnapshot{Total: event.MaxEntries}
	for i := range uint32(event.MaxEntries) {
		p.Entries = append(p.Entries, event.PresenceEntry{Device: 5000 * (i + 1), Since: time.UnixMilli(int64(i) * 1e9)})
	}
	for range 30 {
		r.append(p)
	}
	seen, calls := 0, 0
	for from := uint64(1); from > 0; calls++ {
		var page console.EventPage
		p := r.do("GET", fmt.Sprintf("%s?limit=1000&from=%d", console.PathEvents, from), nil)
		if p.ok(&page); len(page.Items) == 0 || len(p.body) > 64<<20 {
			t.Fatalf("%d events in %d bytes", len(page.Items), len(p.body))
		}
		seen, from = seen+len(page.Items), page.Next
	}
	if seen != 30 || calls < 2 {
		t.Errorf("%d events in %d calls", seen, calls)
	}
}

func TestEventInWords(t *testing.T) {
	r := newRig(t)
	late := r.clock.Now().Add(-time.Minute)
	for _, c := range []struct {
		e               *event.Event
		who, where, why string
		delay           float64
	}{
		{&event.Event{Actor: event.Actor{Issuer: "local", Subject: "admin", Address: "10.0.0.1"}, Payload: &event.DeviceBlocked{Device: 1, Reason: "stolen"}}, "administrator admin", "address 10.0.0.1", "stolen", 0},
		{&event.Event{Observed: late, Actor: event.Actor{Issuer: "listener", Subject: "SITE01"}, Source: &event.Source{Listener: "SITE01", Epoch: 2, File: event.BTS, Number: 9, Part: 1, Of: 2}, Payload: &event.PresenceDelta{}},
			"listener SITE01", "file SITE01-00000002-00000000000000000009.BTS of listener SITE01, part 1 of 2", "", 60},
		{&event.Event{Actor: event.Actor{Issuer: "site", Subject: "clock"}, Payload: &event.OperationClosed{}}, "the site (clock)", "", "", 0},
		{&event.Event{Actor: event.Actor{Issuer: "token", Subject: "4f1d", Address: "10.0.0.2"}, Payload: &event.DeviceJoined{Device: 9, Name: "x", PublicKey: []byte{4}}}, "whoever showed token 4f1d", "address 10.0.0.2", "", 0},
		{&event.Event{Actor: event.Actor{Issuer: "certificate", Subject: "dev", Behalf: "ann", Session: "s1"}, Payload: &event.PolicyChanged{Body: []byte("{}"), Reason: "quiet"}}, "device dev on behalf of ann", "session s1", "quiet", 0},
		{&event.Event{Actor: event.Actor{Issuer: "local", Subject: "SITE01"}, Payload: &event.ListenerGranted{Listener: "SITE01", Epoch: 1}}, "listener SITE01 of the site", "", "", 0},
		{&event.Event{Payload: &event.LoginFailed{Reason: "wrong token"}}, "unknown", "", "wrong token", 0},
	} {
		if err := r.journal.Append(t.Context(), c.e); err != nil {
			t.Fatal(err)
		}
		var got console.Event
		r.do("GET", console.Path(console.PathEvent, fmt.Sprint(c.e.Number)), nil).ok(&got)
		if got.Who != c.who || got.Where != c.where || got.Why != c.why || got.Delay != c.delay {
			t.Errorf("%s by %q from %q because %q, late by %v", got.Kind, got.Who, got.Where, got.Why, got.Delay)
		}
	}
}

func TestExport(t *testing.T) {
	r := newRig(t)
	r.hourly(5)
	var got, again console.ExportReply
	r.do("POST", console.PathExports, `{"format":"csv","from":"2h","to":"4","reason":"audit"}`, key, "e").ok(&got)
	if got != (console.ExportReply{From: 3, To: 4, Event: 6}) {
		t.Errorf("answer %+v", got)
	}
	if p, ok := r.last().Payload.(*event.JournalExported); !ok || *p != (event.JournalExported{From: 3, To: 4, Format: "csv", Reason: "audit"}) || r.last().Actor.Subject != "admin" {
		t.Errorf("event %+v", r.last())
	}
	r.clock.Add(time.Hour) // two hours ago is later now; the answer is the same
	if r.do("POST", console.PathExports, `{"format":"csv","from":"2h","to":"4","reason":"audit"}`, key, "e").ok(&again); again != got {
		t.Errorf("answer %+v, first %+v", again, got)
	}
	if r.do("POST", console.PathExports, `{"format":"jsonl"}`).ok(&got); got != (console.ExportReply{From: 1, To: 6, Event: 7}) {
		t.Errorf("answer %+v", got)
	}
	if r.do("POST", console.PathExports, `{"format":"jsonl","from":"8"}`).ok(&got); got.From != 8 || got.To != 7 {
		t.Errorf("answer %+v", got)
	}
	for body, word := range map[string]string{
		`{}`: "format", `{"format":"xml"}`: "format", `{"format":"csv","to":"99"}`: "no event 99", `{"format":"csv","from":"x"}`: "neither", `{"format":"csv","from":"5","to":"2"}`: "behind to",
	} {
		r.do("POST", console.PathExports, body).problem(422, word)
	}
	if n := r.journal.Head().Event; n != 8 {
		t.Errorf("%d events", n)
	}
}

func TestConsistency(t *testing.T) {
	r := newRig(t)
	r.hourly(11)
	r.do("GET", console.PathConsistency, nil).problem(422, "older")
	r.do("GET", console.PathConsistency+"?older=x", nil).problem(422, "older: open checkpoint")
}

func TestPolicyOfThePast(t *testing.T) {
	r := newRig(t)
	r.hourly(1)
	for i, seconds := range []int{60, 120} {
		r.appendAt(start.Add(time.Duration(10*i+10)*time.Hour), &event.Event{Payload: &event.PolicyChanged{Body: fmt.Appendf(nil, `{"keepAliveSeconds":%d}`, seconds), Reason: "r"}})
		r.append(&event.PolicyChanged{Body: []byte("{")}) // nobody takes it
	}
	r.clock.Add(time.Second) // events that come together are a nanosecond apart
	for range 2 {
		for at, want := range map[string][3]uint64{ // seconds, set by, as of
			"": {120, 4, 5}, "1": {900, 0, 1}, "2": {60, 2, 2}, "3": {60, 2, 3}, "4": {120, 4, 4}, "5": {120, 4, 5}, "1h": {60, 2, 3}, "0s": {120, 4, 5},
		} {
			var got console.PolicyReply
			p := r.do("GET", console.PathPolicy+"?"+values("at", at), nil)
			if p.ok(&got); got.Policy.KeepAliveSeconds != int64(want[0]) || got.Event != want[1] || p.header.Get(console.HeaderEvent) != fmt.Sprint(want[2]) {
				t.Errorf("at %q: %+v, as of %s", at, got, p.header.Get(console.HeaderEvent))
			}
		}
		// The fold is kept and restored.
		saved, err := r.policies.Save()
		if err != nil {
			t.Fatal(err)
		}
		if err := r.policies.Restore(saved); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.policies.Restore([]byte{0x94, 1, 0xc4, 2, '{', '}', 3, 0x91, 2}); err == nil {
		t.Error("restored a policy that no event set")
	}
}

func TestPastThatCannotBeTold(t *testing.T) {
	r := newRig(t)
	r.hourly(9)
	r.clock.Add(time.Minute)
	first, future := start.Add(59*time.Minute).Format(time.RFC3339), start.Add(99*time.Hour).Format(time.RFC3339)
	for _, path := range []string{
		console.PathDevices, console.Path(console.PathDevice, "1"), console.PathOperations, console.Path(console.PathOperation, task.NewID(start).String()),
		console.PathInbox, console.PathComponents, console.PathMessages, console.PathPolicy, console.Path(console.PathViewDigest, "device"),
	} {
		for at, word := range map[string]string{"10": "no event 10 yet", "0": "from 1", "x": "neither", "-1h": "neither", first: "before the first event", future: "in the future", "100d": "before the first event"} {
			r.do("GET", path+"?"+values("at", at), nil).problem(422, word)
		}
	}
	r.do("GET", console.PathDevices+"?at=3&min-event=3", nil).problem(422, "not both")
	r.do("GET", console.PathDevices+"?at=3", nil).problem(503, "closed")
	r.views = []projectors.Status{{Name: "device", Position: 5, Err: errors.New("row is damaged"), StoppedAt: 6, StoppedBy: event.KindDeviceJoined}}
	r.do("GET", console.PathDevices+"?at=6", nil).problem(409, "stopped at event 6 (device.joined)", "row is damaged")
	r.do("GET", console.PathDevices+"?at=5", nil).problem(503, "closed") // it can tell that
	r.views = []projectors.Status{{Name: "device", Building: true, Lag: 9}}
	r.do("GET", console.PathDevices+"?at=5", nil).problem(503, "being built", "9 events to go")
}

func TestChanges(t *testing.T) {
	r := newRig(t)
	r.append(&event.PolicyChanged{Body: []byte(`{"keepAliveSeconds":60}`)}, &event.TokenRevoked{Token: "4f1d"}, &event.PolicyChanged{Body: []byte(`{"keepAliveSeconds":90}`)},
		&event.ViewRebuilt{View: "device", Generation: 2, Same: true}, &event.ViewRolledBack{View: "device", Generation: 1}, &event.DeviceBlocked{Device: 1},
		&event.TokenCreated{Token: "4f1e", Uses: 3}, &event.OperationRequested{Task: []byte("x")}, &event.StatusMessage{},
		&event.TokenCreated{Token: "4f1f", Uses: 1, Expires: at(0), Device: 7})
	for number, want := range map[int]string{
		1:  `{"of":"policy of the site","before":{"version":1,"keepAliveSeconds":900,"policyPollSeconds":3600},"after":{"keepAliveSeconds":60}}`,
		2:  `{"of":"token 4f1d","before":null,"after":{"revoked":true},"note":"No view holds tokens: what it was before is in the event token.created and in those of the devices that joined with it."}`,
		3:  `{"of":"policy of the site","before":{"keepAliveSeconds":60},"after":{"keepAliveSeconds":90}}`,
		6:  `{"of":"device 1","before":null,"after":null,"note":"It cannot be told now: Cannot tell what was after event 5: the views are closed."}`,
		8:  `{"of":"an operation","before":null,"after":null,"note":"Its task cannot be read."}`,
		9:  `null`,
		10: fmt.Sprintf(`{"of":"token 4f1f","before":null,"after":{"device":7,"expires":%q,"uses":1}}`, at(0).Format(time.RFC3339Nano)),
	} {
		var e struct{ Change json.RawMessage }
		p := r.do("GET", console.Path(console.PathEvent, fmt.Sprint(number))+"?change=true", nil)
		if err := json.Unmarshal(p.body, &e); err != nil || p.status != 200 {
			t.Fatalf("%s, %v", p.body, err)
		}
		if got := string(e.Change); got != want && !(got == "" && want == "null") {
			t.Errorf("event %d: %s, want %s", number, got, want)
		}
	}
	var page console.EventPage
	r.do("GET", console.PathEvents+"?change=true&kind=view.", nil).ok(&page)
	if len(page.Items) != 2 || page.Items[0].Change.Before == nil || page.Items[1].Change.Before != nil || !strings.Contains(page.Items[1].Change.Note, "another digest") {
		t.Errorf("changes %+v", page.Items)
	}
	for range 300 {
		r.append(&event.TokenRevoked{})
	}
	page = console.EventPage{}
	if r.do("GET", console.PathEvents+"?change=true&from=10&limit=1000", nil).ok(&page); len(page.Items) != 100 || page.Next != 110 {
		t.Errorf("%d changes in one answer, next %d", len(page.Items), page.Next)
	}
	page = console.EventPage{}
	if r.do("GET", console.PathEvents+"?from=1", nil).ok(&page); page.Items[0].Change != nil {
		t.Error("a change is told that was not asked for")
	}
}
