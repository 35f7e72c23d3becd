package box_test

import (
	"fmt"
	"os"
	"time"

	"github.com/bugle-fleet/bugle/inbox/box"
)

// A listener drops what it knows, and the site picks it up.
func Example() {
	dir, err := os.MkdirTemp("", "box")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	spool, err := box.OpenSpool(dir, box.SpoolConfig{Site: "LAB", Listener: "BGL01", Epoch: 1, Key: private})
	if err != nil {
		panic(err)
	}
	now := time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC)
	report := &box.Presence{Full: true, Entries: []box.PresenceEntry{{Device: 7, Online: true, Carrier: 1, Since: now}}}
	name, err := spool.Drop(report, now, now) // durable from here on
	if err != nil {
		panic(err)
	}

	b, err := box.Open(dir)
	if err != nil {
		panic(err)
	}
	defer b.Close()
	if err := b.Claim(name.String()); err != nil {
		panic(err)
	}
	data, err := b.Read(name.String())
	if err != nil {
		panic(err)
	}
	f, err := box.Decode(data, anyKey)
	if err != nil {
		panic(err)
	}
	fmt.Println(f.Name, "of site", f.Site, "has", f.Contents.Len(), "record")
	// Output: BGL01-00000001-00000000000000000001.BOS of site LAB has 1 record
}
