package archive

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/klauspost/compress/zstd"
)

// packer compresses frames, each on its own, and unpacker reads them and gives no
// more than [MaxFrame] bytes, whatever they say. They need no checksum of zstd:
// they end with one of ours. Both are shared by all, so they are set up before
// anything runs: what they wait on must not belong to a test's fake time.
var packer, unpacker = newPacker(), newUnpacker()

func newPacker() *zstd.Encoder {
	e, err := zstd.NewWriter(nil, zstd.WithEncoderCRC(false), zstd.WithWindowSize(MaxFrame))
	if err != nil {
		panic("archive: set up compression: " + err.Error()) // the options are constants
	}
	e.EncodeAll([]byte{0}, nil) // it sets itself up at its first use
	return e
}

func newUnpacker() *zstd.Decoder {
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecoderMaxMemory(MaxFrame), zstd.WithDecoderMaxWindow(MaxFrame))
	if err != nil {
		panic("archive: set up compression: " + err.Error())
	}
	return d
}

// open checks the bytes of a whole frame and returns its pages.
func (f *frame) open(b []byte) ([][]byte, error) {
	if !sumHolds(b) {
		return nil, errors.New("the frame is not as it was written")
	}
	return f.unpack(b[frameHeader : len(b)-sha256.Size])
}

// unpack decompresses a frame and splits it into its pages, which share memory
// of their own.
func (f *frame) unpack(packed []byte) ([][]byte, error) {
	raw, err := unpacker.DecodeAll(packed, make([]byte, 0, f.raw))
	if err != nil {
		return nil, fmt.Errorf("the frame cannot be decompressed: %w", err)
	}
	if len(raw) != int(f.raw) {
		return nil, fmt.Errorf("the frame has %d bytes of pages, not %d", len(raw), f.raw)
	}
	pages := make([][]byte, 0, f.pages)
	for len(raw) >= 4 {
		n := binary.BigEndian.Uint32(raw)
		if n > maxPage || int64(n) > int64(len(raw)-4) {
			break
		}
		pages, raw = append(pages, raw[4:4+n:4+n]), raw[4+n:]
	}
	if len(raw) > 0 || len(pages) != int(f.pages) {
		return nil, errors.New("the frame does not hold the pages that it should")
	}
	return pages, nil
}
