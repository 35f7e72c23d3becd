package jetstream

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"

	js "github.com/nats-io/nats.go/jetstream"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/block"
	"github.com/bugle-fleet/bugle/journal/durable"
	"github.com/bugle-fleet/bugle/journal/generation"
)

// openStore does to a folder what was found to be necessary, and only then starts
// the embedded server on it.
func openStore(ctx context.Context, f *finding, opts Options) (*store, error) {
	if err := f.mend(opts.step); err != nil {
		return nil, err
	}
	e, err := startServer(f.dir, &opts, true)
	if err != nil {
		return nil, err
	}
	s := &store{
		embedded: e, dir: f.dir, log: opts.Log, timeout: opts.PublishTimeout, step: opts.step, shelf: f.shelf,
		at: f.at, sealBytes: opts.SealBytes, sealAge: opts.SealAge,
	}
	s.ended, s.end = context.WithCancel(context.Background())
	s.stored.Store(&f.at.Head)
	if err := s.begin(ctx, f); err != nil {
		s.end()
		s.stop()
		return nil, err
	}
	return s, nil
}

// mend changes the folder, durably and in an order in which a crash does no harm.
func (f *finding) mend(step func(string) error) error {
	if err := durable.Replace(filepath.Join(f.dir, runningFile), nil); err != nil {
		return err
	}
	if err := step("said that it runs"); err != nil {
		return err
	}
	if len(f.list) == 0 {
		f.list = generation.List{{Number: 1}}
		if err := generation.Write(f.dir, f.list); err != nil {
			return err
		}
		f.shelf = newShelf(f.dir, f.list, f.log)
		f.shelf.live[1] = &live{number: 1, msgs: generation.LiveFolder(f.dir, 1)}
		if err := step("wrote the first list"); err != nil {
			return err
		}
	}
	for _, name := range f.leftovers {
		f.log.Info("journal removes what a crash has left", "folder", name)
		if err := errors.Join(os.RemoveAll(name), durable.SyncFolder(filepath.Dir(name))); err != nil {
			return err
		}
	}
	if err := step("removed leftovers"); err != nil {
		return err
	}
	if err := f.cut(); err != nil {
		return err
	}
	if err := step("cut the tail"); err != nil {
		return err
	}
	for _, name := range f.indexes {
		if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}

// cut takes a torn tail away. What is left of a file may be nothing: then it is
// removed, as JetStream would do, and the one before it grows again.
func (f *finding) cut() error {
	l := f.shelf.live[uint32(len(f.list))]
	b := l.newest()
	if f.torn != nil {
		kept, err := block.Cut(b.file, f.torn.Offset, filepath.Join(f.dir, tornFolder))
		if err != nil {
			return err
		}
		f.log.Warn("journal cuts off the tail of a write that was never finished; nobody was told that it is stored",
			"file", f.torn.File, "offset", f.torn.Offset, "bytes", b.file.Size-f.torn.Offset, "kept", kept, "reason", f.torn.Reason)
		b.file.Size = f.torn.Offset
	}
	if b == nil || b.file.Size > 0 {
		return nil
	}
	l.blocks = l.blocks[:len(l.blocks)-1]
	if b := l.newest(); b != nil {
		b.end.Store(nil)
		b.file.Newest = true
	}
	return errors.Join(os.Remove(b.file.Path), durable.SyncFolder(l.msgs))
}

// begin opens the streams, and makes that of the open generation if a crash came
// before it. What the server says of them must be what was read.
func (s *store) begin(ctx context.Context, f *finding) error {
	for _, l := range s.shelf.lives() {
		state, err := s.stream(ctx, l.number)
		if errors.Is(err, js.ErrStreamNotFound) && len(l.blocks) == 0 {
			err = s.make(ctx, l.number)
		}
		if err == nil {
			err = s.compare(l, state)
		}
		if err != nil {
			return err
		}
		s.open = l
	}
	if err := syncTree(filepath.Join(s.dir, "jetstream")); err != nil {
		return err
	}
	if err := s.step("opened the streams"); err != nil {
		return err
	}
	if err := s.takeUp(ctx); err != nil {
		return err
	}
	return s.identify(f.mark)
}

// compare makes sure that the server holds the pages that were read, and no
// others.
func (s *store) compare(l *live, state js.StreamState) error {
	end, size := l.before.Head.Pages, int64(0)
	for _, b := range l.blocks {
		end = max(end, b.last(s.at.Head))
		size += b.file.Size
	}
	pages, first := end-l.before.Head.Pages, uint64(0)
	if pages > 0 {
		first = 1
	}
	if state.Msgs == pages && state.LastSeq == pages && (state.FirstSeq == first || pages == 0) &&
		state.Bytes == uint64(size) && (state.Lost == nil || len(state.Lost.Msgs) == 0) && state.NumDeleted == 0 {
		return nil
	}
	return foreign(l.msgs, l.before.Head, fmt.Sprintf("the embedded server says that generation %d has messages %d to %d, %d of them, in %d bytes; in the files there are %d in %d bytes",
		l.number, state.FirstSeq, state.LastSeq, state.Msgs, state.Bytes, pages, size))
}

// takeUp finds out how large and how old the open generation is.
func (s *store) takeUp(ctx context.Context) error {
	files, err := block.Files(s.open.msgs)
	if err != nil {
		return err
	}
	s.newest = s.open.follow(files, s.at)
	for _, f := range files {
		s.size += f.Size
	}
	if s.at.Head.Pages == s.open.before.Head.Pages {
		s.size = 0
		return nil
	}
	first := s.open.before.Head.Pages + 1
	raws, err := s.shelf.load(ctx, first, first, s.at.Head)
	if err == nil {
		s.began = acceptedOf(raws[0])
	} else if errors.Is(err, journal.ErrDamaged) {
		s.began, err = math.MaxInt64, nil // damage is for whoever reads it
	}
	return err
}

// identify gives a new journal a name, and makes the mark durable.
func (s *store) identify(m *mark) error {
	if m == nil {
		m = new(mark)
		rand.Read(m.history[:])
	}
	m.head = s.at.Head
	if err := writeMark(s.dir, *m); err != nil {
		return err
	}
	s.mark, s.marked, s.history, s.shelf.history = *m, true, m.history, m.history
	return nil
}

// syncTree makes the names in dir and in every folder below durable.
func syncTree(dir string) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		return durable.SyncFolder(path)
	})
}
