package collected_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/console/collected"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

func open(t testing.TB, dir string, quota int64, gone *[]collected.File) *collected.Store {
	t.Helper()
	s, err := collected.Open(dir, quota, func(f collected.File) { *gone = append(*gone, f) })
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func put(t testing.TB, s *collected.Store, op task.ID, device uint32, body string) error {
	t.Helper()
	return s.Put(context.Background(), op, device, sha256.Sum256([]byte(body)), int64(len(body)), strings.NewReader(body))
}

func read(t testing.TB, s *collected.Store, op task.ID, device uint32) string {
	t.Helper()
	f, about, err := s.Open(op, device)
	if errors.Is(err, collected.ErrNone) {
		return ""
	}
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b, err := io.ReadAll(f)
	if err != nil || int64(len(b)) != about.Size || sha256.Sum256(b) != about.SHA256 {
		t.Errorf("%d bytes of %d, %v", len(b), about.Size, err)
	}
	return string(b)
}

func TestKept(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "logs")
	var gone []collected.File
	s := open(t, dir, 0, &gone)
	a, b := task.NewID(time.Now()), task.NewID(time.Now())
	for _, c := range []struct {
		op     task.ID
		device uint32
		body   string
	}{{a, 1, "one"}, {a, 2, "two"}, {b, 1, "three"}, {a, 1, "one"}, {a, 2, "two again"}, {b, 7, ""}} {
		if err := put(t, s, c.op, c.device, c.body); err != nil {
			t.Fatal(err)
		}
	}
	check := func(s *collected.Store) {
		t.Helper()
		if got := read(t, s, a, 1) + "," + read(t, s, a, 2) + "," + read(t, s, b, 1) + "," + read(t, s, b, 2); got != "one,two again,three," {
			t.Errorf("%q", got)
		}
		if list := s.List(a); len(list) != 2 || list[0].Device != 1 || list[1].Device != 2 {
			t.Errorf("%+v", list)
		}
		if n, size := s.Size(); n != 4 || size != int64(len("onetwo againthree")) {
			t.Errorf("%d files, %d bytes", n, size)
		}
	}
	check(s)
	os.WriteFile(filepath.Join(dir, a.String(), "1.part"), []byte("half"), 0o600)
	os.WriteFile(filepath.Join(dir, "other"), []byte("not ours"), 0o600)
	check(open(t, dir, 0, &gone))
	if _, err := os.Stat(filepath.Join(dir, a.String(), "1.part")); err == nil {
		t.Error("what was on its way is still there")
	}
	if len(gone) != 0 {
		t.Errorf("%v had to go", gone)
	}
}

