package offlinetest

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/block"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/journal/generation"
	"github.com/bugle-fleet/bugle/journal/tree"
)

// A Truth is what a mutation did.
type Truth struct {
	First uint64        // the first event that a reader in order cannot trust; 0: nothing was done
	Lost  []event.Range // events that are not there any more as they were
}

// A Mutation changes the files of a journal: by chance, or as somebody does who
// knows every format and may write every file, but has no key.
type Mutation struct {
	Name string
	Do   func(t testing.TB, r *rand.Rand, f *Folder) Truth
}

// A stretch is a file of messages and the pages in it.
type stretch struct {
	file     block.File
	from, to int     // pages, from 0
	offsets  []int64 // where each begins, and where the file ends
	before   int     // pages before the file's generation
}

// stretches lists the files of messages of a folder that is whole.
func (f *Folder) stretches(t testing.TB) (all []stretch) {
	t.Helper()
	for i := range f.Generations {
		g := &f.Generations[i]
		if g.Removed {
			continue
		}
		files, err := block.Files(generation.LiveFolder(f.Dir, g.Number))
		must(t, err)
		at := int(g.Before.Pages)
		for _, file := range files {
			s := stretch{file: file, from: at, before: int(g.Before.Pages)}
			must(t, block.Walk(file, func(r block.Record) error {
				s.offsets = append(s.offsets, r.Offset)
				return nil
			}))
			s.offsets = append(s.offsets, file.Size)
			at += len(s.offsets) - 1
			s.to = at
			all = append(all, s)
		}
	}
	return all
}

// any is one of them.
func anyOf[T any](r *rand.Rand, all []T) T { return all[r.IntN(len(all))] }

// page is which of its pages a byte of the file is in, from 0 of the journal.
func (s *stretch) page(offset int64) int {
	i, found := slices.BinarySearch(s.offsets, offset)
	if !found {
		i--
	}
	return s.from + i
}

// lost is the truth about pages that are no more, from 0, both ends included.
func (f *Folder) lost(from, to int) Truth {
	first := f.Heads[from].Event + 1
	return Truth{first, []event.Range{{From: first, To: f.Heads[to+1].Event}}}
}

func (s *stretch) change(t testing.TB, change func(b []byte) []byte) {
	t.Helper()
	b, err := os.ReadFile(s.file.Path)
	must(t, err)
	must(t, os.WriteFile(s.file.Path, change(b), 0o600))
}

// record is page n, from 0, as a record of the stretch's file.
func (s *stretch) record(n int, raw []byte) []byte {
	return AppendPage(nil, s.file.Stream, s.file.Number, uint64(n-s.before+1), raw)
}

// write makes the file of a stretch hold these pages as its messages.
func (s *stretch) write(t testing.TB, raws [][]byte) {
	t.Helper()
	var b []byte
	for i, raw := range raws {
		b = append(b, s.record(s.from+i, raw)...)
	}
	must(t, os.WriteFile(s.file.Path, b, 0o600))
}

