package archive

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/tree"
)

func create(t *testing.T, name string, m made) *File {
	t.Helper()
	f, err := Create(name, m.info.Header)
	if err != nil {
		t.Fatal(err)
	}
	for _, raw := range m.pages {
		if err := f.Add(raw); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

func TestFile(t *testing.T) {
	m := archived(t, 1, tree.NewBuilder(), 2, 700, 900, 800, 900, 600, 1)
	name := filepath.Join(t.TempDir(), "00000001.bga")
	for range 2 { // the second time over what a crash has left
		f := create(t, name, m)
		if _, err := os.Stat(name); err == nil {
			t.Fatal("there before it was ended")
		}
		if err := f.f.Sync(); err != nil {
			t.Fatal(err)
		}
	}
	f := create(t, name, m)
	info, err := f.Close(Seal{Checkpoint: m.info.Checkpoint})
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(name)
	if err != nil || !bytes.Equal(b, m.bytes) {
		t.Fatalf("%d bytes, want %d: %v", len(b), len(m.bytes), err)
	}
	if sum := sha256.Sum256(b); info.Digest != sum || info.Size != int64(len(b)) {
		t.Errorf("%+v", info)
	}
	if _, err := f.Close(Seal{}); !errors.Is(err, errEnded) {
		t.Errorf("ended twice: %v", err)
	}
	if err := f.Abort(); err != nil {
		t.Errorf("given up after it was ended: %v", err)
	}
	r, err := Open(name)
	if err != nil {
		t.Fatal(err)
	}
	frames := 0
	report, err := r.Verify(t.Context(), public(1), func(p Report) {
		if frames++; p.Info.Before != m.info.Before || p.OK || p.Read > info.Size || p.Info.End.Event > info.End.Event {
			t.Errorf("on the way: %+v", p)
		}
	})
	if err != nil || report.Read != info.Size || frames != info.Frames {
		t.Errorf("%+v, %d frames, %v", report, frames, err)
	}
	if diff := cmp.Diff(info, report.Info); diff != "" {
		t.Error(diff)
	}
	want := info
	want.Digest = [32]byte{}
	if diff := cmp.Diff(want, r.Info()); diff != "" {
		t.Error(diff)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}

// What is given up, or fails, leaves nothing new behind.
func TestFileGivenUp(t *testing.T) {
	m := archived(t, 1, tree.NewBuilder(), 2, 3)
	dir := t.TempDir()
	name := filepath.Join(dir, "00000001.bga")
	if err := os.WriteFile(name, []byte("the one before"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := create(t, name, m).Abort(); err != nil {
		t.Error(err)
	}
	if _, err := create(t, name, m).Close(Seal{Root: tree.NewBuilder().Root()}); !errors.Is(err, ErrSeal) {
		t.Error(err)
	}
	if _, err := Create(name, Header{Generation: 1, Before: m.info.End}); err == nil {
		t.Error("a header that cannot be was taken")
	}
	taken := filepath.Join(dir, "00000002.bga")
	if err := os.MkdirAll(filepath.Join(taken, "in the way"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := create(t, taken, m).Close(Seal{}); err == nil {
		t.Error("a folder was replaced by an archive")
	}
	if err := os.RemoveAll(taken); err != nil {
		t.Fatal(err)
	}
	if _, err := Create(filepath.Join(dir, "none", "x"), Header{}); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 1 {
		t.Errorf("%v, %v", files, err)
	}
	if b, err := os.ReadFile(name); err != nil || string(b) != "the one before" {
		t.Errorf("%q, %v", b, err)
	}
}

func TestEndsWithItsContext(t *testing.T) {
	m := small(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r := mustOpen(t, m.bytes)
	if _, err := r.Verify(ctx, nil, nil); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if _, err := r.Load(ctx, 8, 8); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	pages, err := r.Read(ctx, m.info.Before.Event+1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pages.Next(ctx); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if err := pages.Close(); err != nil {
		t.Error(err)
	}
	if _, err := pages.Next(t.Context()); err != io.EOF {
		t.Errorf("behind the end: %v", err)
	}
}

func TestReadRefuses(t *testing.T) {
	m := small(t)
	r := mustOpen(t, m.bytes)
	if _, err := r.Read(t.Context(), m.info.End.Event+2); !errors.Is(err, journal.ErrAhead) {
		t.Error(err)
	}
	if _, err := r.Read(t.Context(), m.info.Before.Event); !errors.Is(err, ErrNoPage) {
		t.Error(err)
	}
	s, err := NewStream(bytes.NewReader(m.bytes))
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := s.Info(); ok {
		t.Error("a stream tells all before it was read")
	}
	if s.Header().Before != m.info.Before || s.Head() != m.info.Before {
		t.Errorf("%+v, %+v", s.Header(), s.Head())
	}
	if _, err := s.Next(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Verify(t.Context(), nil, nil); err == nil {
		t.Error("verified what was half read")
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if _, err := s.Next(t.Context()); !errors.Is(err, journal.ErrClosed) {
		t.Error(err)
	}
}

var update = flag.Bool("update", false, "write the golden file if it is not there")

// Archives of earlier days are read for ever. Their events are of versions that
// are written no more.
func TestGolden(t *testing.T) {
	for name, digest := range map[string]string{
		"archive.v1.bga":         "dd477a31dca8a82c86a9f9418d4625a1d5ba261ecc13610c92f4bfedbe343e55",
		"archive.v1.events2.bga": "ce4ea6a926d278db9f21f2a047e61048ebf79d3e9c4b2d9d94f00f96c0c7bea3",
	} {
		r, err := Open(filepath.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		report, err := r.Verify(t.Context(), public(1), nil)
		if err != nil || !report.OK || !report.Signed || report.Info.Frames != 4 || report.Info.End.Event != 18 {
			t.Fatalf("%s: %+v, %v", name, report, err)
		}
		if got := hex.EncodeToString(report.Info.Digest[:]); got != digest {
			t.Errorf("%s: SHA-256 %s: the golden file was changed", name, got)
		}
	}
}

// The same archive with events as they are written now.
func TestGoldenNow(t *testing.T) {
	name := filepath.Join("testdata", "archive.v1.events3.bga")
	m := small(t)
	if _, err := os.Stat(name); *update && os.IsNotExist(err) {
		if err := os.WriteFile(name, m.bytes, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	r, err := Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	report, err := r.Verify(t.Context(), public(1), nil)
	if err != nil || !report.OK || !report.Signed {
		t.Fatalf("%+v, %v", report, err)
	}
	i := report.Info
	if i.History != identity || i.Generation != 2 || i.Before != m.info.Before || i.End != m.info.End || i.Root != m.info.Root || i.Frames != 4 {
		t.Errorf("%+v", i)
	}
	pages, err := r.Read(t.Context(), i.Before.Event+1)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "golden file", read(t, pages), m.pages)
}
