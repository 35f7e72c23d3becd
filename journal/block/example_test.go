package block_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/block"
	"github.com/bugle-fleet/bugle/journal/offlinetest"
)

func ExampleCheck() {
	dir, err := os.MkdirTemp("", "block")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	// A page in a file of messages, and half of the next one.
	var b journal.PageBuilder
	b.Add([]byte("some event"))
	one := b.Seal(journal.Head{}, 1_700_000_000_000_000_000)
	b.Add([]byte("another one"))
	two := b.Seal(one.Head, 1_700_000_000_000_000_001)
	msgs := filepath.Join(dir, "JOURNAL-00000001", "msgs")
	if err := offlinetest.WriteFiles(msgs, 10, [][]byte{one.Bytes(), two.Bytes()}); err != nil {
		fmt.Println(err)
		return
	}
	os.Truncate(filepath.Join(msgs, "1.blk"), 400)

	files, err := block.Files(msgs)
	if err != nil {
		fmt.Println(err)
		return
	}
	entries, err := block.Check(context.Background(), files, 0, block.Position{}, nil)
	var damage *block.DamageError
	if errors.As(err, &damage) {
		fmt.Printf("event %d, %s at byte %d: %s; torn: %v\n", damage.Event, filepath.Base(damage.File), damage.Offset, damage.Reason, damage.Torn)
	}
	fmt.Println("good up to event", entries[0].After.Head.Event)
	// Output:
	// event 2, 1.blk at byte 240: the file ends within a record; torn: true
	// good up to event 1
}
