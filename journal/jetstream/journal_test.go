package jetstream

import (
	"context"
	"testing"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/journaltest"
)

func TestSuite(t *testing.T) {
	journaltest.Run(t, func(t *testing.T, dir string, opts journal.Options) journal.Journal {
		j, err := Open(context.Background(), dir, Options{Options: opts})
		if err != nil {
			t.Fatal(err)
		}
		return j
	})
}

var _ journal.Journal = (*Journal)(nil)
