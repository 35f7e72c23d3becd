package filter_test

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/RoaringBitmap/roaring/v2"
	"pgregory.net/rapid"

	"github.com/bugle-fleet/bugle/console/filter"
	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// payloads makes an empty payload of every kind.
var payloads = map[event.Kind]func() event.Payload{
	event.KindDeviceJoined:         func() event.Payload { return new(event.DeviceJoined) },
	event.KindDeviceDiscovered:     func() event.Payload { return new(event.DeviceDiscovered) },
	event.KindDeviceBlocked:        func() event.Payload { return new(event.DeviceBlocked) },
	event.KindDeviceUnblocked:      func() event.Payload { return new(event.DeviceUnblocked) },
	event.KindTokenCreated:         func() event.Payload { return new(event.TokenCreated) },
	event.KindTokenRevoked:         func() event.Payload { return new(event.TokenRevoked) },
	event.KindListenerGranted:      func() event.Payload { return new(event.ListenerGranted) },
	event.KindListenerStarted:      func() event.Payload { return new(event.ListenerStarted) },
	event.KindListenerStopped:      func() event.Payload { return new(event.ListenerStopped) },
	event.KindListenerLost:         func() event.Payload { return new(event.ListenerLost) },
	event.KindPresenceSnapshot:     func() event.Payload { return new(event.PresenceSnapshot) },
	event.KindPresenceDelta:        func() event.Payload { return new(event.PresenceDelta) },
	event.KindResultsReported:      func() event.Payload { return new(event.ResultsReported) },
	event.KindOperationRequest:     func() event.Payload { return new(event.OperationRequested) },
	event.KindOperationCancel:      func() event.Payload { return new(event.OperationCancelled) },
	event.KindOperationExpired:     func() event.Payload { return new(event.OperationExpired) },
	event.KindOperationClosed:      func() event.Payload { return new(event.OperationClosed) },
	event.KindPolicyChanged:        func() event.Payload { return new(event.PolicyChanged) },
	event.KindFileQuarantined:      func() event.Payload { return new(event.FileQuarantined) },
	event.KindFileRequeued:         func() event.Payload { return new(event.FileRequeued) },
	event.KindRecordQuarantined:    func() event.Payload { return new(event.RecordQuarantined) },
	event.KindStatusMessage:        func() event.Payload { return new(event.StatusMessage) },
	event.KindViewRebuilt:          func() event.Payload { return new(event.ViewRebuilt) },
	event.KindLoginFailed:          func() event.Payload { return new(event.LoginFailed) },
	event.KindSignInFailed:         func() event.Payload { return new(event.SignInFailed) },
	event.KindCheckpointSigned:     func() event.Payload { return new(event.CheckpointSigned) },
	event.KindJournalChecked:       func() event.Payload { return new(event.JournalChecked) },
	event.KindGenerationSealed:     func() event.Payload { return new(event.GenerationSealed) },
	event.KindGenerationArchived:   func() event.Payload { return new(event.GenerationArchived) },
	event.KindEventLost:            func() event.Payload { return new(event.EventLost) },
	event.KindJournalSalvaged:      func() event.Payload { return new(event.JournalSalvaged) },
	event.KindJournalExported:      func() event.Payload { return new(event.JournalExported) },
	event.KindViewRolledBack:       func() event.Payload { return new(event.ViewRolledBack) },
	event.KindSiteMessage:          func() event.Payload { return new(event.SiteMessage) },
	event.KindCertificateIssued:    func() event.Payload { return new(event.CertificateIssued) },
	event.KindKeysChanged:          func() event.Payload { return new(event.KeysChanged) },
	event.KindListenerRevoked:      func() event.Payload { return new(event.ListenerRevoked) },
	event.KindOperationReleased:    func() event.Payload { return new(event.OperationReleased) },
	event.KindOperationStopped:     func() event.Payload { return new(event.OperationStopped) },
	event.KindDevicesImported:      func() event.Payload { return new(event.DevicesImported) },
	event.KindDeviceRemoved:        func() event.Payload { return new(event.DeviceRemoved) },
	event.KindClassesDefined:       func() event.Payload { return new(event.ClassesDefined) },
	event.KindCollectionChanged:    func() event.Payload { return new(event.CollectionChanged) },
	event.KindWindowChanged:        func() event.Payload { return new(event.WindowChanged) },
	event.KindEvaluationRequested:  func() event.Payload { return new(event.EvaluationRequested) },
	event.KindCollectionsEvaluated: func() event.Payload { return new(event.CollectionsEvaluated) },
}

