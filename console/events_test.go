package console_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/google/go-cmp/cmp"

	"github.com/bugle-fleet/bugle/console"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

func (r *rig) append(payloads ...event.Payload) {
	r.t.Helper()
	for _, p := range payloads {
		if err := r.journal.Append(context.Background(), &event.Event{Payload: p}); err != nil {
			r.t.Fatal(err)
		}
	}
}

func numbers(page console.EventPage) (all []uint64) {
	for _, e := range page.Items {
		all = append(all, e.Number)
	}
	return all
}

func TestEvents(t *testing.T) {
	r := newRig(t)
	for i := range uint32(5) {
		r.append(&event.DeviceBlocked{Device: i + 1, Reason: "x"}, &event.TokenRevoked{Token: "t"})
	}
	for query, want := range map[string]struct {
		numbers []uint64
		next    uint64
	}{
		"":                            {[]uint64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}, 0},
		"?limit=3":                    {[]uint64{1, 2, 3}, 4},
		"?from=9":                     {[]uint64{9, 10}, 0},
		"?from=11":                    {nil, 0},
		"?kind=token.revoked":         {[]uint64{2, 4, 6, 8, 10}, 0},
		"?kind=token.revoked&limit=2": {[]uint64{2, 4}, 5},
		"?kind=token.revoked,device.blocked&from=4&limit=2": {[]uint64{4, 5}, 6},
	} {
		var page console.EventPage
		r.do("GET", console.PathEvents+query, nil).ok(&page)
		if !slices.Equal(numbers(page), want.numbers) || page.Next != want.next || page.Event != 10 {
			t.Errorf("%s gives %v, next %d", query, numbers(page), page.Next)
		}
	}
	r.do("GET", console.PathEvents+"?kind=device.bl", nil).problem(422, "device.bl")
	r.do("GET", console.PathEvents+"?limit=1001", nil).problem(422, "limit")

	var e console.Event
	r.do("GET", console.Path(console.PathEvent, "3"), nil).ok(&e)
	if e.Number != 3 || e.Kind != "device.blocked" || e.Accepted.IsZero() || fmt.Sprint(e.Payload) != "map[device:2 reason:x]" {
		t.Errorf("event %+v", e)
	}
	r.do("GET", console.Path(console.PathEvent, "11"), nil).problem(404, "ends with event 10")
	r.do("GET", console.Path(console.PathEvent, "0"), nil).problem(422)
	r.do("GET", console.Path(console.PathEvent, "x"), nil).problem(422)

	var j console.JournalReply
	r.do("GET", console.PathJournal, nil).ok(&j)
	head := r.journal.Head()
	if j.Events != 10 || j.Pages != head.Pages || j.Head != fmt.Sprintf("%x", head.Hash) {
		t.Errorf("journal %+v", j)
	}
}

// A filter that finds nothing in a long journal does not read it all in one call.
func TestEventsThatAreFarApart(t *testing.T) {
	r := newRig(t)
	batch := make([]*event.Event, 1000)
	for range 51 {
		for i := range batch {
			batch[i] = &event.Event{Payload: &event.TokenRevoked{}}
		}
		if err := r.journal.Append(t.Context(), batch...); err != nil {
			t.Fatal(err)
		}
	}
	r.append(&event.DeviceBlocked{Device: 1})
	var page console.EventPage
	r.do("GET", console.PathEvents+"?kind=device.blocked", nil).ok(&page)
	if len(page.Items) != 0 || page.Next != 50_001 {
		t.Fatalf("%d events, next %d", len(page.Items), page.Next)
	}
	r.do("GET", fmt.Sprintf("%s?kind=device.blocked&from=%d", console.PathEvents, page.Next), nil).ok(&page)
	if !slices.Equal(numbers(page), []uint64{51_001}) {
		t.Errorf("events %v", numbers(page))
	}
}

