package jetstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/block"
	"github.com/bugle-fleet/bugle/journal/generation"
)

// read goes through all generations. What nobody vouches for, and what the folds
// must be told, is read and checked; of the rest only the outside is looked at.
func (f *finding) read(ctx context.Context) error {
	err := f.readInOrder(ctx)
	if early := f.readEarly(ctx); early != nil {
		return early // it is in front of where the other was found
	}
	if err != nil {
		return err
	}
	if f.mark == nil && f.at.Head.Pages > 0 {
		return foreign(filepath.Join(f.dir, markFile), journal.Head{}, "there are events, but the file history is gone")
	}
	return f.covers(ctx)
}

func (f *finding) readInOrder(ctx context.Context) error {
	for i := range f.list {
		g := &f.list[i]
		if f.at.Head != g.Before {
			return foreign(generation.LiveFolder(f.dir, g.Number), f.at.Head, fmt.Sprintf("generation %d does not begin where the one before ends", g.Number))
		}
		var err error
		if g.Removed {
			err = f.readArchive(ctx, g)
		} else {
			err = f.readLive(ctx, g)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// readEarly reads the files that JetStream will read when it starts. What they
// must hold is known, of each by itself, so that all processors can take part.
func (f *finding) readEarly(ctx context.Context) error {
	errs := make([]error, len(f.early))
	var all errgroup.Group
	all.SetLimit(runtime.GOMAXPROCS(0))
	for i, b := range f.early {
		all.Go(func() error {
			errs[i] = b.verify(ctx, f.at.Head)
			b.forget()
			return nil
		})
	}
	all.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// told tells whether the folds know everything up to a page already.
func (f *finding) told(page uint64) bool { return page <= f.start.Head().Pages }

func (f *finding) kept(n uint32) *keptGeneration {
	if f.state == nil || int(n) > len(f.state.kept) {
		return nil
	}
	return &f.state.kept[n-1]
}

// readArchive goes through a generation that is in an archive only.
func (f *finding) readArchive(ctx context.Context, g *generation.Generation) error {
	a := f.shelf.archived[g.Number]
	info, err := os.Stat(a.name())
	switch {
	case errors.Is(err, os.ErrNotExist):
		return a.damageOf("the archive is gone")
	case err != nil:
		return err
	case uint64(info.Size()) != g.Size:
		return a.damageOf(fmt.Sprintf("the archive has %d bytes, it had %d", info.Size(), g.Size))
	}
	if f.told(g.End.Pages) {
		f.at = block.Position{Head: g.End}
		if next := f.kept(g.Number + 1); next != nil && !next.removed {
			f.at.Accepted = next.before
		}
		return nil
	}
	if err := a.verify(ctx, f.at.Head); err != nil {
		return err
	}
	r, err := openArchive(f.dir, f.mark.history, g)
	if err != nil {
		return err
	}
	defer r.Close()
	pages, err := r.Read(ctx, g.Before.Event+1)
	if err != nil {
		return err
	}
	for {
		p, err := pages.Next(ctx)
		if err == io.EOF {
			break
		}
		if err == nil {
			err = f.page(p, a.name(), 0)
		}
		if err != nil {
			return err
		}
	}
	if f.at.Head != g.End {
		return a.damageOf("the archive does not end as the list of generations says")
	}
	return nil
}

// readLive goes through the files of a generation in the live store.
func (f *finding) readLive(ctx context.Context, g *generation.Generation) error {
	l, kept := f.shelf.live[g.Number], f.kept(g.Number)
	l.before = f.at
	if kept != nil && kept.removed {
		kept = nil
	}
	trusted, err := f.trustsIndex(l)
	if err != nil {
		return err
	}
	for i, b := range l.blocks {
		b.before = f.at
		var was *keptFile
		if kept != nil && i < len(kept.files) {
			was = &kept.files[i]
			if was.number != b.file.Number {
				return b.damageAt(f.at.Head, 0, fmt.Sprintf("file %d.blk, which came before this one, is gone", was.number))
			}
		}
		newest := b.file.Newest && !g.Sealed()
		if was != nil && was.same(b.file) && !newest && f.told(was.after.Head.Pages) {
			f.at, b.wrote = was.after, was.wrote
			if !trusted || b.file.Newest || was.recent() {
				f.early = append(f.early, b)
			}
		} else if err := f.readFile(ctx, b, was, newest); err != nil {
			return err
		}
		if !newest {
			at := f.at
			b.end.Store(&at)
		}
	}
	if kept != nil && len(kept.files) > len(l.blocks) {
		was := kept.files[len(l.blocks)]
		return &journal.DamageError{Event: f.at.Head.Event + 1, Page: f.at.Head.Pages + 1,
			File: filepath.Join(l.msgs, fmt.Sprintf("%d.blk", was.number)), Reason: "the file is gone"}
	}
	if g.Sealed() && f.at.Head != g.End {
		return f.ends(l, g.End.Event, "the list of generations")
	}
	return nil
}

// jetStreamLooks is how far back, at most, JetStream reads what it has when it
// starts, and the last file in any case: there is then nothing in it that it would
// take for damage, and cut off. In truth it is [shortestWindow].
const jetStreamLooks = 10 * time.Second

func (k *keptFile) recent() bool { return k.wrote > time.Now().Add(-jetStreamLooks).UnixNano() }

// trustsIndex tells whether JetStream's summary of a generation is the one that
// was kept. Without one JetStream reads all files, and makes it anew.
func (f *finding) trustsIndex(l *live) (bool, error) {
	name := filepath.Join(l.msgs, indexFile)
	if _, err := os.Lstat(name + ".tmp"); err == nil {
		f.indexes = append(f.indexes, name+".tmp")
	}
	sum, err := indexSum(l.msgs)
	if err != nil || sum == [32]byte{} {
		return false, err
	}
	if kept := f.kept(l.number); kept != nil && !kept.removed && kept.index == sum {
		return true, nil
	}
	f.indexes = append(f.indexes, name)
	return false, nil
}

// readFile reads one file and checks every page in it.
func (f *finding) readFile(ctx context.Context, b *blk, was *keptFile, newest bool) error {
	b.spans = nil
	_, err := block.Check(ctx, []block.File{b.file}, b.base, f.at, func(p *journal.Page, r block.Record) error {
		if newest {
			b.spans = append(b.spans, spanOf(r))
		}
		b.wrote = r.Time
		err := f.page(p, b.file.Path, r.Offset)
		var bad *journal.DamageError
		if errors.As(err, &bad) && bad.File == "" {
			bad.File, bad.Offset = b.file.Path, r.Offset
		}
		return err
	})
	var bad *block.DamageError
	switch {
	case errors.As(err, &bad) && bad.Torn && newest:
		f.torn = bad
	case errors.As(err, &bad):
		return bad.Unwrap()
	case errors.Is(err, os.ErrNotExist):
		return b.damageAt(f.at.Head, 0, "the file is gone")
	case err != nil:
		return err
	}
	if was != nil && f.at.Head.Pages < was.after.Head.Pages {
		return f.short(b.damageAt(f.at.Head, b.file.Size, fmt.Sprintf("the file ends here; it held events up to %d", was.after.Head.Event)))
	}
	b.checked = true
	return nil
}

// short is the error for a journal that ends too early: the damage at its end, if
// there is any, says more.
func (f *finding) short(err error) error {
	if f.torn != nil {
		return f.torn.Unwrap()
	}
	return err
}

// page takes a page that was read, from that place, and checked.
func (f *finding) page(p *journal.Page, file string, offset int64) error {
	if p.First == f.start.Head().Event+1 {
		if err := f.start.Page(p); err != nil {
			return err
		}
	} else if p.Last() > f.start.Head().Event {
		return &journal.DamageError{Event: p.First, Page: f.at.Head.Pages + 1, Reason: "the page does not follow the one before it"}
	}
	f.at.Head, f.at.Accepted = f.at.Head.Next(p), p.Records[len(p.Records)-1].Accepted
	n := f.at.Head.Pages
	if f.mark != nil && n == f.mark.head.Pages || f.state != nil && n == f.state.saved.Head.Pages || n == f.covered.Pages {
		f.places[n] = place{true, p.Hash, file, offset} // it will be asked for
	}
	return nil
}

// covers makes sure that the journal has what it surely had, and that a torn tail
// is nothing of that.
func (f *finding) covers(ctx context.Context) error {
	var state journal.Head
	if f.state != nil {
		state = f.state.saved.Head
	}
	var marked journal.Head
	if f.mark != nil {
		marked = f.mark.head
	}
	for _, c := range []struct {
		by   string
		head journal.Head
	}{{"the file history", marked}, {"the file state", state}, {"the checkpoint", f.covered}} {
		if c.head.Pages > f.at.Head.Pages {
			return f.ends(f.shelf.live[uint32(len(f.list))], c.head.Event, c.by)
		}
		at, err := f.pageAt(ctx, c.head.Pages)
		if err != nil {
			return err
		}
		if at.hash != c.head.Hash {
			return &journal.DamageError{Event: c.head.Event, Page: c.head.Pages, File: at.file, Offset: at.offset,
				Reason: "this is another history than " + c.by + " says"}
		}
	}
	if f.torn != nil && f.clean {
		return f.torn.Unwrap()
	}
	return nil
}

// ends is the damage of a journal, or a generation, that ends too early.
func (f *finding) ends(l *live, event uint64, by string) error {
	bad := &journal.DamageError{Event: f.at.Head.Event + 1, Page: f.at.Head.Pages + 1, File: l.msgs,
		Reason: fmt.Sprintf("the journal ends here, but it had events up to %d, says %s", event, by)}
	if n := len(l.blocks); n > 0 {
		bad.File, bad.Offset = l.blocks[n-1].file.Path, l.blocks[n-1].file.Size
	}
	return f.short(bad)
}
