package block_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/block"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/journal/generation"
	"github.com/bugle-fleet/bugle/journal/offlinetest"
)

// pages makes n pages of three events each.
func pages(t testing.TB, n int) (raws [][]byte, heads []journal.Head) {
	t.Helper()
	heads = []journal.Head{{}}
	for i := range n {
		var b journal.PageBuilder
		for k := range 3 {
			body, err := (&event.Event{Payload: &event.FileRequeued{Name: fmt.Sprintf("file-%d-%d", i, k)}}).Append(nil)
			if err != nil {
				t.Fatal(err)
			}
			b.Add(body)
		}
		s := b.Seal(heads[i], offlinetest.Begin+int64(i)*1000)
		raws, heads = append(raws, s.Bytes()), append(heads, s.Head)
	}
	return raws, heads
}

// folder is a folder msgs with n pages, so many to a file.
func folder(t testing.TB, n, perFile int) (msgs string, heads []journal.Head) {
	t.Helper()
	raws, heads := pages(t, n)
	msgs = filepath.Join(t.TempDir(), "JOURNAL-00000001", "msgs")
	if err := offlinetest.WriteFiles(msgs, perFile, raws); err != nil {
		t.Fatal(err)
	}
	return msgs, heads
}

func files(t testing.TB, msgs string) []block.File {
	t.Helper()
	f, err := block.Files(msgs)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func rewrite(t testing.TB, name string, change func(b []byte) []byte) {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, change(b), 0o600); err != nil {
		t.Fatal(err)
	}
}

// offsets is where the records of a file begin, and where it ends.
func offsets(t testing.TB, f block.File) (at []int64) {
	t.Helper()
	if err := block.Walk(f, func(r block.Record) error { at = append(at, r.Offset); return nil }); err != nil {
		t.Fatal(err)
	}
	return append(at, f.Size)
}

func damage(t testing.TB, err error) *block.DamageError {
	t.Helper()
	bad, ok := errors.AsType[*block.DamageError](err)
	if !ok {
		t.Fatalf("%v, want a DamageError", err)
	}
	return bad
}

