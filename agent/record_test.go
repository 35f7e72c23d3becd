package agent

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/bugle-fleet/bugle/listener/wire/task"
)

var update = flag.Bool("update", false, "write golden files")

var someTime = time.Date(2026, 3, 4, 5, 6, 7, 8, time.UTC)

func someEntries() []Entry {
	id := task.ID{1, 2, 3, 4, 5, 6, 0x70, 8, 0x80, 10, 11, 12, 13, 14, 15, 16}
	r := task.Result{Operation: id, Attempt: 1, State: task.Delivered, At: someTime}
	entries := []Entry{{Reached, "scan.quick", someTime.Add(25 * time.Hour), false, r}}
	r.State, r.At = task.Running, someTime.Add(time.Millisecond)
	entries = append(entries, Entry{Reached, "scan.quick", someTime.Add(25 * time.Hour), false, r})
	r.State, r.At, r.Code, r.Detail = task.Succeeded, someTime.Add(time.Second), -1, "found: /tmp/ä 00ff"
	entries = append(entries, Entry{Reached, "scan.quick", someTime.Add(25 * time.Hour), true, r})
	return append(entries, Entry{Act: Acked, Result: task.Result{Operation: id, Attempt: 1, State: task.Delivered}})
}

func encodeAll(entries []Entry) []byte {
	b := []byte(recordHeader)
	for i := range entries {
		b = must(appendEntry(b, &entries[i]))
	}
	return b
}

func TestRecordGolden(t *testing.T) {
	path := filepath.Join("testdata", "record.1")
	b := encodeAll(someEntries())
	if *update {
		if err := os.WriteFile(path, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(b, want) {
		t.Errorf("encoded\n%x\nwant\n%x", b, want)
	}
	entries, good, err := decodeRecord(path, want)
	if err != nil || good != len(want) {
		t.Fatal(good, err)
	}
	if d := cmp.Diff(someEntries(), entries); d != "" {
		t.Error(d)
	}
}

// A crash can tear the record anywhere; what was whole before is kept, and the
// record goes on behind it.
func TestTornRecord(t *testing.T) {
	whole := encodeAll(someEntries())
	ends := []int{len(recordHeader)}
	for at := ends[0]; at < len(whole); {
		_, n, err := decodeEntry(whole[at:])
		if err != nil {
			t.Fatal(err)
		}
		at += n
		ends = append(ends, at)
	}
	dir := t.TempDir()
	path := filepath.Join(dir, recordFile)
	for n := 0; n <= len(whole); n++ {
		for _, tail := range [][]byte{nil, make([]byte, 40), []byte("garbage after a crash")} {
			torn := append(bytes.Clone(whole[:n]), tail...)
			if n < len(recordHeader) && tail != nil {
				continue // a header is written before the file has its name
			}
			if bytes.HasPrefix(torn, whole) {
				continue // the tail completes it
			}
			want := 0
			for want+1 < len(ends) && ends[want+1] <= n {
				want++
			}
			if entries, _, err := decodeRecord(path, torn); err != nil || len(entries) != want {
				t.Fatalf("cut at %d: %d entries, want %d: %v", n, len(entries), want, err)
			}
			if n%16 != 3 {
				continue // the disk is slow
			}
			if err := os.WriteFile(path, torn, 0o600); err != nil {
				t.Fatal(err)
			}
			r := newFileRecord(dir)
			entries, err := r.Load()
			if err != nil || len(entries) != want {
				t.Fatalf("cut at %d: %d entries, want %d: %v", n, len(entries), want, err)
			}
			if err := errors.Join(r.Append(true, someEntries()[0]), r.Close()); err != nil {
				t.Fatal(err)
			}
			again, err := newFileRecord(dir).Load()
			if err != nil || len(again) != want+1 {
				t.Fatalf("cut at %d, then appended: %d entries, want %d: %v", n, len(again), want+1, err)
			}
		}
	}
}

func TestDamagedRecordIsNotRead(t *testing.T) {
	whole := encodeAll(someEntries())
	last := len(whole) - 60 // in the last entry: that may be a tear
	for i := range last {
		dir := t.TempDir()
		b := bytes.Clone(whole)
		b[i] ^= 0x10
		if err := os.WriteFile(filepath.Join(dir, recordFile), b, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := newFileRecord(dir).Load()
		var damaged *DamagedError
		if err == nil || i >= len(recordHeader) && !errors.As(err, &damaged) {
			t.Errorf("bit flipped at %d: %v", i, err)
		}
	}
	for name, make := range map[string]func(path string) error{
		"a folder":    func(p string) error { return os.Mkdir(p, 0o700) },
		"not ours":    func(p string) error { return os.WriteFile(p, []byte("{\"some\": \"json\"}\n"), 0o600) },
		"too long":    func(p string) error { return errors.Join(os.WriteFile(p, nil, 0o600), os.Truncate(p, maxRecord+1)) },
		"a dead link": func(p string) error { return os.Symlink("/nowhere", p) },
	} {
		dir := t.TempDir()
		if err := make(filepath.Join(dir, recordFile)); err != nil {
			t.Fatal(err)
		}
		if _, err := newFileRecord(dir).Load(); err == nil {
			t.Errorf("record that is %s was taken", name)
		}
	}
}

func FuzzRecord(f *testing.F) {
	f.Add(encodeAll(someEntries()))
	f.Add([]byte(recordHeader))
	f.Add(encodeAll(someEntries())[:100])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		entries, good, err := decodeRecord("fuzz", b)
		if err != nil {
			return
		}
		if good > len(b) {
			t.Fatalf("%d bytes are good of %d", good, len(b))
		}
		if len(entries) > 0 && !bytes.Equal(encodeAll(entries), b[:good]) {
			t.Fatal("what was read is written differently")
		}
		if _, err := openLedger(&memoryRecord{entries: entries}); err != nil {
			t.Fatal(err)
		}
	})
}

// model is what a ledger must know, told from its promises.
type model struct {
	last map[task.ID]task.Result
	wait map[string]bool // results that the site does not have
}

func key(r *task.Result) string { return fmt.Sprint(r.Operation, r.Attempt, r.State) }

func TestLedgerProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rec := &memoryRecord{}
		l := must(openLedger(rec))
		m := model{map[task.ID]task.Result{}, map[string]bool{}}
		ids := []task.ID{{1}, {2}, {3}, {4}}
		states := []task.State{task.Delivered, task.Running, task.Succeeded, task.Failed, task.Refused}
		result := func(t *rapid.T) task.Result {
			return task.Result{Operation: rapid.SampledFrom(ids).Draw(t, "id"), State: rapid.SampledFrom(states).Draw(t, "state"),
				Attempt: uint8(rapid.IntRange(1, 2).Draw(t, "attempt")), At: someTime, Detail: "x"}
		}
		check := func(t *rapid.T, l *ledger) {
			for id, want := range m.last {
				if got, ok := l.get(id); !ok || got.last != want {
					t.Fatalf("%x is %+v, want %+v", id[0], got.last, want)
				}
			}
			waiting := map[string]bool{}
			for _, p := range l.queue {
				waiting[key(&p.Result)] = true
			}
			if d := cmp.Diff(m.wait, waiting, cmpopts.EquateEmpty()); d != "" {
				t.Fatal(d)
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"reach": func(t *rapid.T) {
				r := result(t)
				r.Detail = fmt.Sprint(rapid.IntRange(0, 9).Draw(t, "detail"))
				rec.step = func(bool) fault { return noFault }
				if rapid.IntRange(0, 4).Draw(t, "luck") == 0 {
					rec.step = func(append bool) fault {
						if append {
							return failsEmpty
						}
						return noFault
					}
				}
				if l.reach(someTime, true, Entry{Reached, "test", someTime.Add(time.Hour), false, r}) != nil {
					return
				}
				if old, ok := m.last[r.Operation]; !ok || follows(&r, &old) {
					m.last[r.Operation], m.wait[key(&r)] = r, true
				}
			},
			"ack": func(t *rapid.T) {
				r := result(t)
				l.ack(r.Operation, r.Attempt, r.State)
				delete(m.wait, key(&r))
			},
			"restart": func(t *rapid.T) {
				rec.step = nil
				if err := l.close(); err != nil {
					t.Fatal(err)
				}
				l = must(openLedger(rec))
			},
			"rewrite": func(t *rapid.T) {
				rec.step = nil
				l.dirty = true
			},
			"": func(t *rapid.T) { check(t, l) },
		})
	})
}

