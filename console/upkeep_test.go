package console_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bugle-fleet/bugle/console"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/listener/wire/task"
	"github.com/bugle-fleet/bugle/projectors"
)

func TestViews(t *testing.T) {
	r := newRig(t)
	r.views = append(r.views, projectors.Status{Name: "status", Err: errors.New("gap")})
	var list console.ViewList
	r.do("GET", console.PathViews, nil).ok(&list)
	want := []console.View{
		{View: "device", State: "serving", Generation: 1, Position: 5}, {View: "operation", State: "serving", Generation: 2, Position: 3, Lag: 2}, {View: "status", State: "stopped", Error: "gap"},
	}
	if d := cmp.Diff(want, list.Items); d != "" {
		t.Error(d)
	}
	var digest console.DigestReply
	r.do("GET", console.Path(console.PathViewDigest, "device"), nil).ok(&digest)
	if digest.View != "device" || digest.Position != 5 || digest.Digest != "ab"+strings.Repeat("00", 31) {
		t.Errorf("digest %+v", digest)
	}
	r.do("GET", console.Path(console.PathViewDigest, "x"), nil).problem(404, "no such view")
}

func TestRebuild(t *testing.T) {
	r := newRig(t)
	r.rebuilt = projectors.Result{Generation: 3, Position: 5, Digest: [32]byte{0xab}, Same: true}
	s := r.stream(t, "POST", console.Path(console.PathViewRebuild, "device"))
	var last message
	for {
		m, ok := s.next()
		if !ok {
			break
		}
		if last = m; m.name == "progress" && m.data != `{"view":"device","done":1,"total":2}` {
			t.Errorf("progress %s", m.data)
		}
	}
	var got console.RebuildReply
	if err := json.Unmarshal([]byte(last.data), &got); err != nil || last.name != "result" {
		t.Fatalf("ends with %+v, %v", last, err)
	}
	if d := cmp.Diff(console.RebuildReply{View: "device", Generation: 3, Position: 5, Digest: "ab" + strings.Repeat("00", 31), Same: true, Event: 1}, got); d != "" {
		t.Error(d)
	}
	if p, ok := r.last().Payload.(*event.ViewRebuilt); !ok || p.View != "device" || p.Generation != 3 || !p.Same {
		t.Errorf("event %+v", r.last().Payload)
	}
	r.do("POST", console.Path(console.PathViewRebuild, "x"), nil).problem(404, "no such view")
}

func TestRebuildAll(t *testing.T) {
	r := newRig(t)
	r.rebuilt = projectors.Result{Generation: 3, Position: 5, Same: true}
	s := r.stream(t, "POST", console.Path(console.PathViewRebuild, console.AllViews))
	var got []string
	for m, ok := s.next(); ok; m, ok = s.next() {
		var reply console.RebuildReply
		if err := json.Unmarshal([]byte(m.data), &reply); m.name == "result" && err == nil {
			got = append(got, reply.View)
		}
	}
	if fmt.Sprint(got) != "[device operation]" || r.journal.Head().Event != 2 {
		t.Errorf("rebuilt %v, %d events", got, r.journal.Head().Event)
	}
}

