package projectors

import (
	"crypto/sha256"
	"fmt"
	"io"
)

// Digest returns the SHA-256 of a view's canonical dump and the event at which
// it was taken.
func (v *Views) Digest(name string) (position uint64, digest [32]byte, err error) {
	r, err := v.find(name)
	if err != nil {
		return 0, digest, fmt.Errorf("digest: %w", err)
	}
	err = r.view.Read(func(s *Snapshot) error {
		position = s.position
		digest, err = s.Digest()
		return err
	})
	return position, digest, err
}

// Dump writes the canonical dump: every row in the order of the keys, key and
// value each behind its length in 32 bits, big endian. The position is not part
// of it.
func (s *Snapshot) Dump(w io.Writer) error {
	var buf []byte
	return s.rows.walk(nil, firstKey, func(key, value []byte) (bool, error) {
		buf = appendRow(buf[:0], key, value)
		_, err := w.Write(buf)
		return true, err
	})
}

// Digest returns the SHA-256 of the dump.
func (s *Snapshot) Digest() (digest [32]byte, err error) {
	h := sha256.New()
	if err := s.Dump(h); err != nil {
		return digest, err
	}
	h.Sum(digest[:0])
	return digest, nil
}

// Verify counts and sums the rows of a view anew and compares with what was kept
// from event to event. An error says that they differ, or that the store cannot
// be read; the answer to either is [Views.Rebuild].
func (v *Views) Verify(name string) error {
	r, err := v.find(name)
	if err != nil {
		return fmt.Errorf("verify: %w", err)
	}
	return r.view.Read((*Snapshot).verify)
}

func (s *Snapshot) verify() error {
	var rows uint64
	var sum rollingSum
	var h rowHash
	err := s.rows.walk(nil, firstKey, func(key, value []byte) (bool, error) {
		rows++
		sum.add(h.sum(key, value))
		return true, nil
	})
	if err == nil && (rows != s.kept.rows || sum != s.kept.rolling) {
		err = fmt.Errorf("verify view %s at event %d: %d rows with sum %x, kept were %d with sum %x", s.view, s.position,
			rows, sum.bytes(), s.kept.rows, s.kept.rolling.bytes())
	}
	return err
}
