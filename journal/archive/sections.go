package archive

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/tree"
)

// Magic, tags and sizes of the sections; FORMAT.md has the bytes.
const (
	magic   = "BGARCH"
	closing = "BGAEND1\n"
	version = 1

	tagFrame = 'F'
	tagIndex = 'I'
	tagEnd   = 'E'

	headSize     = 8 + 8 + 32
	headerFixed  = len(magic) + 2 + 16 + 4 + headSize
	frameHeader  = 1 + 4 + 4 + 4
	indexFixed   = 1 + 4
	indexEntry   = 8 + 4 + 4 + 4 + headSize
	endFixed     = 1 + headSize + 32 + 2
	footerSize   = 8 + 8 + 32 + len(closing)
	maxFrameSize = MaxFrame + MaxFrame/64 // compressed
)

func appendHead(b []byte, h journal.Head) []byte {
	b = binary.BigEndian.AppendUint64(b, h.Event)
	b = binary.BigEndian.AppendUint64(b, h.Pages)
	return append(b, h.Hash[:]...)
}

func parseHead(b []byte) journal.Head {
	return journal.Head{Event: binary.BigEndian.Uint64(b), Pages: binary.BigEndian.Uint64(b[8:]), Hash: [32]byte(b[16:headSize])}
}

// summed ends a section with its SHA-256.
func summed(b []byte) []byte {
	sum := sha256.Sum256(b)
	return append(b, sum[:]...)
}

// sumHolds tells whether a section ends with its SHA-256.
func sumHolds(b []byte) bool {
	at := len(b) - sha256.Size
	sum := sha256.Sum256(b[:at])
	return bytes.Equal(sum[:], b[at:])
}

func (h *Header) encode() []byte {
	b := binary.BigEndian.AppendUint16([]byte(magic), version)
	b = append(b, h.History[:]...)
	b = binary.BigEndian.AppendUint32(b, h.Generation)
	b = appendHead(b, h.Before)
	for i := range h.Peaks {
		b = append(b, h.Peaks[i][:]...)
	}
	return summed(b)
}

// headerSize tells how long the header is that begins with b, headerFixed bytes
// of it. The error wraps [ErrForeign] or [ErrVersion], or says what is damaged.
func headerSize(b []byte) (int, error) {
	switch v := binary.BigEndian.Uint16(b[len(magic):]); {
	case string(b[:len(magic)]) != magic || v == 0:
		return 0, ErrForeign
	case v > version:
		return 0, fmt.Errorf("%w: version %d, up to %d is read", ErrVersion, v, version)
	}
	pages := binary.BigEndian.Uint64(b[headerFixed-40:])
	if pages > maxPages {
		return 0, errHeader
	}
	return headerFixed + 32*bits.OnesCount64(pages) + sha256.Size, nil
}

var errHeader = errors.New("the header is not as it was written")

// parseHeader reads a header of the size that headerSize told.
func parseHeader(b []byte) (h Header, err error) {
	if !sumHolds(b) {
		return h, errHeader
	}
	at := len(magic) + 2
	h.History = [16]byte(b[at:])
	h.Generation = binary.BigEndian.Uint32(b[at+16:])
	h.Before = parseHead(b[at+20:])
	for p := b[headerFixed : len(b)-sha256.Size]; len(p) > 0; p = p[32:] {
		h.Peaks = append(h.Peaks, tlog.Hash(p[:32]))
	}
	return h, h.check()
}

// A frame is a run of pages that were compressed together.
type frame struct {
	offset     int64  // of its tag
	size       uint32 // compressed
	raw        uint32 // before
	pages      uint32
	start, end journal.Head // before its first page, behind its last
}

// length is how long the frame is, all in all.
func (f *frame) length() int64 { return frameHeader + int64(f.size) + sha256.Size }

// encode is the frame's own header.
func (f *frame) encode() []byte {
	b := binary.BigEndian.AppendUint32([]byte{tagFrame}, f.size)
	b = binary.BigEndian.AppendUint32(b, f.raw)
	return binary.BigEndian.AppendUint32(b, f.pages)
}

// parseFrame reads the header of the frame behind start, at offset.
func parseFrame(b []byte, offset int64, start journal.Head) (f frame, err error) {
	f = frame{offset: offset, size: binary.BigEndian.Uint32(b[1:]), raw: binary.BigEndian.Uint32(b[5:]), pages: binary.BigEndian.Uint32(b[9:]), start: start}
	return f, f.check()
}

