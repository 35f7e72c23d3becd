package device_test

import (
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/listener/wire/task"
	"github.com/bugle-fleet/bugle/projectors"
	"github.com/bugle-fleet/bugle/projectors/device"
	"github.com/bugle-fleet/bugle/projectors/projectorstest"
)

var at = time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC)

func joined(number uint32, name string) *event.Event {
	return &event.Event{Observed: at, Actor: event.Actor{Issuer: "token", Subject: "T1"}, Payload: &event.DeviceJoined{
		Device: number, ID: task.ID{15: byte(number)}, Name: name, Token: "T1", Expires: at.AddDate(1, 0, 0),
		OS: "linux", Arch: "amd64", Agent: "1.0"}}
}

func discovered(number uint32, facts ...event.Fact) *event.Event {
	return &event.Event{Observed: at.Add(time.Hour), Payload: &event.DeviceDiscovered{Device: number, Facts: facts}}
}

// issued is the n-th further certificate of a device.
func issued(number uint32, n byte) *event.Event {
	return &event.Event{Payload: &event.CertificateIssued{Device: number, Serial: []byte{n, 0xfe}, Expires: at.AddDate(1, int(n), 0)}}
}

func blocked(number uint32, reason string) *event.Event {
	return &event.Event{Payload: &event.DeviceBlocked{Device: number, Reason: reason}}
}

func unblocked(number uint32) *event.Event {
	return &event.Event{Payload: &event.DeviceUnblocked{Device: number}}
}

func imported(number uint32, name string) *event.Event {
	return &event.Event{Payload: &event.DevicesImported{Devices: []event.ImportedDevice{{Device: number, New: true, ID: task.ID{15: byte(number)}, Name: name}}}}
}

// renamed imports what there is, under another name.
func renamed(number uint32, name string) *event.Event {
	return &event.Event{Payload: &event.DevicesImported{Devices: []event.ImportedDevice{{Device: number, Name: name}}}}
}

func removed(number uint32, reason string) *event.Event {
	return &event.Event{Payload: &event.DeviceRemoved{Device: number, Reason: reason}}
}

// history brings every kind of event that the view folds.
func history(t *testing.T) []*event.Event {
	return []*event.Event{
		joined(1, "alpha"), joined(2, "Beta"), discovered(1, event.Fact{Name: "os.version", Value: "12.11"}, event.Fact{Name: "empty"}),
		blocked(2, "stolen"), joined(3, "alpha"), discovered(9, event.Fact{Name: "x", Value: "y"}), unblocked(2),
		discovered(1, event.Fact{Name: "os.version", Value: "12.12"}), blocked(3, ""), joined(3, "gamma"),
		discovered(3, event.Fact{Name: "cpu", Value: "4"}), blocked(8, "nobody"),
		imported(4, "imported"), imported(5, "alpha"), imported(6, "six"), renamed(4, "delta"), renamed(77, "nobody"), removed(2, "scrapped"), removed(5, ""), removed(78, ""),
		joined(6, "six"), joined(5, "again"), discovered(2, event.Fact{Name: "cpu", Value: "8"}), blocked(2, "late"), renamed(2, "late"), discovered(1, event.Fact{Name: "os.version"}),
		issued(1, 1), issued(2, 1), issued(7, 1), issued(1, 2), {Payload: &event.CertificateIssued{Listener: "OUT01", Serial: []byte{9}, Expires: at}},
	}
}

func TestSuite(t *testing.T) {
	projectorstest.Run(t, projectorstest.Suite{
		New:    func() *projectors.View { v, _ := device.New(); return v },
		Golden: "testdata/rows.v4.golden",
		Events: history(t),
	})
}
