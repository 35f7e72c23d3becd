package archive

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"slices"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/tree"
)

// A Writer writes one archive. It checks every page and makes the tree, so that
// no archive is ended that does not hold. After an error what was written so far
// is of no use. It is for one goroutine.
type Writer struct {
	w       io.Writer
	whole   hash.Hash // of the file
	size    int64
	info    Info
	built   *tree.Builder
	frames  []frame
	limit   int    // bytes of pages in a frame
	waiting []byte // pages of the frame to come
	count   uint32 // how many
	start   journal.Head
	packed  []byte
	failed  error
}

// NewWriter begins an archive of the pages behind h.Before.
func NewWriter(w io.Writer, h Header) (*Writer, error) {
	a := &Writer{w: w, whole: sha256.New(), start: h.Before, limit: MaxFrame, info: Info{Header: h}.clone()}
	err := h.check()
	if err == nil {
		a.built, err = tree.RestoreBuilder(h.Peaks, h.Before)
	}
	if err == nil {
		err = a.write(h.encode())
	}
	if err != nil {
		return nil, fmt.Errorf("begin archive: %w", err)
	}
	return a, nil
}

// Add adds the next page by its bytes, which it does not keep. A page that does
// not follow the one before is a [*journal.DamageError].
func (a *Writer) Add(raw []byte) error {
	if a.failed != nil {
		return a.failed
	}
	if err := a.add(raw); err != nil {
		a.failed = fmt.Errorf("add page %d to archive: %w", a.built.Head().Pages+1, err)
	}
	return a.failed
}

func (a *Writer) add(raw []byte) error {
	p, err := journal.ParsePage(raw, a.built.Head())
	if err != nil {
		return err
	}
	if len(raw) > maxPage {
		return fmt.Errorf("%d bytes, a page has at most %d", len(raw), maxPage)
	}
	if len(a.waiting)+4+len(raw) > a.limit {
		if err := a.flush(); err != nil {
			return err
		}
	}
	if err := a.built.Add(p); err != nil {
		return err
	}
	a.waiting = binary.BigEndian.AppendUint32(a.waiting, uint32(len(raw)))
	a.waiting = append(a.waiting, raw...)
	a.count++
	return nil
}

// Head is where the pages that were added end.
func (a *Writer) Head() journal.Head { return a.built.Head() }

// flush writes what waits as a frame.
func (a *Writer) flush() error {
	if a.count == 0 {
		return nil
	}
	if len(a.frames) == MaxFrames {
		return fmt.Errorf("an archive has at most %d frames: end this one and begin another", MaxFrames)
	}
	a.packed = packer.EncodeAll(a.waiting, append(a.packed[:0], make([]byte, frameHeader)...))
	f := frame{offset: a.size, size: uint32(len(a.packed) - frameHeader), raw: uint32(len(a.waiting)), pages: a.count, start: a.start, end: a.built.Head()}
	if err := f.check(); err != nil {
		return err
	}
	copy(a.packed, f.encode())
	a.packed = summed(a.packed)
	if err := a.write(a.packed); err != nil {
		return err
	}
	a.frames = append(a.frames, f)
	a.waiting, a.count, a.start = a.waiting[:0], 0, f.end
	return nil
}

func (a *Writer) write(b []byte) error {
	a.whole.Write(b)
	a.size += int64(len(b))
	_, err := a.w.Write(b)
	return err
}

var errEnded = errors.New("archive was ended already")

// Close ends the archive and returns what it says of itself. It does not close
// what it was written to. The error wraps [ErrSeal] if the seal is not that of
// the pages that were added.
func (a *Writer) Close(s Seal) (Info, error) {
	if a.failed != nil {
		return Info{}, a.failed
	}
	if err := a.close(s); err != nil {
		a.failed = fmt.Errorf("end archive: %w", err)
		return Info{}, a.failed
	}
	a.failed = errEnded
	return a.info.clone(), nil
}

func (a *Writer) close(s Seal) error {
	i := &a.info
	i.End, i.Root, i.Checkpoint = a.built.Head(), a.built.Root(), slices.Clone(s.Checkpoint)
	if s.Root != (tlog.Hash{}) && s.Root != i.Root {
		return fmt.Errorf("%w: its root is %v, theirs %v", ErrSeal, s.Root, i.Root)
	}
	if len(s.Checkpoint) > 0 {
		c, err := tree.ParseCheckpoint(s.Checkpoint)
		if err != nil {
			return err
		}
		if err := i.signed(c); err != nil {
			return err
		}
	}
	if err := a.flush(); err != nil {
		return err
	}
	f := footer{index: a.size}
	if err := a.write(encodeIndex(a.frames)); err != nil {
		return err
	}
	f.end = a.size
	if err := a.write(i.encodeEnd()); err != nil {
		return err
	}
	return a.foot(f)
}

// foot writes the footer, which holds the hash of what is before that hash.
func (a *Writer) foot(f footer) error {
	b := f.encode()
	a.whole.Write(b[:16])
	f.sum = [32]byte(a.whole.Sum(nil))
	b = f.encode()
	a.whole.Write(b[16:])
	a.size += int64(len(b))
	a.info.Frames, a.info.Size, a.info.Digest = len(a.frames), a.size, [32]byte(a.whole.Sum(nil))
	_, err := a.w.Write(b)
	return err
}
