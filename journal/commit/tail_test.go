package commit_test

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/journaltest"
)

// Nothing follows the last page in the chain; the journal itself knows its hash.
func TestLastPageAltered(t *testing.T) {
	m := journaltest.NewMemory(journal.Options{})
	for _, name := range []string{"one", "two", "last"} {
		if err := m.Append(context.Background(), named("%s", name)); err != nil {
			t.Fatal(err)
		}
	}
	m, err := m.Reopen(journal.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	m.Damage(3, func(page []byte) []byte { return bytes.Replace(page, []byte("last"), []byte("lost"), 1) })
	for from := uint64(1); from <= 3; from++ {
		r, err := m.Read(context.Background(), from)
		if err != nil {
			t.Fatal(err)
		}
		for err == nil {
			_, err = r.Next(context.Background())
		}
		if damage := new(journal.DamageError); !errors.As(err, &damage) || damage.Event != 3 {
			t.Errorf("reading from event %d ended with %v, want damage at event 3", from, err)
		}
	}
}
