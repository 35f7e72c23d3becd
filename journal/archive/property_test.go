package archive

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/tree"
)

// A row of archives, cut anywhere, with frames of any size and read in any
// pieces, is the same pages and one history.
func TestAnyCut(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		before := tree.NewBuilder()
		var last *Info
		var want, got [][]byte
		for n := range rapid.IntRange(1, 4).Draw(rt, "archives") {
			counts := rapid.SliceOfN(rapid.IntRange(1, 12), 1, 8).Draw(rt, "events in each page")
			limit := rapid.IntRange(1, 6000).Draw(rt, "frame")
			m := framed(t, limit, uint32(n+1), before, counts...)
			want = append(want, m.pages...)
			info := m.info
			if last != nil {
				if err := Continues(*last, info); err != nil {
					rt.Fatal(err)
				}
			}
			last = &info
			got = append(got, drain(rt, inPieces(rt, m.bytes))...)
			r, err := opened(m.bytes)
			if err != nil {
				rt.Fatal(err)
			}
			checkLoads(rt, r, m)
			before = m.after
		}
		equal(rt, got, want)
	})
}

func inPieces(rt *rapid.T, b []byte) io.Reader {
	var r io.Reader = bytes.NewReader(b)
	switch rapid.IntRange(0, 3).Draw(rt, "pieces") {
	case 1:
		return iotest.OneByteReader(r)
	case 2:
		return iotest.HalfReader(r)
	case 3:
		return iotest.DataErrReader(r)
	}
	return r
}

func drain(rt *rapid.T, in io.Reader) (all [][]byte) {
	s, err := NewStream(in)
	if err != nil {
		rt.Fatal(err)
	}
	for {
		p, err := s.Next(rt.Context())
		if err == io.EOF {
			return all
		}
		if err != nil {
			rt.Fatal(err)
		}
		all = append(all, p.Bytes())
	}
}

// checkLoads loads pages from a random one on, and reads from a random event on.
func checkLoads(rt *rapid.T, r *Reader, m made) {
	before := m.info.Before.Pages
	n := rapid.Uint64Range(before+1, m.info.End.Pages).Draw(rt, "page")
	last := rapid.Uint64Range(n, m.info.End.Pages+3).Draw(rt, "last")
	got, err := r.Load(rt.Context(), n, last)
	if err != nil || len(got) == 0 {
		rt.Fatal(len(got), err)
	}
	equal(rt, got, m.pages[n-before-1:][:len(got)])
	event := rapid.Uint64Range(m.info.Before.Event+1, m.info.End.Event+1).Draw(rt, "event")
	pages, err := r.Read(rt.Context(), event)
	if err != nil {
		rt.Fatal(err)
	}
	p, err := pages.Next(rt.Context())
	switch {
	case event == m.info.End.Event+1:
		if err != io.EOF {
			rt.Fatal(err)
		}
	case err != nil || event < p.First || event > p.Last():
		rt.Fatal(event, p, err)
	}
}

func equal(rt *rapid.T, got, want [][]byte) {
	if len(got) != len(want) {
		rt.Fatalf("%d pages, want %d", len(got), len(want))
	}
	for i := range got {
		if !bytes.Equal(got[i], want[i]) {
			rt.Fatalf("page %d differs", i+1)
		}
	}
}

func TestContinues(t *testing.T) {
	one := archived(t, 1, tree.NewBuilder(), 2, 3, 1)
	two := archived(t, 2, one.after, 4, 1)
	three := archived(t, 3, two.after, 1)
	if err := errors.Join(Continues(one.info, two.info), Continues(two.info, three.info)); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		prev, next Info
		want       error
	}{
		"one left out":    {one.info, three.info, ErrGap},
		"the wrong way":   {two.info, one.info, ErrGap},
		"twice the same":  {two.info, two.info, ErrGap},
		"another journal": {one.info, altered(two.info, func(i *Info) { i.History[0]++ }), ErrHistory},
		"another number":  {one.info, altered(two.info, func(i *Info) { i.Generation = 3 }), ErrGap},
		"another hash":    {altered(one.info, func(i *Info) { i.End.Hash[9]++ }), two.info, ErrGap},
		"another root":    {altered(one.info, func(i *Info) { i.Root[9]++ }), two.info, ErrGap},
		"other peaks":     {one.info, altered(two.info, func(i *Info) { i.Peaks[1][9]++ }), ErrGap},
		"too few peaks":   {one.info, altered(two.info, func(i *Info) { i.Peaks = i.Peaks[1:] }), ErrGap},
	} {
		if err := Continues(c.prev, c.next); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	some := altered(two.info, func(i *Info) { i.Generation = 0 })
	if err := errors.Join(Continues(one.info, some), Continues(some, three.info)); err != nil {
		t.Errorf("a run that is no generation: %v", err)
	}
}

