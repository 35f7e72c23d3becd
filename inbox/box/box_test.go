package box_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/inbox/box"
)

func openBox(t testing.TB, dir string) *box.Box {
	t.Helper()
	b, err := box.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestOpenMakesTheFolders(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "inboxes", "bgb.box")
	openBox(t, dir)
	for _, f := range []string{"", "tmp", "work", "archive", "bad"} {
		info, err := os.Lstat(filepath.Join(dir, f))
		if err != nil || !info.IsDir() || info.Mode().Perm() != 0o700 {
			t.Errorf("folder %q: %v, %v", f, info, err)
		}
	}
	if err := os.Remove(filepath.Join(dir, "work")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/", filepath.Join(dir, "work")); err != nil {
		t.Fatal(err)
	}
	if _, err := box.Open(dir); err == nil {
		t.Error("opened a box whose work is a link to somewhere else")
	}
}

func TestScanIsInClaimOrder(t *testing.T) {
	dir := t.TempDir()
	b := openBox(t, dir)
	want := []string{"BBB-00000001-00000000000000000002.BTS", "AAA-00000001-00000000000000000001.BOS",
		"AAA-00000001-00000000000000000010.BOS", "AAA-00000002-00000000000000000001.BOS", "AAA-00000001-00000000000000000001.DDR"}
	for _, name := range append(slices.Clone(want), "stranger", "bad~1") {
		write(t, filepath.Join(dir, name), "")
	}
	l, err := b.Scan()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, n := range l.Names {
		got = append(got, n.String())
	}
	if !slices.Equal(got, want) || l.Total != len(want) || !slices.Equal(l.Strange, []string{"bad~1", "stranger"}) {
		t.Errorf("scan gives %+v", l)
	}
	if oldest := time.Unix(0, b.Oldest(l)); time.Since(oldest) > time.Hour || time.Until(oldest) > time.Hour {
		t.Errorf("oldest file of %v", oldest)
	}
	if b.Oldest(box.Listing{}) != 0 {
		t.Error("an oldest file where none is")
	}
}

// TestClaimReadArchive is the way of a good file.
func TestClaimReadArchive(t *testing.T) {
	dir := t.TempDir()
	b := openBox(t, dir)
	entry := drop(t, openSpool(t, dir, 1), empty()).String()
	if err := b.Claim(entry); err != nil {
		t.Fatal(err)
	}
	if err := b.Claim(entry); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("claimed twice: %v", err)
	}
	if l, err := b.Work(); err != nil || len(l.Names) != 1 {
		t.Errorf("work holds %+v, %v", l, err)
	}
	data, err := b.Read(entry)
	if err != nil || len(data) != b.Size(entry) {
		t.Errorf("read %d bytes, %v, size is %d", len(data), err, b.Size(entry))
	}
	if err := b.Archive(entry, len(data), at(0)); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "archive", "20260301", entry)); err != nil {
		t.Error(err)
	}
	// Somebody cleans up by hand: the day's folder comes back.
	if err := os.RemoveAll(filepath.Join(dir, "archive", "20260301")); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "work", entry), "again")
	if err := b.Archive(entry, 5, at(0)); err != nil {
		t.Error(err)
	}
}