func TestEveryKindIsTried(t *testing.T) {
	for _, k := range event.Kinds() {
		if payloads[k] == nil {
			t.Errorf("the tests of the filter make no event of kind %s", k)
		}
	}
}

// Few values, so that filters hit: some devices are one byte in the journal,
// some three, some five.
var (
	devices    = []uint32{1, 2, 127, 128, 300, 70_000, 1<<32 - 1}
	operations = []task.ID{{1, 2, 3}, {15: 9}, {0: 0xff, 15: 0xff}}
	names      = []string{"admin", "SITE01", "BGB01", "agent:7", "console"}
)

func drawPayload(t *rapid.T) event.Payload {
	device := rapid.SampledFrom(devices)
	id := rapid.SampledFrom(operations)
	kinds := event.Kinds()
	slices.Sort(kinds)
	p := payloads[rapid.SampledFrom(kinds).Draw(t, "kind")]()
	v := reflect.ValueOf(p).Elem()
	if f := v.FieldByName("Device"); f.IsValid() {
		f.Set(reflect.ValueOf(device.Draw(t, "device")))
	}
	if f := v.FieldByName("Operation"); f.IsValid() {
		f.Set(reflect.ValueOf(id.Draw(t, "operation")))
	}
	switch p := p.(type) {
	case *event.PresenceSnapshot:
		p.Total, p.Entries = 70_000, drawEntries(t)
	case *event.PresenceDelta:
		p.Entries = drawEntries(t)
	case *event.ResultsReported:
		for range rapid.IntRange(0, 6).Draw(t, "rows") {
			p.Rows = append(p.Rows, event.ResultRow{Result: task.Result{Operation: id.Draw(t, "operation"), Device: device.Draw(t, "device"),
				Attempt: 1, State: task.Succeeded, Code: -70_000, At: time.Unix(1, 0), Detail: strings.Repeat("d", rapid.IntRange(0, 300).Draw(t, "detail"))}})
		}
	case *event.OperationRequested:
		p.Task, p.Targets = signed(t, id.Draw(t, "operation")), bitmap(rapid.SliceOf(device).Draw(t, "targets"))
		if rapid.Bool().Draw(t, "retry") {
			p.RetryOf = id.Draw(t, "of")
		}
	case *event.OperationReleased:
		p.Devices = bitmap(rapid.SliceOf(device).Draw(t, "devices"))
	case *event.DevicesImported:
		for _, d := range rapid.SliceOfN(device, 0, 5).Draw(t, "devices") {
			p.Devices = append(p.Devices, event.ImportedDevice{Device: d, Name: "pc"})
		}
	case *event.StatusMessage:
		p.Device *= uint32(rapid.IntRange(0, 1).Draw(t, "about one"))
	}
	return p
}

func drawEntries(t *rapid.T) (entries []event.PresenceEntry) {
	for _, d := range rapid.SliceOfN(rapid.SampledFrom(devices), 0, 20).Draw(t, "entries") {
		entries = append(entries, event.PresenceEntry{Device: d, Reason: event.Closed, Carrier: event.TCP, Since: time.UnixMilli(int64(d) * 1000)})
	}
	return entries
}

func bitmap(numbers []uint32) []byte {
	b, err := roaring.BitmapOf(numbers...).ToBytes()
	if err != nil {
		panic(err)
	}
	return b
}

