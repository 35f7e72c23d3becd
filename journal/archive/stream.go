package archive

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/tree"
)

// A Stream reads an archive from its beginning to its end, such as one that comes
// over a network, and checks every byte as it goes: the pages, their chain, the
// tree, the index, all hashes. Who signed it is not checked: see [Stream.Verify].
// It is a [journal.Reader].
type Stream struct {
	name  string
	in    *bufio.Reader
	at    int64     // read so far
	whole hash.Hash // of that
	info  Info

	built  *tree.Builder // nil if somebody else makes the tree
	head   journal.Head
	frame  frame
	pages  [][]byte // of the frame, not handed out yet
	frames []frame
	around bool  // what is read now is not pages
	err    error // what Next has ended with
}

// NewStream begins to read an archive. The error wraps [ErrForeign] or
// [ErrVersion], is a [*DamageError], or that of r.
func NewStream(r io.Reader) (*Stream, error) {
	s, err := newStream(r, "")
	if err != nil {
		return nil, fmt.Errorf("read archive: %w", err)
	}
	return s, nil
}

func newStream(r io.Reader, name string) (*Stream, error) {
	s := &Stream{name: name, in: bufio.NewReaderSize(r, 64<<10), whole: sha256.New(), around: true}
	if err := s.begin(); err != nil {
		return nil, err
	}
	s.around = false
	return s, nil
}

func (s *Stream) begin() error {
	b := make([]byte, headerFixed, headerFixed+64*32)
	switch n, err := io.ReadFull(s.in, b); {
	case err == io.ErrUnexpectedEOF && n >= len(magic) && string(b[:len(magic)]) == magic:
		return s.damage(0, errCut)
	case err == io.EOF || err == io.ErrUnexpectedEOF:
		return ErrForeign
	case err != nil:
		return err
	}
	n, err := headerSize(b)
	if err == errHeader {
		return s.damage(0, err)
	}
	if err != nil {
		return err
	}
	s.whole.Write(b)
	s.at = int64(len(b))
	rest, err := s.take(n-len(b), 0)
	if err != nil {
		return err
	}
	if s.info.Header, err = parseHeader(append(b, rest...)); err != nil {
		return s.damage(0, err)
	}
	s.head = s.info.Before
	s.built, err = tree.RestoreBuilder(s.info.Peaks, s.info.Before)
	return err
}

// damage says that the section at offset is not as it was written. No event is
// bad by that alone.
func (s *Stream) damage(offset int64, reason error) error {
	return &DamageError{File: s.name, Offset: offset, Reason: reason.Error()}
}

// bad says that no event behind the head can be trusted.
func (s *Stream) bad(offset int64, reason error) error {
	if d, ok := errors.AsType[*journal.DamageError](reason); ok {
		return &DamageError{s.name, offset, d.Event, d.Page, d.Reason}
	}
	return &DamageError{s.name, offset, s.head.Event + 1, s.head.Pages + 1, reason.Error()}
}

// take reads the next n bytes of the section at offset. Memory is used as bytes
// come, not as they are promised.
func (s *Stream) take(n int, offset int64) ([]byte, error) {
	var b bytes.Buffer
	b.Grow(min(n, maxFrameSize))
	got, err := io.CopyN(&b, s.in, int64(n))
	s.whole.Write(b.Bytes())
	s.at += got
	if err == io.EOF && s.around {
		return nil, s.damage(offset, errCut)
	}
	if err == io.EOF {
		return nil, s.bad(offset, errCut)
	}
	if err != nil {
		return nil, fmt.Errorf("at byte %d: %w", s.at, err)
	}
	return b.Bytes(), nil
}

var errCut = errors.New("it was cut short here")

// Next implements [journal.Reader]: io.EOF comes behind the last page, and only
// if everything around the pages holds, too.
func (s *Stream) Next(ctx context.Context) (*journal.Page, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if s.err != nil {
		return nil, s.err
	}
	p, err := s.next()
	if err != nil && err != io.EOF {
		err = fmt.Errorf("read archive: %w", err)
	}
	s.err = err
	return p, err
}

