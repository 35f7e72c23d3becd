package site

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/cmd/bugle/backup"
	"github.com/bugle-fleet/bugle/journal/archive"
	"github.com/bugle-fleet/bugle/journal/generation"
	"github.com/bugle-fleet/bugle/journal/upkeep"
	"github.com/bugle-fleet/bugle/projectors"
)

// A site that is being restored is not opened, and its folder stays one in which
// the restore can go on.
func TestOpenLeavesARestoreAlone(t *testing.T) {
	cfg := quiet(t)
	if err := os.WriteFile(filepath.Join(cfg.Data, "RESTORING"), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if s, err := Open(t.Context(), cfg); !errors.Is(err, backup.ErrRestoring) || s != nil {
		t.Fatalf("%v, %v", s, err)
	}
	if entries, err := os.ReadDir(cfg.Data); err != nil || len(entries) != 1 {
		t.Errorf("the folder has %v, %v", entries, err)
	}
}

// TestStopWithoutViews takes the folder of the views away from a site that runs. The
// stop names the views that it leaves open, and all else ends as it should.
func TestStopWithoutViews(t *testing.T) {
	cfg := quiet(t)
	cfg.closeViews = 100 * time.Millisecond
	s, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(cfg.Data, "views")); err != nil {
		t.Fatal(err)
	}
	err = s.Close()
	if !errors.Is(err, projectors.ErrNotClosed) || !strings.HasPrefix(err.Error(), "close view device, ") || strings.Contains(err.Error(), "\n") {
		t.Errorf("the stop says: %v", err)
	}
}

// The views are closed only where the disk has room for what that writes.
func TestRoomToClose(t *testing.T) {
	dir := t.TempDir()
	log := filepath.Join(dir, "device", "00000001", "00001.mem")
	if err := os.MkdirAll(filepath.Dir(log), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(log, bytes.Repeat([]byte{1}, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	free := uint64(2 << 20)
	s := &space{dir: dir, free: func(string) (uint64, error) { return free, nil }}
	if err := s.roomToClose(dir); err == nil || !strings.Contains(err.Error(), "has 2048 KiB left") {
		t.Errorf("a disk that is too full: %v", err)
	}
	free = 4 << 20
	if err := s.roomToClose(dir); err != nil {
		t.Error(err)
	}
}

// A disk that cannot be asked is said once, not at every look.
func TestBlindSpace(t *testing.T) {
	var said bytes.Buffer
	err := errors.New("gone")
	s := &space{free: func(string) (uint64, error) { return 1, err }, log: slog.New(slog.NewTextHandler(&said, nil))}
	for _, e := range []error{err, err, nil, nil, err, err} {
		err = e
		s.look()
	}
	if n := strings.Count(said.String(), "cannot tell"); n != 2 {
		t.Errorf("said %d times:\n%s", n, &said)
	}
}

// quiet is the configuration of a site in a new folder, on ports that are free.
func quiet(t *testing.T) Config {
	cfg := Default()
	cfg.Data, cfg.Log = t.TempDir(), slog.New(slog.DiscardHandler)
	cfg.ListenTCP, cfg.ListenHTTP, cfg.ListenFeed, cfg.Console = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
	return cfg
}

// A store that notes which generations were archived.
type archiver struct {
	upkeep.Store
	archived []uint32
}

func (a *archiver) Archive(_ context.Context, number uint32, _ archive.Tree, _ func(done, total uint64)) (g generation.Generation, err error) {
	a.archived = append(a.archived, number)
	return g, nil
}

// An archive never takes the room that is kept free.
func TestArchiveNeedsRoom(t *testing.T) {
	dir := t.TempDir()
	live := generation.LiveFolder(dir, 1)
	if err := os.MkdirAll(live, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"1.blk", "2.blk"} {
		if err := os.WriteFile(filepath.Join(live, name), make([]byte, 3<<20), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	free := uint64(16<<20 - 1)
	a := &archiver{}
	s := roomyStore{a, &space{dir: dir, least: 10 << 20, free: func(string) (uint64, error) { return free, nil }}, dir}
	if _, err := s.Archive(t.Context(), 1, nil, nil); err == nil || !strings.Contains(err.Error(), "may take 6 MiB") || len(a.archived) > 0 {
		t.Errorf("%v, archived %v", err, a.archived)
	}
	free++
	if _, err := s.Archive(t.Context(), 1, nil, nil); err != nil || len(a.archived) != 1 {
		t.Errorf("%v, archived %v", err, a.archived)
	}
}
