package tree

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/durable"
)

// Run follows the journal and signs checkpoints until ctx ends or the journal is
// closed; then it signs what is new for the last time and returns nil. A journal
// that is damaged ([journal.ErrDamaged]) or not the one that was signed
// ([*TamperError]) ends it with that error. What else goes wrong, such as a disk
// that is full, is logged and tried again. Run may be called once.
func (t *Tree) Run(ctx context.Context) error {
	err := t.run(ctx)
	t.note(func() {
		if t.ended = err; err == nil {
			t.ended = journal.ErrClosed
		}
	})
	if err != nil {
		return fmt.Errorf("follow journal for its tree: %w", err)
	}
	return nil
}

func (t *Tree) run(ctx context.Context) error {
	pause := t.opts.Every
	for {
		before := t.signed.Pages
		err := t.follow(ctx)
		switch {
		case final(err):
			return err
		case ctx.Err() != nil || errors.Is(err, journal.ErrClosed):
			return nil
		case t.signed.Pages != before:
			pause = t.opts.Every
		}
		t.broken = true
		t.opts.Log.Error("the tree of the journal does not grow", "dir", t.dir, "error", err, "again in", pause)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil
		}
		pause = min(2*pause, max(longestRetry, t.opts.Every))
	}
}

func final(err error) bool {
	return errors.Is(err, ErrTampered) || errors.Is(err, journal.ErrDamaged)
}

// follow extends the tree until it cannot. A goroutine reads, so that a page that
// does not come keeps no checkpoint waiting.
func (t *Tree) follow(ctx context.Context) error {
	if t.broken {
		if err := t.restore(ctx); err != nil {
			return err
		}
		t.broken = false
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r, err := t.opts.Journal.Follow(ctx, t.built.head.Event+1)
	if err != nil {
		return err
	}
	pages, stopped := make(chan *journal.Page), make(chan error, 1)
	go func() { stopped <- t.listen(ctx, r, pages) }()
	err = t.extend(pages, stopped)
	if err != nil {
		cancel()
		for range pages { // until read has ended
		}
	}
	return errors.Join(err, r.Close())
}

// pause is how long the tree lets pages wait for company. To be woken for each
// page costs whoever appends more than what the tree does.
func (t *Tree) pause() time.Duration { return t.opts.Every / 16 }

// listen sends pages until there are none, and closes the channel.
func (t *Tree) listen(ctx context.Context, r journal.Reader, pages chan<- *journal.Page) error {
	defer close(pages)
	for {
		p, err := r.Next(ctx)
		if err != nil {
			return err
		}
		pages <- p
		if p.Last() < t.opts.Journal.Head().Event {
			continue
		}
		select {
		case <-time.After(t.pause()):
		case <-ctx.Done():
			return t.rest(r, p.Last(), pages)
		}
	}
}

// rest sends the pages behind an event that came while listen did not look.
func (t *Tree) rest(r journal.Reader, event uint64, pages chan<- *journal.Page) error {
	for event < t.opts.Journal.Head().Event {
		p, err := r.Next(context.Background()) // it is there: nobody waits
		if err != nil {
			return err
		}
		pages <- p
		event = p.Last()
	}
	return context.Canceled
}

// read sends pages until there are none, and closes the channel.
func read(ctx context.Context, r journal.Reader, pages chan<- *journal.Page) error {
	defer close(pages)
	for {
		p, err := r.Next(ctx)
		if err != nil {
			return err
		}
		select {
		case pages <- p:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// extend adds pages and signs what is new before it is [Options.Every] old. When
// no more pages come it signs at once and returns why.
func (t *Tree) extend(pages <-chan *journal.Page, stopped <-chan error) error {
	var due <-chan time.Time
	for {
		select {
		case p, more := <-pages:
			if !more {
				why, err := <-stopped, t.sign()
				if final(err) {
					return err
				}
				if err != nil {
					t.opts.Log.Error("the last pages of the journal stay without a checkpoint", "dir", t.dir, "error", err)
				}
				return why
			}
			if err := t.add(p); err != nil {
				return err
			}
			if due == nil && t.built.head.Pages > t.signed.Pages {
				due = time.After(t.opts.Every - 2*t.pause())
			}
		case <-due:
			due = nil
			if err := t.sign(); err != nil {
				return err
			}
			if t.built.head.Pages > t.signed.Pages {
				due = time.After(t.opts.Every - 2*t.pause())
			}
		}
	}
}

// add adds a page. Where the last checkpoint was signed the tree must be as it
// was then.
func (t *Tree) add(p *journal.Page) (err error) {
	t.prior.size, t.prior.peaks, t.priorHead = t.built.pages.size, append(t.prior.peaks[:0], t.built.pages.peaks...), t.built.head
	if t.hashes, err = t.built.add(t.hashes[:0], p); err != nil {
		return err
	}
	if err := t.cache.add(p.Last(), t.hashes); err != nil {
		return err
	}
	if t.built.head.Pages != t.signed.Pages {
		return nil
	}
	if what := t.signed.differs(t.built.head, t.built.pages.root()); what != "" {
		return &TamperError{Signed: t.signed, Found: t.built.head, What: what}
	}
	if err := t.cache.sync(); err != nil {
		return err
	}
	t.note(func() { t.ready = true })
	return nil
}

// sign signs what is vouched for, if there is anything new: all pages if the last
// one is the journal's head, else all but the last one, which only the page
// behind it vouches for. First the hashes are made durable, then the checkpoint
// is.
func (t *Tree) sign() error {
	pages, head := &t.built.pages, t.built.head
	if end := t.opts.Journal.Head(); end != head {
		if end.Pages == head.Pages {
			return &journal.DamageError{Event: head.Event, Page: head.Pages, Reason: "the last page is not the one that was committed"}
		}
		pages, head = &t.prior, t.priorHead
	}
	if head.Pages <= t.signed.Pages {
		return nil
	}
	text, c, err := t.checkpoint(head, pages.root())
	if err != nil {
		return err
	}
	if err := t.cache.sync(); err != nil {
		return fmt.Errorf("write tree: %w", err)
	}
	if err := durable.Replace(filepath.Join(t.dir, checkpointFile), text); err != nil {
		return fmt.Errorf("write checkpoint: %w", err)
	}
	t.note(func() { t.text, t.signed, t.ready = text, c, true })
	return nil
}