func drawEvent(t *rapid.T) *event.Event {
	name := rapid.SampledFrom(names)
	e := &event.Event{Observed: time.Unix(rapid.Int64Range(-1<<33, 1<<33).Draw(t, "observed"), 0), Payload: drawPayload(t), Key: rapid.SampledFrom([]string{"", "k#1"}).Draw(t, "key"),
		Actor: event.Actor{Issuer: rapid.SampledFrom(filter.Issuers).Draw(t, "issuer"), Subject: name.Draw(t, "subject"), Address: name.Draw(t, "address")}}
	if rapid.Bool().Draw(t, "of a file") {
		e.Source = &event.Source{Listener: rapid.SampledFrom(names[1:3]).Draw(t, "listener"), Epoch: 1, File: event.BTS, Number: 1, Part: 1, Of: 1}
	}
	return e
}

func drawFilter(t *rapid.T) *filter.Filter {
	f := new(filter.Filter)
	maybe := func(name string) bool { return rapid.IntRange(0, 2).Draw(t, name) == 0 }
	if maybe("by kind") {
		f.Kinds = rapid.SliceOfN(rapid.SampledFrom([]string{"presence.", "operation.", "results.reported", "device.", "status.message", "token.created"}), 1, 3).Draw(t, "kinds")
	}
	if maybe("by actor") {
		f.Actor.Subject = rapid.SampledFrom(append(names, "nobody")).Draw(t, "subject")
		f.Actor.Issuer = rapid.SampledFrom(append(filter.Issuers, "")).Draw(t, "issuer")
	}
	if maybe("by device") {
		f.Device = rapid.SampledFrom(append(devices, 3)).Draw(t, "device")
	}
	if maybe("by operation") {
		f.Operation = rapid.SampledFrom(append(operations, task.ID{7})).Draw(t, "operation")
	}
	return f
}

// naive is what a filter means, found by the names of fields.
func naive(f *filter.Filter, e *event.Event) bool {
	if len(f.Kinds) > 0 {
		hit := false
		for _, k := range f.Kinds {
			kind := string(e.Kind())
			hit = hit || kind == k || k[len(k)-1] == '.' && len(kind) > len(k) && kind[:len(k)] == k
		}
		if !hit {
			return false
		}
	}
	if a := f.Actor; a.Subject != "" {
		bySubject := e.Actor.Subject == a.Subject && (a.Issuer == "" || a.Issuer == e.Actor.Issuer)
		byFile := e.Source != nil && e.Source.Listener == a.Subject && (a.Issuer == "" || a.Issuer == "listener")
		if !bySubject && !byFile {
			return false
		}
	}
	v := reflect.ValueOf(e.Payload).Elem()
	return (f.Device == 0 || mentions(v, "Device", f.Device)) && (f.Operation.IsZero() || mentions(v, "Operation", f.Operation) || mentions(v, "RetryOf", f.Operation))
}

// mentions looks for a field by name and value in all that a payload holds.
func mentions(v reflect.Value, name string, want any) bool {
	switch v.Kind() {
	case reflect.Slice:
		if raw, ok := v.Interface().(task.Signed); ok {
			t, err := raw.Task()
			return err == nil && name == "Operation" && any(t.Operation) == want
		}
		for i := range v.Len() {
			if mentions(v.Index(i), name, want) {
				return true
			}
		}
	case reflect.Struct:
		for i := range v.NumField() {
			field := v.Type().Field(i).Name
			if field == name && v.Field(i).Interface() == want || mentions(v.Field(i), name, want) {
				return true
			}
			if (field == "Targets" || field == "Devices") && name == "Device" && v.Field(i).Type() == reflect.TypeFor[[]byte]() {
				b := roaring.New()
				if b.UnmarshalBinary(v.Field(i).Bytes()) == nil && slices.Contains(b.ToArray(), want.(uint32)) {
					return true
				}
			}
		}
	}
	return false
}

func record(t interface{ Fatal(...any) }, e *event.Event) *journal.Record {
	body, err := e.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &journal.Record{Number: 7, Accepted: 1, Body: body}
}

