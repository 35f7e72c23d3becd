package inbox

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/bugle-fleet/bugle/inbox/box"
	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/listener/wire/bounded"
)

var _ journal.SavingFold = (*Ledger)(nil)

// drawEvent is an event about one of a few files: their parts, in whatever
// order, other contents of the same name, and files that were put aside.
func drawEvent(t *rapid.T, number uint64) *event.Event {
	listener := rapid.SampledFrom([]string{"BGL", "BGL2", "A"}).Draw(t, "listener")
	epoch := rapid.Uint32Range(1, 2).Draw(t, "epoch")
	kind := rapid.SampledFrom([]event.FileKind{event.BTS, event.BOS}).Draw(t, "kind")
	n := rapid.Uint64Range(1, 30).Draw(t, "number")
	digest := [32]byte{byte(n), rapid.Byte().Draw(t, "content") & 1}
	if rapid.IntRange(0, 5).Draw(t, "aside") == 0 {
		name := box.Name{Listener: listener, Epoch: epoch, Number: n, Kind: box.Kind(kind)}.String()
		return &event.Event{Number: number, Payload: &event.FileQuarantined{Name: name, Digest: digest}}
	}
	of := uint16(1 + n%3*5)
	return &event.Event{Number: number, Payload: &event.ResultsReported{},
		Source: &event.Source{Listener: listener, Epoch: epoch, File: kind, Number: n, Part: 1 + uint16(rapid.IntRange(0, int(of)-1).Draw(t, "part")), Of: of, Digest: digest}}
}

func saved(t interface{ Fatal(...any) }, l *Ledger) []byte {
	b, err := l.Save()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// A ledger that was saved anywhere, restored and told the rest knows what one
// does that was told all, to the byte, and judges every file alike.
func TestSaveAnywhere(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		count := rapid.IntRange(0, 120).Draw(t, "events")
		cut := rapid.IntRange(0, count).Draw(t, "cut")
		all, prefix, restored := NewLedger(), NewLedger(), NewLedger()
		restored.Apply(drawEvent(t, 999)) // what a ledger knew before it does not matter
		for i := range count {
			e := drawEvent(t, uint64(i+1))
			all.Apply(e)
			if i < cut {
				prefix.Apply(e)
			}
			if i == cut-1 || cut == 0 && i == 0 {
				restoreInto(t, restored, prefix)
			}
			if i >= cut {
				restored.Apply(e)
			}
		}
		if count == 0 {
			restoreInto(t, restored, prefix)
		}
		if got, want := saved(t, restored), saved(t, all); !bytes.Equal(got, want) {
			t.Fatalf("restored and told the rest:\n%x\ntold all:\n%x", got, want)
		}
		sameVerdicts(t, restored, all)
	})
}

func restoreInto(t *rapid.T, l, from *Ledger) {
	b := saved(t, from)
	if err := l.Restore(b); err != nil {
		t.Fatal(err)
	}
	if again := saved(t, l); !bytes.Equal(again, b) {
		t.Fatalf("saved\n%x\nrestored\n%x", b, again)
	}
}

func sameVerdicts(t *rapid.T, got, want *Ledger) {
	if !slices.EqualFunc(got.Sequences(), want.Sequences(), func(a, b Sequence) bool { return fmt.Sprint(a) == fmt.Sprint(b) }) {
		t.Fatalf("%v, want %v", got.Sequences(), want.Sequences())
	}
	for _, listener := range []string{"BGL", "BGL2", "A"} {
		for n := uint64(1); n <= 31; n++ {
			for content := range byte(2) {
				name, digest := box.Name{Listener: listener, Epoch: 1, Number: n, Kind: box.BTS}, [32]byte{byte(n), content}
				gotVerdict, gotParts := got.judge(name, digest, int(1+n%3*5))
				wantVerdict, wantParts := want.judge(name, digest, int(1+n%3*5))
				if gotVerdict != wantVerdict || !slices.Equal(gotParts, wantParts) || got.asideAt(name.String(), digest) != want.asideAt(name.String(), digest) {
					t.Fatalf("%v: %v %v, want %v %v", name, gotVerdict, gotParts, wantVerdict, wantParts)
				}
			}
		}
	}
}