// TestBadEntriesKeepTheirReasons, and their names if they are harmless.
func TestBadEntriesKeepTheirReasons(t *testing.T) {
	dir := t.TempDir()
	b := openBox(t, dir)
	good := "BGL-00000001-00000000000000000001.BTS"
	for i, want := range []string{good, good + "~2", good + "~3"} {
		write(t, filepath.Join(dir, "work", good), fmt.Sprint(i))
		if name, err := b.Quarantine(good, fmt.Sprint("reason ", i)); err != nil || name != want {
			t.Errorf("put aside as %s, %v, want %s", name, err, want)
		}
	}
	for i, strange := range []string{"a b", ".hidden", "x.reason", strings.Repeat("y", 255)} {
		write(t, filepath.Join(dir, "work", strange), "")
		name, err := b.Quarantine(strange, strings.Repeat("r", 2*box.MaxReason))
		if err != nil || name != box.Tame(strange) {
			t.Errorf("%d put aside as %s, %v", i, name, err)
		}
		if _, err := b.Requeue(name); !errors.Is(err, box.ErrName) {
			t.Errorf("requeued %s: %v", name, err)
		}
	}
	bad, err := b.Bad()
	if err != nil || len(bad) != 7 {
		t.Fatalf("bad files %+v, %v", bad, err)
	}
	for _, f := range bad {
		if !strings.HasPrefix(f.Reason, "r") || len(f.Reason) > box.MaxReason {
			t.Errorf("%s has reason %.80q", f.Name, f.Reason)
		}
	}
	// The second goes back under the name that it had, once that is free.
	write(t, filepath.Join(dir, good), "waits")
	if _, err := b.Requeue(good + "~2"); !errors.Is(err, fs.ErrExist) {
		t.Errorf("requeued over a file that waits: %v", err)
	}
	if err := os.Remove(filepath.Join(dir, good)); err != nil {
		t.Fatal(err)
	}
	if n, err := b.Requeue(good + "~2"); err != nil || n.String() != good {
		t.Errorf("requeued as %s, %v", n, err)
	}
	if data, _ := os.ReadFile(filepath.Join(dir, good)); string(data) != "1" {
		t.Errorf("requeued %q, want the second file", data)
	}
	for _, name := range []string{"../work/x", good + "~2/../" + good, good + "~9", ""} {
		if _, err := b.Requeue(name); err == nil {
			t.Errorf("requeued %q", name)
		}
	}
}

// TestPrune removes old days whole, and of the rest the oldest files.
func TestPrune(t *testing.T) {
	dir := t.TempDir()
	b := openBox(t, dir)
	put := func(day time.Time, number int) {
		entry := fmt.Sprintf("BGL-00000001-%020d.BTS", number)
		path := filepath.Join(dir, "work", entry)
		write(t, path, "data")
		if err := os.Chtimes(path, day, day.Add(time.Duration(number)*time.Second)); err != nil {
			t.Fatal(err)
		}
		if err := b.Archive(entry, 4, day); err != nil {
			t.Fatal(err)
		}
	}
	now := time.Date(2026, 3, 20, 12, 0, 0, 0, time.UTC)
	for i := range 30 {
		put(now.AddDate(0, 0, -i), 100-i)
	}
	n, err := b.Prune(now, 7*24*time.Hour, 1<<30)
	if err != nil || n != 22 {
		t.Errorf("removed %d files, %v, want the 22 of more than 7 days ago", n, err)
	}
	for i := range 12 {
		put(now, 200+i)
	}
	// 20 files of one block are there; at most 10 may be, and 9 stay.
	n, err = b.Prune(now, 7*24*time.Hour, 10*4096)
	if err != nil || n != 11 {
		t.Errorf("removed %d files, %v, want 11", n, err)
	}
	left, err := filepath.Glob(filepath.Join(dir, "archive", "*", "*"))
	if err != nil || len(left) != 9 || !strings.HasSuffix(left[0], "00203.BTS") {
		t.Errorf("left are %v, %v, want the newest 9", left, err)
	}
	// Another process's box counts what is there already.
	again := openBox(t, dir)
	if n, err := again.Prune(now, 7*24*time.Hour, 5*4096); err != nil || n != 5 {
		t.Errorf("removed %d files, %v, want 5", n, err)
	}
	if n, err := again.Prune(now.AddDate(0, 1, 0), 7*24*time.Hour, 5*4096); err != nil || n != 4 {
		t.Errorf("removed %d files, %v, want the last 4", n, err)
	}
	if days, _ := os.ReadDir(filepath.Join(dir, "archive")); len(days) != 0 {
		t.Errorf("empty days stay: %v", days)
	}
}

// TestPruneCountsWhatIsReplaced: a file that comes again takes the place of the
// one that was archived, and counts once.
func TestPruneCountsWhatIsReplaced(t *testing.T) {
	dir, now := t.TempDir(), time.Date(2026, 3, 20, 12, 0, 0, 0, time.UTC)
	b := openBox(t, dir)
	prune := func() {
		t.Helper()
		if n, err := b.Prune(now, time.Hour, 2*4096); err != nil || n != 0 {
			t.Errorf("removed %d files, %v, want none", n, err)
		}
	}
	prune()
	for range 10 {
		entry := fmt.Sprintf("BGL-00000001-%020d.BTS", 1)
		write(t, filepath.Join(dir, "work", entry), "data")
		if err := b.Archive(entry, 4, now); err != nil {
			t.Fatal(err)
		}
	}
	prune()
}
