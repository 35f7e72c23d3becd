package event_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/listener/wire/bounded"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

var update = flag.Bool("update", false, "write golden files that are not there yet; those that are never change")

func mustEncode(t testing.TB, e *event.Event) []byte {
	t.Helper()
	b, err := e.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func mustDecode(t testing.TB, b []byte) *event.Event {
	t.Helper()
	e, err := event.Decode(b)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// golden compares b with a file of hexadecimal lines.
func golden(t *testing.T, name string, b []byte) {
	t.Helper()
	file := filepath.Join("testdata", name)
	want, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) && *update {
		if err := os.WriteFile(file, lines(b), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	if got := lines(b); !bytes.Equal(got, want) {
		t.Errorf("%s: the bytes have changed\ngot\n%s\nwant\n%s", name, got, want)
	}
}

func lines(b []byte) []byte {
	var out bytes.Buffer
	for part := range slices.Chunk(b, 32) {
		fmt.Fprintln(&out, hex.EncodeToString(part))
	}
	return out.Bytes()
}

func readGolden(t testing.TB, file string) []byte {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	b, err := hex.DecodeString(strings.Join(strings.Fields(string(text)), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// What is on disk anywhere stays readable: the bytes of every kind are kept.
func TestGolden(t *testing.T) {
	for _, p := range samples {
		e := sample(p)
		golden(t, goldenOf(p), mustEncode(t, e))
		got := mustDecode(t, readGolden(t, filepath.Join("testdata", goldenOf(p))))
		if diff := cmp.Diff(e, got); diff != "" {
			t.Errorf("%s reads back changed (-sample +golden):\n%s", p.Kind(), diff)
		}
	}
	for _, p := range samples1 {
		got := mustDecode(t, readGolden(t, filepath.Join("testdata", string(p.Kind())+".v1.hex")))
		if diff := cmp.Diff(sample(p), got); diff != "" {
			t.Errorf("version 1 of %s reads back changed (-sample +golden):\n%s", p.Kind(), diff)
		}
	}
	for _, p := range samples2 {
		got := mustDecode(t, readGolden(t, filepath.Join("testdata", string(p.Kind())+".v2.hex")))
		if diff := cmp.Diff(sample(p), got); diff != "" {
			t.Errorf("version 2 of %s reads back changed (-sample +golden):\n%s", p.Kind(), diff)
		}
	}
	bare := &event.Event{Payload: &event.ListenerStopped{}}
	golden(t, "bare.v1.hex", mustEncode(t, bare))
	if diff := cmp.Diff(bare, mustDecode(t, mustEncode(t, bare))); diff != "" {
		t.Errorf("an event without anything reads back changed:\n%s", diff)
	}
}

// No golden file is left out, none is left over.
func TestGoldenFilesAreTheKinds(t *testing.T) {
	files, err := filepath.Glob("testdata/*.hex")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]bool{"bare.v1.hex": true, "unknown.v9.hex": true}
	for _, k := range event.Kinds() {
		want[string(k)+".v1.hex"] = true
	}
	for _, p := range append(samples1[:len(samples1):len(samples1)], samples2...) {
		want[goldenOf(p)] = true
	}
	for _, p := range samples2 {
		want[string(p.Kind())+".v2.hex"] = true
	}
	for _, f := range files {
		if !want[filepath.Base(f)] {
			t.Errorf("%s belongs to no kind", f)
		}
		delete(want, filepath.Base(f))
	}
	for f := range want {
		t.Errorf("testdata lacks %s", f)
	}
}

// The table of kinds, once more, so that nobody changes it by the way.
func TestKinds(t *testing.T) {
	want := map[event.Kind]event.Appender{
		"device.joined": event.ByAuthority, "device.discovered": event.ByInbox, "device.blocked": event.ByAuthority,
		"device.unblocked": event.ByAuthority, "token.created": event.ByAuthority, "token.revoked": event.ByAuthority,
		"listener.granted": event.ByAuthority, "listener.started": event.ByInbox, "listener.stopped": event.ByInbox,
		"listener.lost": event.BySite, "presence.snapshot": event.ByInbox, "presence.delta": event.ByInbox,
		"results.reported": event.ByInbox, "operation.requested": event.ByConsole, "operation.cancelled": event.ByConsole,
		"operation.expired": event.BySite, "operation.closed": event.BySite, "file.quarantined": event.ByInbox,
		"file.requeued": event.ByConsole, "record.quarantined": event.ByInbox, "status.message": event.ByInbox,
		"policy.changed": event.ByConsole, "view.rebuilt": event.ByConsole, "login.failed": event.ByConsole, "signin.failed": event.ByInbox,
		"checkpoint.signed": event.BySite, "journal.checked": event.BySite, "generation.sealed": event.BySite,
		"generation.archived": event.BySite, "event.lost": event.BySite, "journal.salvaged": event.BySite,
		"certificate.issued": event.ByAuthority, "keys.changed": event.ByAuthority, "listener.revoked": event.ByAuthority,
		"operation.released": event.BySite, "operation.stopped": event.BySite,
		"journal.exported": event.ByConsole, "view.rolled-back": event.ByConsole, "site.message": event.BySite,
		"devices.imported": event.ByAuthority, "device.removed": event.ByAuthority, "classes.defined": event.ByConsole,
		"collection.changed": event.ByConsole, "window.changed": event.ByConsole, "evaluation.requested": event.ByConsole,
		"collections.evaluated": event.ByEvaluator,
	}
	got := make(map[event.Kind]event.Appender)
	for _, k := range event.Kinds() {
		a, ok := event.AppenderOf(k)
		if !ok {
			t.Errorf("%s has no appender", k)
		}
		got[k] = a
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("kinds and who appends them (-want +got):\n%s", diff)
	}
	if _, ok := event.AppenderOf("no.such"); ok {
		t.Error("a kind that is not there has an appender")
	}
	sampled := make(map[event.Kind]bool)
	for _, p := range samples {
		sampled[p.Kind()] = true
	}
	if len(sampled) != len(want) || len(samples) != len(want) {
		t.Errorf("%d samples of %d kinds, there are %d kinds", len(samples), len(sampled), len(want))
	}
}

// Every constant of type Kind is in the table: a forgotten one would decode as
// unknown.
func TestEveryKindIsInTheTable(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "kind.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	ast.Inspect(file, func(node ast.Node) bool {
		spec, ok := node.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if id, ok := spec.Type.(*ast.Ident); !ok || id.Name != "Kind" || len(spec.Values) != 1 {
			return true
		}
		name, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := event.AppenderOf(event.Kind(name)); !ok {
			t.Errorf("%s is not in the table", name)
		}
		n++
		return true
	})
	if n != len(event.Kinds()) {
		t.Errorf("%d constants, %d kinds in the table", n, len(event.Kinds()))
	}
}

// A kind or a version that this bugle does not know is kept to the byte.
func TestUnknown(t *testing.T) {
	for _, u := range []*event.Unknown{
		{Of: "comet.sighted", Version: 9, Raw: []byte{0x92, 9, 0xc4, 0x00}},
		{Of: "comet.sighted", Version: 0, Raw: []byte("not even msgpack")},
		{Of: "device.joined", Version: 2, Raw: []byte{0x91, 2}},
		{Of: "device.joined", Version: 1 << 63},
	} {
		b := mustEncode(t, sample(u))
		e := mustDecode(t, b)
		if diff := cmp.Diff(sample(u), e); diff != "" {
			t.Errorf("unknown event reads back changed:\n%s", diff)
		}
		if again := mustEncode(t, e); !bytes.Equal(again, b) {
			t.Errorf("unknown event is written back changed:\n%x\n%x", b, again)
		}
		if event.KindOf(b) != u.Of {
			t.Errorf("kind %q, want %q", event.KindOf(b), u.Of)
		}
	}
	golden(t, "unknown.v9.hex", mustEncode(t, sample(&event.Unknown{Of: "comet.sighted", Version: 9, Raw: []byte{0x92, 9, 0xc4, 0x00}})))
}

// What a decoder would refuse must not get into the journal: one such event and
// nobody can read on.
func TestEncodeRefusesWhatDecodeWould(t *testing.T) {
	source := func(change func(*event.Source)) *event.Event {
		e := sample(&event.FileRequeued{Name: "x"})
		change(e.Source)
		return e
	}
	row := func(s task.State) *event.ResultsReported {
		return &event.ResultsReported{Rows: []event.ResultRow{{Result: task.Result{Device: 1, State: s}}}}
	}
	entry := func(e event.PresenceEntry) *event.PresenceDelta {
		return &event.PresenceDelta{Entries: []event.PresenceEntry{e}}
	}
	for name, e := range map[string]*event.Event{
		"no payload":                  {},
		"a kind in capitals":          sample(&event.Unknown{Of: "Device", Version: 1}),
		"no kind":                     sample(&event.Unknown{Version: 1}),
		"a kind that is long":         sample(&event.Unknown{Of: event.Kind(strings.Repeat("k", 65)), Version: 1}),
		"unknown but known":           sample(&event.Unknown{Of: event.KindDeviceJoined, Version: 1, Raw: []byte{1}}),
		"a long key":                  {Key: strings.Repeat("k", event.MaxKey+1), Payload: &event.FileRequeued{}},
		"a key of bytes":              {Key: "\xff", Payload: &event.FileRequeued{}},
		"a file of no kind":           source(func(s *event.Source) { s.File = 0 }),
		"a file of a later kind":      source(func(s *event.Source) { s.File = 5 }),
		"part 0":                      source(func(s *event.Source) { s.Part = 0 }),
		"part 3 of 2":                 source(func(s *event.Source) { s.Part = 3 }),
		"a long listener":             source(func(s *event.Source) { s.Listener = strings.Repeat("L", 17) }),
		"a state that is none":        sample(row(task.NoState)),
		"a state beyond the last":     sample(row(task.Lost + 1)),
		"presence of device 0":        sample(entry(event.PresenceEntry{})),
		"presence without a reason":   sample(entry(event.PresenceEntry{Device: 1, Reason: event.NotInSnapshot + 1})),
		"presence by no carrier":      sample(entry(event.PresenceEntry{Device: 1, Carrier: 8})),
		"too many entries":            sample(&event.PresenceDelta{Entries: make([]event.PresenceEntry, event.MaxEntries+1)}),
		"too many rows":               sample(&event.ResultsReported{Rows: make([]event.ResultRow, event.MaxEntries+1)}),
		"too many facts":              sample(&event.DeviceDiscovered{Device: 1, Facts: make([]event.Fact, event.MaxFacts+1)}),
		"a severity beyond the last":  sample(&event.StatusMessage{Severity: event.Error + 1}),
		"a listener's key of 33":      sample(&event.ListenerGranted{Listener: "BGL01", PublicKey: make([]byte, 33)}),
		"a bitmap that is too long":   sample(&event.OperationRequested{Targets: make([]byte, event.MaxBitmap+1)}),
		"a task that is too long":     sample(&event.OperationRequested{Task: make([]byte, 16<<10+1)}),
		"a token's id that is long":   sample(&event.TokenCreated{Token: strings.Repeat("t", event.MaxName+1)}),
		"a quarantined record of 2 K": sample(&event.RecordQuarantined{Raw: make([]byte, 2<<10)}),
	} {
		b, err := e.Append([]byte("before"))
		if err == nil {
			_, decode := event.Decode(b[6:])
			t.Errorf("%s was encoded; decoding says %v", name, decode)
		}
		if string(b) != "before" {
			t.Errorf("%s: what was there before is now %d bytes", name, len(b))
		}
	}
}

func TestTooLarge(t *testing.T) {
	facts := slices.Repeat([]event.Fact{{Name: "n", Value: strings.Repeat("v", event.MaxText)}}, 70)
	b, err := sample(&event.DeviceDiscovered{Device: 1, Facts: facts}).Append([]byte("before"))
	if !errors.Is(err, event.ErrTooLarge) || string(b) != "before" {
		t.Errorf("an event of 280 KB: %d bytes, %v", len(b), err)
	}
	raw := make([]byte, event.MaxEncoded-10)
	if _, err := sample(&event.Unknown{Of: "a.b", Version: 1, Raw: raw}).Append(nil); !errors.Is(err, event.ErrTooLarge) {
		t.Errorf("a payload that fits in an envelope that does not: %v, want ErrTooLarge", err)
	}
	if _, err := event.Decode(make([]byte, event.MaxEncoded+1)); !errors.Is(err, bounded.ErrMalformed) {
		t.Errorf("decoding more than may be: %v", err)
	}
}

// Texts for people are cut, never refused: what an agent says must not stop the
// inbox.
func TestTextsAreCut(t *testing.T) {
	e := mustDecode(t, mustEncode(t, sample(&event.StatusMessage{Text: strings.Repeat("ä", event.MaxText), Component: "a\xffb"})))
	p := e.Payload.(*event.StatusMessage)
	if p.Text != strings.Repeat("ä", event.MaxText/2) || p.Component != "a\uFFFDb" {
		t.Errorf("%d bytes of text and component %q", len(p.Text), p.Component)
	}
}

// The largest events that other packages make do fit.
func TestLargestEventsFit(t *testing.T) {
	entries := make([]event.PresenceEntry, event.MaxEntries)
	for i := range entries {
		entries[i] = event.PresenceEntry{Device: uint32(16_000_000 + 3*i), Online: true, Carrier: event.LongPoll, Since: at(int64(i * 7919 % 100_000))}
	}
	b := mustEncode(t, sample(&event.PresenceSnapshot{Total: 1 << 24, Entries: entries}))
	t.Logf("%d presence entries are %d bytes", len(entries), len(b))
	mustDecode(t, b)
	facts := slices.Repeat([]event.Fact{{Name: strings.Repeat("n", 100), Value: strings.Repeat("v", 300)}}, event.MaxFacts)
	mustDecode(t, mustEncode(t, sample(&event.DeviceDiscovered{Device: 1, Facts: facts})))
	bitmap := make([]byte, event.MaxBitmap)
	mustDecode(t, mustEncode(t, sample(&event.OperationRequested{Task: make([]byte, 10<<10), Targets: bitmap, Offline: bitmap[:100<<10]})))
}

func TestNames(t *testing.T) {
	for _, c := range []struct {
		got  fmt.Stringer
		want string
	}{
		{event.BTS, "BTS"}, {event.BOS, "BOS"}, {event.SVF, "SVF"}, {event.DDR, "DDR"}, {event.FileKind(9), "?"},
		{event.SignedIn, "signed-in"}, {event.NotInSnapshot, "not-in-snapshot"}, {event.PresenceReason(9), "unknown"},
		{event.TCP, "tcp"}, {event.WebSocket, "websocket"}, {event.LongPoll, "long-poll"}, {event.Carrier(0), "unknown"},
		{event.Info, "info"}, {event.Warning, "warning"}, {event.Error, "error"}, {event.Severity(0), "unknown"},
	} {
		if c.got.String() != c.want {
			t.Errorf("%v is called %q, want %q", c.got, c.got, c.want)
		}
	}
}

var equal = cmp.Options{cmpopts.EquateEmpty()}
