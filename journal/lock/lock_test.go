package lock_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/lock"
)

// Who has it alone keeps out everybody, who shares it only those who want it
// alone.
func TestLock(t *testing.T) {
	name := filepath.Join(t.TempDir(), "lock")
	take := func(how func(string) (func(), error)) func() {
		t.Helper()
		unlock, err := how(name)
		if err != nil {
			t.Fatal(err)
		}
		return unlock
	}
	refused := func(how func(string) (func(), error)) {
		t.Helper()
		if _, err := how(name); !errors.Is(err, journal.ErrLocked) {
			t.Errorf("%v, want ErrLocked", err)
		}
	}
	if _, err := lock.Share(name); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("shared what is not there: %v", err)
	}
	alone := take(lock.Take)
	refused(lock.Take)
	refused(lock.Share)
	alone()
	one, two := take(lock.Share), take(lock.Share)
	one()
	refused(lock.Take)
	two()
	take(lock.Take)()
	if _, err := lock.Take(filepath.Join(name, "none")); err == nil || errors.Is(err, journal.ErrLocked) {
		t.Errorf("took what cannot be: %v", err)
	}
}

// A file that nobody may write can be shared.
func TestShareReadOnly(t *testing.T) {
	name := filepath.Join(t.TempDir(), "lock")
	if err := os.WriteFile(name, nil, 0o400); err != nil {
		t.Fatal(err)
	}
	unlock, err := lock.Share(name)
	if err != nil {
		t.Fatal(err)
	}
	unlock()
}

func Example() {
	dir, _ := os.MkdirTemp("", "lock")
	defer os.RemoveAll(dir)
	unlock, err := lock.Take(filepath.Join(dir, "lock"))
	fmt.Println(err)
	_, err = lock.Share(filepath.Join(dir, "lock"))
	fmt.Println(err)
	unlock()
	// Output:
	// <nil>
	// journal is in use by another process
}
