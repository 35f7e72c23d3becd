package console_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/bugle-fleet/bugle/console"
	"github.com/bugle-fleet/bugle/console/authority"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/listener"
	"github.com/bugle-fleet/bugle/listener/wire/task"
	"github.com/bugle-fleet/bugle/projectors/operation"
)

// opens is the open operations as the view has them.
type opens struct {
	all      []operation.Open
	position uint64
}

func (o *opens) Open() ([]operation.Open, uint64, error) { return slices.Clone(o.all), o.position, nil }

// order adds an operation for devices, signed by the authority.
func (o *opens) order(t testing.TB, a *authority.Authority, durable bool, devices ...uint32) *operation.Open {
	t.Helper()
	targets, err := task.NewTargets(slices.Values(devices))
	if err != nil {
		t.Fatal(err)
	}
	n := len(o.all) + 1
	signed, err := a.SignTask(&task.Task{Operation: task.ID{14: byte(n >> 8), 15: byte(n)}, Kind: "threat.allow", Root: targets.Root(), Leaves: targets.Leaves(),
		NotBefore: start, DeliverBy: start.Add(time.Hour), RunTimeout: time.Minute, Requested: start})
	if err != nil {
		t.Fatal(err)
	}
	b := roaring.BitmapOf(devices...)
	o.all = append(o.all, operation.Open{ID: task.ID{14: byte(n >> 8), 15: byte(n)}, Event: uint64(n), Signed: signed, Targets: b, Final: roaring.New(), Released: b,
		Durable: durable, DeliverBy: start.Add(time.Hour)})
	return &o.all[n-1]
}

// document is what an agent reads.
type document struct {
	Version          int
	KeepAliveSeconds int
	Tasks            [][]byte
	Listeners        []console.PolicyListener
	Windows          []map[string]any
}

// asks returns the policy of a device once its signature, and the proof of each of
// its tasks, are checked.
func (r *rig) asks(t testing.TB, device uint32) (etag string, d document) {
	t.Helper()
	etag, signed, proofs, err := r.policies.For(device, "")
	if err != nil {
		t.Fatal(err)
	}
	p, err := task.VerifyPolicy(signed, "P01", r.authority.PolicyPublicKeys()...)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(p.Body, &d); err != nil || p.ETag() != etag {
		t.Fatalf("%s: %v", p.Body, err)
	}
	if len(proofs) != len(d.Tasks) {
		t.Fatalf("%d proofs of %d tasks", len(proofs), len(d.Tasks))
	}
	for i, b := range d.Tasks {
		of, err := task.Signed(b).Verify("P01", r.authority.TaskPublicKeys()...)
		if err != nil {
			t.Fatal(err)
		}
		proof, err := task.ParseProof(proofs[i])
		if err != nil {
			t.Fatal(err)
		}
		if err := proof.Verify(&of, device); err != nil {
			t.Fatal(err)
		}
	}
	return etag, d
}

func (d *document) operations(t testing.TB) (all []int) {
	for _, b := range d.Tasks {
		of, err := task.Signed(b).Task()
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, int(of.Operation[14])<<8|int(of.Operation[15]))
	}
	return all
}

func TestPolicyHoldsDurableTasks(t *testing.T) {
	r, o := newRig(t), &opens{}
	r.policies.Attach(console.PolicyParts{Operations: o, Now: r.clock.Now})
	has := func(device uint32, want ...int) {
		t.Helper()
		if _, d := r.asks(t, device); !slices.Equal(d.operations(t), want) || d.KeepAliveSeconds != 900 {
			t.Errorf("device %d has %v, want %v: %+v", device, d.operations(t), want, d)
		}
	}
	o.order(t, r.authority, true, 1, 2, 300)
	o.order(t, r.authority, false, 1, 2)
	third := o.order(t, r.authority, true, 2, 300, 70_000)
	has(1, 1)
	has(2, 1, 3)
	has(300, 1, 3)
	has(70_000, 3)
	has(4)
	third.Final = roaring.BitmapOf(2)
	has(2, 1)
	third.Held = true
	has(300, 1)
	wave := operation.Members{Wave: operation.Wave{Number: 1, At: start, Spread: time.Hour}, Devices: roaring.BitmapOf(300)}
	third.Waves = []operation.Members{wave}
	moment := listener.ReleaseWave{ID: third.ID, At: start, Spread: time.Hour}.Moment(300) // as the listeners reckon
	r.clock.Add(moment.Sub(start) - 1)
	has(300, 1)
	r.clock.Add(1)
	has(300, 1, 3)
	has(70_000)
	o.all = o.all[1:]
	has(1)
	r.clock.Add(start.Add(time.Hour).Sub(r.clock.Now())) // deliver-by exactly
	has(300)
}

