package offline_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/journal/jetstream"
	"github.com/bugle-fleet/bugle/journal/offline"
	"github.com/bugle-fleet/bugle/journal/tree"
)

// grown opens the tree of a journal in its folder and waits until it covers all
// there is.
func grown(t *testing.T, dir string, j *jetstream.Journal, key ed25519.PrivateKey) (tr *tree.Tree, stop func()) {
	t.Helper()
	tr, err := tree.Open(filepath.Join(dir, "tree"), tree.Options{Journal: j, Origin: fmt.Sprintf("bugle.T01/%x", j.History()), Key: key, Every: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := tr.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	late, done := context.WithTimeout(t.Context(), 30*time.Second)
	defer done()
	if err := tr.Wait(late, j.Head().Event); err != nil {
		t.Fatal(err)
	}
	return tr, func() {
		cancel()
		wg.Wait()
		if err := tr.Close(); err != nil {
			t.Error(err)
		}
	}
}

// What the real journal leaves on disk, in archives and in files, is read here as
// it was; and not while it is open.
func TestReadsWhatJetStreamLeaves(t *testing.T) {
	dir := t.TempDir()
	j, err := jetstream.Open(t.Context(), dir, jetstream.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var want [][]byte
	fill := func(pages int) {
		for range pages {
			n := j.Head().Event
			if err := j.Append(t.Context(), &event.Event{Payload: &event.FileRequeued{Name: fmt.Sprint(n + 1)}}, &event.Event{Payload: &event.FileRequeued{Name: fmt.Sprint(n + 2)}}); err != nil {
				t.Fatal(err)
			}
		}
	}
	for range 3 {
		fill(10)
		if _, err := j.Seal(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	fill(5)
	key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	tr, stop := grown(t, dir, j, key)
	for number := range uint32(2) {
		if _, err := j.Archive(t.Context(), number+1, tr, nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := j.Remove(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	r, err := j.Read(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	for {
		p, err := r.Next(t.Context())
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, p.Bytes())
	}
	r.Close()
	stop()
	if _, err := offline.Open(dir, offline.Options{}); !errors.Is(err, journal.ErrLocked) {
		t.Errorf("a journal that is open: %v", err)
	}
	head := j.Head()
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}

	left := open(t, dir)
	if left.Head() != head || left.History() != j.History() || left.Torn() != nil || len(left.Generations()) != 4 {
		t.Errorf("head %+v, want %+v; torn %v, generations %v", left.Head(), head, left.Torn(), left.Generations())
	}
	r, err = left.Read(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	for i := range want {
		if p, err := r.Next(t.Context()); err != nil || !bytes.Equal(p.Bytes(), want[i]) {
			t.Fatalf("page %d: %v", i+1, err)
		}
	}
	if _, err := r.Next(t.Context()); err != io.EOF {
		t.Errorf("behind the last page: %v", err)
	}
	text, err := os.ReadFile(offline.CheckpointFile(dir))
	if err != nil {
		t.Fatal(err)
	}
	signed, err := tree.OpenCheckpoint(text, key.Public().(ed25519.PublicKey), "")
	if err != nil {
		t.Fatal(err)
	}
	told := offline.Trust{Key: key.Public().(ed25519.PublicKey), Checkpoints: []tree.Checkpoint{signed}}
	if report, err := left.Verify(t.Context(), told, nil); err != nil || report.Covered != head.Event {
		t.Errorf("%+v, %v", report, err)
	}
	s, err := offline.SurveyFolder(t.Context(), dir, told, offline.Options{})
	if err != nil || len(s.Lost) > 0 || s.Events != head.Event || s.Vouched != head.Event || s.Last != head.Event {
		t.Errorf("%+v, %v", s, err)
	}
}
