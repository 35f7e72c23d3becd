package console_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/console"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/listener/wire"
	"github.com/bugle-fleet/bugle/listener/wire/task"
	"github.com/bugle-fleet/bugle/projectors"
	"github.com/bugle-fleet/bugle/projectors/collection/schema"
	"github.com/bugle-fleet/bugle/projectors/device"
	"github.com/bugle-fleet/bugle/projectors/inventory"
	"github.com/bugle-fleet/bugle/projectors/operation"
	"github.com/bugle-fleet/bugle/projectors/presence"
	"github.com/bugle-fleet/bugle/projectors/status"
)

// newWholeRig is a rig with the real views.
func newWholeRig(t testing.TB) *rig {
	t.Helper()
	r := newRig(t)
	devices, dr := device.New()
	presences, pr := presence.New()
	operations, or := operation.New()
	messages, sr := status.New()
	known, ir := inventory.New(schema.Standard())
	all, err := projectors.Open(projectors.Options{Dir: t.TempDir(), Journal: r.journal, History: [16]byte{1}, Log: slog.New(slog.DiscardHandler)},
		devices, presences, operations, messages, known)
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
	r.policies.Attach(console.PolicyParts{Operations: or, Now: r.clock.Now})
	cfg := r.config()
	cfg.Devices, cfg.Presence, cfg.Operations, cfg.Status, cfg.Views, cfg.Inventory = dr, pr, or, sr, all, ir
	if r.console, err = console.New(cfg); err != nil {
		t.Fatal(err)
	}
	r.server.Config.Handler = r.console.Handler()
	return r
}

// joinWith lets a device in with a token, as the listener does.
func (r *rig) joinWith(token, name string) uint32 {
	r.t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		r.t.Fatal(err)
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, k)
	if err != nil {
		r.t.Fatal(err)
	}
	got, err := r.authority.Join(r.t.Context(), wire.JoinRequest{Token: token, CSR: csr, Name: name, OS: "linux", Arch: "amd64", Agent: "0.1.0"}, "10.0.0.1")
	if err != nil {
		r.t.Fatal(err)
	}
	return got.Device
}

// report is a result as the inbox appends it.
func report(id task.ID, device uint32, state task.State, ms int) event.ResultRow {
	return event.ResultRow{Result: task.Result{Operation: id, Device: device, Attempt: 1, State: state, At: at(ms)}}
}

// The life of a push, from the token to the trace, through the real views.
func TestWholeLife(t *testing.T) {
	r := newWholeRig(t)
	var token console.TokenReply
	r.do("POST", console.PathTokens, `{"uses":3}`).ok(&token)
	for n := range uint32(3) {
		if got := r.joinWith(token.Token, fmt.Sprintf("pc-%d", n+1)); got != n+1 {
			t.Fatalf("device %d has number %d", n+1, got)
		}
	}
	online := &event.PresenceSnapshot{Total: 2}
	for n := range uint32(2) {
		online.Entries = append(online.Entries, event.PresenceEntry{Device: n + 1, Online: true, Carrier: event.TCP, Since: start})
	}
	bos := &event.Event{Observed: start, Source: &event.Source{Listener: "SITE01", Epoch: 1, File: event.BOS, Number: 1, Part: 1, Of: 1}, Payload: online}
	if err := r.journal.Append(t.Context(), &event.Event{Payload: &event.ListenerGranted{Listener: "SITE01", Epoch: 1, PublicKey: make([]byte, 32)}}, bos); err != nil {
		t.Fatal(err)
	}
	var devices console.DevicePage
	r.do("GET", fmt.Sprintf("%s?min-event=%d&online=true", console.PathDevices, bos.Number), nil).ok(&devices)
	if fmt.Sprint(names(devices)) != "[pc-1 pc-2]" || devices.Total != 3 || devices.Event < bos.Number || devices.Items[0].Listener != "SITE01" {
		t.Fatalf("devices %+v", devices)
	}

	var push console.PushReply
	r.do("POST", console.PathOperations, `{"kind":"scan.quick","all":true}`, key, "k").ok(&push)
	if push.Targets != 3 || push.Online != 2 {
		t.Errorf("push %+v", push)
	}
	id, err := task.ParseID(push.Operation)
	if err != nil {
		t.Fatal(err)
	}
	r.append(&event.ResultsReported{Rows: []event.ResultRow{
		report(id, 1, task.Sent, 3), report(id, 1, task.Delivered, 5), report(id, 1, task.Running, 6), report(id, 1, task.Succeeded, 50), report(id, 2, task.Sent, 4),
	}})
	var shown console.OperationReply
	r.do("GET", fmt.Sprintf("%s?min-event=%d", console.Path(console.PathOperation, push.Operation), r.journal.Head().Event), nil).ok(&shown)
	if shown.States["succeeded"] != 1 || shown.States["sent"] != 1 || shown.States["waiting"] != 1 ||
		shown.Columns != (console.Columns{Total: 3, Completed: 1, Offline: 1, Unknown: 1}) || shown.Latency[console.HopRunningEnded].P50 != 44 || shown.Done {
		t.Errorf("operation %+v", shown)
	}
	r.afterTheRun(t, push.Operation)
}

