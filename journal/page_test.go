package journal_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/event"
)

var update = flag.Bool("update", false, "write golden files that are not there yet; those that are never change")

func encoded(t testing.TB, name string) []byte {
	t.Helper()
	b, err := (&event.Event{Payload: &event.FileRequeued{Name: name}}).Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// head is the end of a journal of 41 events on 7 pages.
var head = journal.Head{Event: 41, Pages: 7, Hash: [32]byte{0xaa, 31: 0xbb}}

const accepted = 1_700_000_000_123_456_789

func sealed(t testing.TB) *journal.Sealed {
	t.Helper()
	var b journal.PageBuilder
	for _, name := range []string{"a", "b", "c"} {
		b.Add(encoded(t, name))
	}
	return b.Seal(head, accepted)
}

func lines(b []byte) []byte {
	var out bytes.Buffer
	for part := range slices.Chunk(b, 32) {
		fmt.Fprintln(&out, hex.EncodeToString(part))
	}
	return out.Bytes()
}

func TestGolden(t *testing.T) {
	got := lines(sealed(t).Bytes())
	file := filepath.Join("testdata", "page.v1.hex")
	want, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) && *update {
		err, want = os.WriteFile(file, got, 0o644), got
	}
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("the bytes of a page have changed\ngot\n%s\nwant\n%s", got, want)
	}
	raw, err := hex.DecodeString(strings.Join(strings.Fields(string(want)), ""))
	if err != nil {
		t.Fatal(err)
	}
	p, err := journal.ParsePage(raw, head)
	if err != nil {
		t.Fatal(err)
	}
	if p.First != 42 || p.Last() != 44 || p.Previous != head.Hash || p.Hash != sha256.Sum256(raw) {
		t.Errorf("page %d–%d behind %x", p.First, p.Last(), p.Previous)
	}
	for i := range p.Records {
		r := &p.Records[i]
		e, err := r.Event()
		if err != nil {
			t.Fatal(err)
		}
		again, err := r.Event()
		if again != e || err != nil {
			t.Errorf("event %d was decoded twice", r.Number)
		}
		name := string(rune('a' + i))
		if e.Number != uint64(42+i) || r.Kind() != event.KindFileRequeued || e.Payload.(*event.FileRequeued).Name != name ||
			!e.Accepted.Equal(time.Unix(0, accepted+int64(i))) {
			t.Errorf("record %d is event %d, %+v", i, e.Number, e)
		}
	}
}

// What the maker of a page knows of it is what a reader reads.
func TestSealedIsWhatIsParsed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var b journal.PageBuilder
		size := 0
		n := rapid.IntRange(1, 20).Draw(t, "events")
		for range n {
			body := rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "body")
			b.Add(body)
			size += len(body)
		}
		if b.Count() != n || b.Size() != size {
			t.Fatalf("the builder counts %d events of %d bytes, there are %d of %d", b.Count(), b.Size(), n, size)
		}
		s := b.Seal(head, accepted)
		if b.Count() != 0 || b.Size() != 0 {
			t.Fatal("the builder is not empty after sealing")
		}
		p, err := journal.ParsePage(s.Bytes(), head)
		if err != nil {
			t.Fatal(err)
		}
		if s.Head != head.Next(p) || s.Before != head {
			t.Fatalf("sealed %+v, parsed %+v", s.Head, head.Next(p))
		}
		q := s.Page()
		if q != s.Page() || q.First != p.First || q.Hash != p.Hash || q.Previous != p.Previous || len(q.Records) != n {
			t.Fatalf("sealed page %d–%d, parsed %d–%d", q.First, q.Last(), p.First, p.Last())
		}
		for i := range q.Records {
			x, y := &q.Records[i], &p.Records[i]
			if x.Number != y.Number || x.Accepted != y.Accepted || !bytes.Equal(x.Body, y.Body) {
				t.Fatalf("record %d differs", i)
			}
		}
	})
}

func TestRoom(t *testing.T) {
	var b journal.PageBuilder
	if !b.Room(journal.MaxPageEvents, journal.MaxPageBytes) || b.Room(journal.MaxPageEvents+1, 0) || b.Room(1, journal.MaxPageBytes+1) {
		t.Error("an empty page has not the room that it should have")
	}
	b.Add(make([]byte, 1000))
	if b.Room(journal.MaxPageEvents, 0) || b.Room(1, journal.MaxPageBytes-999) || !b.Room(journal.MaxPageEvents-1, journal.MaxPageBytes-1000) {
		t.Error("a page with an event has not the room that it should have")
	}
}