func TestFiles(t *testing.T) {
	msgs, _ := folder(t, 23, 2)
	for _, name := range []string{"index.db", "7.blk.tmp"} {
		if err := os.WriteFile(filepath.Join(msgs, name), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	all := files(t, msgs)
	if len(all) != 12 {
		t.Fatalf("%d files", len(all))
	}
	for i, f := range all {
		info, err := os.Stat(f.Path)
		if err != nil {
			t.Fatal(err)
		}
		if f.Number != uint32(i+1) || f.Stream != "JOURNAL-00000001" || f.Size != info.Size() || !f.ModTime.Equal(info.ModTime()) || f.Newest != (i == 11) {
			t.Errorf("file %d is %+v", i, f)
		}
	}
	if _, err := block.Files(filepath.Join(msgs, "no")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a folder that is not there: %v", err)
	}
}

// JetStream would take these for files of messages too.
func TestForeignFiles(t *testing.T) {
	for _, name := range []string{"01.blk", "x.blk", "-1.blk", "0.blk", "4294967296.blk", "1.key"} {
		msgs, _ := folder(t, 2, 1)
		if err := os.WriteFile(filepath.Join(msgs, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if all, err := block.Files(msgs); err == nil {
			t.Errorf("%s: %v", name, all)
		}
	}
	msgs, _ := folder(t, 2, 1)
	if err := os.Mkdir(filepath.Join(msgs, "3.blk"), 0o700); err != nil {
		t.Fatal(err)
	}
	if all, err := block.Files(msgs); err == nil {
		t.Errorf("a folder: %v", all)
	}
}

func TestCheck(t *testing.T) {
	msgs, heads := folder(t, 25, 10)
	all := files(t, msgs)
	n := 0
	entries, err := block.Check(t.Context(), all, 0, block.Position{}, func(p *journal.Page, r block.Record) error {
		n++
		if p.First != heads[n].Event-2 || int(r.Sequence) != n {
			t.Errorf("page %d begins with event %d and is message %d", n, p.First, r.Sequence)
		}
		return nil
	})
	if err != nil || n != 25 || len(entries) != 3 {
		t.Fatalf("%d pages in %d files, %v", n, len(entries), err)
	}
	for i, e := range entries {
		to := min(10*i+10, 25)
		if e.File != all[i] || e.Before.Head != heads[10*i] || e.After.Head != heads[to] || e.Pages() != uint64(to-10*i) {
			t.Errorf("file %d: %+v", i, e)
		}
	}
	// What was found lets a later check begin anywhere.
	again, err := block.Check(t.Context(), all[2:], 0, entries[1].After, nil)
	if err != nil || again[0] != entries[2] {
		t.Errorf("%+v, %v", again, err)
	}
	wrong := entries[1].After
	wrong.Head.Hash[0]++
	_, err = block.Check(t.Context(), all[2:], 0, wrong, nil)
	if bad := damage(t, err); bad.Event != heads[20].Event+1 || bad.Page != 21 || bad.Offset != 0 || bad.File != all[2].Path {
		t.Errorf("%+v", bad)
	}
	late := entries[1].After
	late.Accepted = 1 << 62
	if _, err := block.Check(t.Context(), all[2:], 0, late, nil); !errors.Is(err, journal.ErrDamaged) {
		t.Errorf("times that do not rise: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := block.Check(ctx, all, 0, block.Position{}, nil); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	stop := errors.New("stop")
	if _, err := block.Check(t.Context(), all, 0, block.Position{}, func(*journal.Page, block.Record) error { return stop }); err != stop {
		t.Error(err)
	}
}

// A later generation: message 1 is the page behind those of the ones before.
func TestCheckOfALaterGeneration(t *testing.T) {
	raws, heads := pages(t, 12)
	msgs := filepath.Join(t.TempDir(), "JOURNAL-00000002", "msgs")
	if err := offlinetest.WriteFiles(msgs, 4, raws[5:]); err != nil {
		t.Fatal(err)
	}
	entries, err := block.Check(t.Context(), files(t, msgs), 5, block.Position{Head: heads[5]}, nil)
	if err != nil || entries[1].After.Head != heads[12] {
		t.Errorf("%+v, %v", entries, err)
	}
	rewrite(t, filepath.Join(msgs, "2.blk"), func(b []byte) []byte { b[50] ^= 1; return b })
	_, err = block.Check(t.Context(), files(t, msgs), 5, block.Position{Head: heads[5]}, nil)
	if bad := damage(t, err); bad.Page != 10 || bad.Event != heads[9].Event+1 || bad.Sequence != 5 {
		t.Errorf("%+v", bad)
	}
}

// Every byte of a file matters: what is flipped is found in the record that it is
// in. In the last one it looks like a torn tail, but for the length of the header,
// which no checksum covers: there the record is whole and the page is none.
func TestEveryByte(t *testing.T) {
	msgs, heads := folder(t, 4, 2)
	all := files(t, msgs)
	for i, f := range all {
		begins := offsets(t, f)
		good, err := os.ReadFile(f.Path)
		if err != nil {
			t.Fatal(err)
		}
		whole := 0
		for bit := range len(good) * 8 {
			if bit%3 != bit/8%3 { // two or three bits of each byte, each bit of some
				continue
			}
			b := bytes.Clone(good)
			b[bit/8] ^= 1 << (bit % 8)
			if err := os.WriteFile(f.Path, b, 0o600); err != nil {
				t.Fatal(err)
			}
			record, _ := slices.BinarySearch(begins, int64(bit/8+1))
			record--
			_, err := block.Check(t.Context(), all, 0, block.Position{}, nil)
			bad := damage(t, err)
			page := 2*i + record + 1
			if bad.File != f.Path || bad.Offset != begins[record] || bad.Page != uint64(page) || bad.Event != heads[page-1].Event+1 || bad.Sequence != uint64(page) {
				t.Fatalf("bit %d of file %d, in page %d: %+v", bit, i, page, bad)
			}
			if bad.Torn && page < 4 {
				t.Fatalf("bit %d of file %d, in page %d, looks like a torn tail", bit, i, page)
			}
			if !bad.Torn && page == 4 {
				whole++
			}
		}
		if whole > 32 {
			t.Errorf("%d bits of the last page do not look like a torn tail", whole)
		}
		if err := os.WriteFile(f.Path, good, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// A write that was cut off anywhere, and what a disk may put behind it, is a torn
// tail.
func TestTornTail(t *testing.T) {
	msgs, heads := folder(t, 5, 3)
	last := files(t, msgs)[1]
	begins := offsets(t, last)
	good, err := os.ReadFile(last.Path)
	if err != nil {
		t.Fatal(err)
	}
	garbage := bytes.Repeat([]byte{0xd5, 0x3c, 0x00, 0x80, 0x11}, 1000)
	for at := begins[1] + 1; at < begins[2]; at++ {
		for name, tail := range map[string][]byte{"nothing": nil, "zeros": make([]byte, 5000), "garbage": garbage} {
			if err := os.WriteFile(last.Path, append(good[:at:at], tail...), 0o600); err != nil {
				t.Fatal(err)
			}
			entries, err := block.Check(t.Context(), files(t, msgs), 0, block.Position{}, nil)
			if bad := damage(t, err); !bad.Torn || bad.Offset != begins[1] || bad.Page != 5 || entries[1].After.Head != heads[4] {
				t.Fatalf("cut at %d, then %s: %+v", at, name, bad)
			}
		}
	}
	// Nothing of it, or all of it, is a good file.
	for _, at := range begins[1:] {
		if err := os.WriteFile(last.Path, good[:at], 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := block.Check(t.Context(), files(t, msgs), 0, block.Position{}, nil); err != nil {
			t.Errorf("cut at %d: %v", at, err)
		}
	}
}

// Damage with a good record behind it, or in another file than the newest, is
// none.
func TestNotTorn(t *testing.T) {
	for name, change := range map[string]func(t *testing.T, msgs string){
		"a good record follows": func(t *testing.T, msgs string) {
			rewrite(t, filepath.Join(msgs, "2.blk"), func(b []byte) []byte { b[60]++; return b })
		},
		"not the newest file": func(t *testing.T, msgs string) {
			rewrite(t, filepath.Join(msgs, "1.blk"), func(b []byte) []byte { return b[:len(b)-3] })
		},
		"an empty file follows": func(t *testing.T, msgs string) {
			rewrite(t, filepath.Join(msgs, "2.blk"), func(b []byte) []byte { return b[:len(b)-3] })
			if err := os.WriteFile(filepath.Join(msgs, "3.blk"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		},
		"more than JetStream writes": func(t *testing.T, msgs string) {
			if err := os.Truncate(filepath.Join(msgs, "2.blk"), 17<<20); err != nil {
				t.Fatal(err)
			}
		},
		"more than JetStream writes, all of it good": func(t *testing.T, msgs string) {
			rewrite(t, filepath.Join(msgs, "2.blk"), func([]byte) []byte { return long(17<<20, -1) })
		},
		"more than JetStream writes, and what is read ends with a record": func(t *testing.T, msgs string) {
			rewrite(t, filepath.Join(msgs, "2.blk"), func([]byte) []byte { return long(17<<20, 16<<20) })
		},
		"the mark of a deleted message": func(t *testing.T, msgs string) {
			rewrite(t, filepath.Join(msgs, "2.blk"), func(b []byte) []byte {
				return offlinetest.AppendRecord(b, generation.Stream(1), 2, block.Record{Sequence: 6 | 1<<62, Time: 5})
			})
		},
		"the sequence 0": func(t *testing.T, msgs string) {
			rewrite(t, filepath.Join(msgs, "2.blk"), func(b []byte) []byte {
				return offlinetest.AppendRecord(b, generation.Stream(1), 2, block.Record{Time: 5})
			})
		},
		"too much looks like a record": func(t *testing.T, msgs string) {
			rewrite(t, filepath.Join(msgs, "2.blk"), func(b []byte) []byte {
				return append(b, bytes.Repeat([]byte{0, 0, 15, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, 1<<17)...)
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			msgs, _ := folder(t, 6, 3)
			change(t, msgs)
			err := error(nil)
			for _, f := range files(t, msgs) {
				err = errors.Join(err, block.Walk(f, func(block.Record) error { return nil }))
			}
			if bad := damage(t, err); bad.Torn {
				t.Errorf("%+v", bad)
			}
			if bad, ok := errors.AsType[*block.DamageError](second(block.Check(t.Context(), files(t, msgs), 0, block.Position{}, nil))); !ok || bad.Torn {
				t.Errorf("%+v", bad)
			}
		})
	}
}

func second[A, B any](_ A, b B) B { return b }

// long is a second file of messages, from 4 on, of at least size bytes; one of its
// records ends at border.
func long(size, border int) (b []byte) {
	for n := uint64(4); len(b) < size; n++ {
		r := block.Record{Sequence: n, Time: 5, Data: make([]byte, 500_000)}
		if left := border - len(b) - len(offlinetest.AppendRecord(nil, "", 2, block.Record{})); left > 0 && left <= 1_000_000 {
			r.Data = make([]byte, left)
		}
		b = offlinetest.AppendRecord(b, generation.Stream(1), 2, r)
	}
	return b
}

// What somebody does who knows the format is found by Check where it shows.
func TestInformedChanges(t *testing.T) {
	raws, heads := pages(t, 6)
	record := func(n uint64, change func(r *block.Record)) []byte {
		r := block.Record{Sequence: n, Time: 5, Subject: []byte(offlinetest.Subject), Header: offlinetest.Header(heads[n].Hash, n), Data: raws[n-1]}
		change(&r)
		return offlinetest.AppendRecord(nil, "JOURNAL-00000001", 1, r)
	}
	for name, c := range map[string]struct {
		change func(r *block.Record)
		reason string
		page   uint64
	}{
		"tombstone":  {func(r *block.Record) { r.Sequence |= 1 << 62 }, "deleted", 4},
		"erased":     {func(r *block.Record) { r.Sequence |= 1 << 63 }, "deleted", 4},
		"sequence 0": {func(r *block.Record) { r.Sequence = 0 }, "sequence 0", 4},
		"skipped":    {func(r *block.Record) { r.Sequence = 5 }, "follows", 4},
		"again":      {func(r *block.Record) { r.Sequence = 3; r.Data = raws[2] }, "follows", 4},
		"other page": {func(r *block.Record) { r.Data = raws[4] }, "begins with event", 4},
		"no page":    {func(r *block.Record) { r.Data = []byte("x") }, "not a page", 4},
		"id":         {func(r *block.Record) { r.Header = offlinetest.Header([32]byte{1}, 4) }, "filed under", 4},
		"cut id":     {func(r *block.Record) { r.Header = []byte("NATS/1.0\r\nNats-Msg-Id: 00\r\n\r\n") }, "filed under", 4},
		"edited":     {func(r *block.Record) { r.Data = bytes.Replace(raws[3], []byte("file-3-1"), []byte("file-X-1"), 1) }, "filed under", 4},
		"edited, id": {func(r *block.Record) {
			r.Data = bytes.Replace(raws[3], []byte("file-3-1"), []byte("file-X-1"), 1)
			r.Header = nil
		}, "chain of hashes", 5},
		"other header": {func(r *block.Record) { r.Header = []byte("NATS/1.0\r\nA: b\r\n\r\n") }, "", 0},
		"no header":    {func(r *block.Record) { r.Header = nil }, "", 0},
	} {
		t.Run(name, func(t *testing.T) {
			msgs := filepath.Join(t.TempDir(), "JOURNAL-00000001", "msgs")
			if err := os.MkdirAll(msgs, 0o700); err != nil {
				t.Fatal(err)
			}
			var b []byte
			for n := uint64(1); n <= 6; n++ {
				b = append(b, record(n, func(r *block.Record) {
					if n == 4 {
						c.change(r)
					}
				})...)
			}
			if err := os.WriteFile(filepath.Join(msgs, "1.blk"), b, 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := block.Check(t.Context(), files(t, msgs), 0, block.Position{}, nil)
			if c.page == 0 {
				if err != nil {
					t.Error(err)
				}
				return
			}
			bad := damage(t, err)
			if bad.Page != c.page || !strings.Contains(bad.Reason, c.reason) || bad.Torn {
				t.Errorf("%+v", bad)
			}
			var j *journal.DamageError
			if !errors.As(err, &j) || j.Page != bad.Page || j.File != bad.File || j.Offset != bad.Offset || !errors.Is(err, journal.ErrDamaged) {
				t.Errorf("as a damage of the journal: %+v", j)
			}
		})
	}
}

func TestCompressed(t *testing.T) {
	msgs, _ := folder(t, 3, 3)
	rewrite(t, filepath.Join(msgs, "1.blk"), func(b []byte) []byte { return append([]byte("cmp\x01"), b...) })
	if bad := damage(t, block.Walk(files(t, msgs)[0], func(block.Record) error { return nil })); !strings.Contains(bad.Error(), "compressed") {
		t.Error(bad)
	}
}
