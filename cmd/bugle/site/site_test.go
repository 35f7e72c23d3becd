package site

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bugle-fleet/bugle/cmd/bugle/backup"
	"github.com/bugle-fleet/bugle/journal/archive"
	"github.com/bugle-fleet/bugle/journal/generation"
	"github.com/bugle-fleet/bugle/journal/upkeep"
)

// A site that is being restored is not opened, and its folder stays one in which
// the restore can go on.
func TestOpenLeavesARestoreAlone(t *testing.T) {
	cfg := Default()
	cfg.Data, cfg.Log = t.TempDir(), slog.New(slog.DiscardHandler)
	cfg.ListenTCP, cfg.ListenHTTP, cfg.ListenFeed, cfg.Console = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
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
