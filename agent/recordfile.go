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

// tornSuffix is what the name of a record has behind it for the bytes that were
// cut off it last.
const tornSuffix = ".torn"

// fileRecord is the [Record] in an agent's folder.
type fileRecord struct {
	path    string
	f       *os.File
	size    int64
	settled int64 // bytes that are on disk for certain
	buf     []byte
}

// FileRecord returns the [Record] that agents have by default: the file in their
// folder. One process uses it at a time.
func FileRecord(dir string) Record {
	return &fileRecord{path: filepath.Join(dir, recordFile)}
}

// Load reads the file, cuts off a torn tail, whose bytes it keeps beside, and
// leaves the file open at its end. A file that is not there is made, one of an
// earlier version is written anew. What is neither whole nor torn is a
// [*DamagedError], and nothing is changed.
func (r *fileRecord) Load() ([]Entry, error) {
	b, err := readBounded(r.path, maxRecord)
	if err != nil {
		return nil, err
	}
	entries, good, version, err := decodeRecord(r.path, b)
	if err != nil {
		return nil, err
	}
	if tail := b[good:]; len(tail) > 0 {
		if err := writeDurable(r.path+tornSuffix, tail); err != nil {
			return nil, fmt.Errorf("keep torn tail: %w", err)
		}
	}
	if version < recordVersion {
		return entries, r.Rewrite(entries)
	}
	if err := r.open(int64(good)); err != nil {
		return nil, err
	}
	if good < len(b) {
		if err := r.f.Truncate(r.size); err != nil {
			return nil, fmt.Errorf("cut torn tail: %w", err)
		}
	}
	// An earlier process may have left something that is not on disk yet.
	return entries, r.sync()
}

func (r *fileRecord) open(size int64) error {
	f, err := os.OpenFile(r.path, os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("open record: %w", err)
	}
	r.f, r.size = f, size
	return nil
}

func (r *fileRecord) sync() error {
	if err := r.f.Sync(); err != nil {
		return fmt.Errorf("write record: %w", err)
	}
	r.settled = r.size
	return nil
}

var errRecordClosed = errors.New("write record: it is closed")

func (r *fileRecord) Append(durable bool, entries ...Entry) error {
	if r.f == nil {
		return errRecordClosed
	}
	b := r.buf[:0]
	var err error
	for i := range entries {
		if b, err = appendEntry(b, &entries[i], r.settled); err != nil {
			return fmt.Errorf("write record: %w", err)
		}
	}
	if cap(b) <= 64<<10 {
		r.buf = b
	}
	if _, err := r.f.WriteAt(b, r.size); err != nil {
		return fmt.Errorf("write record: %w", err)
	}
	r.size += int64(len(b))
	if durable {
		return r.sync()
	}
	return nil
}

// Rewrite writes a new file and puts it in the place of the old one. It takes its
// name when all of it is on disk, so of each frame all before it counts as
// settled.
func (r *fileRecord) Rewrite(entries []Entry) error {
	b := []byte(recordHeader)
	var err error
	for i := range entries {
		if b, err = appendEntry(b, &entries[i], int64(len(b))); err != nil {
			return fmt.Errorf("write record: %w", err)
		}
	}
	r.Close()
	if err := writeDurable(r.path, b); err != nil {
		return fmt.Errorf("write record: %w", err)
	}
	r.settled = int64(len(b))
	return r.open(r.settled)
}

func (r *fileRecord) Close() error {
	if r.f == nil {
		return nil
	}
	err := r.f.Close()
	r.f = nil
	return err
}
