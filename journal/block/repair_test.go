package block_test

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/block"
	"github.com/bugle-fleet/bugle/journal/offlinetest"
)

func TestCut(t *testing.T) {
	msgs, _ := folder(t, 3, 3)
	f := files(t, msgs)[0]
	begins := offsets(t, f)
	good, err := os.ReadFile(f.Path)
	if err != nil {
		t.Fatal(err)
	}
	aside := filepath.Join(filepath.Dir(msgs), "torn")
	if err := os.Truncate(f.Path, f.Size-5); err != nil {
		t.Fatal(err)
	}
	if _, err := block.Cut(f, begins[2], aside); err == nil {
		t.Error("a file that has changed was cut")
	}
	f = files(t, msgs)[0]
	for _, at := range []int64{-1, f.Size, f.Size + 1} {
		if _, err := block.Cut(f, at, aside); err == nil {
			t.Errorf("cut at %d of %d", at, f.Size)
		}
	}
	var kept []string
	for range 2 {
		name, err := block.Cut(f, begins[2], aside)
		if err != nil {
			t.Fatal(err)
		}
		if b, err := os.ReadFile(name); err != nil || !bytes.Equal(b, good[begins[2]:len(good)-5]) {
			t.Errorf("kept %d bytes, %v", len(b), err)
		}
		kept = append(kept, name)
		if b, err := os.ReadFile(f.Path); err != nil || !bytes.Equal(b, good[:begins[2]]) {
			t.Errorf("left %d bytes, %v", len(b), err)
		}
		rewrite(t, f.Path, func([]byte) []byte { return good[:len(good)-5] })
		f = files(t, msgs)[0]
	}
	if kept[0] == kept[1] {
		t.Error("the second tail was written over the first one")
	}
	// If the tail cannot be kept, nothing is cut.
	if _, err := block.Cut(f, begins[2], f.Path); err == nil {
		t.Error("cut without keeping the tail")
	}
	if info, err := os.Stat(f.Path); err != nil || info.Size() != f.Size {
		t.Error(info.Size(), err)
	}
}

// Salvage finds every record that is whole, whatever is around them.
func TestSalvage(t *testing.T) {
	raws, heads := pages(t, 20)
	rapid.Check(t, func(t *rapid.T) {
		msgs, err := os.MkdirTemp("", "block")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(msgs)
		var b []byte
		var want []uint64
		junk := func() {
			b = append(b, rapid.SliceOfN(rapid.SampledFrom([]byte{0, 1, 255, 'c', 'm', 'p'}), 0, 60).Draw(t, "junk")...)
		}
		for range rapid.IntRange(0, 12).Draw(t, "records") {
			n := rapid.Uint64Range(1, 20).Draw(t, "message")
			r := offlinetest.AppendPage(nil, filepath.Base(filepath.Dir(msgs)), 1, n, raws[n-1])
			switch rapid.IntRange(0, 4).Draw(t, "what") {
			case 0:
				junk()
			case 1:
				r[rapid.IntRange(0, len(r)-1).Draw(t, "byte")] ^= 1
				b = append(b, r...)
				continue
			case 2:
				b = append(b, r[:rapid.IntRange(0, len(r)-1).Draw(t, "cut")]...)
				continue
			}
			b = append(b, r...)
			want = append(want, n)
		}
		junk()
		if err := os.WriteFile(filepath.Join(msgs, "1.blk"), b, 0o600); err != nil {
			t.Fatal(err)
		}
		all, err := block.Files(msgs)
		if err != nil {
			t.Fatal(err)
		}
		var got []uint64
		at := int64(0)
		move := func(offset, size int64) {
			if offset != at || size <= 0 {
				t.Fatalf("at %d: %d bytes at %d", at, size, offset)
			}
			at += size
		}
		err = block.Salvage(all[0], func(r block.Record) error {
			move(r.Offset, r.Size)
			if journal.HashPage(r.Data) != heads[r.Sequence].Hash {
				return nil // the length of its header was changed, which no checksum covers
			}
			got = append(got, r.Sequence)
			return nil
		}, func(offset, size int64, reason string) error {
			move(offset, size)
			if reason == "" {
				t.Error("no reason")
			}
			return nil
		})
		if err != nil || !slices.Equal(got, want) || at != int64(len(b)) {
			t.Fatalf("found %v, want %v; read %d of %d bytes, %v", got, want, at, len(b), err)
		}
	})
}