func TestFilterIsWhatItMeans(t *testing.T) {
	hits, misses := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		e, f := drawEvent(t), drawFilter(t)
		want := naive(f, e)
		got, err := f.Matches(record(t, e))
		if err != nil || got != want {
			t.Fatalf("%+v takes %s: %v, %v; want %v", f, e.Kind(), got, err, want)
		}
		if f.MatchesEvent(e) != want {
			t.Fatalf("%+v takes the decoded %s: %v", f, e.Kind(), !want)
		}
		if hits++; !want {
			hits--
			misses++
		}
	})
	if hits == 0 || misses == 0 {
		t.Errorf("%d events were taken and %d were not: that proves nothing", hits, misses)
	}
}

func TestParseActor(t *testing.T) {
	for s, want := range map[string]filter.Actor{
		"admin": {"", "admin"}, "local:admin": {"local", "admin"}, "listener:SITE01": {"listener", "SITE01"}, "token:a:b": {"token", "a:b"},
		"local/admin": {"local", "admin"}, "nobody/admin": {"", "nobody/admin"},
	} {
		if got, err := filter.ParseActor(s); err != nil || got != want {
			t.Errorf("%q is %+v, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "local:", "local/", ":admin", "nobody:admin", strings.Repeat("x", 257)} {
		if got, err := filter.ParseActor(s); err == nil {
			t.Errorf("%q is %+v", s, got)
		}
	}
}

func TestCheckKind(t *testing.T) {
	for _, s := range []string{"device.joined", "device.", "event.", "view.rolled-back"} {
		if err := filter.CheckKind(s); err != nil {
			t.Errorf("%q: %v", s, err)
		}
	}
	for _, s := range []string{"", ".", "device", "device.j", "gadgets.", "device.joined.", "*"} {
		if filter.CheckKind(s) == nil {
			t.Errorf("%q is taken", s)
		}
	}
}

// What this bugle does not know is found by kind and by actor.
func TestUnknownEvents(t *testing.T) {
	e := &event.Event{Actor: event.Actor{Issuer: "site", Subject: "x"}, Payload: &event.Unknown{Of: "device.painted", Version: 1, Raw: []byte{1}}}
	later := &event.Event{Actor: e.Actor, Payload: &event.Unknown{Of: event.KindPresenceDelta, Version: 9, Raw: []byte{0x92, 1, 0x90}}}
	for _, c := range []struct {
		f    filter.Filter
		e    *event.Event
		want bool
	}{
		{filter.Filter{Kinds: []string{"device."}}, e, true},
		{filter.Filter{Actor: filter.Actor{Subject: "x"}}, e, true},
		{filter.Filter{Device: 1}, e, false},
		{filter.Filter{Device: 1}, later, false},
		{filter.Filter{Kinds: []string{"presence."}}, later, true},
	} {
		if got, err := c.f.Matches(record(t, c.e)); got != c.want || err != nil {
			t.Errorf("%+v takes %s: %v, %v", c.f, c.e.Kind(), got, err)
		}
	}
}

func TestDamagedEvent(t *testing.T) {
	r := record(t, &event.Event{Payload: &event.DeviceBlocked{Device: 1, Reason: "stolen"}})
	r.Body = r.Body[:len(r.Body)-3]
	f := filter.Filter{Device: 1}
	if _, err := f.Matches(r); err == nil || !strings.Contains(err.Error(), "event 7") {
		t.Errorf("a damaged event gives %v", err)
	}
}

func Example() {
	f := filter.Filter{Kinds: []string{"device."}, Actor: filter.Actor{Subject: "admin"}}
	for _, e := range []*event.Event{
		{Actor: event.Actor{Issuer: "local", Subject: "admin"}, Payload: &event.DeviceBlocked{Device: 17}},
		{Actor: event.Actor{Issuer: "token", Subject: "4f1d"}, Payload: &event.DeviceJoined{Device: 18}},
		{Actor: event.Actor{Issuer: "local", Subject: "admin"}, Payload: &event.PolicyChanged{}},
	} {
		fmt.Println(e.Kind(), f.MatchesEvent(e))
	}
	// Output:
	// device.blocked true
	// device.joined false
	// policy.changed false
}
