package offlinetest_test

import (
	"fmt"
	"os"
	"testing"

	"github.com/bugle-fleet/bugle/journal/block"
	"github.com/bugle-fleet/bugle/journal/generation"
	"github.com/bugle-fleet/bugle/journal/offlinetest"
)

func ExampleMake() {
	dir, err := os.MkdirTemp("", "offlinetest")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	f := offlinetest.Make(new(testing.T), dir, offlinetest.Shape{Pages: []int{1, 2, 3, 4}, Sealed: []int{1}, PerFile: 2})
	files, err := block.Files(generation.LiveFolder(dir, 2))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%d events in %d generations; the last one has %d files\n", f.Heads[4].Event, len(f.Generations), len(files))
	// Output:
	// 10 events in 2 generations; the last one has 2 files
}
