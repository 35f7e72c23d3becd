package jetstream

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/block"
	"github.com/bugle-fleet/bugle/journal/commit"
	"github.com/bugle-fleet/bugle/journal/durable"
)

// A keeper does what is to be done while a journal is open: it writes the file
// state now and then, and reads what was not read when the journal was opened.
type keeper struct {
	engine *commit.Journal
	store  *store
	opts   *Options
	unlock func()
	cancel context.CancelFunc
	work   sync.WaitGroup
}

const (
	// saveBytes is how many bytes of pages are written before the state is,
	// however little time has passed: behind a crash so many are read anew.
	saveBytes = 512 << 20
	// saveLook is how often it is looked whether there are that many.
	saveLook = 10 * time.Second
)

func keep(engine *commit.Journal, s *store, opts *Options, unlock func()) *keeper {
	ctx, cancel := context.WithCancel(context.Background())
	k := &keeper{engine: engine, store: s, opts: opts, unlock: unlock, cancel: cancel}
	k.work.Go(func() { k.save(ctx) })
	k.work.Go(func() { s.verifyRest(ctx) })
	return k
}

// stop ends the work.
func (k *keeper) stop() {
	k.cancel()
	k.work.Wait()
}

// save writes the state whenever enough was written or enough time has passed.
func (k *keeper) save(ctx context.Context) {
	tick := time.NewTicker(min(saveLook, k.opts.SaveEvery))
	defer tick.Stop()
	last, at := k.store.written.Load(), time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := k.store.written.Load()
		if now == last || now-last < saveBytes && time.Since(at) < k.opts.SaveEvery {
			continue
		}
		if err := k.saveNow(ctx); err != nil && ctx.Err() == nil {
			k.store.log.Warn("journal cannot write its file state: the next start takes longer", "error", err)
		}
		last, at = now, time.Now()
	}
}

func (k *keeper) saveNow(ctx context.Context) error {
	saved, err := k.engine.Save(ctx)
	if err != nil {
		return err
	}
	return k.write(saved, false)
}

func (k *keeper) write(saved *commit.Saved, clean bool) error {
	s := &state{history: k.store.history, clean: clean, saved: *saved}
	var err error
	if s.kept, err = k.store.shelf.describe(block.Position{Head: saved.Head, Accepted: saved.Accepted}, clean); err != nil {
		return err
	}
	return writeState(k.store.dir, s, k.opts.Key)
}

// finish is what is done when the engine and the embedded server have ended.
func (k *keeper) finish() error {
	defer k.unlock()
	select {
	case <-k.engine.Failed():
		return nil // the next start finds out what there is
	default:
	}
	saved, err := k.engine.Save(context.Background())
	if err == nil {
		err = k.write(saved, true)
	}
	if err == nil {
		err = k.store.step("wrote the state")
	}
	if err == nil {
		err = os.Remove(filepath.Join(k.store.dir, runningFile))
	}
	if err == nil {
		err = durable.SyncFolder(k.store.dir)
	}
	if err != nil {
		k.store.log.Warn("journal cannot write its file state: the next start takes longer", "error", err)
	}
	return nil
}

// describe tells what the files are like of a journal that ends at a position.
// Unless it is clean, a file that goes on behind that is described so that no
// file is like it.
func (s *shelf) describe(end block.Position, clean bool) ([]keptGeneration, error) {
	var kept []keptGeneration
	for _, g := range s.generations() {
		if g.Number > 1 && g.Before.Pages >= end.Head.Pages {
			break
		}
		k := keptGeneration{end: g.End, digest: g.Digest, removed: g.Removed}
		if g.End.Pages > end.Head.Pages {
			k.end, k.digest, k.removed = journal.Head{}, [32]byte{}, false
		}
		s.mu.RLock()
		l := s.live[g.Number]
		s.mu.RUnlock()
		if k.removed || l == nil {
			k.removed = true
			kept = append(kept, k)
			continue
		}
		var err error
		if k.index, err = indexSum(l.msgs); err != nil {
			return nil, err
		}
		k.before = l.before.Accepted
		for _, b := range l.all() {
			if b.first() <= end.Head.Pages {
				k.files = append(k.files, b.describe(end, clean))
			}
		}
		kept = append(kept, k)
	}
	return kept, nil
}

func (b *blk) describe(end block.Position, clean bool) keptFile {
	b.mu.Lock()
	defer b.mu.Unlock()
	if at := b.end.Load(); at != nil && at.Head.Pages <= end.Head.Pages {
		return keptOf(b.file, b.wrote, *at)
	}
	if clean {
		if files, err := block.Files(filepath.Dir(b.file.Path)); err == nil && len(files) > 0 && files[len(files)-1].Number == b.file.Number {
			return keptOf(files[len(files)-1], time.Now().UnixNano(), end)
		}
	}
	return keptFile{number: b.file.Number, after: end}
}

// verifyRest reads what was not read when the journal was opened, slowly.
func (s *store) verifyRest(ctx context.Context) {
	rest := s.shelf.units()
	for _, u := range rest {
		begin := time.Now()
		err := s.shelf.judge(u, u.verify(ctx, *s.stored.Load()))
		if ctx.Err() != nil {
			return
		}
		if err != nil && !errors.Is(err, journal.ErrDamaged) {
			s.log.Warn("journal cannot check a file of pages", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(restFactor * time.Since(begin)):
		}
	}
}

// restFactor is for how much longer than it works that check rests.
const restFactor = 3