// Mutations are all that there are.
var Mutations = []Mutation{
	{"flip a bit", func(t testing.TB, r *rand.Rand, f *Folder) Truth {
		s := anyOf(r, f.stretches(t))
		bit := r.Int64N(8 * s.file.Size)
		s.change(t, func(b []byte) []byte { b[bit/8] ^= 1 << (bit % 8); return b })
		p := s.page(bit / 8)
		return f.lost(p, p)
	}},
	{"cut a file", func(t testing.TB, r *rand.Rand, f *Folder) Truth {
		s := anyOf(r, f.stretches(t))
		at := r.Int64N(s.file.Size)
		must(t, os.Truncate(s.file.Path, at))
		return f.lost(s.page(at), s.to-1)
	}},
	{"remove a file", func(t testing.TB, r *rand.Rand, f *Folder) Truth {
		s := anyOf(r, f.stretches(t))
		must(t, os.Remove(s.file.Path))
		return f.lost(s.from, s.to-1)
	}},
	{"cut the tail", func(t testing.TB, r *rand.Rand, f *Folder) Truth {
		all := f.stretches(t)
		s := all[len(all)-1]
		n := r.IntN(s.to - s.from)
		must(t, os.Truncate(s.file.Path, s.offsets[n]))
		return f.lost(s.from+n, s.to-1)
	}},
	{"cut the tail, and say so in the file history", func(t testing.TB, r *rand.Rand, f *Folder) Truth {
		all := f.stretches(t)
		s := all[len(all)-1]
		n := r.IntN(s.to - s.from)
		must(t, os.Truncate(s.file.Path, s.offsets[n]))
		must(t, f.WriteMark(f.Heads[s.from+n]))
		return f.lost(s.from+n, s.to-1)
	}},
	{"zeros", func(t testing.TB, r *rand.Rand, f *Folder) Truth {
		s := anyOf(r, f.stretches(t))
		from := r.Int64N(s.file.Size - 30)
		to := from + 30 + r.Int64N(s.file.Size-from-29)
		s.change(t, func(b []byte) []byte { clear(b[from:to]); return b })
		return f.lost(s.page(from), s.page(to-1))
	}},
	{"garbage between two records", func(t testing.TB, r *rand.Rand, f *Folder) Truth {
		s := anyOf(r, f.stretches(t))
		n := r.IntN(s.to - s.from)
		s.change(t, func(b []byte) []byte {
			return slices.Insert(b, int(s.offsets[n]), bytes.Repeat([]byte{0xe7}, 1+r.IntN(100))...)
		})
		return Truth{First: f.Heads[s.from+n].Event + 1}
	}},
	{"drop a record", func(t testing.TB, r *rand.Rand, f *Folder) Truth {
		s := anyOf(r, f.stretches(t))
		n := r.IntN(s.to - s.from)
		s.change(t, func(b []byte) []byte { return slices.Delete(b, int(s.offsets[n]), int(s.offsets[n+1])) })
		return f.lost(s.from+n, s.from+n)
	}},
	{"repeat a record", func(t testing.TB, r *rand.Rand, f *Folder) Truth {
		s := anyOf(r, f.stretches(t))
		n := r.IntN(s.to - s.from)
		s.change(t, func(b []byte) []byte {
			return slices.Insert(b, int(s.offsets[n+1]), bytes.Clone(b[s.offsets[n]:s.offsets[n+1]])...)
		})
		return Truth{First: f.Heads[s.from+n+1].Event + 1}
	}},
	{"swap two pages", func(t testing.TB, r *rand.Rand, f *Folder) Truth {
		return f.swapPages(t, r, false)
	}},
	{"swap two pages, with checksums", func(t testing.TB, r *rand.Rand, f *Folder) Truth {
		return f.swapPages(t, r, true)
	}},
	{"swap two files", func(t testing.TB, r *rand.Rand, f *Folder) Truth {
		a, b, ok := f.two(t, r)
		if !ok {
			return Truth{}
		}
		tmp := a.file.Path + ".x"
		must(t, errors.Join(os.Rename(a.file.Path, tmp), os.Rename(b.file.Path, a.file.Path), os.Rename(tmp, b.file.Path)))
		truth := f.lost(a.from, a.to-1)
		if a.to == b.from {
			return f.lost(a.from, b.to-1)
		}
		truth.Lost = append(truth.Lost, f.lost(b.from, b.to-1).Lost...)
		return truth
	}},
	{"swap two files, with checksums", func(t testing.TB, r *rand.Rand, f *Folder) Truth {
		a, b, ok := f.two(t, r)
		if !ok {
			return Truth{}
		}
		a.write(t, f.Pages[b.from:b.to])
		b.write(t, f.Pages[a.from:a.to])
		return Truth{First: f.Heads[a.from].Event + 1}
	}},
	{"repeat a file, with checksums", func(t testing.TB, r *rand.Rand, f *Folder) Truth {
		all := f.stretches(t)
		i := r.IntN(len(all))
		s := all[i]
		// The file comes again behind itself; those behind it get other numbers.
		for k := len(all) - 1; k > i; k-- {
			if all[k].file.Stream == s.file.Stream {
				moved := all[k]
				moved.file.Number++
				moved.file.Path = filepath.Join(filepath.Dir(s.file.Path), fmt.Sprintf("%d.blk", moved.file.Number))
				moved.write(t, f.Pages[moved.from:moved.to])
			}
		}
		again := s
		again.file.Number++
		again.file.Path = filepath.Join(filepath.Dir(s.file.Path), fmt.Sprintf("%d.blk", again.file.Number))
		again.write(t, f.Pages[s.from:s.to])
		return Truth{First: f.Heads[s.to].Event + 1}
	}},
	{"edit a page, with checksums", func(t testing.TB, r *rand.Rand, f *Folder) Truth {
		s := anyOf(r, f.stretches(t))
		n := s.from + r.IntN(s.to-s.from)
		s.rewrite(t, f, n, forged(f.Pages[n]))
		return f.lost(n, n)
	}},
	{"edit a page, with checksums and all hashes behind it", func(t testing.TB, r *rand.Rand, f *Folder) Truth {
		n := f.forge(t, r)
		return f.lost(n, len(f.Pages)-1)
	}},
	{"edit a page, with everything but the checkpoint", func(t testing.TB, r *rand.Rand, f *Folder) Truth {
		n := f.forge(t, r)
		c := *f
		c.Heads = f.rechained(t, n)
		must(t, c.WriteMark(c.Heads[len(c.Heads)-1]))
		list := slices.Clone(f.Generations)
		for i := range list {
			list[i].Before, list[i].End = c.Heads[list[i].Before.Pages], c.Heads[list[i].End.Pages]
		}
		must(t, generation.Write(f.Dir, list))
		return f.lost(n, len(f.Pages)-1)
	}},
	{"yesterday's files", func(t testing.TB, r *rand.Rand, f *Folder) Truth {
		all := f.stretches(t)
		open := slices.DeleteFunc(all, func(s stretch) bool { return s.before != all[len(all)-1].before })
		i := r.IntN(len(open))
		n := r.IntN(open[i].to - open[i].from)
		must(t, os.Truncate(open[i].file.Path, open[i].offsets[n]))
		for _, s := range open[i+1:] {
			must(t, os.Remove(s.file.Path))
		}
		must(t, f.WriteMark(f.Heads[open[i].from+n]))
		return f.lost(open[i].from+n, len(f.Pages)-1)
	}},
	{"no file of a generation", func(t testing.TB, r *rand.Rand, f *Folder) Truth {
		s := anyOf(r, f.stretches(t))
		must(t, os.RemoveAll(filepath.Dir(s.file.Path)))
		for i := range f.Generations {
			if g := &f.Generations[i]; int(g.Before.Pages) == s.before && g.Sealed() {
				return f.lost(s.before, int(g.End.Pages)-1)
			}
		}
		return f.lost(s.before, len(f.Pages)-1)
	}},
}

