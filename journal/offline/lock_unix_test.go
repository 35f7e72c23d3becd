//go:build unix

package offline_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/offline"
	"github.com/bugle-fleet/bugle/journal/offlinetest"
)

// A site that runs holds the lock alone; readers share it.
func TestLock(t *testing.T) {
	f := offlinetest.Make(t, t.TempDir(), offlinetest.Shape{Pages: []int{1}})
	lock, err := os.OpenFile(filepath.Join(f.Dir, "lock"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	take := func() error { return unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB) }
	if err := take(); err != nil {
		t.Fatal(err)
	}
	if _, err := offline.Open(f.Dir, offline.Options{}); !errors.Is(err, journal.ErrLocked) {
		t.Errorf("open: %v", err)
	}
	if _, err := offline.SurveyFolder(t.Context(), f.Dir, offline.Trust{}, offline.Options{}); !errors.Is(err, journal.ErrLocked) {
		t.Errorf("survey: %v", err)
	}
	mine, err := offline.Open(f.Dir, offline.Options{Locked: true})
	if err != nil {
		t.Fatal(err)
	}
	mine.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_UN); err != nil {
		t.Fatal(err)
	}
	j := open(t, f.Dir)
	s, err := offline.SurveyFolder(t.Context(), f.Dir, offline.Trust{}, offline.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, close := range []func() error{j.Close, s.Close} {
		if take() == nil {
			t.Fatal("somebody reads, and a site could start")
		}
		close()
	}
	if err := take(); err != nil {
		t.Errorf("nobody reads any more: %v", err)
	}
}
