package event_test

import (
	"bytes"
	"encoding/hex"
	"math"
	"slices"
	"testing"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/bugle-fleet/bugle/journal/event"
	"pgregory.net/rapid"
)

// stretch is the devices from first to last, each step-th.
func stretch(first, last, step uint32) *roaring.Bitmap {
	s := roaring.New()
	for d := uint64(first); d <= uint64(last); d += uint64(step) {
		s.Add(uint32(d))
	}
	return s
}

// drawDevices draws stretches of devices: close together, far apart, and whole.
func drawDevices(t *rapid.T) *roaring.Bitmap {
	s := roaring.New()
	for range rapid.IntRange(0, 4).Draw(t, "stretches") {
		first := rapid.Uint32Range(0, math.MaxUint32-200_000).Draw(t, "first")
		s.Or(stretch(first, first+rapid.Uint32Range(0, 20_000).Draw(t, "length"), rapid.SampledFrom([]uint32{1, 1, 2, 3, 17, 300, 65_536}).Draw(t, "step")))
	}
	if rapid.IntRange(0, 3).Draw(t, "ends") == 0 {
		s.AddMany([]uint32{0, math.MaxUint32})
	}
	return s
}

func TestSetRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := drawDevices(t)
		before := want.Clone()
		b, err := event.AppendSet([]byte("x"), want)
		if err != nil || b[0] != 'x' {
			t.Fatalf("%x, %v", b, err)
		}
		if !want.Equals(before) {
			t.Fatal("the set was changed")
		}
		raw := slices.Clone(b[1:])
		got, err := event.ParseSet(raw)
		if err != nil || !got.Equals(want) {
			t.Fatalf("%d numbers came back as %v: %v", want.GetCardinality(), got, err)
		}
		if again, err := event.AppendSet(nil, got); err != nil || !bytes.Equal(again, b[1:]) {
			t.Fatalf("%x was read and written as %x: %v", b[1:], again, err)
		}
		for i := range raw { // the set must not live in the caller's bytes
			raw[i] = 0xff
		}
		got.Add(5)
		before.Add(5)
		if !got.Equals(before) {
			t.Fatal("the set changed with the bytes that it was read from")
		}
	})
}

// TestSetGolden has the bytes of some sets: they are on disk for good.
func TestSetGolden(t *testing.T) {
	for name, c := range map[string]struct {
		set  *roaring.Bitmap
		want string
	}{
		"none":          {roaring.New(), ""},
		"nil":           {nil, ""},
		"first":         {roaring.BitmapOf(0), "0000"},
		"one":           {roaring.BitmapOf(1), "0001"},
		"three":         {roaring.BitmapOf(3, 5, 300), "000302a702"},
		"last":          {roaring.BitmapOf(math.MaxUint32), "00ffffffff0f"},
		"a short run":   {stretch(1, 9, 1), "00010101010101010101"},
		"a run":         {stretch(1, 1000, 1), "013b3000000100" + "00e703" + "01000100e703"},
		"over two":      {stretch(65_530, 65_600, 1), "013b3001000300000500010040000100faff0500010000004000"},
		"an array":      {stretch(0, 256*16, 256), "00" + "00" + "8002800280028002800280028002800280028002800280028002800280028002"},
		"run and array": {roaring.Or(stretch(1, 1000, 1), roaring.BitmapOf(70_000, 70_005)), "013b300100010000e70301000100" + "01000100e70370117511"},
	} {
		got, err := event.AppendSet(nil, c.set)
		if err != nil || hex.EncodeToString(got) != c.want {
			t.Errorf("%s is written as %x, want %s: %v", name, got, c.want, err)
		}
	}
}

// TestSetIsTheShorterForm holds both forms against each other.
func TestSetIsTheShorterForm(t *testing.T) {
	for _, s := range []*roaring.Bitmap{stretch(1, 100_000, 1), stretch(1, 100_000, 2), stretch(1, 100_000, 7), stretch(1, 100_000, 9), stretch(1, 100_000, 1000), stretch(1, 60_000_000, 65_536)} {
		b, err := event.AppendSet(nil, s)
		if err != nil {
			t.Fatal(err)
		}
		runs := s.Clone()
		runs.RunOptimize()
		list := uint64(1)
		last := uint32(0)
		for _, d := range s.ToArray() {
			for gap := d - last; ; gap >>= 7 {
				if list++; gap < 0x80 {
					break
				}
			}
			last = d
		}
		if want := min(list, runs.GetSerializedSizeInBytes()+1); uint64(len(b)) != want {
			t.Errorf("%d numbers take %d bytes, want %d", s.GetCardinality(), len(b), want)
		}
	}
}

