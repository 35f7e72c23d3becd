package projectors

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/bugle-fleet/bugle/listener/wire/bounded"
	"github.com/klauspost/compress/zstd"
)

// A keptState is what the header of a file of a kept state says.
type keptState struct {
	view     string
	schema   uint32
	history  [16]byte
	event    uint64
	accepted int64 // Unix nanoseconds
}

const (
	keptMagic   = "BGK1"
	keptVersion = 1
	keptSuffix  = ".snap"
	maxKeptHead = 256
	maxViewName = 32
)

func (s *keptState) encode(w *bounded.Writer) {
	w.Array(6)
	w.Uint(keptVersion)
	w.Exact(s.view, maxViewName)
	w.Uint(uint64(s.schema))
	w.Raw(s.history[:])
	w.Uint(s.event)
	w.Int(s.accepted)
}

func decodeKeptHead(b []byte) (s keptState, err error) {
	err = bounded.Decode(b, bounded.Limits{Bytes: maxKeptHead}, func(r *bounded.Reader) error {
		r.Version(keptVersion)
		s.view = r.String(maxViewName)
		s.schema = r.Uint32()
		r.Raw(s.history[:])
		s.event = r.Uint64()
		s.accepted = r.Int64()
		r.End()
		return nil
	})
	return s, err
}

// writeKept writes and syncs a file: magic, length and bytes of the header, the
// compressed dump, and the SHA-256 of all that.
func writeKept(name string, head keptState, s *Snapshot) (err error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	h := sha256.New()
	buffer := bufio.NewWriterSize(f, 256<<10)
	w := io.MultiWriter(buffer, h)
	b, err := bounded.Encode(nil, head.encode)
	if err != nil {
		return err
	}
	if _, err := w.Write(append(binary.BigEndian.AppendUint32([]byte(keptMagic), uint32(len(b))), b...)); err != nil {
		return err
	}
	z, err := zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return err
	}
	if err := errors.Join(s.Dump(z), z.Close()); err != nil {
		return err
	}
	if _, err := buffer.Write(h.Sum(nil)); err != nil {
		return err
	}
	return errors.Join(buffer.Flush(), f.Sync())
}

func readKeptHead(name string) (keptState, error) {
	f, err := os.Open(name)
	if err != nil {
		return keptState{}, err
	}
	defer f.Close()
	return takeKeptHead(f)
}

func takeKeptHead(r io.Reader) (s keptState, err error) {
	var fixed [len(keptMagic) + 4]byte
	if _, err := io.ReadFull(r, fixed[:]); err != nil {
		return s, err
	}
	n := binary.BigEndian.Uint32(fixed[len(keptMagic):])
	if string(fixed[:len(keptMagic)]) != keptMagic || n > maxKeptHead {
		return s, errors.New("not a kept state of version 1")
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(r, b); err != nil {
		return s, err
	}
	return decodeKeptHead(b)
}

func readKept(name string) (s keptState, rows *memory, err error) {
	f, err := os.Open(name)
	if err != nil {
		return s, nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return s, nil, err
	}
	return takeKept(f, info.Size())
}

// takeKept reads a file of size bytes. Nothing of it is to be believed unless the
// error is nil.
func takeKept(f io.Reader, size int64) (s keptState, rows *memory, err error) {
	h := sha256.New()
	r := bufio.NewReaderSize(io.TeeReader(io.LimitReader(f, size-sha256.Size), h), 256<<10)
	if s, err = takeKeptHead(r); err != nil {
		return s, nil, err
	}
	z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(8<<20), zstd.WithDecoderLowmem(true))
	if err != nil {
		return s, nil, err
	}
	defer z.Close()
	if rows, err = takeDump(z); err != nil {
		return s, nil, err
	}
	if _, err := io.Copy(io.Discard, r); err != nil {
		return s, nil, err
	}
	var sum [sha256.Size]byte
	if _, err := io.ReadFull(f, sum[:]); err != nil {
		return s, nil, err
	}
	if !bytes.Equal(sum[:], h.Sum(nil)) {
		return s, nil, errors.New("checksum does not match")
	}
	return s, rows, nil
}

// takeDump reads a canonical dump to its end.
func takeDump(r io.Reader) (*memory, error) {
	rows := newMemory()
	in := bufio.NewReaderSize(r, 64<<10)
	last, key, value := []byte{}, []byte{}, []byte{}
	for {
		var err error
		if key, err = takeField(in, key, maxKey); err == io.EOF {
			return rows, nil
		}
		if err == nil {
			if value, err = takeField(in, value, MaxValue); err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
		}
		if err == nil && (bytes.Compare(key, firstKey) < 0 || bytes.Compare(key, last) <= 0) {
			err = fmt.Errorf("row %x is out of order", key)
		}
		if err != nil {
			return nil, err
		}
		last = append(last[:0], key...)
		rows.set(key, value, 0)
		if rows.bytes > maxPastSize {
			return nil, fmt.Errorf("%w: more than %d bytes of rows", errLarge, maxPastSize)
		}
	}
}

// takeField reads a field behind its length into dst; io.EOF means that there is
// nothing at all.
func takeField(r io.Reader, dst []byte, limit uint32) ([]byte, error) {
	var size [4]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return dst, err
	}
	n := binary.BigEndian.Uint32(size[:])
	if n > limit {
		return dst, fmt.Errorf("field of %d bytes, at most %d are taken", n, limit)
	}
	dst = append(dst[:0], make([]byte, n)...)
	if _, err := io.ReadFull(r, dst); err != nil {
		return dst, io.ErrUnexpectedEOF
	}
	return dst, nil
}
