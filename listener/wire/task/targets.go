package task

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"iter"
	"math/bits"
)

// Targets is the set of device numbers that a task is for, as the leaves of its
// tree. The zero value is empty.
type Targets struct{ leaves [][32]byte }

// MaxDevice is the largest device number that can be a target.
const MaxDevice = 1<<24 - 1

// NewTargets collects device numbers, in any order.
func NewTargets(numbers iter.Seq[uint32]) (*Targets, error) {
	t := new(Targets)
	for n := range numbers {
		if n == 0 || n > MaxDevice {
			return nil, fmt.Errorf("device number %d is not between 1 and %d", n, MaxDevice)
		}
		for int(n/256) >= len(t.leaves) {
			t.leaves = append(t.leaves, [32]byte{})
		}
		t.leaves[n/256][n%256/8] |= 1 << (n % 8)
	}
	return t, nil
}

// Leaves is the size of the tree, 0 for an empty set.
func (t *Targets) Leaves() uint32 { return uint32(len(t.leaves)) }

// Has tells whether device is a target.
func (t *Targets) Has(device uint32) bool {
	i := int(device / 256)
	return i < len(t.leaves) && t.leaves[i][device%256/8]&(1<<(device%8)) != 0
}

// All yields the device numbers in rising order.
func (t *Targets) All() iter.Seq[uint32] {
	return func(yield func(uint32) bool) {
		for i := range t.leaves {
			for n := range 256 {
				if t.leaves[i][n/8]&(1<<(n%8)) != 0 && !yield(uint32(i*256+n)) {
					return
				}
			}
		}
	}
}

// Root is the Merkle tree hash of RFC 6962, section 2.1.
func (t *Targets) Root() [32]byte { return root(t.leaves) }

// Prove returns the proof that device is a target; ok is false if it is not.
func (t *Targets) Prove(device uint32) (p Proof, ok bool) {
	if !t.Has(device) {
		return Proof{}, false
	}
	i := int(device / 256)
	return Proof{Bits: t.leaves[i], Path: path(i, t.leaves)}, true
}

// A Proof shows that a device is among the targets of a task.
type Proof struct {
	Bits [32]byte   // the leaf that holds the device's bit
	Path [][32]byte // the audit path of RFC 6962, from the leaf up
}

// MaxPath is the longest path that a tree up to [MaxDevice] has.
const MaxPath = 16

// Verify checks that device is a target of t; its error wraps [ErrRefused].
func (p Proof) Verify(t *Task, device uint32) error {
	if p.Bits[device%256/8]&(1<<(device%8)) == 0 {
		return fmt.Errorf("%w: not for device %d", ErrRefused, device)
	}
	got, err := climb(leafHash(p.Bits), device/256, t.Leaves, p.Path)
	if err != nil {
		return fmt.Errorf("%w: target proof: %w", ErrRefused, err)
	}
	if got != t.Root {
		return fmt.Errorf("%w: target proof does not lead to the signed root", ErrRefused)
	}
	return nil
}

// Append appends the bytes of p as they travel: 32 bytes of bits, then the path.
func (p Proof) Append(b []byte) []byte {
	b = append(b, p.Bits[:]...)
	for _, h := range p.Path {
		b = append(b, h[:]...)
	}
	return b
}

// ParseProof reads what [Proof.Append] wrote.
func ParseProof(b []byte) (Proof, error) {
	var p Proof
	if len(b) < 32 || len(b)%32 != 0 || len(b)/32-1 > MaxPath {
		return p, fmt.Errorf("target proof of %d bytes", len(b))
	}
	copy(p.Bits[:], b)
	for b = b[32:]; len(b) > 0; b = b[32:] {
		p.Path = append(p.Path, [32]byte(b))
	}
	return p, nil
}

func leafHash(leaf [32]byte) [32]byte {
	return sha256.Sum256(append([]byte{0}, leaf[:]...))
}

func nodeHash(l, r [32]byte) [32]byte {
	var b [65]byte
	b[0] = 1
	copy(b[1:], l[:])
	copy(b[33:], r[:])
	return sha256.Sum256(b[:])
}

// split is the largest power of two below n.
func split(n int) int { return 1 << (bits.Len(uint(n-1)) - 1) }

func root(leaves [][32]byte) [32]byte {
	switch len(leaves) {
	case 0:
		return sha256.Sum256(nil)
	case 1:
		return leafHash(leaves[0])
	}
	k := split(len(leaves))
	return nodeHash(root(leaves[:k]), root(leaves[k:]))
}

func path(i int, leaves [][32]byte) [][32]byte {
	if len(leaves) == 1 {
		return nil
	}
	k := split(len(leaves))
	if i < k {
		return append(path(i, leaves[:k]), root(leaves[k:]))
	}
	return append(path(i-k, leaves[k:]), root(leaves[:k]))
}

var errPath = errors.New("path does not fit the tree")

// climb follows RFC 9162, section 2.1.3.2.
func climb(h [32]byte, index, size uint32, path [][32]byte) ([32]byte, error) {
	if index >= size {
		return h, errPath
	}
	fn, sn := index, size-1
	for _, p := range path {
		if sn == 0 {
			return h, errPath
		}
		if fn&1 == 1 || fn == sn {
			h = nodeHash(p, h)
			for fn&1 == 0 && fn != 0 {
				fn, sn = fn>>1, sn>>1
			}
		} else {
			h = nodeHash(h, p)
		}
		fn, sn = fn>>1, sn>>1
	}
	if sn != 0 {
		return h, errPath
	}
	return h, nil
}