// Whatever is wrong with a page is a DamageError that names the event behind the
// last good one.
func TestParsePageRefuses(t *testing.T) {
	good := sealed(t).Bytes()
	for name, change := range map[string]func([]byte) []byte{
		"nothing":               func([]byte) []byte { return nil },
		"half a header":         func(b []byte) []byte { return b[:20] },
		"another magic":         func(b []byte) []byte { b[3] = '2'; return b },
		"another number":        func(b []byte) []byte { b[11]++; return b },
		"another page before":   func(b []byte) []byte { b[16]++; return b },
		"no events":             func(b []byte) []byte { b[15] = 0; return b[:48] },
		"one event less":        func(b []byte) []byte { b[15]--; return b },
		"one event more":        func(b []byte) []byte { b[15]++; return b },
		"4 G events":            func(b []byte) []byte { copy(b[12:], "\xff\xff\xff\xff"); return b },
		"1,001 events":          func(b []byte) []byte { b[14], b[15] = 0x03, 0xe9; return b },
		"an event of 4 GB":      func(b []byte) []byte { copy(b[48:], "\xff\xff\xff\xff"); return b },
		"an event of 257 KB":    func(b []byte) []byte { copy(b[48:], "\x00\x04\x00\x01"); return append(b, make([]byte, 300<<10)...) },
		"a time before 1970":    func(b []byte) []byte { b[52] |= 0x80; return b },
		"the last byte missing": func(b []byte) []byte { return b[:len(b)-1] },
		"a byte too many":       func(b []byte) []byte { return append(b, 0) },
	} {
		_, err := journal.ParsePage(change(slices.Clone(good)), head)
		var damage *journal.DamageError
		if !errors.As(err, &damage) || !errors.Is(err, journal.ErrDamaged) {
			t.Errorf("%s: %v, want a DamageError", name, err)
			continue
		}
		if damage.Event != 42 || damage.Page != 8 || !strings.Contains(err.Error(), "event 42") {
			t.Errorf("%s: %v, want event 42 on page 8", name, err)
		}
	}
	if _, err := journal.ParsePage(good, journal.Head{}); !errors.Is(err, journal.ErrDamaged) {
		t.Errorf("a page where the first must be: %v", err)
	}
}

// A change of any bit of a page is seen there, or behind it.
func TestChain(t *testing.T) {
	first := sealed(t)
	var b journal.PageBuilder
	b.Add(encoded(t, "d"))
	second := b.Seal(first.Head, accepted+3)
	for i := range first.Bytes() {
		for bit := range 8 {
			raw := slices.Clone(first.Bytes())
			raw[i] ^= 1 << bit
			p, err := journal.ParsePage(raw, head)
			if err != nil {
				continue
			}
			if _, err := journal.ParsePage(second.Bytes(), head.Next(p)); err == nil {
				t.Fatalf("nobody sees that bit %d of byte %d was changed", bit, i)
			}
		}
	}
}

func FuzzParsePage(f *testing.F) {
	good := sealed(f).Bytes()
	f.Add(good)
	f.Add(good[:60])
	f.Add([]byte("BGJ1\x00\x00\x00\x00\x00\x00\x00\x2a\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		p, err := journal.ParsePage(raw, head)
		if err != nil {
			if !errors.Is(err, journal.ErrDamaged) {
				t.Errorf("%v, want a DamageError", err)
			}
			return
		}
		size := 48
		for i := range p.Records {
			r := &p.Records[i]
			if r.Number != head.Event+1+uint64(i) || r.Accepted < 0 {
				t.Errorf("record %d has number %d and time %d", i, r.Number, r.Accepted)
			}
			size += 12 + len(r.Body)
			if e, err := r.Event(); err == nil && r.Kind() != "" && r.Kind() != e.Kind() {
				t.Errorf("record %d is of kind %q and holds a %q", i, r.Kind(), e.Kind())
			}
		}
		if size != len(raw) || p.Hash != sha256.Sum256(raw) || !bytes.Equal(p.Bytes(), raw) {
			t.Errorf("records of %d bytes in a page of %d", size, len(raw))
		}
	})
}
