package jetstream

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/journal/journaltest"
	"github.com/bugle-fleet/bugle/journal/lock"
)

// files is a closed journal of one generation in several files, with a state, and
// how many events it has. In a bubble it is an hour old: what was written just
// before is read in any case.
func files(t *testing.T) (dir string, events uint64) {
	t.Helper()
	defer time.Sleep(time.Hour)
	j := mustOpen(t, t.TempDir(), Options{Key: testKey})
	page := []*event.Event{big(), big()}
	for range 45 {
		if err := j.Append(context.Background(), page...); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(j.store.open.all()); n < 3 {
		t.Fatalf("%d files: the test has missed its aim", n)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	return j.store.dir, j.Head().Event
}

// rot changes a file as a disk does: no time of it changes.
func rot(t *testing.T, name string, f func([]byte) []byte) {
	t.Helper()
	info, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	change(t, name, f)
	if err := os.Chtimes(name, info.ModTime(), info.ModTime()); err != nil {
		t.Fatal(err)
	}
}

func flipMiddle(b []byte) []byte {
	b[len(b)/2] ^= 1
	return b
}

// readFrom reads from an event to the end and returns the last event that was
// read.
func readFrom(t *testing.T, j journal.Journal, from uint64) (last uint64, err error) {
	t.Helper()
	r, err := j.Read(context.Background(), from)
	if err != nil {
		return 0, err
	}
	defer r.Close()
	for {
		p, err := r.Next(context.Background())
		if err != nil {
			return last, err
		}
		last = p.Last()
	}
}

// Damage in a file that was not read when the journal was opened is found before
// anything of it is read, or in the background; appending goes on.
func TestDamageFoundLater(t *testing.T) { journaltest.Bubble(t, testDamageFoundLater) }

func testDamageFoundLater(t *testing.T) {
	dir, events := files(t)
	rot(t, filepath.Join(msgsOf(dir), "2.blk"), flipMiddle)
	for _, read := range []bool{true, false} {
		j := mustOpen(t, dir, Options{Key: testKey})
		second := j.store.open.all()[1]
		if read {
			for range 2 { // for ever
				for _, from := range []uint64{second.before.Head.Event + 1, 1} {
					_, err := readFrom(t, j, from)
					var damage *journal.DamageError
					if !errors.As(err, &damage) || !strings.HasSuffix(damage.File, "2.blk") || damage.Offset == 0 || damage.Page <= second.before.Head.Pages {
						t.Errorf("reading from event %d: %v", from, err)
					}
				}
			}
			if last, _ := readFrom(t, j, 1); last > second.before.Head.Event {
				t.Errorf("of a file that is damaged, events up to %d were read", last)
			}
		}
		select {
		case <-j.Damaged():
		case <-time.After(30 * time.Second):
			t.Fatal("the damage was not found in the background")
		}
		if !errors.Is(j.Damage(), journal.ErrDamaged) {
			t.Errorf("the damage is %v", j.Damage())
		}
		mustAppend(t, j, "x", 1)
		events += 3
		if last, _ := readFrom(t, j, j.store.open.all()[2].before.Head.Event+1); last != events {
			t.Errorf("behind the damage, events up to %d of %d were read", last, events)
		}
		if err := j.Check(context.Background(), nil); !errors.Is(err, journal.ErrDamaged) {
			t.Errorf("the check says %v", err)
		}
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// A check on demand finds what has changed since the last one, in every file.
func TestCheck(t *testing.T) {
	for _, name := range []string{"jetstream/$G/streams/JOURNAL-00000002/msgs/1.blk", "jetstream/$G/streams/JOURNAL-00000003/msgs/1.blk",
		"archive/00000001.bga", "archive/00000002.bga"} {
		t.Run(name, func(t *testing.T) {
			j, _ := twoArchives(t)
			if err := j.Remove(context.Background(), 1); err != nil {
				t.Fatal(err)
			}
			read := 0
			if err := j.Check(context.Background(), func(n int) error { read += n; return nil }); err != nil || read < 1000 {
				t.Errorf("a check of what is well: %v, %d bytes", err, read)
			}
			stop := errors.New("stop")
			if err := j.Check(context.Background(), func(int) error { return stop }); !errors.Is(err, stop) {
				t.Errorf("a check that is stopped: %v", err)
			}
			rot(t, filepath.Join(j.store.dir, name), flipMiddle)
			err := j.Check(context.Background(), nil)
			var damage *journal.DamageError
			if !errors.As(err, &damage) || !strings.HasSuffix(damage.File, name) {
				t.Errorf("the check says %v", err)
			}
			select {
			case <-j.Damaged():
			default:
				t.Error("nobody is told")
			}
			mustAppend(t, j, "x", 1)
		})
	}
}

// A file that is gone, shorter or another one is noticed when the journal is
// opened, although it need not be read.
func TestFilesChanged(t *testing.T) {
	for name, c := range map[string]struct {
		file   string
		change func(t *testing.T, name string)
	}{
		"the first is gone":  {"1.blk", func(t *testing.T, name string) { remove(t, name) }},
		"one is gone":        {"2.blk", func(t *testing.T, name string) { remove(t, name) }},
		"the last is gone":   {"3.blk", func(t *testing.T, name string) { remove(t, name) }},
		"one is shorter":     {"2.blk", func(t *testing.T, name string) { change(t, name, func(b []byte) []byte { return b[:len(b)-1] }) }},
		"one is cut a page":  {"1.blk", func(t *testing.T, name string) { change(t, name, lastPageOff(t)) }},
		"a bit of the last":  {"3.blk", func(t *testing.T, name string) { rot(t, name, flipMiddle) }},
		"a bit with a trace": {"1.blk", func(t *testing.T, name string) { change(t, name, flipMiddle) }},
		"two are damaged": {"1.blk", func(t *testing.T, name string) {
			rot(t, name, flipMiddle)
			rot(t, filepath.Join(filepath.Dir(name), "3.blk"), flipMiddle)
			remove(t, filepath.Join(filepath.Dir(name), indexFile))
		}},
		"two change places": {"1.blk", func(t *testing.T, name string) {
			other := filepath.Join(filepath.Dir(name), "2.blk")
			if err := errors.Join(os.Rename(name, name+"x"), os.Rename(other, name), os.Rename(name+"x", other)); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		bubble(t, name, func(t *testing.T) {
			dir, _ := files(t)
			c.change(t, filepath.Join(msgsOf(dir), c.file))
			before := lookAt(t, dir)
			for _, key := range []bool{true, false} { // with what was kept, and without
				opts := Options{}
				if key {
					opts.Key = testKey
				}
				_, err := Open(context.Background(), dir, opts)
				var damage *journal.DamageError
				if !errors.As(err, &damage) || !strings.HasSuffix(damage.File, ".blk") || damage.Event == 0 {
					t.Errorf("with a key %t: %v", key, err)
				} else if name == "two are damaged" && !strings.HasSuffix(damage.File, "1.blk") {
					t.Errorf("the first damage is that in %s", damage.File)
				}
			}
			untouched(t, dir, before)
		})
	}
}

func bubble(t *testing.T, name string, f func(t *testing.T)) {
	t.Run(name, func(t *testing.T) { journaltest.Bubble(t, f) })
}

func lastPageOff(t *testing.T) func(b []byte) []byte {
	return func(b []byte) []byte {
		at := recordsOf(t, b)
		return b[:at[len(at)-1]]
	}
}

// After a clean stop only the newest file is read, whatever the others hold, and
// JetStream's own summary is believed.
func TestCleanStart(t *testing.T) { journaltest.Bubble(t, testCleanStart) }

func testCleanStart(t *testing.T) {
	dir, events := files(t)
	opts := Options{Key: testKey}.orDefault()
	unlock, err := lock.Take(filepath.Join(dir, lockFile))
	if err != nil {
		t.Fatal(err)
	}
	f, err := inspect(context.Background(), dir, &opts)
	if err != nil {
		t.Fatal(err)
	}
	unlock()
	blocks := f.shelf.blocks()
	for i, b := range blocks {
		if newest := i == len(blocks)-1; b.checked != newest {
			t.Errorf("file %d of %d was read: %t", i+1, len(blocks), b.checked)
		}
	}
	if f.at.Head.Event != events || !f.clean || len(f.indexes) != 0 {
		t.Errorf("found the end %+v, clean %t, %q not believed", f.at, f.clean, f.indexes)
	}
	j := mustOpen(t, dir, Options{Key: testKey})
	if last, err := readFrom(t, j, 1); last != events {
		t.Errorf("read up to event %d of %d: %v", last, events, err)
	}
}
