package pacing_test

import (
	"context"
	"crypto/ed25519"
	"errors"
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/bugle-fleet/bugle/console/pacing"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// The site's key is changed after the word was signed that stops an operation, and
// before it is in the journal: the next round signs by the new key.
func TestStopWhileTheKeyIsChanged(t *testing.T) {
	s := newSite(t)
	s.online.AddRange(1, 21)
	id := s.push(1, 20, event.Pacing{Waves: []uint32{10}, StopOnFailure: 20})
	s.after(time.Minute)
	s.report(id, task.Failed, set(s.waves(t, 1)[0].Devices).ToArray()...)

	public, other, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	now, changed := key, errors.New("changed")
	s.runner = pacing.New(pacing.Config{Journal: s.journal, Gate: s.gate, Operations: s.view, Views: s.view,
		Online:     func() *roaring.Bitmap { return s.online },
		SignCancel: func(c *task.Cancel) ([]byte, error) { c.Site = "P01"; return c.Sign(now), nil },
		Signs: func(id task.KeyID) error {
			if now = other; id != task.KeyIDOf(public) {
				return changed
			}
			return nil
		},
		Now: s.time, Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err := s.runner.Round(context.Background()); !errors.Is(err, changed) {
		t.Errorf("the word of the old key was taken: %v", err)
	}
	s.after(time.Second)
	_, stopped := s.said()
	if len(stopped) != 1 {
		t.Fatalf("stopped %d times", len(stopped))
	}
	if _, err := task.VerifyCancel(stopped[0].Cancel, "P01", public); err != nil {
		t.Errorf("stopped by a word of another key: %v", err)
	}
}
