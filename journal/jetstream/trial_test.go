package jetstream

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/bugle-fleet/bugle/journal"
)

// A file that JetStream left when it was killed while it tried whether it may
// write keeps no journal from being opened. One that holds something does.
func TestKilledWhileTrying(t *testing.T) {
	dir := t.TempDir()
	open := func() error {
		j, err := Open(t.Context(), dir, Options{})
		if err != nil {
			return err
		}
		return j.Close()
	}
	j, err := Open(t.Context(), dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(j.Append(t.Context(), named("kept")), j.Close()); err != nil {
		t.Fatal(err)
	}
	for _, folder := range []string{filepath.Join(dir, "jetstream"), streamFolder(dir, 1)} {
		name := filepath.Join(folder, "_test_4711")
		if err := os.WriteFile(name, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := open(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := os.WriteFile(name, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := open(); !errors.Is(err, journal.ErrDamaged) {
			t.Errorf("%s with something in it: %v", name, err)
		}
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
}
