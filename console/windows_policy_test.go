package console_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/bugle-fleet/bugle/agent/window"
	"github.com/bugle-fleet/bugle/console"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// A device's policy holds the windows of its collections, and devices that have the
// same share one document.
func TestPolicyHoldsWindowsOfCollections(t *testing.T) {
	r := newWindowRig(t)
	r.collection("P0100001", "Pilot", 1, 2, 70_000)
	r.collection("P0100002", "Wide", 2, 3)
	has := func(device uint32, want ...string) string {
		t.Helper()
		etag, d := r.asksWindows(device)
		if !slices.Equal(d, want) {
			t.Errorf("device %d has %q, want %q", device, d, want)
		}
		return etag
	}
	none := has(1)
	if has(9) != none {
		t.Error("devices without windows have several policies")
	}
	r.put("Pilot", "b", night)
	r.put("Wide", "a", noon)
	r.put("Pilot", "a", noon)
	r.put("Pilot", "off", `{"enabled":false,"start":"2026-11-28T03:30","minutes":120}`)
	one := has(1, "a", "b")
	if has(70_000, "a", "b") != one || has(9) != none {
		t.Error("devices that have the same have several policies")
	}
	both := has(2, "a", "b", "a")
	if three := has(3, "a"); three == one || three == both || one == both {
		t.Error("devices that have others have the same policy")
	}
	r.do("PUT", console.PathPolicy, fmt.Sprintf(`{"policy":{"windows":[%s]}}`, named("site", noon))).ok(new(console.PolicyReply))
	has(2, "site", "a", "b", "a")
	has(9, "site")
	// Membership and windows that change count at once.
	r.members("P0100001", nil, []uint32{2})
	has(2, "site", "a")
	r.members("P0100001", []uint32{9}, nil)
	has(9, "site", "a", "b")
	r.do("DELETE", windowPath("Pilot", "a"), nil).ok(new(console.WindowsReply))
	has(9, "site", "b") // also before the view of windows knows
	r.append(&event.CollectionChanged{ID: "P0100001", Before: &event.Collection{ID: "P0100001"}})
	has(9, "site")
}

// asksWindows returns the names of the windows in the policy of a device.
func (r *windowRig) asksWindows(device uint32) (etag string, names []string) {
	r.t.Helper()
	etag, signed, _, err := r.policies.For(device, "")
	if err != nil {
		r.t.Fatal(err)
	}
	p, err := task.VerifyPolicy(signed, "P01", r.authority.PolicyPublicKeys()...)
	if err != nil {
		r.t.Fatal(err)
	}
	var d struct {
		Version int
		Windows window.List
	}
	if err := json.Unmarshal(p.Body, &d); err != nil || d.Version != 1 {
		r.t.Fatalf("%s: %v", p.Body, err)
	}
	for _, w := range d.Windows {
		names = append(names, w.Name)
	}
	return etag, names
}

// A device gets no more windows than it takes, the site's first, and the answers
// say so.
func TestPolicyHoldsNoMoreWindowsThanADeviceTakes(t *testing.T) {
	r := newWindowRig(t)
	r.device(1, "pc-1")
	site := make([]string, 100)
	for i := range site {
		site[i] = named(fmt.Sprint("site", i), noon)
	}
	r.do("PUT", console.PathPolicy, fmt.Sprintf(`{"policy":{"windows":[%s]}}`, strings.Join(site, ","))).ok(new(console.PolicyReply))
	for i := range 5 {
		id := fmt.Sprintf("P010000%d", i+1)
		r.collection(id, "c"+id, 1)
		var many []string
		for j := range 40 {
			many = append(many, id+" "+named(strings.Repeat("ü", 60)+fmt.Sprint(j), noon))
		}
		r.do("POST", console.PathWindowsApply, windowsRequest(false, false, many...)).ok(new(console.WindowsReply))
	}
	r.caughtUp()
	if _, names := r.asksWindows(1); len(names) != window.MaxWindows || names[0] != "site0" {
		t.Errorf("%d windows in a policy, the first %q", len(names), names[0])
	}
	var l console.WindowList
	get(r, console.PathWindows, "device", "1").ok(&l)
	if len(l.Items) != window.MaxWindows || l.LeftOut != 300-window.MaxWindows {
		t.Errorf("%d windows, %d left out", len(l.Items), l.LeftOut)
	}
	r.collection("P0100009", "Full", 1)
	site = site[:0]
	for i := range 250 {
		site = append(site, named(fmt.Sprint("site", i), `{"start":"2026-11-28T01:00","minutes":60}`))
	}
	r.do("PUT", console.PathPolicy, fmt.Sprintf(`{"policy":{"windows":[%s]}}`, strings.Join(site, ","))).ok(new(console.PolicyReply))
	many := make([]string, 7)
	for i := range many {
		many[i] = "Full " + named(fmt.Sprint(i), noon)
	}
	r.do("POST", console.PathWindowsApply, windowsRequest(false, false, many...)).problem(422, "Full", "7 windows", "250", "at most 256")
	r.do("POST", console.PathWindowsApply, windowsRequest(false, false, many[1:]...)).ok(new(console.WindowsReply))
}
