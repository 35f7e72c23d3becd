package jetstream

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/commit"
	"github.com/bugle-fleet/bugle/journal/event"
)

// closed makes a journal of 50 pages of 3 events in a folder, and closes it.
func closed(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	j, err := Open(context.Background(), dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	fill(t, j)
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

func fill(t *testing.T, j journal.Journal) {
	t.Helper()
	for i := range 50 {
		if err := j.Append(context.Background(), named("a%d", i), named("b%d", i), named("c%d", i)); err != nil {
			t.Fatal(err)
		}
	}
}

func msgsOf(dir string) string {
	return filepath.Join(dir, "jetstream", "$G", "streams", streamName, "msgs")
}

func change(t *testing.T, name string, f func([]byte) []byte) {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, f(b), 0o600); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		if err := os.RemoveAll(name); err != nil {
			t.Fatal(err)
		}
	}
}

// Whatever is done to the files of a closed journal, it does not open, and says
// where it stopped trusting.
func TestDamage(t *testing.T) {
	flip := func(at float64) func(b []byte) []byte {
		return func(b []byte) []byte {
			b[int(at*float64(len(b)))] ^= 0x10
			return b
		}
	}
	cut := func(b []byte) []byte { return b[:len(b)*2/3] }
	for _, c := range []struct {
		name   string
		damage func(t *testing.T, dir string)
	}{
		{"a bit in the middle", func(t *testing.T, dir string) { change(t, msgsOf(dir)+"/1.blk", flip(0.5)) }},
		{"a bit in the first page", func(t *testing.T, dir string) { change(t, msgsOf(dir)+"/1.blk", flip(0.01)) }},
		{"a bit in the last page", func(t *testing.T, dir string) { change(t, msgsOf(dir)+"/1.blk", flip(0.995)) }},
		{"a bit, and no index", func(t *testing.T, dir string) {
			change(t, msgsOf(dir)+"/1.blk", flip(0.5))
			remove(t, msgsOf(dir)+"/index.db")
		}},
		{"a lost tail", func(t *testing.T, dir string) { change(t, msgsOf(dir)+"/1.blk", cut) }},
		{"a lost tail, and no index", func(t *testing.T, dir string) {
			change(t, msgsOf(dir)+"/1.blk", cut)
			remove(t, msgsOf(dir)+"/index.db")
		}},
		{"no file of messages", func(t *testing.T, dir string) { remove(t, msgsOf(dir)+"/1.blk") }},
		{"no stream", func(t *testing.T, dir string) { remove(t, filepath.Join(dir, "jetstream")) }},
		{"no history", func(t *testing.T, dir string) { remove(t, filepath.Join(dir, markFile)) }},
		{"the stream of another journal", func(t *testing.T, dir string) {
			other := closed(t)
			remove(t, filepath.Join(dir, "jetstream"))
			if err := os.Rename(filepath.Join(other, "jetstream"), filepath.Join(dir, "jetstream")); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := closed(t)
			c.damage(t, dir)
			j, err := Open(context.Background(), dir, Options{})
			var damage *journal.DamageError
			if !errors.As(err, &damage) {
				if err == nil {
					j.Close()
				}
				t.Fatalf("opening says %v, want a DamageError", err)
			}
			t.Log(damage)
			if damage.Event == 0 || damage.Event > 151 {
				t.Errorf("damage at event %d of 150", damage.Event)
			}
			// It stays refused, and it is not locked.
			if _, err := Open(context.Background(), dir, Options{}); !errors.Is(err, journal.ErrDamaged) {
				t.Errorf("opening again says %v", err)
			}
		})
	}
}

func TestDamagedMark(t *testing.T) {
	dir := closed(t)
	change(t, filepath.Join(dir, markFile), func(b []byte) []byte { b[30] ^= 1; return b })
	if _, err := Open(context.Background(), dir, Options{}); !errors.Is(err, errMark) {
		t.Errorf("opening with a damaged history file says %v", err)
	}
}

func TestHistory(t *testing.T) {
	dir := closed(t)
	var seen [][16]byte
	for _, d := range []string{dir, dir, t.TempDir()} {
		j, err := Open(context.Background(), d, Options{})
		if err != nil {
			t.Fatal(err)
		}
		seen = append(seen, j.History())
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if seen[0] != seen[1] || seen[0] == seen[2] || seen[0] == [16]byte{} {
		t.Errorf("histories of a journal, the same one, another one: %x", seen)
	}
}

// opened is a journal whose store a test can reach.
func opened(t *testing.T, opts Options) (*commit.Journal, *store) {
	t.Helper()
	s, err := openStore(context.Background(), t.TempDir(), opts.orDefault(), func() {})
	if err != nil {
		t.Fatal(err)
	}
	j, err := commit.Open(context.Background(), s, opts.Options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { j.Close() })
	return j, s
}

// Somebody else who writes to the stream is noticed by the next append, and the
// journal takes nothing more.
func TestForeignWriter(t *testing.T) {
	j, s := opened(t, Options{})
	fill(t, j)
	if _, err := s.conn.Request(subject, []byte("not a page"), s.timeout); err != nil {
		t.Fatal(err)
	}
	if err := j.Append(context.Background(), named("x")); !errors.Is(err, journal.ErrUnknown) {
		t.Errorf("append: %v, want ErrUnknown", err)
	}
	if err := j.Append(context.Background(), named("x")); !errors.Is(err, journal.ErrUnavailable) {
		t.Errorf("append after that: %v, want ErrUnavailable", err)
	}
	if n := len(everything(t, j)); n != 150 {
		t.Errorf("%d events can be read, want 150", n)
	}
}

// An answer that does not come in time: without one to the fence either, nobody
// can tell.
func TestTimeout(t *testing.T) {
	j, s := opened(t, Options{})
	fill(t, j)
	s.timeout = 1
	if err := j.Append(context.Background(), named("x")); !errors.Is(err, journal.ErrUnknown) {
		t.Errorf("append: %v, want ErrUnknown", err)
	}
}

// A fence that is answered leaves no trace, and then reading back tells.
func TestFence(t *testing.T) {
	j, s := opened(t, Options{})
	late := errors.New("late")
	if err := s.fence(late); err != late {
		t.Errorf("the fence says %v", err)
	}
	if err := j.Append(context.Background(), named("x")); err != nil || j.Head().Pages != 1 {
		t.Errorf("append behind a fence: %v, the journal ends with %+v", err, j.Head())
	}
}

func TestMaxStore(t *testing.T) {
	dir := t.TempDir()
	j, err := Open(context.Background(), dir, Options{MaxStore: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	batch := slices.Repeat([]*event.Event{named("%s", strings.Repeat("x", 250))}, 400)
	stored := uint64(0)
	for err == nil && stored < 100_000 {
		if err = j.Append(context.Background(), batch...); err == nil {
			stored += uint64(len(batch))
		}
	}
	if !errors.Is(err, journal.ErrUnavailable) {
		t.Errorf("told %v, want ErrUnavailable", err)
	}
	if err := j.Append(context.Background(), batch...); !errors.Is(err, journal.ErrUnavailable) {
		t.Errorf("told again %v, want ErrUnavailable", err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	j, err = Open(context.Background(), dir, Options{MaxStore: 1 << 24})
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	if h := j.Head(); h.Event != stored {
		t.Errorf("%d events are there, %d were acknowledged", h.Event, stored)
	}
	if err := j.Append(context.Background(), batch...); err != nil {
		t.Errorf("with more room: %v", err)
	}
}
