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

// A page of which the stream says no and that is there all the same is stored
// for whoever reads it back: the name of the new file that it began is made
// durable as well.
func TestNewBlockOfPageReadBack(t *testing.T) {
	j, s := opened(t, Options{})
	body := make([]byte, event.MaxEncoded)
	var head journal.Head
	for head.Pages < 64 {
		var b journal.PageBuilder
		b.Add(body)
		b.Add(body)
		page := b.Seal(head, int64(head.Pages)*10+1)
		if err := s.publish(s.open, page.Head.Pages, page); err != nil {
			t.Fatal(err)
		}
		if !s.open.hasFile(s.newest + 1) {
			s.mark.head, head = page.Head, page.Head
			continue
		}
		if err := s.Put(page); err == nil || errors.Is(err, journal.ErrUnknown) || errors.Is(err, journal.ErrUnavailable) {
			t.Fatalf("the page was put twice: %v", err)
		}
		if s.open.hasFile(s.newest + 1) {
			t.Error("a new file has appeared, and nobody has noted it")
		}
		if m, err := readMark(s.dir); err != nil || m.head != head {
			t.Errorf("the mark says %+v, %v, want the page before: %+v", m.head, err, head)
		}
		_ = j
		return
	}
	t.Error("no new file appeared: the test has missed its aim")
}