// A policy holds the 64 oldest tasks, and no more than fit.
func TestPolicyIsBounded(t *testing.T) {
	r, o := newRig(t), &opens{}
	r.policies.Attach(console.PolicyParts{Operations: o, Now: r.clock.Now})
	for range 100 {
		o.order(t, r.authority, true, 1)
	}
	_, d := r.asks(t, 1)
	if all := d.operations(t); len(all) != console.MaxPolicyTasks || all[0] != 1 || all[63] != 64 {
		t.Errorf("holds %v", all)
	}
}

// Devices with equal policies share one document, whatever else changes.
func TestPolicyIsRenderedOncePerContent(t *testing.T) {
	r, o := newRig(t), &opens{}
	r.policies.Attach(console.PolicyParts{Operations: o, Now: r.clock.Now})
	for group := range uint32(10) {
		var devices []uint32
		for i := range uint32(100) {
			devices = append(devices, group*100+i+1)
		}
		o.order(t, r.authority, true, devices...)
	}
	etags := map[string]int{}
	for device := range uint32(1010) {
		o.position++ // results of others come in all the time
		o.all[0].Final = roaring.BitmapOf(50)
		etag, _ := r.asks(t, device+1)
		etags[etag]++
	}
	if s := r.policies.Stats(); s.Asked != 1010 || s.Rendered != 11 || len(etags) != 11 || s.Proofs > 20 {
		t.Errorf("%+v for %d policies", s, len(etags))
	}
	r.append(&event.KeysChanged{Number: 2, What: "policy"})
	r.asks(t, 1)
	if s := r.policies.Stats(); s.Rendered != 12 {
		t.Errorf("%+v after a key was changed", s)
	}
}

func TestPolicyTellsListeners(t *testing.T) {
	r := newRig(t)
	own := authority.ListenerState{Name: "SITE01", Own: true, TCP: []string{"site:10123"}, HTTPS: []string{"site:10443"}}
	known := listeners{{Name: "AAA01", TCP: []string{"a:1"}}, {Name: "BBB01", TCP: []string{"b:1"}, Revoked: true},
		{Name: "CCC01", HTTPS: []string{"c:2"}, Scope: roaring.BitmapOf(7)}, {Name: "DDD01"}, {Name: "EEE01", TCP: []string{"e:1"}}, own}
	r.policies.Attach(console.PolicyParts{Listeners: console.ListenersOf(known)})
	told := map[string]int{}
	for device := range uint32(8) {
		_, d := r.asks(t, device+1)
		var names []string
		for _, l := range d.Listeners {
			names = append(names, l.Name)
		}
		if device+1 == 7 != slices.Contains(names, "CCC01") || names[len(names)-1] != "SITE01" {
			t.Errorf("device %d is told of %v", device+1, names)
		}
		if l := d.Listeners[len(names)-1]; !slices.Equal(l.TCP, own.TCP) || !slices.Equal(l.HTTPS, own.HTTPS) {
			t.Errorf("device %d is told of %+v", device+1, l)
		}
		told[names[0]]++
	}
	if told["AAA01"] < 3 || told["EEE01"] < 3 { // they share the fleet
		t.Errorf("first are %v", told)
	}
}

type listeners []authority.ListenerState

func (l listeners) Listeners() []authority.ListenerState { return slices.Clone(l) }

func TestPolicyWindows(t *testing.T) {
	r := newRig(t)
	var set console.PolicyReply
	r.do("PUT", console.PathPolicy, `{"policy":{"windows":[{"name":"patch night","kind":"updates","start":"2026-11-28T01:00","minutes":180,`+
		`"every":{"unit":"month","nth":"second","weekday":"tue","offset":2}}]}}`).ok(&set)
	if _, d := r.asks(t, 1); len(d.Windows) != 1 || d.Windows[0]["name"] != "patch night" {
		t.Errorf("agents get %+v", d.Windows)
	}
	for _, wrong := range []string{`{}`, `[{"name":"x"}]`, `[{"name":"x","start":"2026-11-28T01:00","minutes":1}]`, `[{"name":"x","start":"2026-11-28T01:00","minutes":60,"evry":{}}]`} {
		r.do("PUT", console.PathPolicy, `{"policy":{"windows":`+wrong+`}}`).problem(422, "window")
	}
	set = console.PolicyReply{}
	r.do("PUT", console.PathPolicy, `{"policy":{"windows":[]}}`).ok(&set)
	if len(set.Policy.Windows) != 0 || set.Version != 2 {
		t.Errorf("policy %+v", set)
	}
}

