package simulator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/tree"
	"github.com/bugle-fleet/bugle/projectors"
)

// maxKept is how many checkpoints are kept elsewhere, the newest.
const maxKept = 8

// keep takes the last checkpoint to where nobody who changes the journal can
// reach it.
func (w *world) keep() {
	r := w.site.now()
	if r == nil {
		return
	}
	text, _ := r.tree.Checkpoint()
	if text == nil {
		return
	}
	c, err := tree.OpenCheckpoint(text, r.authority.HeadPublicKey(), origin)
	if err != nil {
		w.violated(5, "the site's checkpoint: %v", err)
		return
	}
	if n := len(w.kept); n > 0 && w.kept[n-1].Pages == c.Pages {
		return
	}
	w.kept = append(w.kept, c)
	if len(w.kept) > maxKept {
		w.kept = slices.Delete(w.kept, 0, 1)
	}
	w.hit("checkpoints kept elsewhere")
}

// raw are the pages of a journal as they are stored.
type raw [][]byte

func (r *running) pages() (all raw, err error) {
	from, err := r.store.Read(context.Background(), 1)
	if err != nil {
		return nil, err
	}
	defer from.Close()
	for {
		p, err := from.Next(context.Background())
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, err
		}
		all = append(all, slices.Clone(p.Bytes()))
	}
}

// rawReader reads pages that may have been changed.
type rawReader struct {
	left raw
	head journal.Head
}

// Next implements [journal.Reader].
func (r *rawReader) Next(context.Context) (*journal.Page, error) {
	if len(r.left) == 0 {
		return nil, io.EOF
	}
	p, err := journal.ParsePage(r.left[0], r.head)
	if err != nil {
		return nil, err
	}
	r.left, r.head = r.left[1:], r.head.Next(p)
	return p, nil
}

// Close implements [journal.Reader].
func (r *rawReader) Close() error { return nil }

func (all raw) verify(kept []tree.Checkpoint) error {
	_, err := tree.Verify(context.Background(), &rawReader{left: all}, kept, nil)
	return err
}

// tamper compares the history with the checkpoints that are kept elsewhere, and
// then changes copies of it: promise 5.
func (w *world) tamper() {
	r := w.site.now()
	if r == nil || len(w.kept) == 0 {
		return
	}
	pages, err := r.pages()
	if err == nil {
		err = pages.verify(w.kept)
	}
	if err != nil {
		w.violated(5, "the history and checkpoints of it: %v", err)
		return
	}
	c := w.kept[w.below(len(w.kept))]
	for range 3 {
		changed, what, err := w.forge(pages, int(c.Pages))
		if err != nil {
			w.violated(0, "forge history: %v", err)
			return
		}
		if changed.verify([]tree.Checkpoint{c}) == nil {
			w.violated(5, "%s was not noticed with a checkpoint of %d pages", what, c.Pages)
			return
		}
		w.hit("forged history found out: " + what)
	}
}

// forge changes a copy of the pages in the first n of them. Who does it knows all
// but the site's key: what is counted or hashed is made right again.
func (w *world) forge(all raw, n int) (changed raw, what string, err error) {
	i := w.below(n)
	switch changed = slices.Clone(all); w.below(5) {
	case 0:
		changed[i] = slices.Clone(changed[i])
		changed[i][w.below(len(changed[i]))] ^= 1 << w.below(8)
		return changed, "a flipped bit", nil
	case 1:
		return changed[:i], "a cut tail", nil
	case 2:
		changed = slices.Delete(changed, i, i+1)
		what = "a page taken out"
	case 3:
		k := w.below(n)
		if k == i || len(all) < 2 {
			return changed[:i], "a cut tail", nil
		}
		changed[i], changed[k] = changed[k], changed[i]
		what = "pages that changed places"
	default:
		what = "an event that was changed"
		changed, err = changed.rewrite(i, w.below(1<<16))
		return changed, what, err
	}
	changed, err = changed.rewrite(-1, 0)
	return changed, what, err
}

// rewrite seals all pages anew, so that numbers and chain hold; of page at it
// changes one byte of an event.
func (all raw) rewrite(at, where int) (sealed raw, err error) {
	var head journal.Head
	for i, old := range all {
		p, err := parse(old)
		if err != nil {
			return nil, err
		}
		var b journal.PageBuilder
		for k := range p.Records {
			body := slices.Clone(p.Records[k].Body)
			if i == at && k == where%len(p.Records) {
				body[where%len(body)] ^= 0x20
			}
			b.Add(body)
		}
		s := b.Seal(head, p.Records[0].Accepted)
		sealed, head = append(sealed, s.Bytes()), s.Head
	}
	return sealed, nil
}

// parse reads a page wherever it stands.
func parse(b []byte) (*journal.Page, error) {
	previous, ok := journal.PreviousHash(b)
	if !ok {
		return nil, errors.New("page is too short")
	}
	// The number of the first event is behind the magic.
	first := uint64(0)
	for _, c := range b[4:12] {
		first = first<<8 | uint64(c)
	}
	return journal.ParsePage(b, journal.Head{Event: first - 1, Hash: previous})
}

// rebuild folds all views anew beside those that serve: promise 4.
func (w *world) rebuild() {
	r := w.site.now()
	if r == nil {
		return
	}
	dir, err := os.MkdirTemp(w.dir, "views")
	if err != nil {
		w.violated(0, "rebuild: %v", err)
		return
	}
	defer os.RemoveAll(dir)
	views, _ := newViews()
	anew, err := projectors.Open(projectors.Options{Dir: filepath.Join(dir, "v"), Journal: r.store, History: history, Log: Log}, views...)
	if err != nil {
		w.violated(4, "rebuild: %v", err)
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	done := make(chan error, 1)
	go func() { done <- anew.Run(ctx) }()
	err = w.sameViews(ctx, r.views, anew)
	cancel()
	<-done
	if err := errors.Join(err, anew.Close()); err != nil {
		w.violated(4, "%v", err)
		return
	}
	w.hit("rebuilt views compared")
}

// viewNames are the views of a site.
var viewNames = []string{"device", "presence", "operation", "status"}

func (w *world) sameViews(ctx context.Context, live, anew *projectors.Views) error {
	for _, name := range viewNames {
		for try := 0; ; try++ {
			head := w.site.now().store.Head().Event
			if err := errors.Join(live.Wait(ctx, head, name), anew.Wait(ctx, head, name)); err != nil {
				return err
			}
			at, digest, err := live.Digest(name)
			if err == nil {
				err = live.Verify(name)
			}
			if err != nil {
				return err
			}
			at2, digest2, err := anew.Digest(name)
			if err != nil {
				return err
			}
			if at != at2 && try < 10 {
				continue // something came in between
			}
			if at != at2 || digest != digest2 {
				return fmt.Errorf("view %s is %x at event %d, and %x at event %d when it is folded anew", name, digest[:8], at, digest2[:8], at2)
			}
			break
		}
	}
	return nil
}