// swapPages puts two records of one file in each other's place.
func (f *Folder) swapPages(t testing.TB, r *rand.Rand, informed bool) Truth {
	s := anyOf(r, f.stretches(t))
	if s.to-s.from < 2 {
		return Truth{}
	}
	a := r.IntN(s.to - s.from - 1)
	b := a + 1 + r.IntN(s.to-s.from-a-1)
	if informed {
		raws := slices.Clone(f.Pages[s.from:s.to])
		raws[a], raws[b] = raws[b], raws[a]
		s.write(t, raws)
	} else {
		s.change(t, func(all []byte) []byte {
			part := func(n int) []byte { return all[s.offsets[n]:s.offsets[n+1]] }
			return slices.Concat(all[:s.offsets[a]], part(b), all[s.offsets[a+1]:s.offsets[b]], part(a), all[s.offsets[b+1]:])
		})
	}
	return Truth{First: f.Heads[s.from+a].Event + 1}
}

// two picks two files of one generation.
func (f *Folder) two(t testing.TB, r *rand.Rand) (a, b stretch, ok bool) {
	a, b = anyOf(r, f.stretches(t)), anyOf(r, f.stretches(t))
	if a.from > b.from {
		a, b = b, a
	}
	return a, b, a.from != b.from && a.before == b.before
}

// rewrite puts other bytes in the place of page n.
func (s *stretch) rewrite(t testing.TB, f *Folder, n int, raw []byte) {
	t.Helper()
	raws := slices.Clone(f.Pages[s.from:s.to])
	raws[n-s.from] = raw
	s.write(t, raws)
}

// forged is a page that says something else.
func forged(raw []byte) []byte {
	b := bytes.Clone(raw)
	i := bytes.LastIndex(b, []byte(".BTS"))
	if i < 0 {
		i = len(b) - 1
	}
	b[i] ^= 1
	return b
}

// rechain is the journal with page n forged and all behind it chained to that.
func (f *Folder) rechain(t testing.TB, n int) (raws [][]byte, heads []journal.Head) {
	t.Helper()
	raws, heads = slices.Clone(f.Pages), slices.Clone(f.Heads)
	raws[n] = forged(raws[n])
	for i := n; i < len(raws); i++ {
		raws[i] = bytes.Clone(raws[i])
		copy(raws[i][16:], heads[i].Hash[:])
		heads[i+1].Hash = journal.HashPage(raws[i])
	}
	return raws, heads
}

func (f *Folder) rechained(t testing.TB, n int) []journal.Head {
	_, heads := f.rechain(t, n)
	return heads
}

// forge edits a page in the live store and chains all pages behind it anew.
func (f *Folder) forge(t testing.TB, r *rand.Rand) int {
	t.Helper()
	all := f.stretches(t)
	s := anyOf(r, all)
	n := s.from + r.IntN(s.to-s.from)
	raws, _ := f.rechain(t, n)
	for _, s := range all {
		if s.to > n {
			s.write(t, raws[s.from:s.to])
		}
	}
	return n
}

// WithoutHashes removes the tree's cache.
func (f *Folder) WithoutHashes(t testing.TB) {
	t.Helper()
	if err := os.Remove(filepath.Join(f.Dir, "tree", "hashes")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
}

// Signed opens the folder's checkpoint.
func (f *Folder) Signed(t testing.TB) tree.Checkpoint {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(f.Dir, "tree", "checkpoint"))
	must(t, err)
	c, err := tree.OpenCheckpoint(text, f.Public(), f.Origin)
	must(t, err)
	return c
}
