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
	r, err := t.opts.Journal.Read(ctx, event)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	p, err := r.Next(ctx)
	if err != nil {
		return nil, err
	}
	if event < p.First || event > p.Last() {
		return nil, &journal.DamageError{Event: event, Reason: fmt.Sprintf("the page that should hold it has events %d to %d", p.First, p.Last())}
	}
	return p, nil
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
	switch {
	case err != nil:
		return nil, nil, err
	case older.Origin != t.opts.Origin:
		return nil, nil, fmt.Errorf("%w: it is of %s, not of %s", ErrOrigin, older.Origin, t.opts.Origin)
	case older.Pages == 0:
		return nil, nil, fmt.Errorf("%w: a checkpoint of nothing", ErrFormat)
	case older.Pages > c.Pages:
		return nil, nil, &TamperError{Signed: older, Found: c.Head(), What: "length"}
	}
	p := &consistency{older: older.Pages, newer: c.Pages}
	f, err := t.cache.frontier(older.Pages)
	if err != nil {
		return nil, nil, err
	}
	if p.hashes, err = tlog.ProveTree(int64(c.Pages), int64(older.Pages), t.cache); err != nil {
		return nil, nil, err
	}
	if tlog.CheckTree(p.hashes, int64(c.Pages), c.Root, int64(older.Pages), f.root()) != nil {
		return nil, nil, ErrCache
	}
	if f.root() != older.Root {
		return nil, nil, &TamperError{Signed: older, Found: journal.Head{Pages: older.Pages}, What: "root"}
	}
	if err := p.holds(older, c); err != nil {
		return nil, nil, errors.Join(ErrTampered, err)
	}
	return p.encode(), text, nil
}