// What was done is in the history, also if the caller went away at that moment.
func TestRebuildWhoseCallerGoes(t *testing.T) {
	r := newRig(t)
	r.rebuilt = projectors.Result{Generation: 3, Position: 5, Same: true}
	r.onReplace = func(ctx context.Context) { <-ctx.Done() }
	r.stream(t, "POST", console.Path(console.PathViewRebuild, "device")).stop()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	reader, err := r.journal.Follow(ctx, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	if p, err := reader.Next(ctx); err != nil || p.Records[0].Kind() != event.KindViewRebuilt {
		t.Errorf("what follows is %v, %v", p, err)
	}
}

func TestRollback(t *testing.T) {
	r := newRig(t)
	path := console.Path(console.PathViewRollback, "device")
	r.do("POST", path, `{}`).problem(409, "no generation")
	r.views[0].Former = 7
	r.rebuilt = projectors.Result{Generation: 7, Position: 5, Digest: [32]byte{0xab}}
	q := r.send(r.token, "POST", path, `{"reason":"wrong"}`)
	var got console.RebuildReply
	_, data, _ := strings.Cut(string(q.body), "data: ")
	if err := json.Unmarshal([]byte(data), &got); err != nil || got.Generation != 7 || got.Event != 1 || got.Same {
		t.Fatalf("answer %s, %v", q.body, err)
	}
	if p, ok := r.last().Payload.(*event.ViewRolledBack); !ok || p.View != "device" || p.Generation != 7 || p.Reason != "wrong" || r.last().Actor.Subject != "admin" {
		t.Errorf("event %+v", r.last())
	}
	r.do("POST", console.Path(console.PathViewRollback, "all"), `{}`).problem(404, "no such view")
	r.do("POST", path, `{"why":"x"}`).problem(422)
	r.fail(fmt.Errorf("roll back: %w", projectors.ErrBusy))
	if q := r.send(r.token, "POST", path, `{}`); !strings.Contains(string(q.body), "under way") || r.journal.Head().Event != 1 {
		t.Errorf("answer %s", q.body)
	}
}

func TestRebuildThatFails(t *testing.T) {
	r := newRig(t)
	r.fail(fmt.Errorf("rebuild view device: %w", projectors.ErrBusy))
	s := r.stream(t, "POST", console.Path(console.PathViewRebuild, "device"))
	var last message
	for m, ok := s.next(); ok; m, ok = s.next() {
		last = m
	}
	var p console.Problem
	if err := json.Unmarshal([]byte(last.data), &p); err != nil || last.name != "problem" || p.Status != 409 || !strings.Contains(p.Detail, "under way") {
		t.Errorf("ends with %+v, %v", last, err)
	}
	if r.journal.Head().Event != 0 {
		t.Error("a failed rebuild is an event")
	}
}

func TestPolicy(t *testing.T) {
	r := newRig(t)
	var got console.PolicyReply
	r.do("GET", console.PathPolicy, nil).ok(&got)
	if got.Event != 0 || got.Policy.KeepAliveSeconds != 900 || got.Policy.PolicyPollSeconds != 3600 || len(got.Policy.Indicators) != 0 {
		t.Errorf("policy %+v", got)
	}
	if etag, signed := r.policyFor(t); etag != got.ETag || string(signed.Body) != console.DefaultPolicy {
		t.Errorf("agents get %s with %s", etag, signed.Body)
	}
	if r.policies.KeepAlive(1) != 15*time.Minute {
		t.Errorf("keep-alive %v", r.policies.KeepAlive(1))
	}

	body := `{"policy":{"keepAliveSeconds":60,"indicators":["` + strings.ToUpper(digest) + `","` + digest + `"],"scanFolders":["/srv"]},"reason":"quiet"}`
	var set, again console.PolicyReply
	r.do("PUT", console.PathPolicy, body, key, "p").ok(&set)
	want := console.PolicyBody{KeepAliveSeconds: 60, Indicators: []string{digest}, ScanFolders: []string{"/srv"}}
	if d := cmp.Diff(want, set.Policy); d != "" || set.Event != 1 || set.ETag == got.ETag {
		t.Errorf("answer %+v, %s", set, d)
	}
	if p := r.last().Payload.(*event.PolicyChanged); p.Reason != "quiet" {
		t.Errorf("event %+v", p)
	}
	r.restart()
	got = console.PolicyReply{}
	r.do("GET", console.PathPolicy, nil).ok(&got)
	if d := cmp.Diff(set, got); d != "" {
		t.Error(d)
	}
	if etag, signed := r.policyFor(t); etag != set.ETag || !strings.Contains(string(signed.Body), `"keepAliveSeconds":60`) || r.policies.KeepAlive(9) != time.Minute {
		t.Errorf("agents get %s with %s", etag, signed.Body)
	}
	if r.do("PUT", console.PathPolicy, body, key, "p").ok(&again); again.Event != set.Event || r.journal.Head().Event != 1 {
		t.Errorf("answer %+v", again)
	}
	r.do("PUT", console.PathPolicy, `{"policy":{}}`, key, "p").problem(409)
}

func (r *rig) policyFor(t *testing.T) (string, task.Policy) {
	t.Helper()
	etag, signed, _, err := r.policies.For(7, "")
	if err != nil {
		t.Fatal(err)
	}
	p, err := task.VerifyPolicy(signed, "P01", r.authority.PolicyPublicKeys()...)
	if err != nil {
		t.Fatal(err)
	}
	return etag, p
}

func TestPolicyRefuses(t *testing.T) {
	r := newRig(t)
	long := strings.Repeat("x", 250)
	for name, body := range map[string]string{
		"no policy":         `{}`,
		"unknown setting":   `{"policy":{"keepalive":1}}`,
		"keep-alive of 0":   `{"policy":{"keepAliveSeconds":-1}}`,
		"a long keep-alive": `{"policy":{"keepAliveSeconds":86401}}`,
		"bad indicator":     `{"policy":{"indicators":["x"]}}`,
		"empty folder":      `{"policy":{"scanFolders":[""]}}`,
		"too many folders":  `{"policy":{"scanFolders":[` + strings.TrimSuffix(strings.Repeat(`"/x",`, 101), ",") + `]}}`,
	} {
		t.Run(name, func(t *testing.T) { r.do("PUT", console.PathPolicy, body).problem(422) })
	}
	var p console.PolicyRequest
	for i := range 800 {
		p.Policy.Indicators = append(p.Policy.Indicators, fmt.Sprintf("%064x", i))
	}
	for range 100 {
		p.Policy.ScanFolders = append(p.Policy.ScanFolders, long)
	}
	r.do("PUT", console.PathPolicy, p).problem(422, "at most 65536")
	if r.journal.Head().Event != 0 {
		t.Error("a refused policy is an event")
	}
}

// What the journal holds is not trusted blindly: agents keep their policy.
func TestPolicyThatCannotBeRead(t *testing.T) {
	r := newRig(t)
	r.append(&event.PolicyChanged{Body: []byte("{")})
	if _, signed := r.policyFor(t); string(signed.Body) != console.DefaultPolicy {
		t.Errorf("agents get %s", signed.Body)
	}
}
