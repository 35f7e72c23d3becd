package status_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/projectors/projectorstest"
	"github.com/bugle-fleet/bugle/projectors/status"
	"github.com/google/go-cmp/cmp"
)

func start(t *testing.T) (*projectorstest.Site, *status.Reader) {
	view, r := status.New()
	return projectorstest.Start(t, view), r
}

// accepted is when the journal of a test accepted event n.
func accepted(n uint64) time.Time { return projectorstest.Epoch.Add(time.Duration(n - 1)) }

func TestMessages(t *testing.T) {
	s, r := start(t)
	s.Append(from("AAA", 1, message(event.Info, "one")), says(message(event.Error, "two")), says(message(event.Info, "three")))
	texts := func(before uint64, limit int, severities ...event.Severity) (texts []string) {
		all, err := r.Messages(before, limit, severities...)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range all {
			texts = append(texts, m.Text)
		}
		return texts
	}
	for _, c := range []struct{ got, want []string }{
		{texts(0, 10), []string{"three", "two", "one"}},
		{texts(0, 2), []string{"three", "two"}},
		{texts(2, 10), []string{"one"}},
		{texts(1, 10), nil},
		{texts(0, 10, event.Info), []string{"three", "one"}},
		{texts(0, 10, event.Info, event.Error), []string{"three", "two", "one"}},
		{texts(0, 0), nil},
	} {
		if !slices.Equal(c.got, c.want) {
			t.Errorf("messages are %q, want %q", c.got, c.want)
		}
	}
	all, err := r.Messages(2, 1)
	want := []status.Message{{Event: 1, Accepted: accepted(1), Observed: at, Listener: "AAA", Component: "listener",
		Number: 4711, Severity: event.Info, Device: 3, Text: "one"}}
	if diff := cmp.Diff(want, all); diff != "" || err != nil {
		t.Error(diff, err)
	}
}

func TestNewestAreKept(t *testing.T) {
	s, r := start(t)
	var many []*event.Event
	for i := range status.MaxMessages + 5 {
		many = append(many, says(message(event.Info, fmt.Sprint(i))))
	}
	for i := range status.MaxRefusals + 5 {
		many = append(many, says(&event.SignInFailed{Where: "join", Count: uint32(i)}))
	}
	for i := range status.MaxQuarantined + 5 {
		many = append(many, says(&event.FileQuarantined{Name: fmt.Sprint(i)}))
	}
	s.Wait(projectorstest.Append(t, s.Journal, 500, many...))
	messages, err := r.Messages(0, 1<<20)
	if err != nil || len(messages) != status.MaxMessages || messages[len(messages)-1].Text != "5" {
		t.Errorf("%d messages, %v", len(messages), err)
	}
	refusals, err := r.SignInFailures(1 << 20)
	if err != nil || len(refusals) != status.MaxRefusals || refusals[len(refusals)-1].Count != 5 {
		t.Errorf("%d refusals, %v", len(refusals), err)
	}
	files, err := r.Quarantined()
	if err != nil || len(files) != status.MaxQuarantined || files[len(files)-1].File != "5" {
		t.Errorf("%d files, %v", len(files), err)
	}
	const rows = status.MaxMessages + status.MaxRefusals + 2*status.MaxQuarantined
	if st := s.Views.Status()[0]; st.Rows != rows {
		t.Errorf("%d rows, want %d", st.Rows, rows)
	}
	s.Stop()
	view, r := status.New()
	s.Open(view)
	s.Append(says(message(event.Info, "last")))
	if messages, err := r.Messages(0, 1<<20); err != nil || len(messages) != status.MaxMessages || messages[len(messages)-1].Text != "6" {
		t.Errorf("after a restart %d messages, %v", len(messages), err)
	}
}

