package event_test

import (
	"time"

	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

func at(s int64) time.Time { return time.Unix(1_700_000_000+s, 123_456_789).UTC() }

func fill32(b byte) (a [32]byte) {
	for i := range a {
		a[i] = b + byte(i)
	}
	return a
}

var (
	device    = task.ID{0x0f, 0xae, 0x55, 0x3c, 0x5b, 0x0a, 0x4e, 0x1f, 0x8c, 0x11, 0x21, 0x43, 0x65, 0x87, 0xa9, 0xcb}
	operation = task.ID{0x01, 0x8b, 0xcf, 0xe5, 0x68, 0x7b, 0x7f, 0x00, 0x81, 0x10, 0x32, 0x54, 0x76, 0x98, 0xba, 0xdc}
	earlier   = task.ID{0x01, 0x8b, 0xcf, 0xe4, 0x00, 0x00, 0x7f, 0x00, 0x81, 0x10, 0x32, 0x54, 0x76, 0x98, 0xba, 0xdd}
)

// samples is one payload of every kind, with every field set. The golden files
// hold them; they never change, a later version gets samples of its own.
var samples = []event.Payload{
	&event.DeviceJoined{Device: 70_001, ID: device, Name: "ws-17", Token: "0011223344556677", PublicKey: []byte{4, 1, 2, 3}, Serial: []byte{9, 8, 7},
		Expires: at(604_800), OS: "linux", Arch: "amd64", Agent: "0.1.0"},
	&event.DeviceDiscovered{Device: 70_001, Facts: []event.Fact{{Name: "os.version", Value: "12.11"}, {Name: "cpu.count", Value: "8"}}},
	&event.DeviceBlocked{Device: 70_001, Reason: "stolen"},
	&event.DeviceUnblocked{Device: 70_001, Reason: "found again"},
	&event.DevicesImported{Source: "fleet.jsonl", Devices: []event.ImportedDevice{
		{Device: 70_002, New: true, ID: device, Name: "ws-18", Classes: []event.ClassChange{
			{Class: "SMS_R_System", Rows: []event.RowChange{{Properties: []event.PropertyValue{
				{Name: "Build", Value: event.Value{Type: event.TextValue, Text: "10.0.22631"}},
				{Name: "Client", Value: event.Value{Type: event.NumberValue, Number: 1}},
				{Name: "CreationDate", Value: event.Value{Type: event.DateValue, Number: 1_700_000_000_123}},
				{Name: "IPSubnets", Value: event.Value{Type: event.ListValue, List: []string{"10.1.2.0", "10.1.3.0"}}},
				{Name: "Comment", Value: event.Value{}}}}}},
			{Class: "SMS_G_System_ADD_REMOVE_PROGRAMS", Whole: true, Rows: []event.RowChange{{Key: "7-Zip", Properties: []event.PropertyValue{
				{Name: "DisplayName", Value: event.Value{Type: event.TextValue, Text: "7-Zip"}}}}, {Key: "Old", Gone: true}}}}},
		{Device: 70_001, Name: "ws-17b"}}},
	&event.DeviceRemoved{Device: 70_001, Reason: "scrapped"},
	&event.ClassesDefined{Classes: []event.DefinedClass{{Name: "SMS_G_System_WARRANTY", Properties: []event.ClassProperty{
		{Name: "Vendor", Type: event.TextProperty, Key: true}, {Name: "Ends", Type: event.DateProperty}, {Name: "Tags", Type: event.TextProperty, List: true}}}}, Reason: "ticket 12"},
	&event.CollectionChanged{ID: "P0100001", Before: &event.Collection{ID: "P0100001", Name: "Old name", Limit: "SMS00001"},
		After: &event.Collection{ID: "P0100001", Name: "Laptops", Comment: "all of them", Limit: "SMS00001", Direct: []byte{0x3a, 0x30},
			Queries: []event.CollectionQuery{{Name: "chassis", WQL: "select * from SMS_R_System"}}, Include: []string{"P0100002"}, Exclude: []string{"P0100003"},
			Schedule: "0 4 * * *", Incremental: true}, Reason: "renamed"},
	&event.WindowChanged{Collection: "P0100001", Name: "patch night", Before: []byte("{}"), After: []byte(`{"name":"patch night"}`), Reason: "longer"},
	&event.EvaluationRequested{Collections: []string{"P0100001", "P0100002"}, Dependants: true, Reason: "now"},
	&event.CollectionsEvaluated{Cycle: 7, Part: 1, Of: 2, Queue: event.IncrementalQueue, Cause: event.ByDevices, By: 90, Basis: 91, Started: at(5), Clock: at(4),
		Took: 12 * time.Millisecond, Devices: 3, Count: 40, Results: []event.CollectionResult{{ID: "P0100001", Took: 80 * time.Microsecond, Members: 9,
			Added: []byte{0, 1, 2}, Removed: []byte{0, 7}, Computed: 2, Reused: 5}}},
	&event.TokenCreated{Token: "0011223344556677", Hash: fill32(0x10), Uses: 25, Expires: at(3600), Listener: "BGL01", Scope: []byte{0x3a, 0x30}, Device: 70_002},
	&event.TokenRevoked{Token: "0011223344556677"},
	&event.ListenerGranted{Listener: "BGL01", Epoch: 3, PublicKey: []byte{1, 2, 3, 4}, Token: "0011223344556677",
		TCP: []string{"bgl01.example:10123"}, HTTPS: []string{"bgl01.example:10443", "192.0.2.1:10443"}, Scope: []byte{0x3a, 0x30}},
	&event.ListenerRevoked{Listener: "BGL01", Reason: "machine was sold"},
	&event.CertificateIssued{Device: 70_001, Listener: "BGL01", PublicKey: []byte{4, 1, 2, 3}, Serial: []byte{9, 8, 7}, Expires: at(604_800)},
	&event.KeysChanged{Number: 2, Ring: []byte("signed keyring"), What: "task", Reason: "yearly"},
	&event.ListenerStarted{Listener: "BGL01", Epoch: 3, Version: "0.1.0", Address: "192.0.2.1:10123"},
	&event.ListenerStopped{Listener: "BGL01", Epoch: 3},
	&event.ListenerLost{Listener: "BGL01", Epoch: 3, Heard: at(-300)},
	&event.PresenceSnapshot{Total: 2, Entries: []event.PresenceEntry{
		{Device: 1, Online: true, Reason: event.SignedIn, Carrier: event.TCP, Since: time.UnixMilli(1_700_000_000_123).UTC()},
		{Device: 70_001, Online: true, Reason: event.SignedIn, Carrier: event.WebSocket, Since: time.UnixMilli(1_699_999_000_000).UTC()},
	}},
	&event.PresenceDelta{Entries: []event.PresenceEntry{
		{Device: 7, Online: false, Reason: event.TimedOut, Carrier: event.TCP, Since: time.UnixMilli(1_700_000_000_999).UTC()},
	}},
	&event.ResultsReported{Rows: []event.ResultRow{
		{Result: task.Result{Operation: operation, Device: 70_001, State: task.Sent, At: at(1)}},
		{Result: task.Result{Operation: operation, Device: 70_001, Attempt: 1, State: task.Failed, Code: -5, At: at(2), Detail: "no scanner"},
			MAC: [task.MACSize]byte{0xaa, 0xbb, 0xcc}},
	}},
	&event.OperationRequested{Task: task.Signed("signed task"), Targets: []byte{0x3a, 0x30}, Count: 2, Online: 1, Offline: []byte{0x3a}, Target: "collection",
		Reason: "monthly", RetryOf: earlier, Priority: 1, Durable: true,
		Pacing:     event.Pacing{Waves: []uint32{5, 100}, Spread: 2 * time.Minute, Rate: 500, StopOnFailure: 10},
		Collection: "P0100001", AsOf: 4711},
	&event.OperationReleased{Operation: operation, Wave: 2, Last: true, Devices: []byte{0x3a, 0x30}, Count: 100, Online: []byte{0x3a}, Spread: 2 * time.Minute},
	&event.OperationStopped{Operation: operation, Wave: 1, Failed: 3, Final: 10, Limit: 10, Cancel: []byte("signed cancel"), Reason: "3 of 10 failed, the limit is 10 %"},
	&event.OperationCancelled{Operation: operation, Reason: "wrong folder", Cancel: []byte("signed cancel")},
	&event.OperationExpired{Operation: operation},
	&event.OperationClosed{Operation: operation},
	&event.PolicyChanged{Body: []byte(`{"keepAlive":"60s"}`), Reason: "fewer packets", User: "ann"},
	&event.FileQuarantined{Name: "BGL01-00000003-00000000000000000009.BOS", Digest: fill32(0x20), Size: 4096, Reason: "checksum does not match"},
	&event.FileRequeued{Name: "BGL01-00000003-00000000000000000009.BOS"},
	&event.RecordQuarantined{File: "BGL01-00000003-00000000000000000010.BTS", Index: 17, Reason: "code does not match", Raw: []byte{0x98, 1}},
	&event.StatusMessage{Component: "inbox", Message: 2301, Severity: event.Warning, Device: 70_001, Text: "two devices have one serial number"},
	&event.ViewRebuilt{View: "presence", Generation: 4, Position: 123_456, Digest: fill32(0x30), Same: true},
	&event.LoginFailed{Where: "console", Address: "192.0.2.7", Reason: "unknown token", Count: 12},
	&event.SignInFailed{Where: "listener", Address: "2001:db8::7", Reason: "certificate has expired", Count: 900},
	&event.CheckpointSigned{Events: 4711, Text: []byte("bugle.P01/00\n12\n")},
	&event.JournalChecked{Events: 4711, Head: fill32(0x50), Root: fill32(0x60), Good: false, Reason: "page 7 is missing"},
	&event.GenerationSealed{Generation: 3, First: 1001, Last: 4711, Pages: 99, Head: fill32(0x50)},
	&event.GenerationArchived{Generation: 3, Name: "00000003.bga", Size: 123_456_789, Digest: fill32(0x70), Removed: true},
	&event.EventLost{History: [16]byte(device), Reason: "page 7 is damaged"},
	&event.JournalSalvaged{History: [16]byte(device), Last: 4711, Lost: []event.Range{{From: 17, To: 20}, {From: 4711, To: 4711}},
		Checkpoint: []byte("bugle.P01/00\n12\n"), Reason: "page 7 is damaged"},
	&event.JournalExported{From: 1, To: 4711, Format: "jsonl", Reason: "audit 2026"},
	&event.ViewRolledBack{View: "presence", Generation: 3, Position: 123_456, Digest: fill32(0x30), Same: true, Reason: "ticket 17"},
	&event.SiteMessage{Component: "journal", Message: 4101, Severity: event.Error, Text: "page 7 is damaged", Device: 300},
}

// sample is an event around a payload, with every field of the envelope set.
func sample(p event.Payload) *event.Event {
	return &event.Event{
		Observed: at(0),
		Key:      "key-1",
		Actor:    event.Actor{Issuer: "token", Subject: "ann", Session: "s1", Behalf: "bob", Address: "192.0.2.9"},
		Source:   &event.Source{Listener: "BGL01", Epoch: 3, File: event.BTS, Number: 9, Part: 1, Of: 2, Digest: fill32(0x40)},
		Payload:  p,
	}
}

// samples1 is what version 1 of the kinds was that have a later one, as it reads
// today.
var samples1 = []event.Payload{
	&event.TokenCreated{Token: "0011223344556677", Hash: fill32(0x10), Uses: 25, Expires: at(3600)},
	&event.ListenerGranted{Listener: "BGL01", Epoch: 3, PublicKey: []byte{1, 2, 3, 4}},
	&event.OperationRequested{Task: task.Signed("signed task"), Targets: []byte{0x3a, 0x30}, Count: 2, Online: 1, Offline: []byte{0x3a}, Target: "all",
		Reason: "monthly", RetryOf: earlier, Priority: 2},
	&event.OperationCancelled{Operation: operation, Reason: "wrong folder"},
	&event.PolicyChanged{Body: []byte(`{"keepAlive":"60s"}`), Reason: "fewer packets"},
	&event.SiteMessage{Component: "journal", Message: 4101, Severity: event.Error, Text: "page 7 is damaged"},
}

// samples2 is what version 2 of the kinds was that have a later one.
var samples2 = []event.Payload{
	&event.TokenCreated{Token: "0011223344556677", Hash: fill32(0x10), Uses: 25, Expires: at(3600), Listener: "BGL01", Scope: []byte{0x3a, 0x30}},
	&event.OperationRequested{Task: task.Signed("signed task"), Targets: []byte{0x3a, 0x30}, Count: 2, Online: 1, Offline: []byte{0x3a}, Target: "all",
		Reason: "monthly", RetryOf: earlier, Priority: 1, Durable: true,
		Pacing: event.Pacing{Waves: []uint32{5, 100}, Spread: 2 * time.Minute, Rate: 500, StopOnFailure: 10}},
}

// goldenOf is the file that holds a sample.
func goldenOf(p event.Payload) string {
	for _, old := range samples2 {
		if old.Kind() == p.Kind() {
			return string(p.Kind()) + ".v3.hex"
		}
	}
	for _, old := range samples1 {
		if old.Kind() == p.Kind() {
			return string(p.Kind()) + ".v2.hex"
		}
	}
	return string(p.Kind()) + ".v1.hex"
}
