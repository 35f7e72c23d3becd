package relay

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/inbox/box"
	"github.com/bugle-fleet/bugle/listener"
)

// one is a file's worth of results: one row, which says its place in Code.
func one(i int) *box.Results {
	r := results(i)
	r.Rows[0].Code = int32(i)
	return r
}

// While the site does not take files, those that it never saw are merged: so what
// comes one by one is few files when it is back. What it may have seen never
// changes, and nothing is lost or out of order.
func TestWhatWaitsIsMerged(t *testing.T) {
	const rows = 4000
	r, dir := &receiver{}, t.TempDir()
	var back atomic.Bool
	seen := map[string][32]byte{}
	r.send = func(files []box.Raw) (int, error) {
		for _, f := range files {
			sum := sha256.Sum256(f.Data)
			if before, again := seen[f.Name.String()]; again && before != sum {
				t.Errorf("%s has changed since it was sent", f.Name)
			}
			seen[f.Name.String()] = sum
		}
		if !back.Load() {
			return rand.N(min(2, len(files))), ErrAway // it takes one now and then, and is gone
		}
		return len(files), nil
	}
	f := openForwarder(t, dir, 1, r, true)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error)
	go func() { ended <- f.Run(ctx) }()
	for i := range rows {
		drop(t, f, one(i))
		if i%100 == 0 {
			drop(t, f, news, discovery, presence)
		}
	}
	files, size := f.Waiting()
	if files > rows/4 {
		t.Errorf("%d files wait", files)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if n, bytes := inFolder(t, dir); int64(n) != files || bytes != size {
		t.Errorf("%d files of %d bytes wait, counted are %d of %d", n, bytes, files, size)
	}
	f.Close()
	f = openForwarder(t, dir, 1, r, false) // what an earlier run may have sent keeps its numbers too
	defer f.Close()
	back.Store(true)
	drain(t, f)
	got := r.rows(t)
	if len(got) != rows {
		t.Fatalf("%d rows have come", len(got))
	}
	for i, row := range got {
		if row.Code != int32(i) {
			t.Fatalf("row %d is at place %d", row.Code, i)
		}
	}
	numbers := map[box.Kind]uint64{}
	for _, file := range r.files {
		if numbers[file.Name.Kind]++; file.Name.Number != numbers[file.Name.Kind] {
			t.Fatalf("%s comes after number %d", file.Name, numbers[file.Name.Kind]-1)
		}
	}
}

func inFolder(t *testing.T, dir string) (files int, bytes int64) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if info, err := e.Info(); err == nil && !e.IsDir() {
			files, bytes = files+1, bytes+info.Size()
		}
	}
	return files, bytes
}

// An older copy of a listener gives numbers that the site has. Its files go on
// under the next epoch, in their order.
func TestCounterIsBehind(t *testing.T) {
	taken := map[string][]byte{}
	r := &receiver{}
	r.send = func(files []box.Raw) (int, error) {
		for i, f := range files {
			if b, ok := taken[f.Name.String()]; ok && !bytes.Equal(b, f.Data) {
				return i, &listener.JoinRefused{Status: http.StatusConflict, Title: "Another file has this name"}
			}
			taken[f.Name.String()] = f.Data
		}
		return len(files), nil
	}
	dir, copied := t.TempDir(), filepath.Join(t.TempDir(), "copy")
	open := func(dir string, epoch uint32, fresh, renumber bool) *Forwarder {
		f, err := OpenForwarder(ForwarderConfig{Dir: dir, Site: "P01", Listener: "EAST01", Epoch: epoch, Key: boxKey("EAST01"), Send: r.Send,
			Renumber: func() bool { return renumber }, Log: slog.New(slog.DiscardHandler)}, fresh)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	f := open(dir, 1, true, true)
	drop(t, f, one(1), presence)
	drain(t, f)
	f.Close()
	if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	f = open(dir, 1, false, true)
	drop(t, f, one(2), one(3), discovery)
	drain(t, f)
	f.Close()

	f = open(copied, 1, false, true)
	drop(t, f, one(4), one(5), one(6), presence, discovery)
	if err := f.Run(t.Context()); !errors.Is(err, ErrBehind) {
		t.Fatalf("run: %v", err)
	}
	f.Close()
	f = open(copied, 2, true, true)
	defer f.Close()
	for range 2 { // as after a crash in between
		if err := f.Renumber(); err != nil {
			t.Fatal(err)
		}
	}
	if n, size := inFolder(t, copied); f.count.Load() != int64(n) || f.used.Load() != size {
		t.Errorf("%d files of %d bytes wait, counted are %d of %d", n, size, f.count.Load(), f.used.Load())
	}
	drain(t, f)
	var codes []int32
	for _, row := range r.rows(t) {
		codes = append(codes, row.Code)
	}
	if !slices.Equal(codes, []int32{1, 2, 3, 4, 5, 6}) {
		t.Errorf("rows %d", codes)
	}
	if m := r.message(t, MessageRenumbered); m.Severity != 2 {
		t.Errorf("the site is told %+v", m)
	}
	if bad, err := os.ReadDir(filepath.Join(copied, "bad")); err != nil || len(bad) > 0 {
		t.Errorf("%d files are put aside, %v", len(bad), err)
	}

	// If that has just been done, it does not help: then files are put aside.
	again := t.TempDir()
	f = open(again, 1, true, false)
	defer f.Close()
	drop(t, f, one(7))
	drain(t, f)
	r.message(t, MessageAside)
	if _, err := os.Stat(filepath.Join(again, "bad", name(1, 1, "BTS"))); err != nil {
		t.Error(err)
	}
}

// What cannot be read is not lost by a renumbering: it stays for people to look at.
func TestRenumberLeavesWhatItCannotRead(t *testing.T) {
	dir, r := t.TempDir(), &receiver{}
	f := openForwarder(t, dir, 1, r, true)
	drop(t, f, one(1), one(2))
	f.Close()
	path := filepath.Join(dir, name(1, 1, "BTS"))
	if err := os.Truncate(path, 50); err != nil {
		t.Fatal(err)
	}
	f = openForwarder(t, dir, 2, r, true)
	defer f.Close()
	if err := f.Renumber(); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Size() != 50 {
		t.Error(err)
	}
	f.drop(one(3), time.Time{}, time.Time{})
	drain(t, f)
	if got := r.got(); !slices.Equal(got, []string{name(1, 1, "BTS"), name(2, 1, "BTS"), name(2, 2, "BTS"), name(2, 1, "SVF")}) {
		t.Errorf("sent %q", got)
	}
}
