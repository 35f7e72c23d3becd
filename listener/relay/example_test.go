package relay_test

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"os"
	"time"

	"github.com/bugle-fleet/bugle/inbox/box"
	"github.com/bugle-fleet/bugle/listener/relay"
)

// A listener's files wait in its box until the site has them.
func ExampleForwarder() {
	dir, err := os.MkdirTemp("", "box")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	f, err := relay.OpenForwarder(relay.ForwarderConfig{
		Dir: dir, Site: "P01", Listener: "EAST01", Epoch: 1, Key: ed25519.NewKeyFromSeed(make([]byte, 32)),
		Send: func(_ context.Context, files []box.Raw) (int, error) { // the method Send of a Client
			for _, f := range files {
				fmt.Println("sent", f.Name)
			}
			return len(files), nil
		},
	}, true)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer f.Close()
	status := &box.Status{Records: []box.StatusRecord{{Type: box.Stopped, At: time.Now()}}}
	for _, c := range []box.Contents{status, &box.Presence{Full: true}} {
		if err := f.Drop(c, time.Now(), time.Now()); err != nil {
			fmt.Println(err)
		}
	}
	if err := f.Drain(context.Background()); err != nil {
		fmt.Println(err)
	}
	// Output:
	// sent EAST01-00000001-00000000000000000001.BOS
	// sent EAST01-00000001-00000000000000000001.SVF
}
