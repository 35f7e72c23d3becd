package console

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/bits"
	"time"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// perLeaf is how many devices one leaf of a task's target tree stands for.
const perLeaf = 256

// proof returns the proof that a device is a target of t. Those of one leaf of the
// tree have the same one.
func (r *renderer) proof(t *policyTask, device uint32) ([]byte, error) {
	if proof := t.proofs[device/perLeaf]; proof != nil {
		return proof, nil
	}
	if t.targets == nil {
		var err error
		if t.targets, err = task.NewTargets(roaring.Values(t.Targets)); err != nil {
			return nil, fmt.Errorf("prove targets of operation %s: %w", t.ID, err)
		}
	}
	p, ok := t.targets.Prove(device)
	if !ok {
		return nil, fmt.Errorf("prove targets of operation %s: device %d is none", t.ID, device)
	}
	if r.proofBytes > keptProofs {
		for _, t := range r.known {
			clear(t.proofs)
		}
		r.proofBytes = 0
	}
	proof := p.Append(nil)
	t.proofs[device/perLeaf] = proof
	r.proofBytes += len(proof)
	r.stats.Proofs++
	return proof, nil
}

func (t *policyTask) proofSize() (n int) {
	for _, p := range t.proofs {
		n += len(p)
	}
	return n
}

// share is when within its spread a wave reaches a device, as the listeners reckon
// it: the first 8 bytes of SHA-256(operation ‖ device, 4 bytes big endian) are the
// fraction.
func share(spread time.Duration, id task.ID, device uint32) time.Duration {
	if spread <= 0 {
		return 0
	}
	h := sha256.Sum256(binary.BigEndian.AppendUint32(id[:], device))
	part, _ := bits.Mul64(uint64(spread), binary.BigEndian.Uint64(h[:8]))
	return time.Duration(part)
}

// kept holds values up to a size; what was not asked for lately goes first. The
// zero value is empty.
type kept[K comparable, V any] struct {
	newer, older map[K]sized[V]
	size         int // of newer
}

type sized[V any] struct {
	value V
	size  int
}

func (k *kept[K, V]) get(key K) (v V, ok bool) {
	if s, ok := k.newer[key]; ok {
		return s.value, true
	}
	s, ok := k.older[key]
	if ok && k.newer != nil {
		k.newer[key] = s
		k.size += s.size
	}
	return s.value, ok
}

// put keeps v. No more than about most bytes are held in all.
func (k *kept[K, V]) put(key K, v V, size, most int) {
	if k.newer == nil || k.size+size > most/2 {
		k.older, k.newer, k.size = k.newer, make(map[K]sized[V]), 0
	}
	k.newer[key] = sized[V]{v, size}
	k.size += size
}
