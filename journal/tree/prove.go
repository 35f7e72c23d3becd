package tree

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/bugle-fleet/bugle/journal"
)

// covered returns the last checkpoint if proofs up to event can be made.
func (t *Tree) covered(event uint64) (text []byte, c Checkpoint, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case event == 0 || event > t.signed.Events:
		return nil, c, fmt.Errorf("%w: event %d, the checkpoint covers %d", ErrNotCovered, event, t.signed.Events)
	case !t.ready:
		return nil, c, fmt.Errorf("%w: the tree is being made anew", ErrNotCovered)
	}
	return t.text, t.signed, nil
}

// Prove makes a proof of the event, by its number: a text that [Check] needs
// nothing else for but the public key. The error wraps [ErrNotCovered] if there
// is no such event or no checkpoint covers it yet (see [Tree.Wait]), and
// [ErrCache] if the file hashes is damaged; it is a [*TamperError] if the
// event's page is not the one that was signed.
func (t *Tree) Prove(ctx context.Context, event uint64) ([]byte, error) {
	b, err := t.prove(ctx, event)
	if err != nil {
		return nil, fmt.Errorf("prove event %d: %w", event, err)
	}
	return b, nil
}

func (t *Tree) prove(ctx context.Context, event uint64) ([]byte, error) {
	text, c, err := t.covered(event)
	if err != nil {
		return nil, err
	}
	page, err := t.load(ctx, event)
	if err != nil {
		return nil, err
	}
	n, err := t.cache.page(event, c.Pages)
	if err != nil {
		return nil, err
	}
	var h hasher
	i := int64(event - page.First)
	p := &proof{number: event, accepted: page.Records[i].Accepted, body: page.Records[i].Body, page: n + 1, leaf: h.page(page), signed: text}
	if p.inner, err = h.path(i); err != nil {
		return nil, err
	}
	if p.outer, err = tlog.ProveRecord(int64(c.Pages), int64(n), t.cache); err != nil {
		return nil, err
	}
	if p.holds(c) == nil {
		return p.encode(), nil
	}
	// Only the whole journal tells whether it or the file hashes is to blame.
	if err := t.examine(ctx, c, true); err != nil {
		return nil, err
	}
	return nil, ErrCache
}

// load reads the page that holds the event.
func (t *Tree) load(ctx context.Context, event uint64) (*journal.Page, error) {
	p, err := t.read(ctx, event)
	if err != nil {
		return nil, err
	}
	if event < p.First || event > p.Last() {
		return nil, &journal.DamageError{Event: event, Reason: fmt.Sprintf("the page that should hold it has events %d to %d", p.First, p.Last())}
	}
	return p, nil
}

func (t *Tree) read(ctx context.Context, event uint64) (*journal.Page, error) {
	if j, ok := t.opts.Journal.(PageReader); ok {
		return j.Page(ctx, event)
	}
	r, err := t.opts.Journal.Read(ctx, event)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return r.Next(ctx)
}

// ConsistencyProof makes a proof that what the older checkpoint covers is the
// beginning of what the last one ([Tree.Checkpoint], returned as text) covers:
// for [CheckConsistency]. The older one must have been opened with
// [OpenCheckpoint]. A [*TamperError] says that the journal is not the one that
// it was signed for.
func (t *Tree) ConsistencyProof(ctx context.Context, older Checkpoint) (proof, newer []byte, err error) {
	proof, newer, err = t.consistency(ctx, older)
	if err != nil {
		return nil, nil, fmt.Errorf("prove consistency with checkpoint of %d events: %w", older.Events, err)
	}
	return proof, newer, nil
}

func (t *Tree) consistency(ctx context.Context, older Checkpoint) (proof, newer []byte, err error) {
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	text, c, err := t.covered(1)
	if err != nil {
		return nil, nil, err
	}
	p, err := t.kept(older, c)
	if err != nil {
		return nil, nil, err
	}
	return p.encode(), text, nil
}

// ConsistencyBetween makes a proof that what the older checkpoint covers is the
// beginning of what the newer one covers, of two that were kept elsewhere or made
// by [Tree.CheckpointAt]. Both must have been opened with [OpenCheckpoint]. The
// error wraps [ErrMismatch] if they are the wrong way round; a [*TamperError]
// says that the journal is not the one that one of them was signed for.
func (t *Tree) ConsistencyBetween(ctx context.Context, older, newer Checkpoint) (proof []byte, err error) {
	if proof, err = t.consistencyBetween(ctx, older, newer); err != nil {
		return nil, fmt.Errorf("prove consistency of checkpoints of %d and %d events: %w", older.Events, newer.Events, err)
	}
	return proof, nil
}

func (t *Tree) consistencyBetween(ctx context.Context, older, newer Checkpoint) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	_, c, err := t.covered(1)
	if err != nil {
		return nil, err
	}
	if _, err := t.kept(newer, c); err != nil {
		return nil, err
	}
	p, err := t.between(older, newer)
	if err != nil {
		return nil, err
	}
	return p.encode(), nil
}

// kept makes a proof that leads from a checkpoint that was kept elsewhere to the
// last one.
func (t *Tree) kept(c, last Checkpoint) (*consistency, error) {
	if c.Origin == t.opts.Origin && c.Pages > last.Pages {
		return nil, &TamperError{Signed: c, Found: last.Head(), What: "length"}
	}
	return t.between(c, last)
}

// between makes a proof that leads to a checkpoint that is the journal's.
func (t *Tree) between(older, newer Checkpoint) (*consistency, error) {
	switch {
	case older.Origin != t.opts.Origin:
		return nil, fmt.Errorf("%w: it is of %s, not of %s", ErrOrigin, older.Origin, t.opts.Origin)
	case older.Pages == 0:
		return nil, fmt.Errorf("%w: a checkpoint of nothing", ErrFormat)
	case older.Pages > newer.Pages:
		return nil, fmt.Errorf("%w: the older checkpoint covers more than the newer one", ErrMismatch)
	}
	p := &consistency{older: older.Pages, newer: newer.Pages}
	f, err := t.cache.frontier(older.Pages)
	if err != nil {
		return nil, err
	}
	if p.hashes, err = tlog.ProveTree(int64(newer.Pages), int64(older.Pages), t.cache); err != nil {
		return nil, err
	}
	if tlog.CheckTree(p.hashes, int64(newer.Pages), newer.Root, int64(older.Pages), f.root()) != nil {
		return nil, ErrCache
	}
	if f.root() != older.Root {
		return nil, &TamperError{Signed: older, Found: journal.Head{Pages: older.Pages}, What: "root"}
	}
	if err := p.holds(older, newer); err != nil {
		return nil, errors.Join(ErrTampered, err)
	}
	return p, nil
}
