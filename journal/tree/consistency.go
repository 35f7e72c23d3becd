package tree

import (
	"bytes"
	"crypto/ed25519"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"
)

// A consistency says that a tree is the beginning of another one.
type consistency struct {
	older, newer uint64 // pages
	hashes       []tlog.Hash
}

func (p *consistency) encode() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s%s\nolder %d\nnewer %d\n", consistencyName, proofVersion, p.older, p.newer)
	writeHashes(&b, "hash", p.hashes)
	return b.Bytes()
}

func parseConsistency(b []byte) (*consistency, error) {
	l, _, err := readLines(bytes.TrimSuffix(b, []byte("\n")), consistencyName)
	if err != nil {
		return nil, err
	}
	p := &consistency{older: l.number("older", maxPages), newer: l.number("newer", maxPages), hashes: l.hashes("hash")}
	if l.failed || len(l.rest) > 0 || !bytes.Equal(p.encode(), b) {
		return nil, fmt.Errorf("%w: not spelled as a proof is", ErrFormat)
	}
	return p, nil
}

// CheckConsistency checks that what the older checkpoint covers is the beginning
// of what the newer one covers, by a proof that [Tree.ConsistencyProof] made:
// nothing was changed, taken away or put in between. Both must be signed by key
// for the journal origin, or both for the same one with origin "". The errors
// are those of [Check].
func CheckConsistency(older, newer, proof []byte, key ed25519.PublicKey, origin string) (o, n Checkpoint, err error) {
	if o, err = openCheckpoint(older, key, origin); err != nil {
		return Checkpoint{}, Checkpoint{}, fmt.Errorf("check older checkpoint: %w", err)
	}
	if n, err = openCheckpoint(newer, key, o.Origin); err != nil {
		return Checkpoint{}, Checkpoint{}, fmt.Errorf("check newer checkpoint: %w", err)
	}
	p, err := parseConsistency(proof)
	if err == nil {
		err = p.holds(o, n)
	}
	if err != nil {
		return Checkpoint{}, Checkpoint{}, fmt.Errorf("check proof of consistency: %w", err)
	}
	return o, n, nil
}

func (p *consistency) holds(o, n Checkpoint) error {
	if p.older != o.Pages || p.newer != n.Pages {
		return fmt.Errorf("%w: it is for %d and %d pages, the checkpoints are of %d and %d", ErrMismatch, p.older, p.newer, o.Pages, n.Pages)
	}
	if o.Pages > n.Pages || o.Events > n.Events {
		return fmt.Errorf("%w: the older checkpoint covers more than the newer one", ErrMismatch)
	}
	if o.Pages == n.Pages && o.Head() != n.Head() || tlog.CheckTree(p.hashes, int64(n.Pages), n.Root, int64(o.Pages), o.Root) != nil {
		return fmt.Errorf("%w: the newer checkpoint does not continue the older one", ErrMismatch)
	}
	return nil
}