func (r *rig) afterTheRun(t *testing.T, op string) {
	t.Helper()
	var cancelled console.CancelReply
	r.do("POST", console.Path(console.PathOperationCancel, op), `{"reason":"enough"}`).ok(&cancelled)
	if cancelled.Targets != 3 || *cancelled.Running != 0 || *cancelled.Ended != 1 || *cancelled.Spared != 2 {
		t.Errorf("cancel: %+v", cancelled)
	}
	wait := fmt.Sprintf("min-event=%d", cancelled.Event)
	var targets console.TargetPage
	r.do("GET", console.Path(console.PathOperationDevices, op)+"?state=cancelled&"+wait, nil).ok(&targets)
	if len(targets.Items) != 2 || targets.Items[0].Name != "pc-2" || targets.Items[1].Name != "pc-3" || targets.Items[1].Online {
		t.Errorf("targets %+v", targets)
	}
	r.do("POST", console.Path(console.PathOperationCancel, op), `{}`).problem(409, "cancelled already")

	var history console.EventPage
	r.do("GET", console.Path(console.PathOperationHistory, op)+"?"+wait, nil).ok(&history)
	var kinds []string
	for _, e := range history.Items {
		kinds = append(kinds, e.Kind)
	}
	if fmt.Sprint(kinds) != "[operation.requested results.reported operation.cancelled]" {
		t.Errorf("history %v", kinds)
	}
	var trace console.TraceReply
	r.do("GET", console.Path(console.PathOperationTrace, op)+"?device=pc-1&"+wait, nil).ok(&trace)
	var steps []string
	for _, s := range trace.Steps {
		steps = append(steps, s.What)
	}
	if fmt.Sprint(steps) != "[requested accepted sent delivered running succeeded visible cancelled]" {
		t.Errorf("steps %v", steps)
	}
	r.lookBack(t, op)
	r.rebuildEvery(t)
}

// lookBack reads every view as of earlier events.
func (r *rig) lookBack(t *testing.T, op string) {
	t.Helper()
	all := r.events()
	var requested, cancelled uint64
	for _, e := range all {
		switch e.Kind() {
		case event.KindOperationRequest:
			requested = e.Number
		case event.KindOperationCancel:
			cancelled = e.Number
		}
	}
	at := func(path string, number uint64, v any) {
		t.Helper()
		p := r.do("GET", fmt.Sprintf("%s?at=%d", path, number), nil)
		if p.ok(v); p.header.Get(console.HeaderEvent) != fmt.Sprint(number) {
			t.Errorf("%s?at=%d is as of %s", path, number, p.header.Get(console.HeaderEvent))
		}
	}
	var shown console.OperationReply
	at(console.Path(console.PathOperation, op), requested, &shown)
	if shown.States["waiting"] != 3 || shown.Event != requested || shown.Cancelled {
		t.Errorf("operation after its request %+v", shown)
	}
	shown = console.OperationReply{}
	if at(console.Path(console.PathOperation, op), cancelled-1, &shown); shown.States["succeeded"] != 1 || shown.States["sent"] != 1 || shown.Cancelled {
		t.Errorf("operation before its end %+v", shown)
	}
	r.do("GET", fmt.Sprintf("%s?at=%d", console.Path(console.PathOperation, op), requested-1), nil).problem(404, "There was no operation")
	var devices console.DevicePage
	if at(console.PathDevices, 3, &devices); fmt.Sprint(names(devices)) != "[pc-1 pc-2]" || devices.Total != 2 || devices.Items[0].Online {
		t.Errorf("devices %+v", devices)
	}
	var shownEvent console.Event
	r.do("GET", fmt.Sprintf("%s?change=true", console.Path(console.PathEvent, fmt.Sprint(cancelled))), nil).ok(&shownEvent)
	before, _ := shownEvent.Change.Before.(map[string]any)
	after, _ := shownEvent.Change.After.(map[string]any)
	if before["cancelled"] != false || after["cancelled"] != true || shownEvent.Change.Note != "" {
		t.Errorf("change %+v", shownEvent.Change)
	}
	r.do("GET", fmt.Sprintf("%s?change=true", console.Path(console.PathEvent, fmt.Sprint(requested))), nil).ok(&shownEvent)
	if after, _ := shownEvent.Change.After.(map[string]any); shownEvent.Change.Before != nil || after["targets"] != 3.0 {
		t.Errorf("change %+v", shownEvent.Change)
	}
	for _, path := range []string{console.PathOperations, console.Path(console.PathOperationDevices, op), console.Path(console.PathOperationTrace, op),
		console.Path(console.PathOperationHistory, op), console.PathInbox, console.PathComponents, console.PathMessages} {
		at(path, requested, new(any))
	}
	var first, again console.DigestReply
	at(console.Path(console.PathViewDigest, "operation"), cancelled-1, &first)
	if at(console.Path(console.PathViewDigest, "operation"), cancelled, &again); first.Position != cancelled-1 || first.Digest == again.Digest {
		t.Errorf("digests %+v and %+v", first, again)
	}
	r.do("GET", console.Path(console.PathViewDigest, "nothing")+"?at=1", nil).problem(404, "no such view")
}

