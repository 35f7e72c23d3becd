package offline_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/bugle-fleet/bugle/journal/generation"
	"github.com/bugle-fleet/bugle/journal/offline"
	"github.com/bugle-fleet/bugle/journal/offlinetest"
	"github.com/bugle-fleet/bugle/journal/tree"
)

func ExampleJournal_Verify() {
	dir, err := os.MkdirTemp("", "offline")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	t := new(testing.T) // what Make reports to
	f := offlinetest.Make(t, dir, offlinetest.Shape{Pages: []int{3, 2, 4}})
	// Somebody changes a bit in the third page.
	file := filepath.Join(generation.LiveFolder(dir, 1), "1.blk")
	b, err := os.ReadFile(file)
	if err != nil {
		fmt.Println(err)
		return
	}
	b[len(b)-100] ^= 1
	if err := os.WriteFile(file, b, 0o600); err != nil {
		fmt.Println(err)
		return
	}

	j, err := offline.Open(dir, offline.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer j.Close()
	_, err = j.Verify(context.Background(), offline.Trust{Key: f.Public(), Checkpoints: []tree.Checkpoint{f.Signed(t)}}, nil)
	var bad *offline.VerifyError
	if errors.As(err, &bad) {
		fmt.Printf("event %d, page %d, %s: %s\n", bad.Event, bad.Page, filepath.Base(bad.File), bad.Reason)
	}
	// Output:
	// event 6, page 3, 1.blk: the checksum of the record is wrong
}
