package jetstream

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/minio/highwayhash"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/block"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/journal/generation"
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
	return generation.LiveFolder(dir, 1)
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

// Whatever is done to the files of a closed journal, it does not open, says where
// it stopped trusting, and changes nothing.
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
		file   string // that is named, if it is one of pages
	}{
		{"a bit in the middle", func(t *testing.T, dir string) { change(t, msgsOf(dir)+"/1.blk", flip(0.5)) }, "1.blk"},
		{"a bit in the first page", func(t *testing.T, dir string) { change(t, msgsOf(dir)+"/1.blk", flip(0.01)) }, "1.blk"},
		{"a bit in the last page", func(t *testing.T, dir string) { change(t, msgsOf(dir)+"/1.blk", flip(0.995)) }, "1.blk"},
		{"a bit, and no index", func(t *testing.T, dir string) {
			change(t, msgsOf(dir)+"/1.blk", flip(0.5))
			remove(t, msgsOf(dir)+"/index.db")
		}, "1.blk"},
		{"a bit, and no state", func(t *testing.T, dir string) {
			change(t, msgsOf(dir)+"/1.blk", flip(0.5))
			remove(t, filepath.Join(dir, stateFile))
		}, "1.blk"},
		{"a page that was rewritten, with its checksum", func(t *testing.T, dir string) {
			change(t, msgsOf(dir)+"/1.blk", func(b []byte) []byte { return forge(t, b, 20, 1) })
		}, "1.blk"},
		{"the last page rewritten, with its checksum", func(t *testing.T, dir string) {
			change(t, msgsOf(dir)+"/1.blk", func(b []byte) []byte { return forge(t, b, 50, 1) })
		}, ""},
		{"the last page rewritten, and no state", func(t *testing.T, dir string) {
			change(t, msgsOf(dir)+"/1.blk", func(b []byte) []byte { return forge(t, b, 50, 1) })
			remove(t, filepath.Join(dir, stateFile))
		}, ""},
		{"two pages that have changed places", func(t *testing.T, dir string) {
			change(t, msgsOf(dir)+"/1.blk", func(b []byte) []byte { return swap(t, b, 20, 21) })
		}, "1.blk"},
		{"a page that is there twice", func(t *testing.T, dir string) {
			change(t, msgsOf(dir)+"/1.blk", func(b []byte) []byte {
				at := recordsOf(t, b)
				return slices.Concat(b, b[at[49]:])
			})
		}, "1.blk"},
		{"a lost tail", func(t *testing.T, dir string) { change(t, msgsOf(dir)+"/1.blk", cut) }, "1.blk"},
		{"a lost page", func(t *testing.T, dir string) {
			change(t, msgsOf(dir)+"/1.blk", func(b []byte) []byte { return b[:recordsOf(t, b)[49]] })
		}, "1.blk"},
		{"a lost page, and no state", func(t *testing.T, dir string) {
			change(t, msgsOf(dir)+"/1.blk", func(b []byte) []byte { return b[:recordsOf(t, b)[49]] })
			remove(t, filepath.Join(dir, stateFile))
		}, "1.blk"},
		{"a lost tail, and no index", func(t *testing.T, dir string) {
			change(t, msgsOf(dir)+"/1.blk", cut)
			remove(t, msgsOf(dir)+"/index.db")
		}, "1.blk"},
		{"a few bytes more", func(t *testing.T, dir string) {
			change(t, msgsOf(dir)+"/1.blk", func(b []byte) []byte { return append(b, "torn"...) })
		}, "1.blk"},
		{"no file of messages", func(t *testing.T, dir string) { remove(t, msgsOf(dir)+"/1.blk") }, "1.blk"},
		{"no stream", func(t *testing.T, dir string) { remove(t, filepath.Join(dir, "jetstream")) }, "1.blk"},
		{"no history", func(t *testing.T, dir string) { remove(t, filepath.Join(dir, markFile)) }, ""},
		{"no list of generations", func(t *testing.T, dir string) { remove(t, filepath.Join(dir, generation.File)) }, ""},
		{"nothing but the stream", func(t *testing.T, dir string) {
			remove(t, filepath.Join(dir, generation.File), filepath.Join(dir, markFile), filepath.Join(dir, stateFile))
		}, ""},
		{"settings that let pages go", func(t *testing.T, dir string) {
			name := filepath.Join(streamFolder(dir, 1), "meta.inf")
			change(t, name, func(b []byte) []byte {
				return bytes.Replace(b, []byte(`"max_msgs":-1`), []byte(`"max_msgs":10`), 1)
			})
			meta, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			change(t, filepath.Join(streamFolder(dir, 1), "meta.sum"), func([]byte) []byte { return []byte(metaSum(1, meta)) })
		}, ""},
		{"a purge that was begun", func(t *testing.T, dir string) {
			if err := os.MkdirAll(filepath.Join(streamFolder(dir, 1), "__new_msgs__"), 0o700); err != nil {
				t.Fatal(err)
			}
		}, ""},
		{"another stream", func(t *testing.T, dir string) {
			if err := os.MkdirAll(filepath.Join(streamsFolder(dir), "JOURNAL-00000007"), 0o700); err != nil {
				t.Fatal(err)
			}
		}, ""},
		{"the stream of another journal", func(t *testing.T, dir string) {
			other := closed(t)
			remove(t, filepath.Join(dir, "jetstream"))
			if err := os.Rename(filepath.Join(other, "jetstream"), filepath.Join(dir, "jetstream")); err != nil {
				t.Fatal(err)
			}
		}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := closed(t)
			c.damage(t, dir)
			before := lookAt(t, dir)
			for range 2 { // it stays refused, and is not locked
				j, err := Open(context.Background(), dir, Options{})
				var damage *journal.DamageError
				if !errors.As(err, &damage) {
					if err == nil {
						j.Close()
					}
					t.Fatalf("opening says %v, want a DamageError", err)
				}
				t.Log(damage)
				if damage.Event == 0 || damage.Event > 151 || c.file != "" && !strings.HasSuffix(damage.File, c.file) {
					t.Errorf("damage at event %d of 150, in %s", damage.Event, damage.File)
				}
				if text := err.Error(); !strings.Contains(text, "bugle journal salvage") || !strings.Contains(text, "bugle restore") {
					t.Errorf("the error does not say what to do: %s", text)
				}
			}
			untouched(t, dir, before)
		})
	}
}