// All bounds at once: full rings that have turned, the most holes, the most files
// of which only parts came.
func TestSaveFull(t *testing.T) {
	all, restored := NewLedger(), NewLedger()
	number := uint64(0)
	tell := func(from, to int, l *Ledger) {
		for i := from; i < to; i++ {
			number++
			n := uint64(2*i + 2)
			l.Apply(&event.Event{Number: number, Payload: &event.ResultsReported{},
				Source: &event.Source{Listener: "BGL", Epoch: 1, File: event.BTS, Number: n, Part: 1, Of: 1, Digest: sha256.Sum256([]byte{byte(i), byte(i >> 8)})}})
			if i%4 > 0 {
				continue
			}
			l.Apply(&event.Event{Number: number, Payload: &event.ResultsReported{},
				Source: &event.Source{Listener: "BGL", Epoch: 2, File: event.BTS, Number: uint64(i*7919%3001 + 1), Part: 2, Of: 9}})
			l.Apply(&event.Event{Number: number, Payload: &event.FileQuarantined{Name: fmt.Sprint("x", i%5000)}})
		}
	}
	const cut, end = MaxDigests + 1000, MaxDigests + 3000
	tell(0, cut, all)
	if len(all.order) != MaxDigests || len(all.partial) != maxPartial || len(all.asideLog) != maxAsideLog || len(all.record(sequence{"BGL", 1, event.BTS}).holes) != MaxHoles {
		t.Fatal("not all bounds were met")
	}
	if err := restored.Restore(saved(t, all)); err != nil {
		t.Fatal(err)
	}
	before := number
	tell(cut, end, all)
	number = before
	tell(cut, end, restored)
	if !bytes.Equal(saved(t, all), saved(t, restored)) {
		t.Error("the restored ledger has forgotten something else")
	}
}

