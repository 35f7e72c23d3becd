package console_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/bugle-fleet/bugle/console"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/journal/journaltest"
	"github.com/bugle-fleet/bugle/listener/wire/task"
	"github.com/bugle-fleet/bugle/projectors"
	"github.com/bugle-fleet/bugle/projectors/operation"
)

const key = "Idempotency-Key"

var digest = strings.Repeat("ab", 32)

func set(t *testing.T, raw []byte) []uint32 {
	t.Helper()
	b := roaring.New()
	if err := b.UnmarshalBinary(raw); err != nil {
		t.Fatal(err)
	}
	return b.ToArray()
}

// A device that has joined is one of all, also before the views know it.
func TestPushToAllKnowsWhoJustJoined(t *testing.T) {
	r := newRig(t)
	r.join("pc-1")
	r.append(&event.DeviceJoined{Device: 2, Name: "pc-2", Token: "t", PublicKey: make([]byte, 65), Expires: start.AddDate(1, 0, 0)})
	var p console.PushReply
	r.do("POST", console.PathOperations, `{"kind":"scan.quick","all":true}`).ok(&p)
	if p.Targets != 2 || p.Online != 1 {
		t.Errorf("%d targets, %d online, want 2 and 1", p.Targets, p.Online)
	}
}

func TestPush(t *testing.T) {
	r := newRig(t)
	r.join("pc-1", "pc-2", "pc-3", "pc-4")
	r.add(3, "pc-3", false)
	if _, err := r.authority.Block(t.Context(), event.Actor{}, 4, ""); err != nil {
		t.Fatal(err)
	}
	var got console.PushReply
	r.do("POST", console.PathOperations, console.PushRequest{
		Kind: "scan.quick", Params: map[string]any{"sha256": []string{digest}}, All: true, DeliverBySeconds: 600, Reason: "outbreak",
	}).ok(&got)

	e := r.last()
	p, ok := e.Payload.(*event.OperationRequested)
	if !ok {
		t.Fatalf("last event is %s", e.Kind())
	}
	if !slices.Equal(set(t, p.Targets), []uint32{1, 2, 3}) || !slices.Equal(set(t, p.Offline), []uint32{3}) || p.Count != 3 || p.Online != 2 {
		t.Errorf("targets %v, offline %v, %d of %d online", set(t, p.Targets), set(t, p.Offline), p.Online, p.Count)
	}
	if p.Target != "all" || p.Reason != "outbreak" || e.Actor.Subject != "admin" || e.Actor.Address != "127.0.0.1" || e.Key != "" {
		t.Errorf("event says %+v by %+v", p, e.Actor)
	}
	signed, err := p.Task.Verify("P01", r.authority.TaskPublicKeys()...)
	if err != nil {
		t.Fatal(err)
	}
	if signed.Kind != "scan.quick" || string(signed.Params) != `{"sha256":["`+digest+`"]}` || signed.RunTimeout != time.Hour ||
		!signed.Requested.Equal(start) || !signed.NotBefore.Equal(start) || !signed.DeliverBy.Equal(start.Add(10*time.Minute)) {
		t.Errorf("task %+v", signed)
	}
	targets, err := task.NewTargets(slices.Values([]uint32{1, 2, 3}))
	if err != nil {
		t.Fatal(err)
	}
	if signed.Root != targets.Root() || signed.Leaves != targets.Leaves() {
		t.Error("task is signed for other targets")
	}
	want := console.PushReply{Operation: signed.Operation.String(), Kind: "scan.quick", Targets: 3, Online: 2, Event: e.Number, NotBefore: start, DeliverBy: signed.DeliverBy,
		Target: "all", Priority: p.Priority}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("answer %+v, want %+v", got, want)
	}
}

