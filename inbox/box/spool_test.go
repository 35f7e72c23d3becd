package box_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/inbox/box"
)

func openSpool(t testing.TB, dir string, epoch uint32) *box.Spool {
	t.Helper()
	s, err := box.OpenSpool(dir, box.SpoolConfig{Site: "LAB", Listener: "BGL", Epoch: epoch, Key: private})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func drop(t testing.TB, s *box.Spool, c box.Contents) box.Name {
	t.Helper()
	n, err := s.Drop(c, at(0), at(1))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func empty() *box.Presence { return &box.Presence{Full: true} }

func status() *box.Status { return &box.Status{Records: []box.StatusRecord{{Type: box.Stopped}}} }

// TestDropsAreReadable and each kind counts for itself.
func TestDropsAreReadable(t *testing.T) {
	dir := t.TempDir()
	s := openSpool(t, dir, 1)
	for i, want := range []uint64{1, 2, 1, 3} {
		c := box.Contents(empty())
		if i == 2 {
			c = status()
		}
		n := drop(t, s, c)
		if n.Number != want || n.Kind != c.Kind() {
			t.Errorf("drop %d is %s", i, n)
		}
		b, err := os.ReadFile(filepath.Join(dir, n.String()))
		if err != nil {
			t.Fatal(err)
		}
		f, err := box.Decode(b, anyKey)
		if err != nil || f.Name != n || f.Site != "LAB" || !f.From.Equal(at(0)) || !f.To.Equal(at(1)) {
			t.Errorf("%s holds %+v, %v", n, f, err)
		}
	}
	if left, _ := os.ReadDir(filepath.Join(dir, "tmp")); len(left) != 0 {
		t.Errorf("tmp holds %v", left)
	}
}

// TestDropsAtTheSameTime get numbers without a hole and no number twice.
func TestDropsAtTheSameTime(t *testing.T) {
	dir := t.TempDir()
	s := openSpool(t, dir, 1)
	var mu sync.Mutex
	got := make(map[uint64]int)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 5 {
				n, err := s.Drop(empty(), at(0), at(1))
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				got[n.Number]++
				mu.Unlock()
			}
		})
	}
	all.Wait()
	for n := uint64(1); n <= 40; n++ {
		if got[n] != 1 {
			t.Errorf("number %d was given %d times", n, got[n])
		}
	}
}

// TestNumbersGoOn behind what the box still has, wherever it is, and begin anew
// with another epoch.
func TestNumbersGoOn(t *testing.T) {
	for _, folder := range []string{"", "work", "bad", "archive/20260301"} {
		dir := t.TempDir()
		n := drop(t, openSpool(t, dir, 1), empty())
		if err := os.MkdirAll(filepath.Join(dir, folder), 0o700); err != nil {
			t.Fatal(err)
		}
		to := n
		to.Number = 7
		if err := os.Rename(filepath.Join(dir, n.String()), filepath.Join(dir, folder, to.String())); err != nil {
			t.Fatal(err)
		}
		if n := drop(t, openSpool(t, dir, 1), empty()); n.Number != 8 {
			t.Errorf("with number 7 in %q, the next is %d", folder, n.Number)
		}
		if n := drop(t, openSpool(t, dir, 2), empty()); n.Number != 1 {
			t.Errorf("a new epoch begins with %d", n.Number)
		}
	}
}

// TestFailedDropLeavesNoHole: the number of a drop that failed is the next
// one's, and nothing of the failed one stays.
func TestFailedDropLeavesNoHole(t *testing.T) {
	dir := t.TempDir()
	s := openSpool(t, dir, 1)
	drop(t, s, empty())
	tmp := filepath.Join(dir, "tmp")
	if err := os.Rename(tmp, tmp+".away"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Drop(empty(), at(0), at(1)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("drop without tmp: %v", err)
	}
	if err := os.Rename(tmp+".away", tmp); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Drop(&box.Results{}, at(0), at(1)); !errors.Is(err, box.ErrEmpty) {
		t.Errorf("drop of nothing: %v", err)
	}
	// Somebody else's file of the next number is not written over.
	other := box.Name{Listener: "BGL", Epoch: 1, Number: 2, Kind: box.BOS}
	path := filepath.Join(dir, other.String())
	if err := os.WriteFile(path, []byte("other"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Drop(empty(), at(0), at(1)); !errors.Is(err, fs.ErrExist) {
		t.Errorf("drop over another: %v", err)
	}
	if b, _ := os.ReadFile(path); string(b) != "other" {
		t.Errorf("the other file now holds %q", b)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if n := drop(t, s, empty()); n.Number != 2 {
		t.Errorf("number %d after failed drops, want 2", n.Number)
	}
	if left, _ := os.ReadDir(tmp); len(left) != 0 {
		t.Errorf("tmp holds %v", left)
	}
}

// TestOpenSpoolClearsTmp of this listener's own earlier epochs, and of nothing
// else.
func TestOpenSpoolClearsTmp(t *testing.T) {
	dir := t.TempDir()
	openSpool(t, dir, 2)
	for _, name := range []string{"BGL-00000001-00000000000000000001.BOS.tmp", "BGL-00000002-00000000000000000001.BOS.tmp",
		"BGL-00000003-00000000000000000001.BOS.tmp", "OTHER-00000001-00000000000000000001.BOS.tmp"} {
		if err := os.WriteFile(filepath.Join(dir, "tmp", name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if n := drop(t, openSpool(t, dir, 2), empty()); n.Number != 1 {
		t.Errorf("number %d, want 1", n.Number)
	}
	left, err := os.ReadDir(filepath.Join(dir, "tmp"))
	if err != nil || len(left) != 2 {
		t.Errorf("tmp holds %v, %v", left, err)
	}
}

// TestClockGoesBack: a range that ends before it begins is no reason to lose
// what happened.
func TestClockGoesBack(t *testing.T) {
	dir := t.TempDir()
	n, err := openSpool(t, dir, 1).Drop(empty(), at(5), at(1))
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(dir, n.String()))
	if err != nil {
		t.Fatal(err)
	}
	if f, err := box.Decode(b, anyKey); err != nil || !f.From.Equal(f.To) {
		t.Errorf("time range %v, %v", f, err)
	}
}

func TestOpenSpoolRefuses(t *testing.T) {
	good := box.SpoolConfig{Site: "LAB", Listener: "BGL", Epoch: 1, Key: private}
	for what, change := range map[string]func(*box.SpoolConfig){
		"no site":          func(c *box.SpoolConfig) { c.Site = "" },
		"a long site":      func(c *box.SpoolConfig) { c.Site = "0123456789ABCDEFG" },
		"a small listener": func(c *box.SpoolConfig) { c.Listener = "bgl" },
		"no epoch":         func(c *box.SpoolConfig) { c.Epoch = 0 },
		"no key":           func(c *box.SpoolConfig) { c.Key = nil },
	} {
		cfg := good
		change(&cfg)
		if _, err := box.OpenSpool(t.TempDir(), cfg); err == nil {
			t.Errorf("opened with %s", what)
		}
	}
	if _, err := openSpool(t, t.TempDir(), 1).Drop(nil, time.Time{}, time.Time{}); err == nil {
		t.Error("dropped nothing at all")
	}
}
