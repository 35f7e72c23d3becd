package upkeep_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/archive"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/journal/jetstream"
	"github.com/bugle-fleet/bugle/journal/journaltest"
	"github.com/bugle-fleet/bugle/journal/tree"
	"github.com/bugle-fleet/bugle/journal/upkeep"
)

// TestRealStore has the embedded store close generations by size: they are
// archived and removed, the history stays whole, and a check says so.
func TestRealStore(t *testing.T) {
	dir := t.TempDir()
	compressOutside(t)
	journaltest.Bubble(t, func(t *testing.T) {
		key, quiet := ed25519.NewKeyFromSeed(make([]byte, 32)), slog.New(slog.DiscardHandler)
		notes := upkeep.NewNotes()
		j, err := jetstream.Open(t.Context(), dir, jetstream.Options{Options: journal.Options{Folds: []journal.Fold{notes}}, Key: key, SealBytes: 4 << 10})
		if err != nil {
			t.Fatal(err)
		}
		tr, err := tree.Open(filepath.Join(dir, "tree"), tree.Options{Journal: j, Origin: fmt.Sprintf("bugle.P01/%x", j.History()), Key: key, Log: quiet})
		if err != nil {
			t.Fatal(err)
		}
		u, err := upkeep.New(upkeep.Config{Journal: j, Store: j, Checkpoints: tr, Notes: notes, Settings: upkeep.Settings{KeepLive: 1}, Log: quiet})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var parts sync.WaitGroup
		for _, run := range []func(context.Context) error{tr.Run, u.Run} {
			parts.Go(func() {
				if err := run(ctx); err != nil {
					t.Error(err)
				}
			})
		}
		for range 100 {
			e := &event.Event{Payload: &event.SiteMessage{Component: "c", Severity: event.Info, Text: fmt.Sprintf("%0200d", 1)}}
			if err := j.Append(t.Context(), e); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
		}
		time.Sleep(time.Minute)
		outcome, err := u.Check(t.Context())
		if err != nil || !outcome.Good || outcome.Events < 100 {
			t.Errorf("checked %+v, %v", outcome, err)
		}
		time.Sleep(time.Minute) // the events of the check may have closed one more
		list := j.Generations()
		if len(list) < 4 {
			t.Fatalf("%d generations", len(list))
		}
		for i, g := range list {
			if closed, kept := i < len(list)-1, i >= len(list)-2; g.Sealed() != closed || (g.Archive != "") != closed || g.Removed == kept {
				t.Errorf("generation %+v of %d", g, len(list))
			}
		}
		if s := u.Stats(); s.Sealed != len(list)-1 || s.Archived != s.Sealed || s.Removed != s.Sealed-1 || s.Waiting != 0 || s.Damaged {
			t.Errorf("figures %+v", s)
		}
		cancel()
		parts.Wait()
		if err := tr.Close(); err != nil {
			t.Error(err)
		}
		if err := j.Close(); err != nil {
			t.Error(err)
		}
	})
}

// compressOutside begins to use what all archives of a process share outside of
// every bubble: begun inside one it would belong to that.
func compressOutside(t *testing.T) {
	t.Helper()
	body, err := (&event.Event{Payload: &event.TokenRevoked{Token: "t"}}).Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	var page journal.PageBuilder
	page.Add(body)
	var b bytes.Buffer
	w, err := archive.NewWriter(&b, archive.Header{})
	if err == nil {
		err = w.Add(page.Seal(journal.Head{}, 1).Bytes())
	}
	if err == nil {
		_, err = w.Close(archive.Seal{})
	}
	if err != nil {
		t.Fatal(err)
	}
	r, err := archive.NewStream(&b)
	if err == nil {
		_, err = r.Verify(t.Context(), nil, nil)
	}
	if err != nil {
		t.Fatal(err)
	}
}