func TestPushByName(t *testing.T) {
	r := newRig(t)
	r.join("pc-1", "PC-2", "pc-3")
	id := r.devices[3].ID.String()
	later := start.Add(time.Hour)
	var got console.PushReply
	r.do("POST", console.PathOperations, console.PushRequest{
		Kind: "policy.machine", Devices: []string{"1", "pc-2", id, "1"}, NotBefore: &later, RunTimeoutSeconds: 90,
	}).ok(&got)
	p := r.last().Payload.(*event.OperationRequested)
	signed, err := p.Task.Task()
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(set(t, p.Targets), []uint32{1, 2, 3}) || p.Target != "devices" || got.Targets != 3 {
		t.Errorf("targets %v", set(t, p.Targets))
	}
	if !signed.NotBefore.Equal(later) || !signed.DeliverBy.Equal(later.Add(time.Hour)) || signed.RunTimeout != 90*time.Second || len(signed.Params) != 0 {
		t.Errorf("task %+v", signed)
	}
}

func TestPushRefuses(t *testing.T) {
	r := newRig(t)
	r.join("pc-1", "pc-2", "twin", "TWIN")
	if _, err := r.authority.Block(t.Context(), event.Actor{}, 2, ""); err != nil {
		t.Fatal(err)
	}
	head := r.journal.Head()
	for name, test := range map[string]struct {
		body   string
		status int
		words  []string
	}{
		"no JSON":          {`{`, 400, nil},
		"no body":          {``, 400, nil},
		"an array":         {`[]`, 422, []string{"body"}},
		"no kind":          {`{"all":true}`, 422, []string{"kind"}},
		"unknown kind":     {`{"kind":"scan.slow","all":true}`, 422, []string{"scan.slow", "scan.quick"}},
		"unknown field":    {`{"kind":"scan.quick","all":true,"kid":1}`, 422, []string{"body.kid"}},
		"wrong type":       {`{"kind":"scan.quick","all":"yes"}`, 422, []string{"body.all"}},
		"no target":        {`{"kind":"scan.quick"}`, 422, []string{"no target"}},
		"empty target":     {`{"kind":"scan.quick","devices":[]}`, 422, []string{"no target"}},
		"two targets":      {`{"kind":"scan.quick","devices":["1"],"all":true}`, 422, []string{"not both"}},
		"unknown device":   {`{"kind":"scan.quick","devices":["1","pc-9","17"]}`, 422, []string{`"pc-9", "17"`}},
		"many unknown":     {`{"kind":"scan.quick","devices":[` + strings.TrimSuffix(strings.Repeat(`"x",`, 30), ",") + `]}`, 422, []string{"and 20 more"}},
		"blocked device":   {`{"kind":"scan.quick","devices":["pc-2"]}`, 422, []string{"pc-2", "blocked"}},
		"ambiguous name":   {`{"kind":"scan.quick","devices":["twin"]}`, 409, []string{"3, 4"}},
		"past":             {`{"kind":"scan.quick","all":true,"deliverBy":"2026-11-28T11:59:59Z"}`, 422, []string{"in the past", "2026-11-28T12:00:00Z"}},
		"now":              {`{"kind":"scan.quick","all":true,"deliverBy":"2026-11-28T12:00:00Z"}`, 422, []string{"in the past"}},
		"below zero":       {`{"kind":"scan.quick","all":true,"deliverBySeconds":-1}`, 422, []string{"in the past"}},
		"far below zero":   {`{"kind":"scan.quick","all":true,"deliverBySeconds":-9223372036854775808}`, 422, []string{"in the past"}},
		"two deadlines":    {`{"kind":"scan.quick","all":true,"deliverBySeconds":1,"deliverBy":"2027-01-01T00:00:00Z"}`, 422, []string{"not both"}},
		"too far":          {`{"kind":"scan.quick","all":true,"deliverBy":"2028-01-01T00:00:00Z"}`, 422, []string{"a year"}},
		"before it begins": {`{"kind":"scan.quick","all":true,"deliverBySeconds":60,"notBefore":"2026-11-28T13:00:00Z"}`, 422, []string{"notBefore"}},
		"no instant":       {`{"kind":"scan.quick","all":true,"deliverBy":"tomorrow"}`, 422, []string{"deliverBy"}},
		"unknown param":    {`{"kind":"scan.quick","all":true,"params":{"x":1}}`, 422, []string{"params.x", "sha256"}},
		"kind takes none":  {`{"kind":"policy.machine","all":true,"params":{"x":1}}`, 422, []string{"params.x", "none"}},
		"param's type":     {`{"kind":"scan.quick","all":true,"params":{"sha256":"` + digest + `"}}`, 422, []string{"params.sha256", "list"}},
		"param's value":    {`{"kind":"scan.quick","all":true,"params":{"sha256":["abc"]}}`, 422, []string{"64 hexadecimal"}},
		"long run":         {`{"kind":"scan.quick","all":true,"runTimeoutSeconds":700000}`, 422, []string{"runTimeoutSeconds"}},
		"long reason":      {`{"kind":"scan.quick","all":true,"reason":"` + strings.Repeat("x", 5000) + `"}`, 422, []string{"reason"}},
		"huge body":        {`{"kind":"` + strings.Repeat("x", 9<<20) + `"}`, 413, nil},
	} {
		t.Run(name, func(t *testing.T) {
			p := r.do("POST", console.PathOperations, test.body)
			p.t = t
			p.problem(test.status, test.words...)
		})
	}
	if r.journal.Head() != head {
		t.Error("a refused push is an event")
	}
}

