package archive_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/archive"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/journal/journaltest"
	"github.com/bugle-fleet/bugle/journal/tree"
)

// A journal is written into an archive, which somebody else checks who has the
// file and the public key.
func Example() {
	if err := example(); err != nil {
		fmt.Println(err)
	}
	// Output:
	// 3 events, signed: true
	// event 2 green
}

func example() error {
	dir, err := os.MkdirTemp("", "archive")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	name := filepath.Join(dir, "00000001.bga")
	key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{1}, ed25519.SeedSize))
	if err := write(name, key); err != nil {
		return err
	}

	r, err := archive.Open(name)
	if err != nil {
		return err
	}
	defer r.Close()
	report, err := r.Verify(context.Background(), key.Public().(ed25519.PublicKey), nil)
	if err != nil {
		return err
	}
	fmt.Printf("%d events, signed: %v\n", report.Info.Events(), report.Signed)
	pages, err := r.Read(context.Background(), 2)
	if err != nil {
		return err
	}
	p, err := pages.Next(context.Background())
	if err != nil {
		return err
	}
	e, err := p.Records[2-p.First].Event()
	if err != nil {
		return err
	}
	fmt.Println("event", e.Number, e.Payload.(*event.TokenCreated).Token)
	return nil
}

// write archives a journal of three events.
func write(name string, key ed25519.PrivateKey) error {
	ctx := context.Background()
	j := journaltest.NewMemory(journal.Options{})
	defer j.Close()
	for _, token := range []string{"red", "green", "blue"} {
		if err := j.Append(ctx, &event.Event{Payload: &event.TokenCreated{Token: token, Uses: 1}}); err != nil {
			return err
		}
	}
	r, err := j.Read(ctx, 1)
	if err != nil {
		return err
	}
	defer r.Close()
	history := [16]byte{0xca, 0xfe}
	f, err := archive.Create(name, archive.Header{History: history, Generation: 1})
	if err != nil {
		return err
	}
	defer f.Abort()
	built := tree.NewBuilder() // a site has a tree.Tree, and calls archive.SealAt
	for {
		p, err := r.Next(ctx)
		if err == io.EOF {
			break
		}
		if err == nil {
			err = built.Add(p)
		}
		if err == nil {
			err = f.Add(p.Bytes())
		}
		if err != nil {
			return err
		}
	}
	end := built.Head()
	c := tree.Checkpoint{Origin: fmt.Sprintf("bugle.P01/%x", history), Pages: end.Pages, Root: built.Root(), Events: end.Event, Chain: end.Hash, Signed: time.Now()}
	text, err := c.Sign(key)
	if err != nil {
		return err
	}
	_, err = f.Close(archive.Seal{Root: c.Root, Checkpoint: text})
	return err
}