func altered(i Info, change func(*Info)) Info {
	i = i.clone()
	change(&i)
	return i
}

func TestWriterRefuses(t *testing.T) {
	one := archived(t, 1, tree.NewBuilder(), 2, 3, 1)
	more := pages(t, one.after.Head(), 1, 1)
	header := Header{History: identity, Generation: 2, Before: one.after.Head(), Peaks: one.after.Peaks()}
	begin := func(w io.Writer) *Writer {
		t.Helper()
		a, err := NewWriter(w, header)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	for name, h := range map[string]Header{
		"too few peaks":        {Before: header.Before, Peaks: header.Peaks[:1]},
		"more pages than ever": {Before: journal.Head{Event: 1 << 60, Pages: 1 << 60}},
		"pages without events": {Before: journal.Head{Pages: 1}, Peaks: header.Peaks[:1]},
		"a hash of nothing":    {Before: journal.Head{Hash: [32]byte{1}}},
		"before the first":     {Generation: 1, Before: header.Before, Peaks: header.Peaks},
	} {
		if _, err := NewWriter(io.Discard, h); err == nil {
			t.Errorf("header with %s was taken", name)
		}
	}
	for name, raw := range map[string][]byte{"not the next": more[1], "no page": []byte("x"), "nothing": nil} {
		a := begin(io.Discard)
		err := a.Add(raw)
		if !errors.Is(err, journal.ErrDamaged) {
			t.Errorf("page that is %s: %v", name, err)
		}
		if again := a.Add(more[0]); again != err {
			t.Errorf("goes on after an error: %v", again)
		}
		if _, closed := a.Close(Seal{}); closed != err {
			t.Errorf("ends after an error: %v", closed)
		}
	}
	two := archived(t, 2, one.after, 1, 1)
	for name, c := range map[string]struct {
		seal Seal
		want error
	}{
		"another root":       {Seal{Root: one.info.Root}, ErrSeal},
		"another end":        {sealAs(t, key(1), origin(identity), one.after), ErrSeal},
		"another history":    {Seal{Checkpoint: sealAs(t, key(1), "bugle.P01/1", two.after).Checkpoint}, ErrHistory},
		"text that is none":  {Seal{Checkpoint: []byte("x")}, tree.ErrFormat},
		"only the end of it": {Seal{Checkpoint: one.info.Checkpoint, Root: two.info.Root}, ErrSeal},
	} {
		a := begin(io.Discard)
		for _, raw := range more {
			if err := a.Add(raw); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := a.Close(c.seal); !errors.Is(err, c.want) {
			t.Errorf("seal with %s: %v", name, err)
		}
	}
	a := begin(io.Discard)
	if _, err := a.Close(Seal{}); err != nil {
		t.Errorf("an archive of nothing: %v", err)
	}
	if _, err := a.Close(Seal{}); !errors.Is(err, errEnded) {
		t.Errorf("ended twice: %v", err)
	}
	if err := a.Add(more[0]); !errors.Is(err, errEnded) {
		t.Errorf("added behind the end: %v", err)
	}
}

// failing takes some bytes and then no more.
type failing struct{ left int }

var errFull = errors.New("no space left")

func (f *failing) Write(b []byte) (int, error) {
	if f.left -= len(b); f.left < 0 {
		return 0, errFull
	}
	return len(b), nil
}

func TestWriterPassesErrors(t *testing.T) {
	all := pages(t, journal.Head{}, 2, 1, 3)
	m := archived(t, 1, tree.NewBuilder(), 2, 1, 3)
	for left := range len(m.bytes) - len(m.info.Checkpoint) {
		a, err := NewWriter(&failing{left}, Header{History: identity})
		for i := 0; err == nil && i < len(all); i++ {
			err = a.Add(all[i])
		}
		if err == nil {
			_, err = a.Close(Seal{})
		}
		if !errors.Is(err, errFull) {
			t.Fatalf("behind %d bytes: %v", left, err)
		}
	}
}

// An archive of no pages is one, too: of a stream that had nothing new.
func TestNoPages(t *testing.T) {
	one := archived(t, 0, tree.NewBuilder(), 2, 3, 1)
	none := archived(t, 0, one.after)
	if err := verify(t, none.bytes); err != nil {
		t.Fatal(err)
	}
	if none.info.Root != one.info.Root || none.info.Pages() != 0 || none.info.Events() != 0 || Continues(one.info, none.info) != nil {
		t.Errorf("%+v", none.info)
	}
	r, err := mustOpen(t, none.bytes).Read(t.Context(), 7)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Next(t.Context()); err != io.EOF {
		t.Error(err)
	}
}