func TestBodiesThatAreNotWhatWasAnnounced(t *testing.T) {
	dir := t.TempDir()
	var gone []collected.File
	s := open(t, dir, 1000, &gone)
	op := task.NewID(time.Now())
	sum := sha256.Sum256([]byte("body"))
	for _, c := range []struct {
		size int64
		body io.Reader
		want error
	}{
		{4, strings.NewReader("bodx"), collected.ErrBody},
		{4, strings.NewReader("bod"), collected.ErrBody},
		{4, strings.NewReader("body and more"), collected.ErrBody},
		{-1, strings.NewReader(""), collected.ErrBody},
		{1001, strings.NewReader("body"), collected.ErrQuota},
		{4, io.MultiReader(strings.NewReader("bo"), failing{}), io.ErrClosedPipe},
	} {
		if err := s.Put(context.Background(), op, 1, sum, c.size, c.body); !errors.Is(err, c.want) {
			t.Errorf("%v, want %v", err, c.want)
		}
	}
	if n, size := s.Size(); n != 0 || size != 0 {
		t.Errorf("%d files, %d bytes", n, size)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*", "*")); len(left) != 0 {
		t.Errorf("%v is left", left)
	}
	if err := put(t, s, op, 1, strings.Repeat("a", 1000)); err != nil {
		t.Errorf("what failed still holds room: %v", err)
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, io.ErrClosedPipe }

func TestTheOldestMakeRoom(t *testing.T) {
	dir := t.TempDir()
	var gone []collected.File
	s := open(t, dir, 1000, &gone)
	op := task.NewID(time.Now())
	for d := uint32(1); d <= 5; d++ {
		if err := put(t, s, op, d, fmt.Sprintf("%d", d)+strings.Repeat("x", 299)); err != nil {
			t.Fatal(err)
		}
	}
	if len(gone) != 2 || gone[0].Device != 1 || gone[1].Device != 2 {
		t.Errorf("%+v", gone)
	}
	if files, _ := filepath.Glob(filepath.Join(dir, "*", "*.tar.gz")); len(files) != 3 {
		t.Errorf("%v", files)
	}
	gone = nil
	if _, size := open(t, dir, 1000, &gone).Size(); size != 900 {
		t.Errorf("%d bytes", size)
	}
}

func TestManyAtOnce(t *testing.T) {
	var gone []collected.File
	var mu sync.Mutex
	s, err := collected.Open(t.TempDir(), 64<<10, func(f collected.File) { mu.Lock(); gone = append(gone, f); mu.Unlock() })
	if err != nil {
		t.Fatal(err)
	}
	ops := []task.ID{task.NewID(time.Now()), task.NewID(time.Now())}
	var all sync.WaitGroup
	for i := range 40 {
		all.Go(func() {
			body := bytes.Repeat([]byte{byte(i)}, 4<<10)
			err := s.Put(context.Background(), ops[i%2], uint32(i%10+1), sha256.Sum256(body), int64(len(body)), bytes.NewReader(body))
			if err != nil && !errors.Is(err, collected.ErrQuota) {
				t.Error(err)
			}
		})
	}
	all.Wait()
	n, size := s.Size()
	if size != int64(n)*4<<10 || size > 64<<10 {
		t.Errorf("%d files, %d bytes", n, size)
	}
	for _, op := range ops {
		for _, f := range s.List(op) {
			read(t, s, op, f.Device)
		}
	}
}

func ExampleStore_Put() {
	dir, _ := os.MkdirTemp("", "collected")
	defer os.RemoveAll(dir)
	s, err := collected.Open(dir, collected.DefaultQuota, nil)
	if err != nil {
		panic(err)
	}
	op := task.NewID(time.Now())
	body := []byte("a tar.gz")
	if err := s.Put(context.Background(), op, 42, sha256.Sum256(body), int64(len(body)), bytes.NewReader(body)); err != nil {
		panic(err)
	}
	for _, f := range s.List(op) {
		fmt.Println(f.Device, f.Size)
	}
	// Output: 42 8
}

// A file that has no room because of others on their way makes nothing go.
func TestNoRoomTakesNothing(t *testing.T) {
	var gone []collected.File
	s := open(t, t.TempDir(), 100, &gone)
	a := task.NewID(time.Now())
	if err := put(t, s, a, 1, strings.Repeat("a", 20)); err != nil {
		t.Fatal(err)
	}
	large := strings.Repeat("b", 80)
	r, w := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		ended <- s.Put(t.Context(), a, 2, sha256.Sum256([]byte(large)), int64(len(large)), r)
	}()
	if _, err := io.WriteString(w, large[:1]); err != nil { // its room is taken by now
		t.Fatal(err)
	}
	if err := put(t, s, a, 3, strings.Repeat("c", 30)); !errors.Is(err, collected.ErrQuota) {
		t.Errorf("a file without room: %v", err)
	}
	if len(gone) > 0 || read(t, s, a, 1) == "" {
		t.Errorf("%+v made room for nothing", gone)
	}
	if _, err := io.WriteString(w, large[1:]); err != nil {
		t.Fatal(err)
	}
	w.Close()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
