package agent

import (
	"bytes"
	"errors"
	"flag"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/bugle-fleet/bugle/listener/wire/task"
)

var update = flag.Bool("update", false, "write golden files")

var someTime = time.Date(2026, 3, 4, 5, 6, 7, 8, time.UTC)

func someEntries() []Entry {
	id := task.ID{1, 2, 3, 4, 5, 6, 0x70, 8, 0x80, 10, 11, 12, 13, 14, 15, 16}
	r := task.Result{Operation: id, Attempt: 1, State: task.Delivered, At: someTime}
	entries := []Entry{{Reached, "scan.quick", someTime.Add(25 * time.Hour), false, "", r}}
	r.State, r.At = task.Running, someTime.Add(time.Millisecond)
	entries = append(entries, Entry{Reached, "scan.quick", someTime.Add(25 * time.Hour), false, "", r})
	r.State, r.At, r.Code, r.Detail = task.Succeeded, someTime.Add(time.Second), -1, "found: /tmp/ä 00ff"
	entries = append(entries, Entry{Reached, "scan.quick", someTime.Add(25 * time.Hour), true, "", r})
	return append(entries, Entry{Act: Acked, Result: task.Result{Operation: id, Attempt: 1, State: task.Delivered}})
}

// encodeAll is a record whose entries were appended one by one, each durably.
func encodeAll(entries []Entry) []byte {
	b := []byte(recordHeader)
	for i := range entries {
		b = must(appendEntry(b, &entries[i], int64(len(b))))
	}
	return b
}

func TestRecordGolden(t *testing.T) {
	path := filepath.Join("testdata", "record.3")
	all := append(someEntries(), Entry{Reached, "restart", someTime.Add(25 * time.Hour), false, "5b0e3a8c-9f9d",
		task.Result{Operation: task.ID{1}, Attempt: 2, State: task.Running, At: someTime}})
	b := encodeAll(all)
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
	entries, good, version, err := decodeRecord(path, want)
	if err != nil || good != len(want) || version != 3 {
		t.Fatal(good, version, err)
	}
	if d := cmp.Diff(all, entries); d != "" {
		t.Error(d)
	}
}

// A record of an earlier version is read, and written anew at once.
func TestRecordOfEarlierVersions(t *testing.T) {
	for _, name := range []string{"record.1", "record.2"} {
		t.Run(name, func(t *testing.T) { earlierVersion(t, name) })
	}
}

func earlierVersion(t *testing.T, name string) {
	old := must(os.ReadFile(filepath.Join("testdata", name)))
	dir := t.TempDir()
	path := filepath.Join(dir, recordFile)
	if err := os.WriteFile(path, append(bytes.Clone(old), "torn"...), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		r := FileRecord(dir)
		entries, err := r.Load()
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(someEntries(), entries); d != "" {
			t.Error(d)
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		if now := must(os.ReadFile(path)); !bytes.Equal(now, encodeAll(someEntries())) {
			t.Errorf("the record is now\n%x", now)
		}
	}
	if tail := must(os.ReadFile(path + tornSuffix)); string(tail) != "torn" {
		t.Errorf("kept of the tail: %q", tail)
	}
	old[len(recordHeader)+20] ^= 1
	var damaged *DamagedError
	if _, _, _, err := decodeRecord(path, old); !errors.As(err, &damaged) {
		t.Errorf("damaged: %v", err)
	}
}

// A crash can tear the record anywhere; what was whole before is kept, and the
// record goes on behind it.
func TestTornRecord(t *testing.T) {
	whole := encodeAll(someEntries())
	ends := []int{len(recordHeader)}
	for at := ends[0]; at < len(whole); {
		f, err := decodeFrame(whole[at:], recordVersion)
		if err != nil {
			t.Fatal(err)
		}
		at += f.size
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
			for want+1 < len(ends) && bytes.HasPrefix(torn, whole[:ends[want+1]]) { // a tail of zeros may complete one
				want++
			}
			if entries, _, _, err := decodeRecord(path, torn); err != nil || len(entries) != want {
				t.Fatalf("cut at %d: %d entries, want %d: %v", n, len(entries), want, err)
			}
			if n%16 != 3 {
				continue // the disk is slow
			}
			checkTorn(t, dir, torn, want)
		}
	}
}

// checkTorn loads a torn record of which want entries are good, and sees that it
// goes on behind them and that nothing is thrown away.
func checkTorn(t *testing.T, dir string, torn []byte, want int) {
	t.Helper()
	path := filepath.Join(dir, recordFile)
	if err := errors.Join(os.WriteFile(path, torn, 0o600), os.RemoveAll(path+tornSuffix)); err != nil {
		t.Fatal(err)
	}
	r := FileRecord(dir)
	entries, err := r.Load()
	if err != nil || len(entries) != want {
		t.Fatalf("torn record: %d entries, want %d: %v", len(entries), want, err)
	}
	kept := must(os.ReadFile(path))
	tail, err := os.ReadFile(path + tornSuffix)
	if len(torn) >= len(recordHeader) && (!bytes.HasPrefix(torn, kept) || len(kept) < len(torn) && (err != nil || !bytes.Equal(torn[len(kept):], tail))) {
		t.Fatalf("of %d bytes %d are in the record and %d beside it: %v", len(torn), len(kept), len(tail), err)
	}
	if err := errors.Join(r.Append(true, someEntries()[0]), r.Close()); err != nil {
		t.Fatal(err)
	}
	again, err := FileRecord(dir).Load()
	if err != nil || len(again) != want+1 {
		t.Fatalf("torn record, then appended: %d entries, want %d: %v", len(again), want+1, err)
	}
}