func TestEventJSON(t *testing.T) {
	r := newRig(t)
	r.join("pc-1")
	r.do("POST", console.PathOperations, `{"kind":"scan.quick","all":true,"reason":"why","params":{"sha256":["`+digest+`"]}}`)
	var op task.Task
	if p, ok := r.last().Payload.(*event.OperationRequested); ok {
		op, _ = p.Task.Task()
	}
	id := task.NewID(start)
	bitmap := roaring.New()
	bitmap.AddRange(1, 2001)
	large, err := bitmap.ToBytes()
	if err != nil {
		t.Fatal(err)
	}
	r.append(
		&event.PolicyChanged{Body: []byte(`{"keepAliveSeconds":60}`), Reason: "r"},
		&event.ResultsReported{Rows: []event.ResultRow{{Result: task.Result{Operation: id, Device: 7, Attempt: 1, State: task.Succeeded, At: at(1), Detail: "d"}, MAC: [16]byte{0xaa}}}},
		&event.StatusMessage{Component: "inbox", Message: 3, Severity: event.Warning, Text: "t"},
		&event.OperationRequested{Task: task.Signed("no task"), Targets: large, Offline: []byte("no set"), Count: 2000},
		&event.PresenceDelta{Entries: []event.PresenceEntry{{Device: 3, Online: true, Reason: event.SignedIn, Carrier: event.TCP, Since: at(3)}}},
	)
	file := &event.Event{Source: &event.Source{Listener: "SITE01", Epoch: 2, File: event.BTS, Number: 9, Part: 1, Of: 2, Digest: [32]byte{0xcc}}, Observed: at(4), Payload: &event.FileRequeued{Name: "n"}}
	if err := r.journal.Append(t.Context(), file); err != nil {
		t.Fatal(err)
	}
	payload := func(number int) map[string]any {
		var e console.Event
		r.do("GET", console.Path(console.PathEvent, fmt.Sprint(number)), nil).ok(&e)
		p, ok := e.Payload.(map[string]any)
		if !ok {
			t.Fatalf("payload %v", e.Payload)
		}
		return p
	}
	pushed := payload(2)
	if pushed["reason"] != "why" || fmt.Sprint(pushed["targets"]) != "map[count:1 devices:[1]]" || fmt.Sprint(pushed["offline"]) != "map[count:0 devices:[]]" {
		t.Errorf("push %v", pushed)
	}
	if shown := pushed["task"].(map[string]any); shown["operation"] != op.Operation.String() || shown["kind"] != "scan.quick" || shown["runTimeout"] != "1h0m0s" ||
		fmt.Sprint(shown["params"]) != fmt.Sprintf("map[sha256:[%s]]", digest) {
		t.Errorf("task %v", shown)
	}
	if got := payload(3); fmt.Sprint(got) != "map[body:map[keepAliveSeconds:60] reason:r]" {
		t.Errorf("policy %v", got)
	}
	want := map[string]any{"operation": id.String(), "device": 7.0, "attempt": 1.0, "state": "succeeded", "code": 0.0, "at": "2026-11-28T12:00:00.001Z", "detail": "d", "mac": "aa" + strings.Repeat("00", 15)}
	if d := cmp.Diff([]any{want}, payload(4)["rows"]); d != "" {
		t.Error(d)
	}
	if got := payload(5); got["severity"] != "warning" || got["message"] != 3.0 {
		t.Errorf("message %v", got)
	}
	r.checkOddEvents(t, payload)
}

func (r *rig) checkOddEvents(t *testing.T, payload func(number int) map[string]any) {
	t.Helper()
	odd := payload(6)
	if s := odd["targets"].(map[string]any); s["count"] != 2000.0 || s["cut"] != true || len(s["devices"].([]any)) != 1000 {
		t.Errorf("a large set is shown as %v", s)
	}
	if odd["offline"] != fmt.Sprintf("%x", "no set") || odd["task"] != fmt.Sprintf("%x", "no task") {
		t.Errorf("what cannot be read is shown as %v", odd)
	}
	if got := payload(7)["entries"].([]any)[0].(map[string]any); got["reason"] != "signed-in" || got["carrier"] != "tcp" || got["online"] != true {
		t.Errorf("presence %v", got)
	}
	var e console.Event
	r.do("GET", console.Path(console.PathEvent, "8"), nil).ok(&e)
	observed := at(4)
	if d := cmp.Diff(&console.EventSource{Listener: "SITE01", Epoch: 2, File: "BTS", Number: 9, Part: 1, Of: 2, Digest: "cc" + strings.Repeat("00", 31)}, e.Source); d != "" || !e.Observed.Equal(observed) {
		t.Errorf("observed %v, %s", e.Observed, d)
	}
}

// sse is a stream of server-sent events under way.
type sse struct {
	t    *testing.T
	body *bufio.Scanner
	stop context.CancelFunc
}

