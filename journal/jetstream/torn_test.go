package jetstream

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bugle-fleet/bugle/journal"
)

// killed is a journal of 50 pages of 3 events as a crash leaves it, and its end.
func killed(t *testing.T) (dir string, head journal.Head) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "killed")
	j := mustOpen(t, t.TempDir(), Options{})
	fill(t, j)
	copyFolder(t, j.store.dir, dir)
	return dir, j.Head()
}

// What a write that was never finished has left is cut off, kept aside, and told
// of; what somebody vouches for is never.
func TestTornTail(t *testing.T) {
	dir, head := killed(t)
	blk := filepath.Join(msgsOf(dir), "1.blk")
	whole, err := os.ReadFile(blk)
	if err != nil {
		t.Fatal(err)
	}
	at := recordsOf(t, whole)
	last := whole[at[49]:]
	for name, tail := range map[string][]byte{
		"one byte":              last[:1],
		"half a record":         last[:len(last)/2],
		"all but one byte":      last[:len(last)-1],
		"zeros":                 make([]byte, len(last)),
		"half, and then zeros":  append(append([]byte(nil), last[:len(last)/2]...), make([]byte, 5000)...),
		"another last byte":     append(append([]byte(nil), last[:len(last)-1]...), last[len(last)-1]^1),
		"garbage in the middle": bytes.Replace(last, []byte("BGJ1"), []byte("????"), 1),
	} {
		t.Run(name, func(t *testing.T) {
			dir2 := filepath.Join(t.TempDir(), "copy")
			copyFolder(t, dir, dir2)
			change(t, filepath.Join(msgsOf(dir2), "1.blk"), func([]byte) []byte { return append(append([]byte(nil), whole[:at[49]]...), tail...) })
			before := lookAt(t, dir2)
			_, err := Open(context.Background(), dir2, Options{Covered: head})
			var damage *journal.DamageError
			if !errors.As(err, &damage) || damage.Event != 148 || damage.Page != 50 || damage.Offset != at[49] || !strings.HasSuffix(damage.File, "1.blk") {
				t.Errorf("with a checkpoint that covers it: %v", err)
			}
			untouched(t, dir2, before)

			var log bytes.Buffer
			j := mustOpen(t, dir2, Options{Log: slog.New(slog.NewTextHandler(&log, nil)), Covered: journal.Head{}})
			if h := j.Head(); h.Pages != 49 || h.Event != 147 {
				t.Errorf("the journal ends with %+v", h)
			}
			if !strings.Contains(log.String(), "level=WARN") || !strings.Contains(log.String(), "never finished") {
				t.Errorf("the log says %s", &log)
			}
			kept, err := filepath.Glob(filepath.Join(dir2, tornFolder, "*"))
			if err != nil || len(kept) != 1 {
				t.Fatalf("kept aside: %q, %v", kept, err)
			}
			if b, err := os.ReadFile(kept[0]); err != nil || !bytes.Equal(b, tail) {
				t.Errorf("kept aside are %d bytes, %v; %d were cut off", len(b), err, len(tail))
			}
			mustAppend(t, j, "x", 2)
			j = reopen(t, j, Options{})
			if all := everything(t, j); len(all) != 147+6 {
				t.Errorf("%d events", len(all))
			}
		})
	}
}

// The very first page of a journal, and of a generation, can be torn, too.
func TestTornFirstPage(t *testing.T) {
	for _, generations := range []int{1, 2} {
		from := mustOpen(t, t.TempDir(), Options{})
		if generations == 2 {
			mustAppend(t, from, "a", 2)
			mustSeal(t, from)
		}
		before := from.Head()
		mark, err := os.ReadFile(filepath.Join(from.store.dir, markFile))
		if err != nil {
			t.Fatal(err)
		}
		mustAppend(t, from, "b", 1)
		dir := filepath.Join(t.TempDir(), "killed")
		copyFolder(t, from.store.dir, dir)
		l := from.store.open
		change(t, filepath.Join(dir, strings.TrimPrefix(l.msgs, from.store.dir), "1.blk"), func(b []byte) []byte { return b[:len(b)/2] })
		change(t, filepath.Join(dir, markFile), func([]byte) []byte { return mark }) // the crash came before it was written
		j := mustOpen(t, dir, Options{})
		if j.Head() != before {
			t.Errorf("the journal ends with %+v, want %+v", j.Head(), before)
		}
		mustAppend(t, j, "c", 1)
		j = reopen(t, j, Options{})
		mustAppend(t, j, "d", 1)
		if all := everything(t, j); len(all) != int(before.Event)+6 {
			t.Errorf("%d events", len(all))
		}
	}
}

// A clean stop vouches for the tail only as long as nothing was appended since.
func TestTornTailAfterCleanStop(t *testing.T) {
	j := mustOpen(t, t.TempDir(), Options{})
	mustAppend(t, j, "a", 5)
	j = reopen(t, j, Options{})
	before := j.Head()
	mustAppend(t, j, "b", 1)
	dir := filepath.Join(t.TempDir(), "killed")
	copyFolder(t, j.store.dir, dir)
	change(t, filepath.Join(msgsOf(dir), "1.blk"), func(b []byte) []byte { return b[:len(b)-3] })
	again := mustOpen(t, dir, Options{})
	if again.Head() != before {
		t.Errorf("the journal ends with %+v, want %+v", again.Head(), before)
	}
}

// A history that was rewritten from some page on, with everything that is in the
// folder, is noticed by whoever has a checkpoint.
func TestRewritten(t *testing.T) {
	from := mustOpen(t, t.TempDir(), Options{})
	mustAppend(t, from, "a", 5)
	covered := from.Head()
	mustAppend(t, from, "b", 5)
	to := mustOpen(t, t.TempDir(), Options{})
	mustAppend(t, to, "z", 10)
	dir := filepath.Join(t.TempDir(), "forged")
	if err := Import(context.Background(), dir, from.History(), nil, rawPages(t, to, journal.Head{})); err != nil {
		t.Fatal(err)
	}
	before := lookAt(t, dir)
	_, err := Open(context.Background(), dir, Options{Covered: covered})
	var damage *journal.DamageError
	if !errors.As(err, &damage) || damage.Event != covered.Event || damage.Page != covered.Pages || damage.File == "" {
		t.Errorf("opening says %v", err)
	}
	untouched(t, dir, before)
}
