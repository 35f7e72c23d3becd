package tree_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/journal/journaltest"
	"github.com/bugle-fleet/bugle/journal/tree"
)

// A site runs the tree; an auditor who has the public key checks one event
// without the site.
func Example() {
	dir, err := os.MkdirTemp("", "tree")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	j := journaltest.NewMemory(journal.Options{})
	defer j.Close()
	key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{1}, ed25519.SeedSize))

	t, err := tree.Open(dir, tree.Options{Journal: j, Origin: "bugle.P01/cafe", Key: key, Every: time.Millisecond})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer t.Close()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- t.Run(ctx) }()

	for _, token := range []string{"red", "green", "blue"} {
		if err := j.Append(ctx, &event.Event{Payload: &event.TokenCreated{Token: token, Uses: 1}}); err != nil {
			fmt.Println(err)
			return
		}
	}
	if err := t.Wait(ctx, 3); err != nil {
		fmt.Println(err)
		return
	}
	proof, err := t.Prove(ctx, 2)
	if err != nil {
		fmt.Println(err)
		return
	}
	cancel()
	fmt.Println("stopped:", <-done)

	// Elsewhere, with nothing but the text and the public key:
	public := key.Public().(ed25519.PublicKey)
	e, c, err := tree.Check(proof, public, "bugle.P01/cafe")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("event", e.Number, "of", c.Events, e.Payload.(*event.TokenCreated).Token)

	_, _, err = tree.Check(bytes.Replace(proof, []byte("event 2"), []byte("event 3"), 1), public, "bugle.P01/cafe")
	fmt.Println(errors.Is(err, tree.ErrMismatch))
	// Output:
	// stopped: <nil>
	// event 2 of 3 green
	// true
}
