package box_test

import (
	"bufio"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/inbox/box"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// result has one row, which says its place in Code.
func result(i int) *box.Results {
	return &box.Results{Rows: []box.ResultRow{{Result: task.Result{Operation: task.ID{1}, Device: 1, Attempt: 1, State: task.Sent, At: at(0), Code: int32(i)}}}}
}

// waiting are the files of a kind in the box, and the codes of their rows. No number
// is missing.
func waiting(t *testing.T, dir string, kind box.Kind) (files []*box.File, codes []int32) {
	t.Helper()
	b, err := box.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	l, err := b.Scan()
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range l.Names {
		if n.Kind != kind {
			continue
		}
		raw, err := os.ReadFile(filepath.Join(dir, n.String()))
		if err != nil {
			t.Fatal(err)
		}
		f, err := box.Decode(raw, anyKey)
		if err != nil {
			t.Fatalf("%s: %v", n, err)
		}
		if f.Name != n || n.Number != uint64(len(files))+1 {
			t.Fatalf("%s is %s and comes after number %d", n, f.Name, len(files))
		}
		files = append(files, f)
		if r, ok := f.Contents.(*box.Results); ok {
			for _, row := range r.Rows {
				codes = append(codes, row.Code)
			}
		}
	}
	return files, codes
}

func merge(t *testing.T, s *box.Spool, k box.Kind, from uint64, want int) {
	t.Helper()
	if n, _, err := s.Merge(k, from); err != nil || n != want {
		t.Fatalf("%d files fewer, %v; want %d", n, err, want)
	}
}

func TestMerge(t *testing.T) {
	dir := t.TempDir()
	s := openSpool(t, dir, 1)
	for i := range 10 {
		drop(t, s, result(i))
	}
	for range 3 {
		drop(t, s, empty())
		drop(t, s, status())
		drop(t, s, &box.Discovery{Records: []box.DiscoveryRecord{{Device: 1, At: at(0)}}})
	}
	first, err := os.ReadFile(filepath.Join(dir, "BGL-00000001-00000000000000000003.BTS"))
	if err != nil {
		t.Fatal(err)
	}
	before := size(t, dir)
	n, fewer, err := s.Merge(box.BTS, 4)
	if err != nil || n != 6 || size(t, dir) != before-fewer {
		t.Fatalf("%d files and %d bytes fewer, %v; %d bytes became %d", n, fewer, err, before, size(t, dir))
	}
	if same, err := os.ReadFile(filepath.Join(dir, "BGL-00000001-00000000000000000003.BTS")); err != nil || string(same) != string(first) {
		t.Error("a file was changed that somebody may have seen")
	}
	merge(t, s, box.SVF, 0, 2)
	merge(t, s, box.DDR, 2, 1)
	merge(t, s, box.BOS, 1, 0)
	merge(t, s, box.BTS, 4, 0) // again
	drop(t, s, result(10))     // goes on behind what is left
	merge(t, s, box.BTS, 4, 1) // and is taken into it
	files, codes := waiting(t, dir, box.BTS)
	if len(files) != 4 || len(codes) != 11 || s.Last(box.BTS) != 4 {
		t.Errorf("%d files, rows %d, the newest is %d", len(files), codes, s.Last(box.BTS))
	}
	for i, c := range codes {
		if c != int32(i) {
			t.Errorf("rows %d", codes)
			break
		}
	}
	for kind, want := range map[box.Kind]int{box.SVF: 1, box.DDR: 2, box.BOS: 3} {
		if files, _ := waiting(t, dir, kind); len(files) != want {
			t.Errorf("%d files of %s", len(files), kind)
		}
	}
	if again := openSpool(t, dir, 1); again.Last(box.BTS) != 4 {
		t.Errorf("opened anew, the newest is %d", again.Last(box.BTS))
	}
}

func size(t *testing.T, dir string) (n int64) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if info, err := e.Info(); err == nil && !e.IsDir() {
			n += info.Size()
		}
	}
	return n
}

// Full files are left alone, and what is merged is bounded.
func TestMergeIsBounded(t *testing.T) {
	dir := t.TempDir()
	s := openSpool(t, dir, 1)
	for i := range 9 {
		c := &box.Results{}
		for range 1200 {
			c.Rows = append(c.Rows, result(i).Rows...)
		}
		drop(t, s, c)
	}
	merge(t, s, box.BTS, 1, 6)
	files, codes := waiting(t, dir, box.BTS)
	if len(codes) != 9*1200 {
		t.Errorf("%d rows", len(codes))
	}
	for _, f := range files {
		if f.Contents.Len() > 5000 {
			t.Errorf("%s has %d rows", f.Name, f.Contents.Len())
		}
	}
	facts := make([]box.Fact, 100)
	for i := range facts {
		facts[i] = box.Fact{Name: strconv.Itoa(i), Value: strings.Repeat("x", 2000)}
	}
	for range 12 {
		drop(t, s, &box.Discovery{Records: []box.DiscoveryRecord{{Device: 1, At: at(0), Facts: facts}}})
	}
	merge(t, s, box.DDR, 1, 9)
}

