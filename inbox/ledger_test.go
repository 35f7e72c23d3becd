package inbox_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/bugle-fleet/bugle/inbox"
	"github.com/bugle-fleet/bugle/inbox/box"
	"github.com/bugle-fleet/bugle/journal/event"
	"pgregory.net/rapid"
)

func source(number uint64, part, of uint16) *event.Event {
	return &event.Event{Payload: &event.ResultsReported{},
		Source: &event.Source{Listener: "BGL", Epoch: 1, File: event.BTS, Number: number, Part: part, Of: of, Digest: [32]byte{byte(number)}}}
}

// TestLedgerIsASet: in whatever order numbers come, top and holes are what a set
// of them says, and coming twice changes nothing.
func TestLedgerIsASet(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		numbers := rapid.SliceOfN(rapid.Uint64Range(1, 40), 1, 60).Draw(t, "numbers")
		l := inbox.NewLedger()
		set := make(map[uint64]bool)
		for _, n := range numbers {
			l.Apply(source(n, 1, 1))
			set[n] = true
		}
		got := l.Sequences()[0]
		if want := slices.Max(numbers); got.Top != want {
			t.Fatalf("top %d, want %d", got.Top, want)
		}
		missing := make(map[uint64]bool)
		last := uint64(0)
		for _, h := range got.Holes {
			if h.From > h.To || h.From <= last+1 && last > 0 {
				t.Fatalf("holes %v are not apart and rising", got.Holes)
			}
			for n := h.From; n <= h.To; n++ {
				missing[n] = true
			}
			last = h.To
		}
		for n := uint64(1); n <= got.Top; n++ {
			if set[n] == missing[n] {
				t.Fatalf("number %d: came %v, missing %v", n, set[n], missing[n])
			}
		}
	})
}

// TestLedgerCountsParts: a file is seen once all of its events are stored, in
// whatever order, and not before.
func TestLedgerCountsParts(t *testing.T) {
	l := inbox.NewLedger()
	for i, part := range []uint16{3, 1, 3, 1, 2} {
		if len(l.Sequences()) != 0 {
			t.Fatalf("seen before part 2, after %d events", i)
		}
		l.Apply(source(1, part, 3))
	}
	if got := l.Sequences(); len(got) != 1 || got[0].Top != 1 {
		t.Errorf("ledger has %+v, want file 1", got)
	}
}

// TestLedgerIsBounded: a sequence of nothing but holes keeps the newest ones.
func TestLedgerIsBounded(t *testing.T) {
	l := inbox.NewLedger()
	last := uint64(2*inbox.MaxHoles + 2000)
	for n := uint64(2); n <= last; n += 2 {
		l.Apply(source(n, 1, 1))
	}
	got := l.Sequences()[0]
	if len(got.Holes) != inbox.MaxHoles || got.Holes[inbox.MaxHoles-1] != (inbox.Span{From: last - 1, To: last - 1}) {
		t.Errorf("%d holes, the last %v", len(got.Holes), got.Holes[len(got.Holes)-1])
	}
}

// TestForgottenHole: a file below what the ledger can tell is put aside, and not
// taken for one that was seen.
func TestForgottenHole(t *testing.T) {
	bubble(t, func(r *rig) {
		for n := uint64(2); n <= 2*inbox.MaxHoles+10; n += 2 {
			r.ledger.Apply(source(n, 1, 1))
		}
		r.start()
		r.drop(1, results(said(1, 4)))
		r.rest()
		r.idle()
		r.wantDevices()
		if got := of[*event.FileQuarantined](r.events()); len(got) != 1 {
			t.Errorf("quarantined %+v", got)
		}
	})
}

// TestAsideAgainAmongMany: a file that was put aside so long ago that the ledger
// is about to forget it comes again, together with another bad one.
func TestAsideAgainAmongMany(t *testing.T) {
	bubble(t, func(r *rig) {
		r.start()
		r.put("again", nil)
		r.rest()
		const remembered = 4096
		for i := range remembered - 1 {
			r.ledger.Apply(&event.Event{Number: 1, Payload: &event.FileQuarantined{Name: fmt.Sprint("other", i)}})
		}
		r.put("again", nil)
		r.put("new", nil)
		r.rest()
		r.idle()
		if got := of[*event.FileQuarantined](r.events()); len(got) != 3 {
			t.Errorf("quarantined %+v, want three", got)
		}
	})
}

// TestKindsAreTheSame: a file's kind has one number in the box and in the
// journal.
func TestKindsAreTheSame(t *testing.T) {
	for k := box.BTS; k <= box.DDR; k++ {
		if event.FileKind(k).String() != k.String() {
			t.Errorf("kind %d is %s in the box and %s in the journal", k, k, event.FileKind(k))
		}
	}
	if event.NotInSnapshot != 8 {
		t.Error("the journal has another last reason than the box")
	}
}

// TestLedgerWants everything that it looks at.
func TestLedgerWants(t *testing.T) {
	l := inbox.NewLedger()
	for _, k := range event.Kinds() {
		by, _ := event.AppenderOf(k)
		if l.Wants(k) != (by == event.ByInbox) {
			t.Errorf("%s of %s: wants %v", k, by, l.Wants(k))
		}
	}
	if !l.Wants("later.kind") {
		t.Error("a kind of a later version may be of a file, too")
	}
}

func ExampleLedger() {
	l := inbox.NewLedger()
	for _, n := range []uint64{1, 2, 5} {
		l.Apply(source(n, 1, 1))
	}
	for _, s := range l.Sequences() {
		fmt.Println(s.Listener, s.Epoch, s.Kind, "up to", s.Top, "without", s.Holes)
	}
	// Output: BGL 1 BTS up to 5 without [numbers 3 to 4 are]
}

// TestLedgerHave: what a listener is told of a file that it hands in.
func TestLedgerHave(t *testing.T) {
	l := inbox.NewLedger()
	l.Apply(source(1, 1, 1))
	l.Apply(source(2, 1, 2)) // a part of two
	for _, c := range []struct {
		number      uint64
		digest      byte
		file, other bool
	}{
		{1, 1, true, false},
		{1, 9, false, true},
		{2, 2, false, false},
		{2, 9, false, true},
		{3, 3, false, false},
	} {
		name := box.Name{Listener: "BGL", Epoch: 1, Number: c.number, Kind: box.BTS}
		if file, other := l.Have(name, [32]byte{c.digest}); file != c.file || other != c.other {
			t.Errorf("number %d, digest %d: %v, %v", c.number, c.digest, file, other)
		}
	}
}
