package offline

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"sort"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/tree"
)

// signedPages are the leaves of the tree over the pages that a checkpoint was
// signed for, from the file hashes of package tree: they tell of each page alone
// whether it is the one that was signed, whatever became of those around it. They
// are as good as the signature, for they lead to the root that was signed.
type signedPages struct {
	f     *os.File
	pages uint64 // how many
	last  uint64 // event of the checkpoint
}

const (
	hashesMagic = "BGTREE1\n"
	maxSigned   = 1 << 40 // pages; far more than any file of hashes
)

// openSigned opens the leaves for the longest of the checkpoints that they lead
// to; it is nil if there is none.
func openSigned(dir string, checkpoints []tree.Checkpoint) (*signedPages, error) {
	f, err := os.Open(filepath.Join(dir, "tree", "hashes"))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	best, err := longest(f, checkpoints)
	if err != nil || best.Pages == 0 {
		return nil, errors.Join(err, f.Close())
	}
	return &signedPages{f: f, pages: best.Pages, last: best.Events}, nil
}

// longest reads the file from its beginning and returns the checkpoint with the
// most pages whose root its leaves lead to.
func longest(f io.Reader, checkpoints []tree.Checkpoint) (best tree.Checkpoint, err error) {
	want, most := map[uint64]tree.Checkpoint{}, uint64(0)
	for _, c := range checkpoints {
		if c.Pages <= maxSigned {
			want[c.Pages], most = c, max(most, c.Pages)
		}
	}
	in := bufio.NewReaderSize(f, 64<<10)
	magic := make([]byte, len(hashesMagic))
	if _, err := io.ReadFull(in, magic); err != nil || string(magic) != hashesMagic {
		return best, nil
	}
	var peaks []tlog.Hash
	row := make([]byte, 8+tlog.HashSize)
	for n := uint64(1); n <= most; n++ {
		if _, err := io.ReadFull(in, row); err != nil {
			return best, ended(err)
		}
		h := tlog.Hash(row[8:])
		for k := n; k&1 == 0; k >>= 1 {
			if _, err := in.Discard(tlog.HashSize); err != nil { // made from the leaves instead
				return best, ended(err)
			}
			h = tlog.NodeHash(peaks[len(peaks)-1], h)
			peaks = peaks[:len(peaks)-1]
		}
		peaks = append(peaks, h)
		if c, ok := want[n]; ok && root(peaks) == c.Root {
			best = c
		}
	}
	return best, nil
}

// ended is nil for the error of a file that is shorter than was asked for.
func ended(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil
	}
	return err
}

func root(peaks []tlog.Hash) tlog.Hash {
	h := peaks[len(peaks)-1]
	for i := len(peaks) - 2; i >= 0; i-- {
		h = tlog.NodeHash(peaks[i], h)
	}
	return h
}

// row returns what the file says of page n, from 1: the number of its last event,
// which nobody has signed, and its leaf.
func (s *signedPages) row(n uint64) (last uint64, leaf tlog.Hash, err error) {
	var b [8 + tlog.HashSize]byte
	at := int64(len(hashesMagic)) + 8*int64(n-1) + tlog.HashSize*tlog.StoredHashCount(int64(n-1))
	if _, err := s.f.ReadAt(b[:], at); err != nil {
		return 0, leaf, err
	}
	return binary.BigEndian.Uint64(b[:]), tlog.Hash(b[8:]), nil
}

// find returns the number of the page, from 1, if it is among those that were
// signed, and 0 if not. It looks at the place behind page n first.
func (s *signedPages) find(p *journal.Page, n uint64) (uint64, error) {
	leaf, err := leafOf(p)
	if err != nil {
		return 0, err
	}
	is := func(n uint64) bool {
		_, there, err := s.row(n)
		return err == nil && there == leaf
	}
	if n++; n <= s.pages && is(n) {
		return n, nil
	}
	i := sort.Search(int(s.pages), func(i int) bool {
		last, _, err := s.row(uint64(i) + 1)
		return err != nil || last >= p.First
	})
	if n = uint64(i) + 1; n <= s.pages && is(n) {
		return n, nil
	}
	return 0, nil
}

// leafOf is the leaf of a page: the root of a tree that has no other.
func leafOf(p *journal.Page) (tlog.Hash, error) {
	b, err := tree.RestoreBuilder(nil, journal.Head{Event: p.First - 1, Hash: p.Previous})
	if err != nil {
		return tlog.Hash{}, err
	}
	if err := b.Add(p); err != nil {
		return tlog.Hash{}, err
	}
	return b.Root(), nil
}

func (s *signedPages) close() error {
	if s == nil {
		return nil
	}
	return s.f.Close()
}