// A file that cannot be read stays where it is, and so does what is before it: no
// number may be missing.
func TestMergeStopsAtDamage(t *testing.T) {
	dir := t.TempDir()
	s := openSpool(t, dir, 1)
	var names []string
	for i := range 6 {
		names = append(names, drop(t, s, result(i)).String())
	}
	if err := os.Truncate(filepath.Join(dir, names[2]), 10); err != nil {
		t.Fatal(err)
	}
	merge(t, s, box.BTS, 1, 2)
	for i, name := range names {
		if _, err := os.Stat(filepath.Join(dir, name)); (err == nil) != (i < 4) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := drop(t, s, result(6)); n.Number != 5 {
		t.Errorf("the next is %s", n)
	}
}

// If nothing can be written, nothing is lost.
func TestMergeOnAFullDisk(t *testing.T) {
	dir := t.TempDir()
	s := openSpool(t, dir, 1)
	for i := range 6 {
		drop(t, s, result(i))
	}
	tmp := filepath.Join(dir, "tmp")
	if err := errors.Join(os.Remove(tmp), os.WriteFile(tmp, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Merge(box.BTS, 1); err == nil {
		t.Fatal("merged without a place to write")
	}
	if err := errors.Join(os.Remove(tmp), os.Mkdir(tmp, 0o700)); err != nil {
		t.Fatal(err)
	}
	if files, codes := waiting(t, dir, box.BTS); len(files) != 6 || len(codes) != 6 {
		t.Errorf("%d files, rows %d", len(files), codes)
	}
	merge(t, s, box.BTS, 1, 5)
}

// mergeChild makes the test's program drop and merge in the folder until it is
// killed; it says which drops were durable.
const mergeChild = "BOX_TEST_MERGE"

func TestMergeKilled(t *testing.T) {
	if dir := os.Getenv(mergeChild); dir != "" {
		dropAndMerge(t, dir)
		return
	}
	const enough, most = 3, 60
	dir, dropped, twice, caught, rounds := t.TempDir(), 0, 0, 0, 0
	for ; caught < enough && rounds < most; rounds++ {
		dropped = killInAMerge(t, dir, dropped, 1+rounds%3)
		files, codes := waiting(t, dir, box.BTS)
		have := map[int32]int{}
		for _, c := range codes {
			have[c]++
		}
		for i := 1; i <= dropped; i++ {
			if have[int32(i)] == 0 {
				t.Fatalf("round %d: %d files, row %d of %d is gone", rounds, len(files), i, dropped)
			}
		}
		if again := len(codes) - len(have); again > twice { // rows are in two files: it was in the middle
			twice, caught = again, caught+1
		}
	}
	t.Logf("%d rows, killed in the middle of a merge in %d of %d rounds", dropped, caught, rounds)
}

// killInAMerge runs a child that goes on behind row dropped, and kills it shortly
// after the merge with a number has begun. It returns the last row that was durable.
func killInAMerge(t *testing.T, dir string, dropped, merge int) int {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestMergeKilled$")
	cmd.Env = append(os.Environ(), mergeChild+"="+dir, "BOX_TEST_FROM="+strconv.Itoa(dropped))
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	for said := bufio.NewScanner(out); said.Scan(); {
		if said.Text() == "merge" {
			if merge--; merge == 0 {
				time.Sleep(rand.N(4 * time.Millisecond)) // somewhere in the merge, or behind it
				cmd.Process.Kill()
			}
		} else if i, ok := strings.CutPrefix(said.Text(), "dropped "); ok {
			if dropped, err = strconv.Atoi(i); err != nil {
				t.Fatal(err)
			}
		}
	}
	cmd.Wait()
	return dropped
}

func dropAndMerge(t *testing.T, dir string) {
	s := openSpool(t, dir, 1)
	from, err := strconv.Atoi(os.Getenv("BOX_TEST_FROM"))
	if err != nil {
		t.Fatal(err)
	}
	for i := from + 1; ; i++ {
		if _, err := s.Drop(result(i), time.Now(), time.Now()); err != nil {
			t.Fatal(err)
		}
		fmt.Println("dropped", i)
		if i%30 == 0 {
			fmt.Println("merge")
			if _, _, err := s.Merge(box.BTS, 1); err != nil {
				t.Fatal(err)
			}
		}
	}
}