func TestPushToNobody(t *testing.T) {
	r := newRig(t)
	r.do("POST", console.PathOperations, `{"kind":"scan.quick","all":true}`).problem(422, "no target")
}

func TestDryRun(t *testing.T) {
	r := newRig(t)
	r.join("pc-1", "pc-2")
	head := r.journal.Head()
	var got console.PushReply
	for range 2 { // a key means nothing to it
		r.do("POST", console.PathOperations, `{"kind":"scan.quick","all":true,"dryRun":true}`, key, "k").ok(&got)
	}
	if !got.DryRun || got.Operation != "" || got.Targets != 2 || got.Online != 2 || !slices.Equal(got.Devices, []string{"pc-1", "pc-2"}) {
		t.Errorf("answer %+v", got)
	}
	if r.journal.Head() != head {
		t.Error("a dry run is an event")
	}
	for i := range 150 {
		r.add(uint32(i+3), fmt.Sprintf("pc-%d", i+3), true)
	}
	r.do("POST", console.PathOperations, `{"kind":"scan.quick","all":true,"dryRun":true}`).ok(&got)
	if got.Targets != 152 || len(got.Devices) != 100 {
		t.Errorf("%d targets, %d named", got.Targets, len(got.Devices))
	}
}

func TestIdempotency(t *testing.T) {
	r := newRig(t)
	r.join("pc-1", "pc-2")
	var first, again console.PushReply
	r.do("POST", console.PathOperations, `{"kind":"scan.quick","all":true,"deliverBy":"2026-11-28T12:10:00Z"}`, key, "k-1").ok(&first)
	head := r.journal.Head()
	// The same request in another form, later than its deadline, to a fleet that
	// has changed, and after a restart.
	r.clock.Add(time.Hour)
	r.join("pc-3")
	r.restart()
	head.Event, head.Pages, head.Hash = r.journal.Head().Event, r.journal.Head().Pages, r.journal.Head().Hash
	r.do("POST", console.PathOperations, `{ "all": true, "deliverBy": "2026-11-28T12:10:00Z", "kind": "scan.quick" }`, key, "k-1").ok(&again)
	if fmt.Sprint(first) != fmt.Sprint(again) {
		t.Errorf("answers %+v and %+v", first, again)
	}
	if r.journal.Head() != head {
		t.Error("the repeated push is an event")
	}
	r.do("POST", console.PathOperations, `{"kind":"scan.full","all":true}`, key, "k-1").problem(409, fmt.Sprint("event ", first.Event))
	r.do("POST", console.Path(console.PathOperationCancel, first.Operation), `{}`, key, "k-1").problem(409)
	for _, bad := range []string{strings.Repeat("x", 65), "a b", "ä"} {
		r.do("POST", console.PathOperations, `{"kind":"scan.full","all":true}`, key, bad).problem(422, key)
	}
}

