package tree_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

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

// Two checkpoints, taken at different times, are compared by somebody who has
// nothing of bugle's: the texts, the key as text, and a library that reads signed
// notes and trees of RFC 6962.
func ExampleTree_ConsistencyBetween() {
	older, newer, proof, key, err := twoCheckpoints()
	if err != nil {
		fmt.Println(err)
		return
	}
	verifier, err := note.NewVerifier(key)
	if err != nil {
		fmt.Println(err)
		return
	}
	var sizes [2]int64
	var roots [2]tlog.Hash
	for i, text := range [][]byte{older, newer} {
		n, err := note.Open(text, note.VerifierList(verifier))
		if err != nil {
			fmt.Println(err)
			return
		}
		var root string
		fmt.Sscanf(n.Text, verifier.Name()+"\n%d\n%s\n", &sizes[i], &root)
		if roots[i], err = tlog.ParseHash(root); err != nil {
			fmt.Println(err)
			return
		}
	}
	var path tlog.TreeProof
	for line := range strings.Lines(string(proof)) {
		if hash, ok := strings.CutPrefix(line, "hash "); ok {
			h, err := tlog.ParseHash(strings.TrimSpace(hash))
			if err != nil {
				fmt.Println(err)
				return
			}
			path = append(path, h)
		}
	}
	fmt.Println(sizes[0], "pages, then", sizes[1])
	fmt.Println("consistent:", tlog.CheckTree(path, sizes[1], roots[1], sizes[0], roots[0]) == nil)
	fmt.Println("with another beginning:", tlog.CheckTree(path, sizes[1], roots[1], sizes[0], tlog.Hash{}) == nil)
	// Output:
	// 3 pages, then 7
	// consistent: true
	// with another beginning: false
}

// twoCheckpoints makes a journal of ten pages, a checkpoint of three of them and
// one of seven, and the proof that one continues the other.
func twoCheckpoints() (older, newer, proof []byte, key string, err error) {
	dir, err := os.MkdirTemp("", "tree")
	if err != nil {
		return nil, nil, nil, "", err
	}
	defer os.RemoveAll(dir)
	j := journaltest.NewMemory(journal.Options{})
	defer j.Close()
	private := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{1}, ed25519.SeedSize))
	t, err := tree.Open(dir, tree.Options{Journal: j, Origin: "bugle.P01/cafe", Key: private, Every: time.Millisecond})
	if err != nil {
		return nil, nil, nil, "", err
	}
	defer t.Close()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- t.Run(ctx) }()
	defer func() { cancel(); err = errors.Join(err, <-done) }()

	var heads []journal.Head // after each page
	for range 10 {
		if err := j.Append(ctx, &event.Event{Payload: &event.TokenCreated{Token: "red", Uses: 1}}); err != nil {
			return nil, nil, nil, "", err
		}
		heads = append(heads, j.Head())
	}
	if err := t.Wait(ctx, heads[9].Event); err != nil {
		return nil, nil, nil, "", err
	}
	older, o, err1 := t.CheckpointAt(ctx, heads[2])
	newer, n, err2 := t.CheckpointAt(ctx, heads[6])
	proof, err3 := t.ConsistencyBetween(ctx, o, n)
	key, err4 := tree.VerifierKey("bugle.P01/cafe", private.Public().(ed25519.PublicKey))
	return older, newer, proof, key, errors.Join(err1, err2, err3, err4)
}
