package replay_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/bugle-fleet/bugle/cmd/bugle/replay"
	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/archive"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/journal/journaltest"
	"github.com/bugle-fleet/bugle/journal/tree"
	"github.com/bugle-fleet/bugle/listener/wire/task"
	"github.com/bugle-fleet/bugle/projectors"
)

func join(n uint32) *event.Event {
	return &event.Event{Payload: &event.DeviceJoined{Device: n, ID: task.ID{15: byte(n)}, Name: fmt.Sprint("pc", n), Token: "t", PublicKey: make([]byte, 65)}}
}

// written is a journal with pages of so many events each, every one a device.
func written(t testing.TB, counts ...int) *journaltest.Memory {
	t.Helper()
	j := journaltest.NewMemory(journal.Options{})
	t.Cleanup(func() { j.Close() })
	n := uint32(0)
	for _, count := range counts {
		var all []*event.Event
		for range count {
			n++
			all = append(all, join(n))
		}
		if err := j.Append(t.Context(), all...); err != nil {
			t.Fatal(err)
		}
	}
	return j
}

// archived writes the pages of a journal into archives of so many pages each.
func archived(t testing.TB, j *journaltest.Memory, each int) (names []string) {
	t.Helper()
	r, err := j.Read(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	built, dir := tree.NewBuilder(), t.TempDir()
	for end := false; !end; {
		name := filepath.Join(dir, fmt.Sprint(len(names)))
		f, err := archive.Create(name, archive.Header{Before: built.Head(), Peaks: built.Peaks()})
		if err != nil {
			t.Fatal(err)
		}
		for range each {
			p, err := r.Next(t.Context())
			if end = err == io.EOF; end {
				break
			}
			if err := errors.Join(err, f.Add(p.Bytes()), built.Add(p)); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := f.Close(archive.Seal{}); err != nil {
			t.Fatal(err)
		}
		names = append(names, name)
	}
	return names
}

func fold(t *testing.T, h replay.History, last uint64) (digest [32]byte, rows int) {
	t.Helper()
	err := replay.Fold(t.Context(), h, last, "device", filepath.Join(t.TempDir(), "views"), func(r *replay.Result) error {
		digest = r.Digest
		return r.Rows(func(row map[string]any) error {
			rows++
			if row["row"] != "device" || row["name"] != fmt.Sprint("pc", rows) || row["blocked"] != false {
				t.Errorf("row %d is %v", rows, row)
			}
			return nil
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return digest, rows
}

// Up to any event, also one in the middle of a page, a replay holds that event and
// none behind it, wherever the pages are.
func TestFoldUpToAnyEvent(t *testing.T) {
	j := written(t, 1, 3, 2, 1)
	names := archived(t, j, 2)
	names[0], names[len(names)-1] = names[len(names)-1], names[0] // the order does not count
	h, err := replay.OpenArchives(names)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	if h.Head() != j.Head() {
		t.Errorf("archives end with %+v, the journal with %+v", h.Head(), j.Head())
	}
	seen := map[[32]byte]bool{}
	for last := uint64(1); last <= j.Head().Event; last++ {
		one, rows := fold(t, j, last)
		two, again := fold(t, h, last)
		if one != two || seen[one] || rows != int(last) || again != rows {
			t.Errorf("up to event %d: digests %x, %x of %d and %d rows", last, one[:4], two[:4], rows, again)
		}
		seen[one] = true
	}
}

func TestFoldThatCannotBe(t *testing.T) {
	j := written(t, 2, 2)
	names := archived(t, j, 1)
	for _, last := range []uint64{0, 5} {
		var out *projectors.RangeError
		err := replay.Fold(t.Context(), j, last, "device", t.TempDir(), func(*replay.Result) error { return nil })
		if !errors.As(err, &out) {
			t.Errorf("up to event %d: %v", last, err)
		}
	}
	if err := replay.Fold(t.Context(), j, 1, "x", t.TempDir(), func(*replay.Result) error { return nil }); !errors.Is(err, projectors.ErrNoView) {
		t.Errorf("view x: %v", err)
	}
	for _, bad := range [][]string{names[1:2], {names[0], names[0]}, {filepath.Join(t.TempDir(), "none")}} {
		if h, err := replay.OpenArchives(bad); err == nil {
			t.Errorf("%v were taken", bad)
			h.Close()
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := replay.Fold(ctx, j, 4, "device", t.TempDir(), func(*replay.Result) error { return nil }); err == nil {
		t.Error("folded though nobody waits")
	}
}

func Example() {
	j := journaltest.NewMemory(journal.Options{})
	defer j.Close()
	dir, err := os.MkdirTemp("", "replay")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	if err := j.Append(context.Background(), join(1), join(2), join(3)); err != nil {
		fmt.Println(err)
		return
	}
	err = replay.Fold(context.Background(), j, 2, "device", filepath.Join(dir, "views"), func(r *replay.Result) error {
		return r.Rows(func(row map[string]any) error {
			fmt.Println(row["number"], row["name"])
			return nil
		})
	})
	if err != nil {
		fmt.Println(err)
	}
	// Output:
	// 1 pc1
	// 2 pc2
}
