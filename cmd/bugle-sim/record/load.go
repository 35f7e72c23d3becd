package record

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/bugle-fleet/bugle/agent"
)

// maxFile is the longest file that is read, in bytes.
const maxFile = 1 << 30

var errShortRecord = errors.New("record is longer than its group")

// A DamagedError says that a file has a bad group with a good one behind it, or a
// group that is whole and cannot be read. No crash leaves that. To go on without
// what the file held would mean to run tasks again.
type DamagedError struct {
	Path   string
	Offset int64 // of the bad group, in bytes
	Cause  error // nil if the checksum does not hold
}

func (e *DamagedError) Error() string {
	why := "a group does not match its checksum and good ones follow"
	if e.Cause != nil {
		why = e.Cause.Error()
	}
	return fmt.Sprintf("read records %s: damaged at byte %d: %s; remove the folder to begin anew", e.Path, e.Offset, why)
}

// Unwrap returns the cause.
func (e *DamagedError) Unwrap() error { return e.Cause }

// contents are what a file holds.
type contents struct {
	devices map[uint32][]agent.Entry
	good    int // bytes of the file that hold
	changes int
}

func (c *contents) take(ch *change) {
	c.changes++
	if ch.action == replace {
		delete(c.devices, ch.device)
	}
	if len(ch.entries) > 0 {
		c.devices[ch.device] = append(c.devices[ch.device], ch.entries...)
	}
}

// decodeFile reads the bytes of a file. What follows good is a group that a crash
// tore.
func decodeFile(path string, b []byte) (*contents, error) {
	c := &contents{devices: make(map[uint32][]agent.Entry)}
	if len(b) < len(header) && header[:len(b)] == string(b) {
		return c, nil
	}
	if !bytes.HasPrefix(b, []byte(header)) {
		return nil, fmt.Errorf("read records %s: not a file of bugle-sim, or of a later version", path)
	}
	c.good = len(header)
	for c.good < len(b) {
		payload, ok := openGroup(b[c.good:])
		if !ok {
			break
		}
		if err := readGroup(payload, c.take); err != nil {
			return nil, &DamagedError{path, int64(c.good), err}
		}
		c.good += groupHeader + len(payload)
	}
	if c.good < len(b) && hasGroup(b[c.good+1:]) {
		return nil, &DamagedError{path, int64(c.good), nil}
	}
	return c, nil
}

// hasGroup tells whether a whole group is anywhere in b.
func hasGroup(b []byte) bool {
	for {
		at := bytes.Index(b, []byte(magic))
		if at < 0 {
			return false
		}
		if _, ok := openGroup(b[at:]); ok {
			return true
		}
		b = b[at+1:]
	}
}

func readFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("read records: %w", err)
	case info.Size() > maxFile:
		return nil, fmt.Errorf("read records %s: %d bytes, at most %d are taken; remove the folder to begin anew", path, info.Size(), maxFile)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read records: %w", err)
	}
	return b, nil
}
