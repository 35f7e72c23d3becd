package site

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/tree"
	"github.com/bugle-fleet/bugle/journal/upkeep"
)

// signedHead is what the last checkpoint says the journal must have, zero if
// there is none yet. The journal is told before it opens its files.
func signedHead(data string, key ed25519.PublicKey) (journal.Head, error) {
	name := filepath.Join(data, "journal", "tree", "checkpoint")
	text, err := os.ReadFile(name)
	if errors.Is(err, os.ErrNotExist) {
		return journal.Head{}, nil
	}
	if err != nil {
		return journal.Head{}, err
	}
	c, err := tree.OpenCheckpoint(text, key, "")
	if err != nil {
		return journal.Head{}, fmt.Errorf("read %s: %w", name, err)
	}
	return c.Head(), nil
}

// openUpkeep makes what keeps the journal in order, and starts it.
func (s *Site) openUpkeep() (err error) {
	s.upkeep, err = upkeep.New(upkeep.Config{
		Journal: s.journal, Store: roomyStore{s.store, s.space, filepath.Join(s.cfg.Data, "journal")}, Checkpoints: s.tree, Notes: s.notes,
		Settings: upkeep.Settings{KeepLive: s.cfg.KeepLive, CheckEvery: s.cfg.CheckEvery},
		Log:      s.cfg.Log.With("component", "upkeep"),
	})
	if err != nil {
		return err
	}
	s.upkeepStage.Start(s.failed, "upkeep", s.upkeep.Run)
	return nil
}

// ready says why the site takes no work, or should not be trusted with any.
func (s *Site) ready() error {
	if err := s.space.check(); err != nil {
		return err
	}
	if err := s.store.Damage(); err != nil {
		return fmt.Errorf("the journal is damaged on the disk: %w", err)
	}
	return s.upkeep.Ready()
}
