package inbox_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/bugle-fleet/bugle/inbox"
	"github.com/bugle-fleet/bugle/inbox/box"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// upTo is a scope of the first devices.
func upTo(last uint32) func(string, uint32) func(uint32) bool {
	return func(string, uint32) func(uint32) bool {
		return func(device uint32) bool { return device <= last }
	}
}

// TestScope: what a listener says of devices that are not its own is put aside,
// whatever kind of file it stands in; the rest counts, and people are told.
func TestScope(t *testing.T) {
	bubble(t, func(r *rig) {
		r.cfg.ListenerScope = upTo(2)
		r.start()
		names := []box.Name{
			r.drop(1, results(said(1, task.Running), said(3, task.Succeeded), said(2, task.Running))),
			r.drop(1, online(true, 4)),
			r.drop(1, &box.Discovery{Records: []box.DiscoveryRecord{
				{Device: 3, At: at(0), Facts: []box.Fact{{Name: "os", Value: "none"}}},
				{Device: 2, At: at(0), Facts: []box.Fact{{Name: "os", Value: "linux"}}}}}),
			r.drop(1, &box.Status{Records: []box.StatusRecord{
				{Type: box.Message, At: at(0), Component: "listener", Number: 7, Severity: 1, Device: 4, Text: "not its own"},
				{Type: box.Message, At: at(0), Component: "listener", Number: 8, Severity: 1, Device: 1, Text: "its own"},
				{Type: box.Message, At: at(0), Component: "listener", Number: 9, Severity: 1, Text: "nobody's"}}}),
		}
		r.rest()
		r.idle()
		r.wantDevices(1, 2)
		events := r.events()
		if p := of[*event.PresenceSnapshot](events); len(p) != 1 || p[0].Total != 2 || len(p[0].Entries) != 2 || p[0].Entries[1].Device != 2 {
			t.Errorf("presence %+v", p)
		}
		if d := of[*event.DeviceDiscovered](events); len(d) != 1 || d[0].Device != 2 {
			t.Errorf("facts %+v", d)
		}
		var aside, told []string
		for _, p := range of[*event.RecordQuarantined](events) {
			aside = append(aside, fmt.Sprintf("%s %d", p.File, p.Index))
			if !strings.Contains(p.Reason, "scope of listener BGL") {
				t.Errorf("reason %q", p.Reason)
			}
		}
		want := []string{names[0].String() + " 1", names[1].String() + " 2", names[1].String() + " 3", names[2].String() + " 0", names[3].String() + " 0"}
		slices.Sort(aside)
		slices.Sort(want)
		if !slices.Equal(aside, want) {
			t.Errorf("put aside %q, want %q", aside, want)
		}
		for _, m := range of[*event.StatusMessage](events) {
			if m.Component == "inbox" && m.Message == inbox.MessageScope && m.Severity == event.Error {
				told = append(told, m.Text)
			} else if m.Message == 7 {
				t.Error("a message about another's device was taken")
			}
		}
		if len(told) != 4 {
			t.Errorf("told %q", told)
		}
		if s := r.inbox.Stats(); s.BadRecords != 5 || s.Files != 4 || s.BadFiles != 0 {
			t.Errorf("stats %+v", s)
		}
		// The same file again changes nothing.
		r.drop(1, online(true, 4))
		r.rest()
		if n := len(r.events()); n != len(events) {
			t.Errorf("%d events, want %d", n, len(events))
		}
	})
}

// TestScopeTakesNothingWithIt: however many records are not its own, the others
// of the file count.
func TestScopeTakesNothingWithIt(t *testing.T) {
	bubble(t, func(r *rig) {
		r.cfg.ListenerScope = upTo(1)
		r.start()
		rows := []box.ResultRow{said(1, task.Running)}
		for range 2 * box.MaxBad {
			rows = append(rows, said(9, task.Running))
		}
		r.drop(1, results(rows...))
		r.rest()
		r.idle()
		r.wantDevices(1)
		got := of[*event.RecordQuarantined](r.events())
		if len(got) != box.MaxBad || !strings.Contains(got[len(got)-1].Reason, fmt.Sprintf("; %d more records of the file are forged or out of scope", box.MaxBad)) {
			t.Errorf("%d records were put aside, the last: %s", len(got), got[len(got)-1].Reason)
		}
	})
}

// TestScopeOfNobody: a listener that may speak for nobody says nothing.
func TestScopeOfNobody(t *testing.T) {
	bubble(t, func(r *rig) {
		r.cfg.ListenerScope = upTo(0)
		r.start()
		r.drop(1, results(said(1, task.Running)))
		r.drop(1, online(false, 2))
		r.rest()
		r.idle()
		r.wantDevices()
		if got := of[*event.RecordQuarantined](r.events()); len(got) != 3 {
			t.Errorf("%d records were put aside, want 3", len(got))
		}
	})
}

// TestRevokedListener: a key that the site does not know any more makes the file
// bad as a whole.
func TestRevokedListener(t *testing.T) {
	bubble(t, func(r *rig) {
		r.start()
		n := box.Name{Listener: "GONE1", Epoch: 1, Number: 1, Kind: box.BTS}
		r.put(n.String(), encode(t, n, results(said(1, task.Running))))
		r.rest()
		r.wantDevices()
		if got := of[*event.FileQuarantined](r.events()); len(got) != 1 || got[0].Name != n.String() {
			t.Errorf("quarantined %+v", got)
		}
	})
}
