package commit

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/bugle-fleet/bugle/journal"
)

// run is the appender: the one goroutine that puts pages.
func (j *Journal) run() {
	defer close(j.stopped)
	for g := j.queue.take(); g != nil; g = j.queue.take() {
		g.err = j.commit(g)
		close(g.done)
	}
}

// commit makes one group durable. Its error is what the callers get.
func (j *Journal) commit(g *group) error {
	if j.failed != nil {
		return j.failed
	}
	if g.guard != nil {
		if err := g.guard.run(&g.pages); err != nil {
			return err
		}
		if g.pages.Count() == 0 {
			return nil
		}
	}
	g.first, g.accepted = j.head.Event+1, max(j.now().UnixNano(), j.accepted+1)
	page := g.pages.Seal(j.head, g.accepted)
	if err := j.decode(page); err != nil {
		return err
	}
	if err := j.put(page); err != nil {
		return err
	}
	j.head, j.accepted = page.Head, g.accepted+int64(page.Head.Event-page.Before.Event)-1
	j.fold(page)
	j.tail.add(page)
	return nil
}

// put stores a page and finds out what became of it.
func (j *Journal) put(page *journal.Sealed) error {
	err := j.store.Put(page)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, journal.ErrUnavailable):
		return fmt.Errorf("append page %d: %w", page.Head.Pages, err)
	case !errors.Is(err, journal.ErrUnknown):
		stored, found := j.readBack(page)
		if found == nil && stored {
			return nil
		}
		if found == nil {
			return fmt.Errorf("append page %d: %w: %w", page.Head.Pages, journal.ErrUnavailable, err)
		}
		err = fmt.Errorf("%w: %w; reading it back: %w", journal.ErrUnknown, err, found)
	}
	j.failed = fmt.Errorf("append events: %w: it must be opened anew, the outcome of page %d is unknown", journal.ErrUnavailable, page.Head.Pages)
	j.queue.stop(j.failed, false)
	close(j.broken)
	return fmt.Errorf("append page %d: %w", page.Head.Pages, err)
}

// readBack tells whether the page is in the store; an error means that it could
// not be told.
func (j *Journal) readBack(page *journal.Sealed) (stored bool, err error) {
	raws, err := j.store.Load(context.Background(), page.Head.Pages, page.Head.Pages)
	switch {
	case errors.Is(err, ErrNoPage):
		return false, nil
	case err != nil:
		return false, err
	case !bytes.Equal(raws[0], page.Bytes()):
		return false, errors.New("another page is in its place")
	}
	return true, nil
}

// decode makes sure, before the page is stored, that the folds can be told of it.
// Only a defect of the codec can fail here; the page is refused then, for once it
// is stored no journal with these folds opens any more.
func (j *Journal) decode(page *journal.Sealed) error {
	if len(j.folds) == 0 {
		return nil
	}
	records := page.Page().Records
	for i := range records {
		if !j.folds.want(records[i].Kind()) {
			continue
		}
		if _, err := records[i].Event(); err != nil {
			return fmt.Errorf("append page %d: %w: %w", page.Head.Pages, journal.ErrRefused, err)
		}
	}
	return nil
}

func (j *Journal) fold(page *journal.Sealed) {
	if len(j.folds) == 0 {
		return
	}
	records := page.Page().Records
	for i := range records {
		j.folds.apply(&records[i]) // decode has seen to it that this works
	}
}