func TestListeners(t *testing.T) {
	s, r := start(t)
	s.Append(says(&event.ListenerGranted{Listener: "BBB", Epoch: 1}), says(&event.ListenerGranted{Listener: "AAA", Epoch: 3}))
	s.Append(from("AAA", 3, &event.ListenerStarted{Listener: "AAA", Epoch: 3, Version: "1.0", Address: "a:1"}))
	s.Append(from("AAA", 3, &event.PresenceDelta{}), says(message(event.Info, "not of a file")))
	s.Append(from("BBB", 2, &event.PresenceDelta{}), from("BBB", 1, &event.ListenerStopped{Listener: "BBB", Epoch: 1}))
	s.Append(says(&event.ListenerLost{Listener: "AAA", Epoch: 3}))
	want := []status.Listener{
		{Name: "AAA", Epoch: 3, State: status.Lost, Version: "1.0", Address: "a:1", Granted: accepted(2), Started: accepted(3), Heard: accepted(4), Ended: accepted(8), Event: 8},
		{Name: "BBB", Epoch: 2, State: status.Granted, Granted: accepted(1), Heard: accepted(6), Event: 1},
	}
	all, err := r.Listeners()
	if diff := cmp.Diff(want, all); diff != "" || err != nil {
		t.Error(diff, err)
	}
	s.Append(from("BBB", 2, &event.ListenerStopped{Listener: "BBB", Epoch: 2}))
	if all, err = r.Listeners(); err != nil || all[1].State != status.Stopped || !all[1].Ended.Equal(accepted(9)) {
		t.Errorf("listeners are %+v, %v", all, err)
	}
	s.Append(from("AAA", 2, &event.PresenceDelta{})) // of an earlier epoch
	if all, err = r.Listeners(); err != nil || all[0].State != status.Lost {
		t.Errorf("listeners are %+v, %v", all, err)
	}
	s.Append(from("AAA", 3, &event.PresenceDelta{})) // it was only out of reach
	if all, err = r.Listeners(); err != nil || all[0].State != status.Started || all[0].Event != 11 {
		t.Errorf("listeners are %+v, %v", all, err)
	}
	names := ""
	for s := status.Unknown; s <= status.Lost+1; s++ {
		names += s.String() + " "
	}
	if names != "unknown granted started stopped lost unknown " {
		t.Errorf("states are %q", names)
	}
}

func TestQuarantined(t *testing.T) {
	s, r := start(t)
	s.Append(says(&event.FileQuarantined{Name: "a", Digest: [32]byte{1}, Size: 5, Reason: "cut"}),
		from("AAA", 1, &event.RecordQuarantined{File: "b", Index: 2, Reason: "no device", Raw: []byte{7}}),
		says(&event.FileRequeued{Name: "a"}), says(&event.FileRequeued{Name: "b"}), says(&event.FileRequeued{Name: "c"}),
		says(&event.FileQuarantined{Name: "a", Reason: "cut again"}))
	want := []status.Quarantined{
		{Event: 6, Accepted: accepted(6), File: "a", Reason: "cut again"},
		{Event: 2, Accepted: accepted(2), Listener: "AAA", File: "b", Record: true, Index: 2, Reason: "no device", Raw: []byte{7}},
		{Event: 1, Accepted: accepted(1), File: "a", Digest: [32]byte{1}, Size: 5, Reason: "cut", Requeued: accepted(3)},
	}
	all, err := r.Quarantined()
	if diff := cmp.Diff(want, all); diff != "" || err != nil {
		t.Error(diff, err)
	}
	s.Append(says(&event.FileRequeued{Name: "a"}))
	if all, err = r.Quarantined(); err != nil || !all[0].Requeued.Equal(accepted(7)) || !all[2].Requeued.Equal(accepted(3)) {
		t.Errorf("quarantined are %+v, %v", all, err)
	}
}

func TestSignInFailures(t *testing.T) {
	s, r := start(t)
	s.Append(says(&event.SignInFailed{Where: "join", Address: "192.0.2.1", Reason: "token", Count: 3}),
		says(&event.LoginFailed{Where: "console", Address: "192.0.2.2", Reason: "password", Count: 1}))
	want := []status.Refusal{
		{Event: 2, Accepted: accepted(2), Login: true, Where: "console", Address: "192.0.2.2", Reason: "password", Count: 1},
		{Event: 1, Accepted: accepted(1), Where: "join", Address: "192.0.2.1", Reason: "token", Count: 3},
	}
	all, err := r.SignInFailures(10)
	if diff := cmp.Diff(want, all); diff != "" || err != nil {
		t.Error(diff, err)
	}
	if all, err := r.SignInFailures(1); err != nil || len(all) != 1 {
		t.Errorf("%d failures, %v", len(all), err)
	}
}

func TestSiteMessage(t *testing.T) {
	s, r := start(t)
	n := s.Append(says(&event.SiteMessage{Component: "journal", Message: 3002, Severity: event.Warning, Text: "a check found damage"}))
	got, err := r.Messages(0, 10, event.Warning)
	if err != nil || len(got) != 1 || got[0] != (status.Message{Event: n, Accepted: got[0].Accepted, Observed: at, Component: "journal",
		Number: 3002, Severity: event.Warning, Text: "a check found damage"}) {
		t.Errorf("messages are %+v, %v", got, err)
	}
}