// check tells whether the sizes of a frame can be true.
func (f *frame) check() error {
	if f.size == 0 || f.size > maxFrameSize || f.raw > MaxFrame || f.pages == 0 || uint64(f.raw) < 4*uint64(f.pages) {
		return fmt.Errorf("a frame of %d bytes for %d pages of %d bytes", f.size, f.pages, f.raw)
	}
	return nil
}

func encodeIndex(frames []frame) []byte {
	b := make([]byte, 0, indexSize(len(frames)))
	b = binary.BigEndian.AppendUint32(append(b, tagIndex), uint32(len(frames)))
	for i := range frames {
		f := &frames[i]
		b = binary.BigEndian.AppendUint64(b, uint64(f.offset))
		b = binary.BigEndian.AppendUint32(b, f.size)
		b = binary.BigEndian.AppendUint32(b, f.raw)
		b = binary.BigEndian.AppendUint32(b, f.pages)
		b = appendHead(b, f.end)
	}
	return summed(b)
}

func indexSize(frames int) int64 { return int64(indexFixed + indexEntry*frames + sha256.Size) }

var errIndex = errors.New("the index is not as it was written")

// parseIndex reads the index of frames that begin at offset, behind start.
func parseIndex(b []byte, offset int64, start journal.Head) ([]frame, error) {
	if len(b) < indexFixed+sha256.Size || b[0] != tagIndex || !sumHolds(b) {
		return nil, errIndex
	}
	n := int(binary.BigEndian.Uint32(b[1:]))
	if n > MaxFrames || indexSize(n) != int64(len(b)) {
		return nil, errIndex
	}
	frames := make([]frame, n)
	for i := range frames {
		e := b[indexFixed+i*indexEntry:]
		f := frame{offset: offset, size: binary.BigEndian.Uint32(e[8:]), raw: binary.BigEndian.Uint32(e[12:]), pages: binary.BigEndian.Uint32(e[16:]),
			start: start, end: parseHead(e[20:])}
		events := f.end.Event - start.Event
		if binary.BigEndian.Uint64(e) != uint64(offset) || f.check() != nil || f.end.Pages != start.Pages+uint64(f.pages) ||
			f.end.Event <= start.Event || events < uint64(f.pages) || events > uint64(f.pages)*journal.MaxPageEvents {
			return nil, fmt.Errorf("%w: frame %d cannot be", errIndex, i+1)
		}
		frames[i] = f
		start, offset = f.end, offset+f.length()
	}
	return frames, nil
}

func (i *Info) encodeEnd() []byte {
	b := appendHead([]byte{tagEnd}, i.End)
	b = append(b, i.Root[:]...)
	b = binary.BigEndian.AppendUint16(b, uint16(len(i.Checkpoint)))
	return summed(append(b, i.Checkpoint...))
}

var errEnd = errors.New("the end is not as it was written")

// endSize tells how long the end section is that begins with b.
func endSize(b []byte) (int, error) {
	n := int(binary.BigEndian.Uint16(b[endFixed-2:]))
	if b[0] != tagEnd || n > tree.MaxCheckpoint {
		return 0, errEnd
	}
	return endFixed + n + sha256.Size, nil
}

// parseEnd reads an end section of the size that endSize told.
func (i *Info) parseEnd(b []byte) error {
	if !sumHolds(b) {
		return errEnd
	}
	i.End = parseHead(b[1:])
	i.Root = tlog.Hash(b[1+headSize : 1+headSize+32])
	i.Checkpoint = bytes.Clone(b[endFixed : len(b)-sha256.Size])
	return nil
}

// A footer has a fixed size, so that a file can be opened from its end.
type footer struct {
	index, end int64    // offsets
	sum        [32]byte // SHA-256 of all bytes before it
}

func (f *footer) encode() []byte {
	b := binary.BigEndian.AppendUint64(nil, uint64(f.index))
	b = binary.BigEndian.AppendUint64(b, uint64(f.end))
	b = append(b, f.sum[:]...)
	return append(b, closing...)
}

var errFooter = errors.New("it does not end as an archive does: it was cut short, or damaged there")

func parseFooter(b []byte) (f footer, err error) {
	if string(b[footerSize-len(closing):]) != closing {
		return f, errFooter
	}
	f.index, f.end, f.sum = int64(binary.BigEndian.Uint64(b)), int64(binary.BigEndian.Uint64(b[8:])), [32]byte(b[16:])
	return f, nil
}