// Who would overwrite what somebody else has changed meanwhile is told so.
func TestPolicyPrecondition(t *testing.T) {
	r := newRig(t)
	var got, set console.PolicyReply
	r.do("GET", console.PathPolicy, nil).ok(&got)
	r.do("PUT", console.PathPolicy, `{"policy":{"keepAliveSeconds":60}}`, "If-Match", `"0"`).ok(&set)
	if got.Version != 0 || set.Version != 1 {
		t.Errorf("versions %d, %d", got.Version, set.Version)
	}
	r.do("PUT", console.PathPolicy, `{"policy":{"keepAliveSeconds":90}}`, "If-Match", `"0"`).problem(412, "version 1 now, set by event 1")
	if q := r.do("GET", console.PathPolicy, nil); q.header.Get("ETag") != `"1"` {
		t.Errorf("ETag %q", q.header.Get("ETag"))
	}
	r.do("PUT", console.PathPolicy, `{"policy":{"keepAliveSeconds":90}}`, "If-Match", `1`).ok(&set)
	r.do("PUT", console.PathPolicy, `{"policy":{"keepAliveSeconds":90}}`, "If-Match", `*`).ok(&set)
	r.do("GET", console.PathPolicy+"?at=1", nil).ok(&got)
	if set.Version != 3 || got.Version != 1 || got.Policy.KeepAliveSeconds != 60 {
		t.Errorf("policy %+v, as of event 1 %+v", set, got)
	}
}

func TestUserPolicy(t *testing.T) {
	r := newRig(t)
	ann := console.Path(console.PathUserPolicy, "ann")
	all := console.Path(console.PathUserPolicy, console.Everybody)
	shows := func(path, at string, want console.UserPolicyReply) {
		t.Helper()
		var got console.UserPolicyReply
		r.do("GET", path+at, nil).ok(&got)
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s%s: %+v %s, want %+v %s", path, at, got, got.Settings, want, want.Settings)
		}
	}
	agents := func(user, want string) {
		t.Helper()
		_, signed, proofs, err := r.policies.For(7, user)
		if err != nil {
			t.Fatal(err)
		}
		p, err := task.VerifyPolicy(signed, "P01", r.authority.PolicyPublicKeys()...)
		if err != nil || string(p.Body) != want || len(proofs) > 0 {
			t.Errorf("agents get %s, want %s: %v", p.Body, want, err)
		}
	}
	none := json.RawMessage(`{}`)
	shows(ann, "", console.UserPolicyReply{User: "ann", Settings: none})
	agents("ann", `{"version":1,"user":"ann","settings":{}}`)

	r.do("PUT", all, `{"settings":{"proxy": "all"},"reason":"new"}`).ok(new(console.UserPolicyReply))
	r.do("PUT", ann, `{"settings":{"proxy":"none"}}`, "If-Match", `"0"`).ok(new(console.UserPolicyReply))
	r.do("PUT", ann, `{"settings":{"proxy":"x"}}`, "If-Match", `"0"`).problem(412)
	if p := r.last().Payload.(*event.PolicyChanged); p.User != "ann" || string(p.Body) != `{"proxy":"none"}` {
		t.Errorf("event %+v", p)
	}
	agents("ann", `{"version":1,"user":"ann","settings":{"proxy":"none"}}`)
	agents("bob", `{"version":1,"user":"bob","settings":{"proxy":"all"}}`)
	if _, d := r.asks(t, 7); d.KeepAliveSeconds != 900 {
		t.Errorf("machines get %+v", d)
	}
	r.restart()
	var list console.UserPolicyList
	if r.do("GET", console.PathUserPolicies, nil).ok(&list); len(list.Items) != 2 || list.Items[0].User != "*" || list.Items[1].User != "ann" {
		t.Errorf("list %+v", list)
	}
	var left console.UserPolicyReply
	r.do("DELETE", ann+"?reason=left", nil, "Idempotency-Key", "once").ok(&left)
	if left.From != "*" || string(left.Settings) != `{"proxy":"all"}` || left.Version != 2 || left.Event != 3 {
		t.Errorf("what counts now is %+v %s", left, left.Settings)
	}
	r.do("DELETE", ann, nil).problem(404)
	r.do("DELETE", ann, nil, "Idempotency-Key", "another").problem(404)
	r.do("DELETE", ann+"?reason=left", nil, "Idempotency-Key", "once").ok(new(console.UserPolicyReply)) // its answer was lost
	if n := r.last().Number; n != 3 {
		t.Errorf("event %d is the last one", n)
	}
	agents("ann", `{"version":1,"user":"ann","settings":{"proxy":"all"}}`)
	everybody := json.RawMessage(`{"proxy":"all"}`)
	shows(ann, "", console.UserPolicyReply{User: "ann", Settings: everybody, From: "*", Version: 2, Event: 3})
	shows(ann, "?at=2", console.UserPolicyReply{User: "ann", Settings: json.RawMessage(`{"proxy":"none"}`), From: "ann", Version: 1, Event: 2})
	shows(ann, "?at=1", console.UserPolicyReply{User: "ann", Settings: everybody, From: "*"})
	for _, wrong := range []string{`{}`, `{"settings":7}`, `{"settings":[]}`, `{"settings":{"x":"` + strings.Repeat("x", 17<<10) + `"}}`} {
		r.do("PUT", ann, wrong).problem(422)
	}
}

