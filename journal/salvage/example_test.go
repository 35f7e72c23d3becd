package salvage_test

import (
	"context"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"testing"

	"github.com/bugle-fleet/bugle/journal/generation"
	"github.com/bugle-fleet/bugle/journal/offlinetest"
	"github.com/bugle-fleet/bugle/journal/salvage"
)

func ExampleRun() {
	dir, err := os.MkdirTemp("", "salvage")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	t := new(testing.T) // what Make reports to
	f := offlinetest.Make(t, filepath.Join(dir, "journal"), offlinetest.Shape{Pages: []int{1, 2, 3, 4, 5, 6}, PerFile: 2})
	if err := os.Remove(filepath.Join(generation.LiveFolder(f.Dir, 1), "2.blk")); err != nil {
		fmt.Println(err)
		return
	}
	report, err := salvage.Run(context.Background(), salvage.Options{
		Dir: f.Dir, To: filepath.Join(dir, "new"), Trust: trust(t, f),
		// The real one is that of package jetstream.
		Write: func(_ context.Context, _ string, _ [16]byte, pages iter.Seq2[[]byte, error]) error {
			for _, err := range pages {
				if err != nil {
					return err
				}
			}
			return nil
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%d of %d events were copied\n", report.Events, report.Last)
	for _, l := range report.Lost {
		fmt.Printf("events %d to %d are lost\n", l.From, l.To)
	}
	// Output:
	// 14 of 21 events were copied
	// events 4 to 10 are lost
}