func raw(t *testing.T, s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestParseSetRefuses(t *testing.T) {
	for name, s := range map[string]string{
		"an unknown form":              "0201",
		"a distance that is cut":       "0080",
		"a distance of 0":              "000100",
		"a distance beyond all":        "00ffffffff1f",
		"a sum beyond all":             "00ffffffff0f01",
		"a varint of 11 bytes":         "00ffffffffffffffffffff01",
		"a bitmap without bytes":       "01",
		"a bitmap of another sort":     "0100000000",
		"a bitmap that is cut":         "013b300000010000e7030100",
		"bytes behind a bitmap":        "013b300000010000e70301000100e70300",
		"65,536 containers, none here": "013b30ffff",
		"4 G containers":               "013a300000ffffffff",
		"keys that do not rise":        "013b3001000301000500010040000100faff0500010000004000",
		"runs that overlap":            "013b3000000100000b00" + "0200" + "01000500" + "03000500",
		"runs that touch":              "013b3000000100000b00" + "0200" + "01000500" + "07000500",
		"a run beyond its container":   "013b3000000100000600" + "0100" + "faff0600",
		"a count that is not true":     "013b3000000100000900" + "0100" + "01000500",
		"an array that falls":          "013b300000000000" + "0100" + "05000400",
		"an array that repeats":        "013b300000000000" + "0100" + "05000500",
	} {
		if got, err := event.ParseSet(raw(t, s)); err == nil {
			t.Errorf("%s was taken: %d numbers", name, got.GetCardinality())
		}
	}
	words := append(raw(t, "013a30000001000000"+"0000"+"ffff"+"10000000"), bytes.Repeat([]byte{0xff}, 8192)...)
	if got, err := event.ParseSet(words); err != nil || got.GetCardinality() != 65_536 {
		t.Errorf("65,536 numbers as words: %v", err)
	}
	words[len(words)-1] = 0x7f
	if _, err := event.ParseSet(words); err == nil {
		t.Error("words of 65,535 numbers were taken for 65,536")
	}
}

// TestParseSetIsBounded has sets that say much in few bytes: what is made of them
// is bounded by the bytes, and so is the time; runs are compared with their
// neighbours only.
func TestParseSetIsBounded(t *testing.T) {
	all := roaring.New()
	all.AddRange(0, 1<<32)
	b, err := event.AppendSet(nil, all)
	if err != nil {
		t.Fatal(err)
	}
	got, err := event.ParseSet(b)
	if err != nil || got.GetCardinality() != 1<<32 {
		t.Fatalf("all numbers: %v", err)
	}
	if size := got.GetSizeInBytes(); size > uint64(2*len(b)) {
		t.Errorf("%d bytes became %d in memory", len(b), size)
	}
	many := stretch(1, 1_900_000, 64)
	for d := range roaring.Values(many.Clone()) {
		many.AddRange(uint64(d), uint64(d)+40)
	}
	if b, err = event.AppendSet(nil, many); err != nil || len(b) > event.MaxBitmap {
		t.Fatalf("%d bytes, %v", len(b), err)
	}
	if got, err = event.ParseSet(b); err != nil || !got.Equals(many) {
		t.Errorf("30,000 runs: %v", err)
	}
	list := append([]byte{0}, bytes.Repeat([]byte{1}, event.MaxBitmap-1)...)
	if got, err = event.ParseSet(list); err != nil || got.GetCardinality() != event.MaxBitmap-1 {
		t.Errorf("a list of %d numbers: %v", len(list)-1, err)
	}
}

func FuzzParseSet(f *testing.F) {
	for _, s := range []*roaring.Bitmap{roaring.BitmapOf(0), roaring.BitmapOf(1, 5, 70_000), stretch(1, 5000, 1), stretch(1, 20_000, 2),
		stretch(1, 400_000, 3), roaring.Or(stretch(1, 1000, 1), stretch(70_000, 80_000, 2)), stretch(1, 1_000_000, 65_536)} {
		b, err := event.AppendSet(nil, s)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 32<<10 {
			return // the library's check below takes the square of it
		}
		s, err := event.ParseSet(b)
		if err != nil {
			return
		}
		if err := s.Validate(); err != nil {
			t.Fatalf("what was taken is no bitmap: %v", err)
		}
		if s.GetSizeInBytes() > uint64(64<<10+16*len(b)) {
			t.Fatalf("%d bytes became %d", len(b), s.GetSizeInBytes())
		}
		again, err := event.AppendSet(nil, s)
		if err != nil || len(again) > max(len(b), 1) {
			t.Fatalf("%d bytes were written again as %d: %v", len(b), len(again), err)
		}
		got, err := event.ParseSet(again)
		if err != nil || !got.Equals(s) {
			t.Fatalf("what was written again reads as something else: %v", err)
		}
	})
}

func BenchmarkParseSet(b *testing.B) {
	for name, s := range map[string]*roaring.Bitmap{"list": stretch(1, 100_000, 30), "words": stretch(1, 100_000, 3), "runs": roaring.Or(stretch(1, 100_000, 40), stretch(2, 100_000, 40))} {
		raw, err := event.AppendSet(nil, s)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, err := event.ParseSet(raw); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