// The site's part of OP-7: what travels on the channel only never stands in a
// policy; the rest reaches a device that was off for a week through its policy, and
// stands there until the device has answered.
func TestOP7_PolicyReachesWhoWasOff(t *testing.T) {
	r := newWholeRig(t)
	var token console.TokenReply
	r.do("POST", console.PathTokens, `{"uses":2}`).ok(&token)
	r.joinWith(token.Token, "on")
	off := r.joinWith(token.Token, "off")
	pushed := map[string]string{}
	var durable []string
	var kinds console.KindList
	r.do("GET", console.PathKinds, nil).ok(&kinds)
	for _, k := range kinds.Items {
		var push console.PushReply
		q := r.do("POST", console.PathOperations, fmt.Sprintf(`{"kind":%q,"all":true}`, k.Kind))
		if q.status == 422 { // a kind with parameters that must be given
			continue
		}
		q.ok(&push)
		pushed[push.Operation] = k.Kind
		if push.Durable {
			durable = append(durable, push.Operation)
		}
	}
	for id, kind := range pushed {
		if strings.HasPrefix(kind, "scan.") && slices.Contains(durable, id) {
			t.Errorf("%s travels by policy", kind)
		}
	}
	if len(durable) == 0 || len(durable) == len(pushed) {
		t.Fatalf("%d of %d kinds are durable", len(durable), len(pushed))
	}
	r.clock.Add(7 * 24 * time.Hour)
	r.holds(t, off, durable...)

	id, err := task.ParseID(durable[0])
	if err != nil {
		t.Fatal(err)
	}
	e := &event.Event{Observed: r.clock.Now(), Payload: &event.ResultsReported{Rows: []event.ResultRow{
		{Result: task.Result{Operation: id, Device: off, Attempt: 1, State: task.Delivered, At: r.clock.Now()}}}}}
	r.appendSeen(t, e)
	r.holds(t, off, durable...) // it has the task, and may lose it yet
	e = &event.Event{Observed: r.clock.Now(), Payload: &event.ResultsReported{Rows: []event.ResultRow{
		{Result: task.Result{Operation: id, Device: off, Attempt: 1, State: task.Running, At: r.clock.Now()}},
		{Result: task.Result{Operation: id, Device: off, Attempt: 1, State: task.Succeeded, At: r.clock.Now()}}}}}
	r.appendSeen(t, e)
	r.holds(t, off, durable[1:]...)
	r.holds(t, 1, durable...)
}

// appendSeen appends an event and waits until the views hold it.
func (r *rig) appendSeen(t *testing.T, e *event.Event) {
	t.Helper()
	if err := r.journal.Append(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	r.do("GET", fmt.Sprintf("%s?min-event=%d", console.PathDevices, e.Number), nil).ok(new(console.DevicePage))
}

// holds checks which operations the policy of a device holds.
func (r *rig) holds(t *testing.T, device uint32, operations ...string) {
	t.Helper()
	r.do("GET", fmt.Sprintf("%s?min-event=%d", console.PathDevices, r.journal.Head().Event), nil).ok(new(console.DevicePage))
	_, d := r.asks(t, device)
	var got []string
	for _, b := range d.Tasks {
		of, err := task.Signed(b).Task()
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, of.Operation.String())
	}
	if !slices.Equal(got, operations) {
		t.Errorf("policy of device %d holds %v, want %v", device, got, operations)
	}
}
