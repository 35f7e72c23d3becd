package archive

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/tree"
)

// read reads all that is left and returns the bytes of the pages.
func read(t *testing.T, r journal.Reader) (all [][]byte) {
	t.Helper()
	for {
		p, err := r.Next(t.Context())
		if err == io.EOF {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, p.Bytes())
	}
}

func same(t *testing.T, what string, got, want [][]byte) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d pages, want %d", what, len(got), len(want))
	}
	for i := range got {
		if !bytes.Equal(got[i], want[i]) {
			t.Fatalf("%s: page %d differs", what, i+1)
		}
	}
}

func TestReadsWhatWasWritten(t *testing.T) {
	before := tree.NewBuilder()
	for n, counts := range [][]int{{3, 1, 1000, 2}, {1}, {1000, 1000, 1000, 1000, 1000, 1000, 1000, 1000, 5}} {
		m := archived(t, uint32(n+1), before, counts...)
		s, err := NewStream(bytes.NewReader(m.bytes))
		if err != nil {
			t.Fatal(err)
		}
		same(t, "stream", read(t, s), m.pages)
		info, ok := s.Info()
		if diff := cmp.Diff(m.info, info); diff != "" || !ok {
			t.Errorf("what the stream says: %v -written +read:\n%s", ok, diff)
		}
		r := mustOpen(t, m.bytes)
		for from := m.info.Before.Event + 1; from <= m.info.End.Event; from += 97 {
			rest, err := r.Read(t.Context(), from)
			if err != nil {
				t.Fatal(err)
			}
			first, err := rest.Next(t.Context())
			if err != nil || first.First > from || first.Last() < from {
				t.Fatalf("from %d: %+v, %v", from, first, err)
			}
		}
		rest, err := r.Read(t.Context(), m.info.Before.Event+1)
		if err != nil {
			t.Fatal(err)
		}
		same(t, "file", read(t, rest), m.pages)
		report, err := r.Verify(t.Context(), public(1), nil)
		if err != nil || !report.OK || !report.Signed {
			t.Errorf("%+v, %v", report, err)
		}
		if diff := cmp.Diff(m.info, report.Info); diff != "" {
			t.Errorf("-written +verified:\n%s", diff)
		}
		before = m.after
	}
}

func TestLoad(t *testing.T) {
	begin := archived(t, 0, tree.NewBuilder(), 10, 20)
	m := archived(t, 0, begin.after, bytes2counts(40)...)
	r := mustOpen(t, m.bytes)
	if m.info.Frames < 2 {
		t.Fatalf("%d frames: nothing to choose from", m.info.Frames)
	}
	for n := uint64(3); n <= 42; n++ {
		for _, last := range []uint64{n, n + 1, 42, 1000} {
			got, err := r.Load(t.Context(), n, last)
			if err != nil || len(got) == 0 || uint64(len(got)) > last-n+1 {
				t.Fatalf("page %d to %d: %d pages, %v", n, last, len(got), err)
			}
			same(t, "load", got, m.pages[n-3:n-3+uint64(len(got))])
		}
	}
	for _, n := range []uint64{0, 1, 2, 43, 1 << 63} {
		if _, err := r.Load(t.Context(), n, n); !errors.Is(err, ErrNoPage) {
			t.Errorf("page %d: %v", n, err)
		}
	}
}

// bytes2counts makes n pages of 100 to 900 events.
func bytes2counts(n int) (counts []int) {
	for i := range n {
		counts = append(counts, 100+i*337%800)
	}
	return counts
}