func (s *Stream) next() (*journal.Page, error) {
	if len(s.pages) == 0 {
		if err := s.section(); err != nil {
			return nil, err
		}
	}
	p, err := journal.ParsePage(s.pages[0], s.head)
	if err == nil && s.built != nil {
		err = s.built.Add(p)
	}
	if err != nil {
		return nil, s.bad(s.frame.offset, err)
	}
	s.pages[0] = nil
	s.pages, s.head = s.pages[1:], s.head.Next(p)
	if len(s.pages) == 0 {
		s.frame.end = s.head
		s.frames = append(s.frames, s.frame)
	}
	return p, nil
}

// section reads the next frame, or all that is behind the last one, and then
// returns io.EOF.
func (s *Stream) section() error {
	offset := s.at
	tag, err := s.take(1, offset)
	if err != nil {
		return err
	}
	switch tag[0] {
	case tagIndex:
		return s.finish(offset)
	case tagFrame:
	default:
		return s.bad(offset, errors.New("neither a frame nor the index begins here"))
	}
	if len(s.frames) == MaxFrames {
		return s.bad(offset, fmt.Errorf("more than %d frames", MaxFrames))
	}
	rest, err := s.take(frameHeader-1, offset)
	if err != nil {
		return err
	}
	b := append(tag, rest...)
	if s.frame, err = parseFrame(b, offset, s.head); err != nil {
		return s.bad(offset, err)
	}
	if rest, err = s.take(int(s.frame.length())-frameHeader, offset); err != nil {
		return err
	}
	if s.pages, err = s.frame.open(append(b, rest...)); err != nil {
		return s.bad(offset, err)
	}
	return nil
}

// finish checks what is behind the frames.
func (s *Stream) finish(offset int64) error {
	s.around = true
	// What should be there is known by now, to the byte.
	want := encodeIndex(s.frames)
	rest, err := s.take(len(want)-1, offset)
	if err != nil {
		return err
	}
	if !bytes.Equal(want[1:], rest) {
		return s.damage(offset, errIndex)
	}
	f := footer{index: offset, end: s.at}
	if err := s.end(f.end); err != nil {
		return err
	}
	return s.footer(f)
}

func (s *Stream) end(offset int64) error {
	fixed, err := s.take(endFixed, offset)
	if err != nil {
		return err
	}
	n, err := endSize(fixed)
	if err != nil {
		return s.damage(offset, err)
	}
	rest, err := s.take(n-len(fixed), offset)
	if err != nil {
		return err
	}
	i := &s.info
	if err := i.parseEnd(append(fixed, rest...)); err != nil {
		return s.damage(offset, err)
	}
	if i.End != s.head {
		return s.damage(offset, fmt.Errorf("it should end with event %d, page %d, and ends with event %d, page %d", i.End.Event, i.End.Pages, s.head.Event, s.head.Pages))
	}
	if s.built != nil && s.built.Root() != i.Root {
		return s.damage(offset, errRoot)
	}
	return nil
}

var errRoot = errors.New("the tree over the pages has another root than it should")

func (s *Stream) footer(f footer) error {
	offset := s.at
	offsets, err := s.take(16, offset)
	if err != nil {
		return err
	}
	f.sum = [32]byte(s.whole.Sum(nil))
	rest, err := s.take(footerSize-16, offset)
	if err != nil {
		return err
	}
	if got := append(offsets, rest...); !bytes.Equal(got, f.encode()) {
		return s.damage(offset, errFooter)
	}
	switch _, err := s.in.ReadByte(); {
	case err == nil:
		return s.damage(s.at, errors.New("something follows the end"))
	case err != io.EOF:
		return err
	}
	s.info.Frames, s.info.Size, s.info.Digest = len(s.frames), s.at, [32]byte(s.whole.Sum(nil))
	return io.EOF
}

// Header is what the archive said before its first page.
func (s *Stream) Header() Header { return s.info.clone().Header }

// Head is where the pages end that were read so far.
func (s *Stream) Head() journal.Head { return s.head }

// Info is all that the archive says of itself; ok is false before Next has
// returned io.EOF.
func (s *Stream) Info() (i Info, ok bool) {
	if s.err != io.EOF {
		return Info{}, false
	}
	return s.info.clone(), true
}

// Close implements [journal.Reader]. It does not close what it reads from.
func (s *Stream) Close() error {
	if s.err == nil {
		s.err = journal.ErrClosed
	}
	s.pages = nil
	return nil
}