// encoded is what a ledger would have saved with these parts.
func encoded(t testing.TB, write func(w *bounded.Writer)) []byte {
	t.Helper()
	b, err := bounded.Encode(nil, write)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// What is kept under the name ledger/1 is spelled as it is in testdata, for ever:
// another spelling needs another name.
func TestSaveGolden(t *testing.T) {
	l := NewLedger()
	for i := range uint64(12) {
		l.Apply(&event.Event{Number: i, Payload: &event.ResultsReported{},
			Source: &event.Source{Listener: "BGL", Epoch: uint32(i % 2), File: event.BTS, Number: 1 + i*i%23, Part: 1, Of: uint16(1 + i%3), Digest: [32]byte{byte(i)}}})
	}
	l.Apply(&event.Event{Number: 13, Payload: &event.FileQuarantined{Name: "x"}})
	want, err := os.ReadFile(filepath.Join("testdata", "ledger.v1.hex"))
	if got := hex.EncodeToString(saved(t, l)) + "\n"; err != nil || got != string(want) {
		t.Errorf("saved\n%s, want\n%s, %v", got, want, err)
	}
}

// hostile are saved ledgers that cannot be.
func hostile(t testing.TB) map[string][]byte {
	record := func(w *bounded.Writer, listener string, top, floor uint64, holes ...uint64) {
		w.Array(6)
		w.Exact(listener, 99)
		for _, v := range []uint64{1, 1, top, floor} {
			w.Uint(v)
		}
		w.Array(len(holes))
		for _, h := range holes {
			w.Uint(h)
		}
	}
	one := func(listener string, top, floor uint64, holes ...uint64) []byte {
		return encoded(t, func(w *bounded.Writer) {
			w.Array(5)
			w.Uint(1)
			w.Array(1)
			record(w, listener, top, floor, holes...)
			for range 3 {
				w.Array(0)
			}
		})
	}
	return map[string][]byte{
		"nothing":                nil,
		"no array":               {0x01},
		"an empty array":         {0x90},
		"a later version":        {0x95, 0x02, 0x90, 0x90, 0x90, 0x90},
		"too little":             {0x94, 0x01, 0x90, 0x90, 0x90},
		"more behind":            append(saved(t, NewLedger()), 0x01),
		"an odd end":             one("BGL", 9, 0, 1),
		"a hole that is none":    one("BGL", 9, 0, 5, 4),
		"holes out of order":     one("BGL", 9, 0, 5, 6, 2, 3),
		"a hole above the top":   one("BGL", 9, 0, 5, 10),
		"a hole below the floor": one("BGL", 9, 5, 5, 6),
	}
}

func TestRestoreRefuses(t *testing.T) {
	empty := saved(t, NewLedger())
	for name, b := range hostile(t) {
		l := NewLedger()
		l.Apply(&event.Event{Number: 1, Payload: &event.FileQuarantined{Name: "x"}})
		if err := l.Restore(b); !errors.Is(err, bounded.ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
		if !bytes.Equal(saved(t, l), empty) {
			t.Errorf("%s: the ledger is not as new", name)
		}
	}
}

// FuzzRestore: what is restored is saved as the same knowledge, what is refused
// leaves a ledger as new; and either goes on.
func FuzzRestore(f *testing.F) {
	l := NewLedger()
	for i := range uint64(20) {
		l.Apply(&event.Event{Number: i, Payload: &event.ResultsReported{},
			Source: &event.Source{Listener: "BGL", Epoch: 1, File: event.BTS, Number: 1 + i*i%23, Part: 1, Of: uint16(1 + i%2), Digest: [32]byte{byte(i)}}})
		l.Apply(&event.Event{Number: i, Payload: &event.FileQuarantined{Name: fmt.Sprint(i)}})
	}
	f.Add(saved(f, l))
	for _, b := range hostile(f) {
		f.Add(b)
	}
	empty := saved(f, NewLedger())
	f.Fuzz(func(t *testing.T, b []byte) {
		l := NewLedger()
		err := l.Restore(b)
		again := saved(t, l)
		if err != nil && !bytes.Equal(again, empty) {
			t.Fatal("not as new after", err)
		}
		other := NewLedger()
		if err := other.Restore(again); err != nil {
			t.Fatal(err)
		}
		for i := range uint64(20) {
			e := &event.Event{Number: i, Payload: &event.ResultsReported{},
				Source: &event.Source{Listener: "BGL", Epoch: 1, File: event.BTS, Number: 1 + i*7%23, Part: 1, Of: 2, Digest: [32]byte{byte(i)}}}
			l.Apply(e)
			other.Apply(e)
		}
		if !bytes.Equal(saved(t, l), saved(t, other)) {
			t.Error("two that knew the same do not any more")
		}
	})
}

// BenchmarkSave is a ledger with all of its digests.
func BenchmarkSave(b *testing.B) {
	l := NewLedger()
	for i := range uint64(MaxDigests) {
		l.Apply(&event.Event{Number: i, Payload: &event.ResultsReported{},
			Source: &event.Source{Listener: "BGL", Epoch: uint32(i / 1000), File: event.BTS, Number: i%1000 + 1, Part: 1, Of: 1, Digest: sha256.Sum256([]byte{byte(i), byte(i >> 8)})}})
	}
	bytes := saved(b, l)
	b.Run("save", func(b *testing.B) {
		for b.Loop() {
			saved(b, l)
		}
		b.ReportMetric(float64(len(bytes)), "bytes")
	})
	b.Run("restore", func(b *testing.B) {
		for b.Loop() {
			if err := NewLedger().Restore(bytes); err != nil {
				b.Fatal(err)
			}
		}
	})
}
