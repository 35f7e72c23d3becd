package upkeep_test

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/journal/jetstream"
	"github.com/bugle-fleet/bugle/journal/tree"
	"github.com/bugle-fleet/bugle/journal/upkeep"
)

// A journal with its tree and its upkeep, as a site has them. Run, which is not
// shown here, does by itself what is due; Check is for those who cannot wait.
func Example() {
	dir, err := os.MkdirTemp("", "upkeep")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	ctx, quiet := context.Background(), slog.New(slog.DiscardHandler)
	_, key, _ := ed25519.GenerateKey(nil)

	notes := upkeep.NewNotes()
	j, err := jetstream.Open(ctx, dir, jetstream.Options{Options: journal.Options{Folds: []journal.Fold{notes}}, Key: key})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer j.Close()
	signed, err := tree.Open(filepath.Join(dir, "tree"), tree.Options{Journal: j, Origin: fmt.Sprintf("bugle.P01/%x", j.History()), Key: key, Log: quiet})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer signed.Close()
	u, err := upkeep.New(upkeep.Config{Journal: j, Store: j, Checkpoints: signed, Notes: notes, Log: quiet})
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := j.Append(ctx, &event.Event{Payload: &event.TokenRevoked{Token: "a"}}); err != nil {
		fmt.Println(err)
		return
	}
	outcome, err := u.Check(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("events:", outcome.Events, "good:", outcome.Good, "ready:", u.Ready() == nil)
	// Output: events: 1 good: true ready: true
}
