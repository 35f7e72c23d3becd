package status_test

import (
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/projectors"
	"github.com/bugle-fleet/bugle/projectors/projectorstest"
	"github.com/bugle-fleet/bugle/projectors/status"
)

var at = time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC)

// from is an event of a file of a listener.
func from(listener string, epoch uint32, p event.Payload) *event.Event {
	return &event.Event{Observed: at, Payload: p, Source: &event.Source{Listener: listener, Epoch: epoch, File: event.SVF, Number: 1, Part: 1, Of: 1}}
}

func says(p event.Payload) *event.Event { return &event.Event{Observed: at, Payload: p} }

func message(severity event.Severity, text string) *event.StatusMessage {
	return &event.StatusMessage{Component: "listener", Message: 4711, Severity: severity, Device: 3, Text: text}
}

// history brings every kind of event that the view folds.
func history(t *testing.T) []*event.Event {
	return []*event.Event{
		says(&event.ListenerGranted{Listener: "AAA", Epoch: 1}),
		from("AAA", 1, &event.ListenerStarted{Listener: "AAA", Epoch: 1, Version: "1.0", Address: "192.0.2.1:10123"}),
		from("AAA", 1, message(event.Warning, "slow disk")),
		says(message(event.Error, "no listener")),
		from("BBB", 1, &event.PresenceSnapshot{}),
		from("BBB", 1, &event.PresenceDelta{}),
		from("BBB", 2, &event.ResultsReported{}),
		from("BBB", 1, &event.DeviceDiscovered{Device: 1}),
		from("AAA", 1, &event.SignInFailed{Where: "listener", Address: "192.0.2.9", Reason: "blocked", Count: 7}),
		says(&event.LoginFailed{Where: "console", Address: "192.0.2.8", Reason: "token", Count: 1}),
		says(&event.FileQuarantined{Name: "AAA-1.BOS", Digest: [32]byte{1, 2}, Size: 99, Reason: "cut"}),
		from("AAA", 1, &event.RecordQuarantined{File: "AAA-2.BTS", Index: 4, Reason: "unknown device", Raw: []byte{1, 2, 3}}),
		says(&event.FileRequeued{Name: "AAA-1.BOS"}),
		says(&event.ListenerLost{Listener: "BBB", Epoch: 2}),
		from("AAA", 1, &event.ListenerStopped{Listener: "AAA", Epoch: 1}),
		says(&event.SiteMessage{Component: "views", Message: 3001, Severity: event.Error, Text: "view device has stopped at event 7"}),
	}
}

func TestSuite(t *testing.T) {
	projectorstest.Run(t, projectorstest.Suite{
		New:    func() *projectors.View { v, _ := status.New(); return v },
		Golden: "testdata/rows.golden",
		Events: history(t),
	})
}
