package jetstream

import (
	"context"
	"encoding/hex"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/event"
)

var update = flag.Bool("update", false, "write golden files that are not there yet; those that are never change")

var sampleMark = mark{
	history: [16]byte{1, 2, 3, 15: 16},
	head:    journal.Head{Event: 44, Pages: 8, Hash: [32]byte{0xaa, 31: 0xbb}},
}

func TestMarkGolden(t *testing.T) {
	file := filepath.Join("testdata", "history.v1.hex")
	got := hex.EncodeToString(sampleMark.bytes()) + "\n"
	want, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) && *update {
		err, want = os.WriteFile(file, []byte(got), 0o644), []byte(got)
	}
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("the bytes of the file history have changed\ngot  %swant %s", got, want)
	}
	b, err := hex.DecodeString(strings.TrimSpace(string(want)))
	if err != nil {
		t.Fatal(err)
	}
	if m, err := parseMark(b); err != nil || m != sampleMark {
		t.Errorf("read %+v, %v", m, err)
	}
}

func FuzzMark(f *testing.F) {
	f.Add(sampleMark.bytes())
	f.Add(sampleMark.bytes()[:50])
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := parseMark(b)
		if err == nil && string(m.bytes()) != string(b) {
			t.Errorf("%x became %x", b, m.bytes())
		}
		if err != nil && !errors.Is(err, errMark) {
			t.Error(err)
		}
	})
}

// When JetStream begins a new file the journal notes how far it has come, so that
// it notices when it is shorter one day.
func TestNewBlock(t *testing.T) {
	dir := t.TempDir()
	j, err := Open(context.Background(), dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	begin, err := readMark(dir)
	if err != nil || begin.head.Event != 0 || begin.history != j.History() {
		t.Fatalf("the mark of a new journal: %+v, %v", begin, err)
	}
	facts := make([]event.Fact, 60)
	for i := range facts {
		facts[i] = event.Fact{Name: "n", Value: strings.Repeat("v", event.MaxText)}
	}
	e := &event.Event{Payload: &event.DeviceDiscovered{Device: 1, Facts: facts}}
	// Some 20 MB: two files and a half.
	for range 40 {
		if err := j.Append(context.Background(), e, e); err != nil {
			t.Fatal(err)
		}
	}
	m, err := readMark(dir)
	if err != nil {
		t.Fatal(err)
	}
	if m.history != begin.history || m.head.Event < 32 || m.head.Event > j.Head().Event {
		t.Errorf("the mark says %+v, the journal ends with event %d", m, j.Head().Event)
	}
	if _, err := os.Stat(filepath.Join(msgsOf(dir), "2.blk")); err != nil {
		t.Errorf("there is no second file: the test has missed its aim: %v", err)
	}
}