func (r *rig) rebuildEvery(t *testing.T) {
	t.Helper()
	var list console.ViewList
	r.do("GET", console.PathViews, nil).ok(&list)
	if len(list.Items) != 5 {
		t.Fatalf("views %+v", list)
	}
	for _, v := range list.Items {
		s := r.stream(t, "POST", console.Path(console.PathViewRebuild, v.View))
		var last message
		for m, ok := s.next(); ok; m, ok = s.next() {
			last = m
		}
		var got console.RebuildReply
		if err := json.Unmarshal([]byte(last.data), &got); err != nil || last.name != "result" || !got.Same || got.Generation <= v.Generation {
			t.Errorf("rebuild of %s ends with %+v, %v", v.View, last, err)
		}
		var digest console.DigestReply
		r.do("GET", console.Path(console.PathViewDigest, v.View), nil).ok(&digest)
		if digest.Digest != got.Digest {
			t.Errorf("digest of %s is %s, was rebuilt as %s", v.View, digest.Digest, got.Digest)
		}
	}
	before := list.Items[0]
	q := r.send(r.token, "POST", console.Path(console.PathViewRollback, before.View), `{"reason":"test"}`)
	_, data, _ := strings.Cut(string(q.body), "event: result\ndata: ")
	var back console.RebuildReply
	if err := json.Unmarshal([]byte(data), &back); err != nil || back.Generation != before.Generation || !back.Same {
		t.Errorf("rollback ends with %s, %v", q.body, err)
	}
	if p := r.send("", "GET", console.PathReady, nil); p.status != 200 {
		t.Errorf("not ready: %s", p.body)
	}
}

// Read your writes: what was just accepted is what min-event shows.
func TestReadYourWrites(t *testing.T) {
	r := newWholeRig(t)
	var token console.TokenReply
	r.do("POST", console.PathTokens, `{}`).ok(&token)
	r.joinWith(token.Token, "pc-1")
	for i := range 20 {
		var push console.PushReply
		r.do("POST", console.PathOperations, `{"kind":"scan.quick","devices":["pc-1"]}`).ok(&push)
		var shown console.OperationReply
		r.do("GET", fmt.Sprintf("%s?min-event=%d", console.Path(console.PathOperation, push.Operation), push.Event), nil).ok(&shown)
		if shown.First != push.Event || shown.Event < push.Event {
			t.Fatalf("push %d: event %d, shown %+v", i, push.Event, shown)
		}
		var w console.CancelReply
		r.do("POST", console.Path(console.PathOperationCancel, push.Operation), `{}`).ok(&w) // waits by itself
	}
	var blocked console.Written
	r.do("POST", console.Path(console.PathDeviceBlock, "pc-1"), `{"reason":"stolen"}`).ok(&blocked)
	var d console.DeviceReply
	r.do("GET", fmt.Sprintf("%s?min-event=%d", console.Path(console.PathDevice, "pc-1"), blocked.Event), nil).ok(&d)
	if !d.Blocked || d.BlockReason != "stolen" || d.LastEvent != blocked.Event || !d.Joined.After(start.Add(-time.Second)) {
		t.Errorf("device %+v", d)
	}
	r.do("POST", console.PathOperations, `{"kind":"scan.quick","all":true}`).problem(422, "no target")
}
