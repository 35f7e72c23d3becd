package offline

import (
	"bytes"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/tree"
)

// goldenMark is the file history that package jetstream keeps as its sample.
func goldenMark(t testing.TB) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "jetstream", "testdata", "history.v1.hex"))
	if err != nil {
		t.Fatal(err)
	}
	b, err := hex.DecodeString(strings.Join(strings.Fields(string(text)), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestReadsTheMarkOfJetStream(t *testing.T) {
	m, err := parseMark(goldenMark(t))
	if err != nil || m.History == [16]byte{} || m.Head.Pages == 0 || m.Head.Event < m.Head.Pages || m.Head.Hash == [32]byte{} {
		t.Errorf("%+v, %v", m, err)
	}
}

func FuzzMark(f *testing.F) {
	f.Add(goldenMark(f))
	f.Add([]byte("BGH1"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := parseMark(b); err != nil && !errors.Is(err, ErrMark) {
			t.Error(err)
		}
	})
}

// Leaves count only if they lead to a root that was signed, whatever else the file
// says.
func FuzzSignedPages(f *testing.F) {
	var pages []*journal.Page
	var b tree.Builder
	head := journal.Head{}
	file := []byte(hashesMagic)
	var signed []tree.Checkpoint
	var stored []tlog.Hash
	for n := range int64(5) {
		var build journal.PageBuilder
		build.Add([]byte("event"))
		s := build.Seal(head, n+1)
		head = s.Head
		if err := b.Add(s.Page()); err != nil {
			f.Fatal(err)
		}
		pages = append(pages, s.Page())
		leaf, err := leafOf(s.Page())
		if err != nil {
			f.Fatal(err)
		}
		more, err := tlog.StoredHashesForRecordHash(n, leaf, tlog.HashReaderFunc(func(at []int64) ([]tlog.Hash, error) {
			out := make([]tlog.Hash, len(at))
			for i, k := range at {
				out[i] = stored[k]
			}
			return out, nil
		}))
		if err != nil {
			f.Fatal(err)
		}
		stored = append(stored, more...)
		file = append(file, 0, 0, 0, 0, 0, 0, 0, byte(n+1))
		for _, h := range more {
			file = append(file, h[:]...)
		}
		signed = append(signed, tree.Checkpoint{Pages: uint64(n + 1), Root: b.Root(), Events: head.Event})
	}
	f.Add(file)
	f.Add(file[:len(file)-1])
	f.Add([]byte(hashesMagic))
	f.Fuzz(func(t *testing.T, b []byte) {
		best, err := longest(bytes.NewReader(b), signed)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Equal(b, file) && best.Pages != 5 {
			t.Fatalf("the whole file leads to %d pages", best.Pages)
		}
		for n := range int(best.Pages) {
			leaf, err := leafOf(pages[n])
			at := len(hashesMagic) + 8*(n+1) + int(tlog.StoredHashCount(int64(n)))*tlog.HashSize
			if err != nil || !bytes.Equal(leaf[:], b[at:at+tlog.HashSize]) {
				t.Fatalf("of %d pages page %d has another leaf", best.Pages, n+1)
			}
		}
	})
}
