package offline

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/archive"
	"github.com/bugle-fleet/bugle/journal/block"
)

// A source is a file that may hold pages: of the live store, or an archive.
type source struct {
	path  string
	block block.File // if it is one of the live store
	size  int64
}

func (s *source) live() bool { return s.block.Path != "" }

// A place is where a page begins, or would: an offset in a source. In an archive
// it is the number of the page.
type place struct {
	source int
	offset int64
}

// sources lists all files that may hold pages, whatever the list of generations
// says, in the order in which they were written: first those of the live store.
func sources(dir string) (all []source, err error) {
	streams := filepath.Join(dir, "jetstream", "$G", "streams")
	entries, err := readDir(streams)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		files, err := block.Files(filepath.Join(streams, e.Name(), "msgs"))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, f := range files {
			all = append(all, source{path: f.Path, block: f, size: f.Size})
		}
	}
	entries, err = readDir(filepath.Join(dir, "archive"))
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if info, err := e.Info(); err == nil && info.Mode().IsRegular() && strings.HasSuffix(e.Name(), ".bga") {
			all = append(all, source{path: filepath.Join(dir, "archive", e.Name()), size: info.Size()})
		}
	}
	return all, nil
}

// readDir is os.ReadDir that finds nothing in a folder that is not there.
func readDir(name string) ([]os.DirEntry, error) {
	entries, err := os.ReadDir(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return entries, err
}

// A Damage is a run of bytes in a file that are no page.
type Damage struct {
	File         string
	Offset, Size int64
	Reason       string
}

// A visitor is told what is found. end is the place behind the page.
type visitor struct {
	page    func(p *journal.Page, at, end place) error
	skipped func(Damage) error
}

// scan reads the sources from a place on. It finds every page that is whole in
// itself.
func scan(ctx context.Context, all []source, from place, v visitor) error {
	for i := from.source; i < len(all); i++ {
		offset := int64(0)
		if i == from.source {
			offset = from.offset
		}
		var err error
		if all[i].live() {
			err = scanBlock(ctx, all[i].block, i, offset, v)
		} else {
			err = scanArchive(ctx, all[i], i, uint64(offset), v)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func scanBlock(ctx context.Context, f block.File, source int, from int64, v visitor) error {
	return block.Salvage(f, func(r block.Record) error {
		if err := ctx.Err(); err != nil || r.Offset < from {
			return err
		}
		p, ok := loose(r.Data)
		if !ok {
			return v.skipped(Damage{f.Path, r.Offset, r.Size, "the record holds no page"})
		}
		return v.page(p, place{source, r.Offset}, place{source, r.Offset + r.Size})
	}, func(offset, size int64, reason string) error {
		if offset < from {
			return nil
		}
		return v.skipped(Damage{f.Path, offset, size, reason})
	})
}

// scanArchive reads an archive by its index, and one without a good one from its
// beginning to where it is damaged.
func scanArchive(ctx context.Context, s source, at int, from uint64, v visitor) error {
	a, err := archive.Open(s.path)
	if err != nil {
		return scanStream(ctx, s, at, from, v)
	}
	return errors.Join(scanFrames(ctx, a, s, at, from, v), a.Close())
}

func scanFrames(ctx context.Context, a *archive.Reader, s source, at int, from uint64, v visitor) error {
	i := a.Info()
	for n := max(from, i.Before.Pages+1); n <= i.End.Pages; {
		raws, err := a.Load(ctx, n, i.End.Pages)
		if bad, ok := errors.AsType[*archive.DamageError](err); ok {
			n = a.FrameEnd(n) + 1
			err = v.skipped(Damage{s.path, bad.Offset, 0, bad.Reason})
		}
		if err != nil {
			return err
		}
		for _, raw := range raws {
			if err := take(s, raw, place{at, int64(n)}, place{at, int64(n + 1)}, v); err != nil {
				return err
			}
			n++
		}
	}
	return nil
}

func scanStream(ctx context.Context, s source, at int, from uint64, v visitor) error {
	f, err := os.Open(s.path)
	if errors.Is(err, fs.ErrNotExist) {
		return v.skipped(Damage{s.path, 0, s.size, "the archive is not there"})
	}
	if err != nil {
		return err
	}
	defer f.Close()
	stream, err := archive.NewStream(f)
	if err != nil {
		return v.skipped(Damage{s.path, 0, s.size, err.Error()})
	}
	for n := uint64(1); ; n++ {
		p, err := stream.Next(ctx)
		switch bad, damaged := errors.AsType[*archive.DamageError](err); {
		case ctx.Err() != nil:
			return ctx.Err()
		case damaged:
			return v.skipped(Damage{s.path, bad.Offset, s.size - bad.Offset, bad.Reason})
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		case n < from:
			continue
		}
		if err := take(s, p.Bytes(), place{at, int64(n)}, place{at, int64(n + 1)}, v); err != nil {
			return err
		}
	}
}

func take(s source, raw []byte, at, end place, v visitor) error {
	p, ok := loose(raw)
	if !ok {
		return v.skipped(Damage{s.path, 0, int64(len(raw)), "the archive holds what is no page"})
	}
	return v.page(p, at, end)
}

// historyIn is the journal that an archive says it is of, if it is one that can be
// opened.
func historyIn(s source) (history [16]byte, told bool) {
	if s.live() {
		return history, false
	}
	a, err := archive.Open(s.path)
	if err != nil {
		return history, false
	}
	defer a.Close()
	return a.Info().History, true
}

// archives is what the archives among the sources say of themselves.
func archives(all []source) (infos []archive.Info) {
	for _, s := range all {
		if s.live() {
			continue
		}
		if a, err := archive.Open(s.path); err == nil {
			infos = append(infos, a.Info())
			a.Close()
		}
	}
	return slices.Clip(infos)
}