// Fifty callers with one key at once make one operation and get one answer.
func TestIdempotencyRace(t *testing.T) {
	r := newRig(t)
	r.join("pc-1")
	before := r.journal.Head().Event
	release := r.journal.Hold()
	answers := make([]*reply, 50)
	var wg sync.WaitGroup
	for i := range answers {
		wg.Go(func() {
			answers[i] = r.do("POST", console.PathOperations, `{"kind":"scan.quick","all":true}`, key, "k")
		})
	}
	release()
	wg.Wait()
	for _, a := range answers {
		if a.status != http.StatusOK || string(a.body) != string(answers[0].body) {
			t.Fatalf("answers %d %s and %s", a.status, a.body, answers[0].body)
		}
	}
	if n := r.journal.Head().Event - before; n != 1 {
		t.Errorf("%d events", n)
	}
}

// A key that two callers use for different things at once is one's.
func TestIdempotencyRaceOfTwo(t *testing.T) {
	r := newRig(t)
	r.join("pc-1")
	before := r.journal.Head().Event
	release := r.journal.Hold()
	var ok, refused int
	var mu sync.Mutex
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			kind := []string{"scan.quick", "scan.full"}[i%2]
			a := r.do("POST", console.PathOperations, `{"kind":"`+kind+`","all":true}`, key, "k")
			mu.Lock()
			defer mu.Unlock()
			switch a.status {
			case 200:
				ok++
			case 409:
				refused++
			default:
				t.Errorf("answer %d %s", a.status, a.body)
			}
		})
	}
	release()
	wg.Wait()
	if ok != 10 || refused != 10 || r.journal.Head().Event != before+1 {
		t.Errorf("%d taken, %d refused, %d events", ok, refused, r.journal.Head().Event-before)
	}
}

func TestPushWhenTheJournalFails(t *testing.T) {
	for name, test := range map[string]struct {
		fault journaltest.Fault
		words string
		done  uint64 // events after the restart and a second try
	}{
		"not stored":      {journaltest.NotStored, "nothing was stored", 1},
		"lost":            {journaltest.Lost, "Cannot tell", 1},
		"lost but stored": {journaltest.LostButStored, "Cannot tell", 1},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.join("pc-1")
			before := r.journal.Head().Event
			r.journal.Inject(test.fault)
			body := `{"kind":"scan.quick","all":true}`
			r.do("POST", console.PathOperations, body, key, "k").problem(503, test.words)
			r.restart()
			var got console.PushReply
			r.do("POST", console.PathOperations, body, key, "k").ok(&got)
			if n := r.journal.Head().Event - before; n != test.done || got.Event != before+1 {
				t.Errorf("%d events, answer names %d", n, got.Event)
			}
		})
	}
}

func TestPushWaitsForADeviceThatJustJoined(t *testing.T) {
	r := newRig(t)
	r.join("pc-1")
	r.fleet.onWait = func() error { r.add(2, "pc-2", true); return nil }
	var got console.PushReply
	r.do("POST", console.PathOperations, `{"kind":"scan.quick","devices":["pc-2"]}`).ok(&got)
	if got.Targets != 1 || r.waited == 0 {
		t.Errorf("%d targets, waited for event %d", got.Targets, r.waited)
	}
}

func TestPushWhileAViewIsBuilt(t *testing.T) {
	r := newRig(t)
	r.join("pc-1")
	r.fail(projectors.ErrBuilding)
	r.do("POST", console.PathOperations, `{"kind":"scan.quick","all":true}`).problem(503, "view is being built")
	r.do("POST", console.PathTokens, `{"listener":"BGL01","scope":["pc-1"]}`).problem(503, "view is being built")
	r.do("POST", console.Path(console.PathKeyRotate, "task"), `{}`).ok(new(console.Written))
	r.do("POST", console.Path(console.PathKeyRetire, "task"), `{}`).problem(503, "view is being built")
}

