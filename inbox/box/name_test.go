package box_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/bugle-fleet/bugle/inbox/box"
)

func TestNames(t *testing.T) {
	for name, text := range map[box.Name]string{
		{Listener: "BGL", Epoch: 1, Number: 1, Kind: box.BTS}:                                 "BGL-00000001-00000000000000000001.BTS",
		{Listener: "0123456789ABCDEF", Epoch: box.MaxEpoch, Number: 1<<64 - 1, Kind: box.DDR}: "0123456789ABCDEF-99999999-18446744073709551615.DDR",
	} {
		if name.String() != text {
			t.Errorf("%+v is %s, want %s", name, name, text)
		}
		if got, err := box.ParseName(text); err != nil || got != name {
			t.Errorf("%s is %+v, %v", text, got, err)
		}
	}
}

func TestNotNames(t *testing.T) {
	good := "BGL-00000001-00000000000000000001.BTS"
	for _, s := range []string{"", "BTS", ".BTS", good[1:], good + "x", good[:len(good)-1], strings.ToLower(good), " " + good,
		"BG-00000001-00000000000000000001.BTS", "0123456789ABCDEFG-00000001-00000000000000000001.BTS",
		"BGL-00000000-00000000000000000001.BTS", "BGL-00000001-00000000000000000000.BTS",
		"BGL-00000001-18446744073709551616.BTS", "BGL-00000001-99999999999999999999.BTS",
		"BGL-+0000001-00000000000000000001.BTS", "BGL-00000001-00000000000000000001.EXE", "BGL-00000001-00000000000000000001-BTS",
		"BG/-00000001-00000000000000000001.BTS", strings.Repeat("A", 1000)} {
		if n, err := box.ParseName(s); !errors.Is(err, box.ErrName) {
			t.Errorf("%q is %+v, %v", s, n, err)
		}
	}
}

func TestNamesInOrder(t *testing.T) {
	want := []box.Name{
		{Listener: "BBB", Epoch: 1, Number: 9, Kind: box.BTS},
		{Listener: "AAA", Epoch: 2, Number: 1, Kind: box.BOS},
		{Listener: "AAA", Epoch: 2, Number: 2, Kind: box.BOS},
		{Listener: "AAA", Epoch: 3, Number: 1, Kind: box.BOS},
		{Listener: "BBB", Epoch: 1, Number: 1, Kind: box.BOS},
		{Listener: "AAA", Epoch: 1, Number: 1, Kind: box.SVF},
		{Listener: "AAA", Epoch: 1, Number: 1, Kind: box.DDR},
	}
	got := slices.Clone(want)
	slices.Reverse(got)
	slices.SortFunc(got, box.Name.Compare)
	if !slices.Equal(got, want) {
		t.Errorf("in order: %v", got)
	}
}

func FuzzParseName(f *testing.F) {
	f.Add("BGL-00000001-00000000000000000001.BTS")
	f.Add("0123456789ABCDEF-99999999-18446744073709551615.DDR")
	f.Add("BGL-00000001-00000000000000000001.BTS~2")
	f.Fuzz(func(t *testing.T, s string) {
		n, err := box.ParseName(s)
		if err != nil {
			return
		}
		if n.String() != s {
			t.Errorf("%q is read as %+v, which is %q", s, n, n)
		}
		if tamed := box.Tame(s); tamed != s {
			t.Errorf("name %q is tamed to %q", s, tamed)
		}
	})
}

func FuzzTame(f *testing.F) {
	for _, s := range []string{"", ".", "..", "a/b", "x.reason", strings.Repeat("n", 300), "\xff", "a\nb"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := box.Tame(s)
		if got == "" || len(got) > box.MaxBadName || got[0] == '.' || strings.HasSuffix(got, ".reason") || strings.ContainsAny(got, "/~\x00\n") {
			t.Errorf("%q is tamed to %q", s, got)
		}
		if box.Tame(got) != got {
			t.Errorf("%q is tamed to %q, and that to %q", s, got, box.Tame(got))
		}
	})
}