// What a power cut leaves may be whole at its end and torn before it.
func TestRecordTornInTheMiddle(t *testing.T) {
	e := someEntries()
	b := must(appendEntry([]byte(recordHeader), &e[0], 0))
	settled := len(b)
	b = must(appendEntry(b, &e[1], int64(settled)))
	clear(b[settled+1:]) // a block that was not written
	b = must(appendEntry(b, &e[2], int64(settled)))
	checkTorn(t, t.TempDir(), b, 1)
}

// tornBlock is what a disk writes at once, for sure.
const tornBlock = 512

// A power cut may lose any blocks of what was not synced, and keep those behind
// them. The record then goes on with what is whole before the first loss. Of what
// was synced it loses nothing, and whoever changed that is found.
func TestPowerCut(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		dir := t.TempDir()
		path := filepath.Join(dir, recordFile)
		r := FileRecord(dir)
		must(r.Load())
		settled, total := 0, 0
		for range rapid.IntRange(1, 12).Draw(rt, "appends") {
			entries := someEntries()[:rapid.IntRange(1, 4).Draw(rt, "entries")]
			entries[0].Result.Detail = string(make([]byte, rapid.IntRange(0, 3*tornBlock).Draw(rt, "detail")))
			durable := rapid.Bool().Draw(rt, "durable")
			if err := r.Append(durable, entries...); err != nil {
				rt.Fatal(err)
			}
			if total += len(entries); durable {
				settled = total
			}
			if rapid.IntRange(0, 9).Draw(rt, "rewrite") == 0 {
				all, _, _, err := decodeRecord(path, must(os.ReadFile(path)))
				if err := errors.Join(err, r.Rewrite(all)); err != nil {
					rt.Fatal(err)
				}
				settled = total
			}
		}
		safe := r.(*fileRecord).settled
		r.Close()
		b := must(os.ReadFile(path))
		damaged := bytes.Clone(b)
		at := rapid.IntRange(len(recordHeader), max(int(safe)-1, len(recordHeader))).Draw(rt, "flipped")
		for i := int(safe) / tornBlock * tornBlock; i < len(b); i += tornBlock {
			if rapid.Bool().Draw(rt, "lost") {
				clear(b[max(i, int(safe)):min(i+tornBlock, len(b))])
			}
		}
		b = b[:rapid.IntRange(int(safe), len(b)).Draw(rt, "cut")]
		if err := os.WriteFile(path, b, 0o600); err != nil {
			rt.Fatal(err)
		}
		entries, err := FileRecord(dir).Load()
		if err != nil || len(entries) < settled || len(entries) > total {
			rt.Fatalf("%d entries of %d are back, %d were synced: %v", len(entries), total, settled, err)
		}
		// With something written behind it, a change of what was synced is found.
		if at >= int(safe) || int64(len(damaged)) == safe {
			return
		}
		damaged[at] ^= 4
		var found *DamagedError
		if _, _, _, err := decodeRecord(path, damaged); !errors.As(err, &found) || found.Offset > int64(at) {
			rt.Fatalf("byte %d of %d was changed, %d were synced: %v", at, len(damaged), safe, err)
		}
	})
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
		_, err := FileRecord(dir).Load()
		var damaged *DamagedError
		if err == nil || i >= len(recordHeader) && !errors.As(err, &damaged) {
			t.Errorf("bit flipped at %d: %v", i, err)
		}
	}
	first, err := decodeFrame(whole[len(recordHeader):], recordVersion)
	if err != nil {
		t.Fatal(err)
	}
	shorter := append([]byte(recordHeader), whole[len(recordHeader)+first.size:]...)
	if _, _, _, err := decodeRecord("shorter", shorter); !errors.As(err, new(*DamagedError)) {
		t.Errorf("an entry was taken out: %v", err)
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
		if _, err := FileRecord(dir).Load(); err == nil {
			t.Errorf("record that is %s was taken", name)
		}
	}
}

func FuzzRecord(f *testing.F) {
	f.Add(encodeAll(someEntries()))
	f.Add([]byte(recordHeader))
	for _, name := range []string{"record.1", "record.2", "record.3"} {
		f.Add(must(os.ReadFile(filepath.Join("testdata", name))))
	}
	f.Add(encodeAll(someEntries())[:100])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		entries, good, version, err := decodeRecord("fuzz", b)
		if err != nil {
			return
		}
		if good > len(b) {
			t.Fatalf("%d bytes are good of %d", good, len(b))
		}
		for at, i := len(recordHeader), 0; version == recordVersion && at < good; i++ {
			f, err := decodeFrame(b[at:], version)
			if err != nil || !bytes.Equal(must(appendEntry(nil, &entries[i], f.settled)), b[at:at+f.size]) {
				t.Fatal("what was read is written differently", err)
			}
			at += f.size
		}
		if _, err := openLedger(&memoryRecord{entries: entries}); err != nil {
			t.Fatal(err)
		}
	})
}

func TestRecordIsRewrittenWhenItIsMostlyHistory(t *testing.T) {
	dir := t.TempDir()
	l := must(openLedger(FileRecord(dir)))
	for i := range 2000 {
		e := Entry{Reached, "test", someTime, false, "", task.Result{Operation: task.ID{byte(i >> 8), byte(i)}, Attempt: 1,
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
	r := FileRecord(dir)
	must(r.Load())
	e := someEntries()
	for b.Loop() {
		e[0].Result.Operation[15] = byte(rand.Uint32())
		if err := r.Append(true, e[0], e[1]); err != nil {
			b.Fatal(err)
		}
	}
}