func TestScatteredTargets(t *testing.T) {
	r := newRig(t)
	for i := range uint32(80_000) {
		n := 1 + i*200 // a few in every container of the bitmap: no form is short
		r.devices[n] = r.devices[1]
	}
	r.add(1, "pc-1", true)
	r.do("POST", console.PathOperations, `{"kind":"scan.quick","all":true}`).problem(413, "scattered")
}

func TestKinds(t *testing.T) {
	r := newRig(t)
	var got console.KindList
	r.do("GET", console.PathKinds, nil).ok(&got)
	var names []string
	for _, k := range got.Items {
		names = append(names, k.Kind)
		if k.About == "" || k.Class == "" || k.Contract == "" || k.RunTimeoutSeconds <= 0 || k.Parameters == nil {
			t.Errorf("kind %+v lacks something", k)
		}
	}
	for _, name := range []string{"discovery.collect", "policy.machine", "scan.full", "scan.quick"} {
		if !slices.Contains(names, name) {
			t.Errorf("kinds %v have no %s", names, name)
		}
	}
}

func TestCancel(t *testing.T) {
	r := newRig(t)
	r.join("pc-1")
	o := r.operation(t, task.Waiting)
	path := console.Path(console.PathOperationCancel, o.ID.String())
	var w, again console.CancelReply
	r.do("POST", path, `{"reason":"mistake"}`, key, "c").ok(&w)
	p, ok := r.last().Payload.(*event.OperationCancelled)
	if !ok || p.Operation != o.ID || p.Reason != "mistake" || r.last().Number != w.Event || w.Running != nil || w.Targets != 3 {
		t.Errorf("event %+v, answer %+v", p, w)
	}
	if c, err := task.VerifyCancel(p.Cancel, "P01", r.authority.TaskPublicKeys()...); err != nil || c.Operation != o.ID || !c.At.Equal(start) {
		t.Errorf("cancel is %+v, %v", c, err)
	}
	o.Cancelled = true
	r.operations[o.ID] = o
	if r.do("POST", path, `{"reason":"mistake"}`, key, "c").ok(&again); again != w {
		t.Errorf("answers %+v and %+v", w, again)
	}
	o.Cancel = operation.Cut{Event: w.Event, Running: 1, Ended: 0, Spared: 2}
	r.operations[o.ID] = o
	r.do("POST", path, `{"reason":"mistake"}`, key, "c").ok(&again)
	if again.Event != w.Event || *again.Running != 1 || *again.Ended != 0 || *again.Spared != 2 {
		t.Errorf("answer %+v", again)
	}
	r.do("POST", path, `{}`).problem(409, "cancelled already")
	o.Cancelled, o.Stopped, o.Stop.Reason = false, true, "too bad"
	r.operations[o.ID] = o
	r.do("POST", path, `{}`).problem(409, "stopped", "too bad")
	o.Stopped, o.Closed = false, true
	r.operations[o.ID] = o
	r.do("POST", path, `{}`).problem(409, "closed")
	o.Closed = false
	o.States = [14]uint32{task.Succeeded: o.Count}
	r.operations[o.ID] = o
	r.do("POST", path, `{}`).problem(409, "done")
	r.do("POST", console.Path(console.PathOperationCancel, task.NewID(start).String()), `{}`).problem(404, "no operation")
	r.do("POST", console.Path(console.PathOperationCancel, "x"), `{}`).problem(422, "UUID")
	r.do("POST", path, `{"because":1}`).problem(422, "because")
}

func TestPathEscapes(t *testing.T) {
	if got := console.Path(console.PathDevice, "a/b c"); got != "/api/v1/devices/a%2Fb%20c" {
		t.Error(got)
	}
	if got := console.Path(console.PathDevices, "x"); got != console.PathDevices {
		t.Error(got)
	}
	raw, err := json.Marshal(console.PushRequest{Kind: "x"})
	if err != nil || string(raw) != `{"kind":"x"}` {
		t.Errorf("a request says more than it was told: %s", raw)
	}
}