type message struct{ id, name, data string }

func (r *rig) stream(t *testing.T, method, path string, headers ...string) *sse {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(stop)
	q, err := http.NewRequestWithContext(ctx, method, r.server.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	q.Header.Set("Authorization", "Bearer "+r.token)
	q.Header.Set("Accept", "text/event-stream")
	for i := 0; i+1 < len(headers); i += 2 {
		q.Header.Set(headers[i], headers[i+1])
	}
	p, err := r.server.Client().Do(q)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Body.Close() })
	if p.StatusCode != 200 || p.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("answer %d of type %s", p.StatusCode, p.Header.Get("Content-Type"))
	}
	return &sse{t, bufio.NewScanner(p.Body), stop}
}

// next reads the next message; ok is false at the end of the stream.
func (s *sse) next() (m message, ok bool) {
	for s.body.Scan() {
		name, value, _ := strings.Cut(s.body.Text(), ": ")
		switch name {
		case "id":
			m.id = value
		case "event":
			m.name = value
		case "data":
			m.data = value
		}
		if s.body.Text() == "" && m.data != "" {
			return m, true
		}
	}
	return m, false
}

func (s *sse) want(id, kind string) {
	s.t.Helper()
	m, ok := s.next()
	var e console.Event
	if err := json.Unmarshal([]byte(m.data), &e); err != nil || !ok || m.name != "event" || m.id != id || fmt.Sprint(e.Number) != id || e.Kind != kind {
		s.t.Fatalf("message %+v, %v, want event %s", m, err, id)
	}
}

func TestEventStream(t *testing.T) {
	r := newRig(t)
	r.append(&event.DeviceBlocked{Device: 1}, &event.TokenRevoked{}, &event.DeviceBlocked{Device: 2})
	all := r.stream(t, "GET", console.PathEventStream+"?from=1")
	behind := r.stream(t, "GET", console.PathEventStream+"?from=1", "Last-Event-ID", "2")
	some := r.stream(t, "GET", console.PathEventStream+"?from=1&kind=token.revoked")
	fresh := r.stream(t, "GET", console.PathEventStream)
	all.want("1", "device.blocked")
	all.want("2", "token.revoked")
	all.want("3", "device.blocked")
	behind.want("3", "device.blocked")
	some.want("2", "token.revoked")
	r.append(&event.DeviceBlocked{Device: 3}, &event.TokenRevoked{})
	for _, s := range []*sse{all, behind, fresh} {
		s.want("4", "device.blocked")
		s.want("5", "token.revoked")
	}
	some.want("5", "token.revoked")
	r.do("GET", console.PathEventStream+"?from=7", nil).problem(422, "no event 7 yet")
	r.do("GET", console.PathEventStream, nil, "Last-Event-ID", "x").problem(422, "Last-Event-ID")
	r.do("GET", console.PathEventStream+"?kind=x", nil).problem(422, "x")
}

func TestStreamsAreBounded(t *testing.T) {
	r := newRig(t)
	var streams []*sse
	for range 64 {
		streams = append(streams, r.stream(t, "GET", console.PathEventStream))
	}
	r.do("GET", console.PathEventStream, nil).problem(503, "64 streams")
	// A place is free again once the server has noticed that a caller left.
	streams[0].stop()
	r.append(&event.DeviceBlocked{Device: 1})
	deadline := time.Now().Add(30 * time.Second)
	for {
		ctx, cancel := context.WithCancel(t.Context())
		q, err := http.NewRequestWithContext(ctx, "GET", r.server.URL+console.PathEventStream, nil)
		if err != nil {
			t.Fatal(err)
		}
		q.Header.Set("Authorization", "Bearer "+r.token)
		p, err := r.server.Client().Do(q)
		if err != nil {
			t.Fatal(err)
		}
		p.Body.Close()
		cancel()
		if p.StatusCode == 200 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the place of a caller who left is never free again")
		}
	}
}

func TestStreamsEndWithTheConsole(t *testing.T) {
	r := newRig(t)
	s := r.stream(t, "GET", console.PathEventStream)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.console.Run(ctx); err != nil {
		t.Fatal(err)
	}
	if m, ok := s.next(); ok {
		t.Errorf("message %+v", m)
	}
	r.do("GET", console.PathEventStream, nil).problem(503, "stopping")
}