// recordsOf returns where the records of a file of messages begin.
func recordsOf(t *testing.T, b []byte) (at []int64) {
	t.Helper()
	name := filepath.Join(t.TempDir(), generation.Stream(1), "msgs", "1.blk")
	if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o700), os.WriteFile(name, b, 0o600)); err != nil {
		t.Fatal(err)
	}
	files, err := block.Files(filepath.Dir(name))
	if err != nil {
		t.Fatal(err)
	}
	err = block.Walk(files[0], func(r block.Record) error {
		at = append(at, r.Offset)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// forge changes page n, from 1, of a file of messages as somebody would who
// knows the format: with the checksum of the record, and the id of the message.
func forge(t *testing.T, b []byte, n, file int) []byte {
	t.Helper()
	at := recordsOf(t, b)
	end := int64(len(b))
	if n < len(at) {
		end = at[n]
	}
	record := b[at[n-1]:end]
	data := record[bytes.Index(record, []byte("BGJ1")) : len(record)-recordSum]
	old := journal.HashPage(data)
	data[len(data)-1] ^= 1 // the last character of a name
	now := journal.HashPage(data)
	id := bytes.Index(record, []byte(hex.EncodeToString(old[:])))
	copy(record[id:], hex.EncodeToString(now[:]))
	key := sha256.Sum256(fmt.Appendf(nil, "%s-%d", generation.Stream(1), file))
	sum, err := highwayhash.NewDigest64(key[:])
	if err != nil {
		t.Fatal(err)
	}
	subject := int(record[20]) + int(record[21])<<8
	sum.Write(record[4:20])
	sum.Write(record[22 : 22+subject])
	sum.Write(record[22+subject+4 : len(record)-recordSum])
	copy(record[len(record)-recordSum:], sum.Sum(nil))
	return b
}

// swap makes records n and m = n+1, from 1, change places.
func swap(t *testing.T, b []byte, n, m int) []byte {
	t.Helper()
	at := recordsOf(t, b)
	return slices.Concat(b[:at[n-1]], b[at[m-1]:at[m]], b[at[n-1]:at[m-1]], b[at[m]:])
}

// A folder of a bugle that knew no generations is told apart from damage.
func TestOldFolder(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(streamsFolder(dir), "JOURNAL", "msgs"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(context.Background(), dir, Options{}); err == nil || errors.Is(err, journal.ErrDamaged) || !strings.Contains(err.Error(), "knew no generations") {
		t.Errorf("opening says %v", err)
	}
}

// A summary of JetStream's that was whole at another time does not win.
func TestOldIndex(t *testing.T) {
	j := mustOpen(t, t.TempDir(), Options{})
	mustAppend(t, j, "a", 5)
	j = reopen(t, j, Options{})
	index := filepath.Join(msgsOf(j.store.dir), indexFile)
	old, err := os.ReadFile(index)
	if err != nil {
		t.Fatal(err)
	}
	mustAppend(t, j, "b", 5)
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	change(t, index, func([]byte) []byte { return old })
	j = mustOpen(t, j.store.dir, Options{})
	mustAppend(t, j, "c", 1)
	if n := len(everything(t, j)); n != 33 {
		t.Errorf("%d events", n)
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
func opened(t *testing.T, opts Options) (*Journal, *store) {
	t.Helper()
	j, err := Open(context.Background(), t.TempDir(), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { j.Close() })
	return j, j.store
}

// Somebody else who writes to the stream is noticed by the next append, and the
// journal takes nothing more.
func TestForeignWriter(t *testing.T) {
	j, s := opened(t, Options{})
	fill(t, j)
	if _, err := s.conn.Request(subject(1), []byte("not a page"), s.timeout); err != nil {
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
