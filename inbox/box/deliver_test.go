package box

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func rawFile(t *testing.T, number uint64, device uint32) Raw {
	t.Helper()
	f := File{Name: Name{Listener: "EAST01", Epoch: 1, Number: number, Kind: DDR}, Site: "P01",
		Contents: &Discovery{Records: []DiscoveryRecord{{Device: device, At: time.Unix(1, 0)}}}}
	b, err := f.Append(nil, ed25519.NewKeyFromSeed(make([]byte, 32)))
	if err != nil {
		t.Fatal(err)
	}
	return Raw{f.Name, b}
}

func TestDeliver(t *testing.T) {
	dir := t.TempDir()
	b, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	var files []Raw
	for n := range uint64(40) {
		files = append(files, rawFile(t, n+1, 1))
	}
	// What a crash left of an earlier attempt is in nobody's way.
	if err := os.WriteFile(temporary(dir, files[3].Name), []byte("cut"), 0o600); err != nil {
		t.Fatal(err)
	}
	if n, err := Deliver(dir, files[:30]); n != 30 || err != nil {
		t.Fatalf("%d, %v", n, err)
	}
	if n, err := Deliver(dir, files); n != 40 || err != nil { // most of them again
		t.Fatalf("%d, %v", n, err)
	}
	l, err := b.Scan()
	if err != nil || l.Total != 40 || len(l.Strange) > 0 {
		t.Errorf("%d files wait, %q, %v", l.Total, l.Strange, err)
	}
	for i, f := range files {
		got, err := os.ReadFile(filepath.Join(dir, f.Name.String()))
		if err != nil || string(got) != string(f.Data) {
			t.Errorf("file %d: %v", i, err)
		}
	}
	if left, err := os.ReadDir(filepath.Join(dir, tmpFolder)); err != nil || len(left) > 0 {
		t.Errorf("%d files are left in tmp, %v", len(left), err)
	}
}

// A name that is taken stops what is behind it, not what is in front of it,
// wherever in the box the other file is.
func TestDeliverTaken(t *testing.T) {
	for i, put := range []func(b *Box, name string) error{
		func(b *Box, name string) error { return nil },
		func(b *Box, name string) error { return b.Claim(name) },
		func(b *Box, name string) error {
			return errors.Join(b.Claim(name), b.Archive(name, 1, time.Now()))
		},
	} {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			dir := t.TempDir()
			b, err := Open(dir)
			if err != nil {
				t.Fatal(err)
			}
			defer b.Close()
			two := rawFile(t, 2, 1)
			if n, err := Deliver(dir, []Raw{two}); n != 1 || err != nil {
				t.Fatal(n, err)
			}
			if err := put(b, two.Name.String()); err != nil {
				t.Fatal(err)
			}
			n, err := Deliver(dir, []Raw{rawFile(t, 1, 1), rawFile(t, 2, 9), rawFile(t, 3, 1)})
			if n != 1 || !errors.Is(err, ErrTaken) {
				t.Errorf("%d delivered, %v", n, err)
			}
			if _, err := os.Stat(filepath.Join(dir, rawFile(t, 3, 1).Name.String())); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("what is behind it was put there: %v", err)
			}
			if n, err := Deliver(dir, []Raw{rawFile(t, 1, 1), two, rawFile(t, 3, 1)}); n != 3 || err != nil {
				t.Errorf("%d delivered, %v", n, err)
			}
		})
	}
}
