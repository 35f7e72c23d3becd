package agent

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// maxRecord is the longest record file that is read, in bytes: many times what
// [MaxKnown] operations need.
const maxRecord = 128 << 20

// fileRecord is the [Record] in an agent's folder.
type fileRecord struct {
	path string
	f    *os.File
	size int64
	buf  []byte
}

func newFileRecord(dir string) *fileRecord {
	return &fileRecord{path: filepath.Join(dir, recordFile)}
}

// Load reads the file, cuts off a torn tail, and leaves the file open at its
// end. A file that is not there is made.
func (r *fileRecord) Load() ([]Entry, error) {
	b, err := readBounded(r.path, maxRecord)
	if err != nil {
		return nil, err
	}
	entries, good, err := decodeRecord(r.path, b)
	if err != nil {
		return nil, err
	}
	if good < len(recordHeader) {
		return nil, r.Rewrite(nil)
	}
	if err := r.open(int64(good)); err != nil {
		return nil, err
	}
	if good < len(b) {
		if err := errors.Join(r.f.Truncate(r.size), r.f.Sync()); err != nil {
			return nil, fmt.Errorf("cut torn tail: %w", err)
		}
	}
	return entries, nil
}

func (r *fileRecord) open(size int64) error {
	f, err := os.OpenFile(r.path, os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("open record: %w", err)
	}
	r.f, r.size = f, size
	return nil
}

var errRecordClosed = errors.New("write record: it is closed")

func (r *fileRecord) Append(durable bool, entries ...Entry) error {
	if r.f == nil {
		return errRecordClosed
	}
	b, err := r.encode(r.buf[:0], entries)
	if err != nil {
		return err
	}
	if _, err := r.f.WriteAt(b, r.size); err != nil {
		return fmt.Errorf("write record: %w", err)
	}
	r.size += int64(len(b))
	if durable {
		if err := r.f.Sync(); err != nil {
			return fmt.Errorf("write record: %w", err)
		}
	}
	return nil
}

func (r *fileRecord) encode(b []byte, entries []Entry) (_ []byte, err error) {
	for i := range entries {
		if b, err = appendEntry(b, &entries[i]); err != nil {
			return nil, fmt.Errorf("write record: %w", err)
		}
	}
	if cap(b) <= 64<<10 {
		r.buf = b
	}
	return b, nil
}

// Rewrite writes a new file and puts it in the place of the old one.
func (r *fileRecord) Rewrite(entries []Entry) error {
	b, err := r.encode([]byte(recordHeader), entries)
	if err != nil {
		return err
	}
	r.Close()
	if err := writeDurable(r.path, b); err != nil {
		return fmt.Errorf("write record: %w", err)
	}
	return r.open(int64(len(b)))
}

func (r *fileRecord) Close() error {
	if r.f == nil {
		return nil
	}
	err := r.f.Close()
	r.f = nil
	return err
}