func TestLedgerForgetsAndIsBounded(t *testing.T) {
	rec := &memoryRecord{}
	l := must(openLedger(rec))
	entry := func(i int, until time.Time) Entry {
		return Entry{Reached, "test", until, false, task.Result{Operation: task.ID{byte(i >> 8), byte(i)}, Attempt: 1,
			State: task.Succeeded, At: someTime}}
	}
	for i := range MaxKnown {
		if err := l.reach(someTime, true, entry(i, someTime.Add(time.Duration(i)*time.Second))); err != nil {
			t.Fatal(err)
		}
	}
	next := entry(MaxKnown, someTime)
	if err := l.reach(someTime, true, next); !errors.Is(err, errFull) {
		t.Fatalf("one more: %v", err)
	}
	// What the site has not acknowledged is kept, whatever its age.
	if err := l.reach(someTime.Add(time.Hour), true, next); !errors.Is(err, errFull) {
		t.Fatalf("one more: %v", err)
	}
	for i := range MaxKnown {
		e := entry(i, someTime)
		l.ack(e.Result.Operation, 1, task.Succeeded)
	}
	if err := l.reach(someTime.Add(10*time.Second), true, next); err != nil {
		t.Fatal(err)
	}
	if n := len(l.ops); n != MaxKnown-9 {
		t.Errorf("%d operations are known", n)
	}
	if n := len(rec.entries); n > 3*MaxKnown {
		t.Errorf("record of %d entries", n)
	}
}

func TestRecordIsRewrittenWhenItIsMostlyHistory(t *testing.T) {
	dir := t.TempDir()
	l := must(openLedger(newFileRecord(dir)))
	for i := range 2000 {
		e := Entry{Reached, "test", someTime, false, task.Result{Operation: task.ID{byte(i >> 8), byte(i)}, Attempt: 1,
			State: task.Succeeded, At: someTime}}
		if err := l.reach(someTime, false, e); err != nil {
			t.Fatal(err)
		}
		l.ack(e.Result.Operation, 1, task.Succeeded)
		l.mu.Lock()
		l.forget(someTime.Add(time.Second))
		l.mu.Unlock()
	}
	info, err := os.Stat(filepath.Join(dir, recordFile))
	if err != nil || info.Size() > 200<<10 {
		t.Errorf("%d bytes of history: %v", info.Size(), err)
	}
	if err := l.close(); err != nil {
		t.Fatal(err)
	}
}

func BenchmarkRecord(b *testing.B) {
	dir := b.TempDir()
	r := newFileRecord(dir)
	must(r.Load())
	e := someEntries()
	for b.Loop() {
		e[0].Result.Operation[15] = byte(rand.Uint32())
		if err := r.Append(true, e[0], e[1]); err != nil {
			b.Fatal(err)
		}
	}
}
