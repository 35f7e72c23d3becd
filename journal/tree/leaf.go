package tree

import (
	"crypto/sha256"
	"encoding/binary"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/bugle-fleet/bugle/journal"
)

const leafMagic = "BGT1"

// A frontier is a growing RFC 6962 tree of which only the roots of the complete
// subtrees are kept, the largest first: what it takes to add leaves and to know
// the root.
type frontier struct {
	size  int64
	peaks []tlog.Hash
}

// add adds a leaf by its hash, and appends to dst the hashes that a store keeps
// for it, in the order of tlog.StoredHashes.
func (f *frontier) add(dst []tlog.Hash, leaf tlog.Hash) []tlog.Hash {
	dst = append(dst, leaf)
	for n := f.size; n&1 == 1; n >>= 1 {
		last := len(f.peaks) - 1
		leaf = tlog.NodeHash(f.peaks[last], leaf)
		f.peaks = f.peaks[:last]
		dst = append(dst, leaf)
	}
	f.peaks = append(f.peaks, leaf)
	f.size++
	return dst
}

// root is the root of the tree; that of an empty one is the hash of nothing.
func (f *frontier) root() tlog.Hash {
	if f.size == 0 {
		return sha256.Sum256(nil)
	}
	h := f.peaks[len(f.peaks)-1]
	for i := len(f.peaks) - 2; i >= 0; i-- {
		h = tlog.NodeHash(f.peaks[i], h)
	}
	return h
}

// A hasher makes the leaves of pages. It keeps its memory, so it is for one
// goroutine.
type hasher struct {
	inner  frontier
	stored []tlog.Hash
	buf    []byte
}

// page returns what the tree says of a page.
func (h *hasher) page(p *journal.Page) pageLeaf {
	h.inner = frontier{peaks: h.inner.peaks[:0]}
	h.stored = h.stored[:0]
	for i := range p.Records {
		r := &p.Records[i]
		var leaf tlog.Hash
		leaf, h.buf = eventLeaf(h.buf, r.Number, r.Accepted, r.Body)
		h.stored = h.inner.add(h.stored, leaf)
	}
	return pageLeaf{first: p.First, count: uint32(len(p.Records)), root: h.inner.root(), chain: p.Hash}
}

// path proves the event at place i, from 0, of the page that was hashed last.
func (h *hasher) path(i int64) (tlog.RecordProof, error) {
	return tlog.ProveRecord(h.inner.size, i, tlog.HashReaderFunc(func(at []int64) ([]tlog.Hash, error) {
		hashes := make([]tlog.Hash, len(at))
		for k, n := range at {
			hashes[k] = h.stored[n]
		}
		return hashes, nil
	}))
}

// eventLeaf is the hash of an event as a leaf of its page's tree. It returns buf,
// grown, to be used again.
func eventLeaf(buf []byte, number uint64, accepted int64, body []byte) (tlog.Hash, []byte) {
	buf = append(buf[:0], 0)
	buf = binary.BigEndian.AppendUint64(buf, number)
	buf = binary.BigEndian.AppendUint64(buf, uint64(accepted))
	buf = append(buf, body...)
	return sha256.Sum256(buf), buf
}

// A pageLeaf is what the tree says of a page.
type pageLeaf struct {
	first uint64
	count uint32
	root  tlog.Hash // of the tree over the page's events
	chain [32]byte  // the page's hash in the chain
}

func (l pageLeaf) hash() tlog.Hash {
	var a [1 + len(leafMagic) + 8 + 4 + 32 + 32]byte
	b := append(a[:1], leafMagic...)
	b = binary.BigEndian.AppendUint64(b, l.first)
	b = binary.BigEndian.AppendUint32(b, l.count)
	b = append(b, l.root[:]...)
	b = append(b, l.chain[:]...)
	return sha256.Sum256(b)
}
