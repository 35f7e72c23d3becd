package commit

import (
	"errors"
	"testing"

	"pgregory.net/rapid"

	"github.com/bugle-fleet/bugle/journal"
)

// An index finds what a plain list of first events finds, and comes back from its
// bytes.
func TestIndex(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		counts := rapid.SliceOfN(rapid.IntRange(1, journal.MaxPageEvents), 1, 300).Draw(t, "counts")
		x, next := newIndex(), uint64(1)
		var firsts []uint64
		for _, n := range counts {
			firsts = append(firsts, next)
			x.add(n)
			next += uint64(n)
		}
		head := journal.Head{Event: next - 1, Pages: uint64(len(counts))}
		again, err := decodeIndex(encodeIndex(x.counts), head)
		if err != nil {
			t.Fatal(err)
		}
		for _, event := range []uint64{1, next - 1, rapid.Uint64Range(1, next-1).Draw(t, "event")} {
			want := len(firsts) - 1
			for firsts[want] > event {
				want--
			}
			for _, x := range []*index{&x, &again} {
				if before, first := x.find(event); before != uint64(want) || first != firsts[want] {
					t.Fatalf("event %d is behind %d pages in the one from %d, want %d and %d", event, before, first, want, firsts[want])
				}
			}
		}
	})
}

func TestIndexOfAnotherHead(t *testing.T) {
	for name, c := range map[string]struct {
		b    []byte
		head journal.Head
	}{
		"too few pages":     {[]byte{1, 1}, journal.Head{Event: 3, Pages: 3}},
		"too many pages":    {[]byte{1, 1, 1}, journal.Head{Event: 3, Pages: 2}},
		"other events":      {[]byte{1, 2}, journal.Head{Event: 2, Pages: 2}},
		"an empty page":     {[]byte{1, 0}, journal.Head{Event: 1, Pages: 2}},
		"a page too large":  {[]byte{0xe9, 0x07}, journal.Head{Event: 1001, Pages: 1}},
		"a number cut":      {[]byte{1, 0x80}, journal.Head{Event: 2, Pages: 2}},
		"a number too long": {[]byte{0x81, 0}, journal.Head{Event: 1, Pages: 1}},
		"far too many":      {nil, journal.Head{Event: 1 << 60, Pages: 1 << 60}},
	} {
		if _, err := decodeIndex(c.b, c.head); !errors.Is(err, errIndex) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzIndex(f *testing.F) {
	f.Add([]byte{1, 2, 3}, uint64(6), uint64(3))
	f.Add([]byte{0xe8, 0x07}, uint64(1000), uint64(1))
	f.Fuzz(func(t *testing.T, b []byte, event, pages uint64) {
		x, err := decodeIndex(b, journal.Head{Event: event, Pages: pages})
		if err == nil && string(encodeIndex(x.counts)) != string(b) {
			t.Errorf("%x became %x", b, encodeIndex(x.counts))
		}
	})
}
