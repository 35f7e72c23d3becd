package site

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/bugle-fleet/bugle/inbox/box"
)

// drain waits until the inbox has taken every file of the box. Nobody drops any
// more when it is called.
func (s *Site) drain(ctx context.Context) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		n, err := waitingFiles(s.boxDir(), filepath.Join(s.boxDir(), "work"))
		if err != nil || n == 0 {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%d files are still in the inbox; the next start takes them", n)
		case <-tick.C:
		}
	}
}

func waitingFiles(dirs ...string) (n int, err error) {
	for _, dir := range dirs {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return 0, fmt.Errorf("look into the inbox: %w", err)
		}
		for _, e := range entries {
			if _, err := box.ParseName(e.Name()); err == nil {
				n++
			}
		}
	}
	return n, nil
}
