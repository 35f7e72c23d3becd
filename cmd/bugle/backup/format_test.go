package backup

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/event"
)

var update = flag.Bool("update", false, "write the golden files of this version")

// golden compares with a file of testdata, which stays for ever.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	full := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(full)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(want, got) {
		t.Errorf("%s is written otherwise than in version 1:\n%s", name, got)
	}
}

var (
	sampleKey     = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, 32))
	sampleHistory = [16]byte{1, 2, 3}
	sampleBefore  = journal.Head{Event: 40, Pages: 8, Hash: [32]byte{9}}
)

func sampleManifest() *Manifest {
	return &Manifest{
		Site: "P01", Origin: "bugle.P01/01020300000000000000000000000000", Head: journal.Head{Event: 90, Pages: 20, Hash: [32]byte{4}},
		Root: [32]byte{5}, Made: time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC), By: "me@here", Bugle: "1.0", Set: 3,
		Files: []File{
			{"keys/head.key", "sets/00000003/keys/head.key", 119, [32]byte{6}},
			{"journal/archive/00000001.bga", "archive/00000001.bga", 4096, [32]byte{7}},
			{namePages, "pages/0000000000000009", 5000, [32]byte{8}},
		},
	}
}

// samplePages are two pages behind sampleBefore.
func samplePages(t testing.TB) (raws [][]byte) {
	t.Helper()
	head := sampleBefore
	for i := range 2 {
		body, err := (&event.Event{Key: "k", Payload: &event.TokenRevoked{Token: string(rune('a' + i))}}).Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		var b journal.PageBuilder
		b.Add(body)
		s := b.Seal(head, int64(1e18+i))
		raws, head = append(raws, s.Bytes()), s.Head
	}
	return raws
}

func samplePagesFile(t testing.TB) []byte {
	t.Helper()
	name := filepath.Join(t.TempDir(), "pages")
	w, err := openPages(name, sampleHistory, sampleBefore, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, raw := range samplePages(t) {
		if err := w.add(raw); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.close(); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if int64(len(b)) != w.size || hashOf(b) != w.digest() {
		t.Errorf("the file has %d bytes, the writer says %d, or their hashes differ", len(b), w.size)
	}
	return b
}

func TestFormat(t *testing.T) {
	m := sampleManifest()
	text, err := m.sign(sampleKey)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "manifest.v1.txt", text)
	again, err := parseManifest(text)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(m, again); diff != "" {
		t.Errorf("-written +read:\n%s", diff)
	}
	if err := openManifest(again, text, publicOf(sampleKey)); err != nil {
		t.Error(err)
	}
	golden(t, "backup.v1.json", identity{identityVersion, m.Origin}.encode())
	golden(t, "pages.v1.bin", samplePagesFile(t))
}

// Any byte of a manifest that is changed makes it none.
func TestManifestIsSigned(t *testing.T) {
	text, err := sampleManifest().sign(sampleKey)
	if err != nil {
		t.Fatal(err)
	}
	for i := range text {
		for _, bit := range []byte{1, 0x20} {
			altered := bytes.Clone(text)
			altered[i] ^= bit
			m, err := parseManifest(altered)
			if err == nil {
				err = openManifest(m, altered, publicOf(sampleKey))
			}
			if err == nil {
				t.Fatalf("byte %d, %q for %q: taken", i, altered[i], text[i])
			}
		}
	}
}

// Any bit of a file of pages that is flipped is found, and any cut.
func TestPagesAreChecked(t *testing.T) {
	good := samplePagesFile(t)
	read := func(b []byte) (int, error) {
		r, err := newPageReader(bytes.NewReader(b), sampleHistory, sampleBefore)
		n := 0
		for err == nil {
			if _, err = r.next(); err == nil {
				n++
			}
		}
		return n, err
	}
	if n, err := read(good); n != 2 || err.Error() != "EOF" {
		t.Fatalf("%d pages, %v", n, err)
	}
	whole := map[int]int{pagesHeader: 0}
	for at, i := pagesHeader, 0; i < 2; i++ {
		at += 4 + len(samplePages(t)[i])
		whole[at] = i + 1
	}
	for cut := range good {
		n, err := read(good[:cut])
		if want, ok := whole[cut]; ok && (n != want || err.Error() != "EOF") || !ok && !errors.Is(err, ErrDamaged) {
			t.Errorf("cut at byte %d: %d pages, %v", cut, n, err)
		}
	}
	later := bytes.Clone(good)
	later[3] = '2'
	if _, err := read(later); !errors.Is(err, ErrVersion) {
		t.Errorf("a later version: %v", err)
	}
}

func FuzzPages(f *testing.F) {
	f.Add(samplePagesFile(f))
	f.Add([]byte("BGP1"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := newPageReader(bytes.NewReader(b), sampleHistory, sampleBefore)
		for err == nil {
			_, err = r.next()
		}
		if err != io.EOF && !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrVersion) {
			t.Error(err)
		}
		if r == nil {
			return
		}
		// What was good is good without the rest.
		again, err := newPageReader(bytes.NewReader(b[:r.at]), sampleHistory, sampleBefore)
		for err == nil {
			_, err = again.next()
		}
		if err != io.EOF || again.head != r.head {
			t.Errorf("%+v became %+v, %v", r.head, again.head, err)
		}
	})
}
