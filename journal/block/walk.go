package block

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/bugle-fleet/bugle/journal"
)

// A DamageError says where a file is not as JetStream has written it, or, from
// [Check], where the pages in it do not hold together. It wraps a
// [*journal.DamageError] that says the same.
type DamageError struct {
	File     string // path
	Offset   int64  // where the first record that cannot be trusted begins
	Sequence uint64 // that this record should have; 0 if it is the first one of the file
	Reason   string
	Torn     bool // it looks like the tail of a write that was never finished

	// What Check knows besides.
	Event uint64 // the first that cannot be trusted
	Page  uint64 // the page it is in, from 1
}

func (e *DamageError) Error() string {
	if e.Event > 0 {
		return e.Unwrap().Error()
	}
	return fmt.Sprintf("file of messages is damaged: %s at offset %d: %s", e.File, e.Offset, e.Reason)
}

// Unwrap returns a [*journal.DamageError].
func (e *DamageError) Unwrap() error {
	return &journal.DamageError{Event: e.Event, Page: e.Page, Reason: e.Reason, File: e.File, Offset: e.Offset}
}

// maxFile is how much of a file is read. JetStream begins a new one at 8 MiB.
const maxFile = 16 << 20

// Walk reads a file and calls visit for every record, in order, up to the first
// that is damaged, which is the error: a [*DamageError]. An error of visit ends
// the walk and is returned. It takes as much memory as the file has, which is
// bounded: of a file that is longer than any that JetStream writes, what is behind
// its first 16 MiB is damage.
func Walk(f File, visit func(Record) error) error {
	b, more, err := load(f)
	if err != nil {
		return err
	}
	return walk(f, b, more, visit)
}

// load reads a file, or the first maxFile bytes of one that has more.
func load(f File) (b []byte, more bool, err error) {
	file, err := os.Open(f.Path)
	if err != nil {
		return nil, false, fmt.Errorf("read file of messages: %w", err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, false, fmt.Errorf("read file of messages: %w", err)
	}
	b = make([]byte, min(info.Size(), maxFile))
	n, err := io.ReadFull(file, b)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, false, fmt.Errorf("read file of messages: %w", err)
	}
	return b[:n], info.Size() > maxFile, nil
}

// tooLong is the reason why what is behind the first maxFile bytes is damage.
const tooLong = "the file is longer than any that JetStream writes"

func walk(f File, b []byte, more bool, visit func(Record) error) error {
	p, last := newParser(f), uint64(0)
	for at := 0; at < len(b); {
		r, reason := p.record(b[at:])
		if reason == "" && last > 0 && r.Sequence != last+1 {
			reason = fmt.Sprintf("message %d follows message %d", r.Sequence, last)
		}
		if reason != "" {
			// A record that is whole was written to its end, whatever it says.
			torn := f.Newest && !more && r.Size == 0 && len(b)-at <= maxRecord && !p.follows(b, at)
			return damaged(f, at, last, reason, torn)
		}
		r.Offset, last = int64(at), r.Sequence
		if err := visit(r); err != nil {
			return err
		}
		at += int(r.Size)
	}
	if more {
		return damaged(f, len(b), last, tooLong, false)
	}
	return nil
}

// damaged says that the file is damaged at an offset, behind message last.
func damaged(f File, at int, last uint64, reason string, torn bool) error {
	e := &DamageError{File: f.Path, Offset: int64(at), Reason: reason, Torn: torn}
	if last > 0 {
		e.Sequence = last + 1
	}
	return e
}

// follows tells whether b holds a record at offset at or anywhere behind it.
func (p *parser) follows(b []byte, at int) bool {
	_, found, sure := p.next(b, at)
	return found || !sure
}

// searchCost bounds what is read to find a record, in bytes for each byte of the
// file: some bytes look like the beginning of one everywhere.
const searchCost = 64

// next finds the first whole record in b at or behind from. Not sure means that
// the search was given up; offset is then as far as it came.
func (p *parser) next(b []byte, from int) (offset int, found, sure bool) {
	budget := searchCost * (len(b) + 1)
	for ; from+minRecord <= len(b); from++ {
		// Most places are not the beginning of a record, and one look tells.
		if b[from+10] != 0 || b[from+11] != 0 {
			continue // no stream has 2^48 messages
		}
		size, _, reason := outline(b[from:])
		if reason != "" {
			continue
		}
		if budget -= size; budget < 0 {
			return from, false, false
		}
		if _, reason := p.record(b[from:]); reason == "" {
			return from, true, true
		}
	}
	return len(b), false, true
}

// Salvage reads a file of which anything may be damaged. It calls visit for every
// whole record, wherever it begins and whatever its sequence, and skipped for
// every run of bytes that are none.
func Salvage(f File, visit func(Record) error, skipped func(offset, size int64, reason string) error) error {
	b, more, err := load(f)
	if err != nil {
		return err
	}
	if err := salvage(f, b, visit, skipped); err != nil || !more {
		return err
	}
	return skipped(int64(len(b)), f.Size-int64(len(b)), tooLong)
}

func salvage(f File, b []byte, visit func(Record) error, skipped func(offset, size int64, reason string) error) error {
	p := newParser(f)
	for at := 0; at < len(b); {
		r, reason := p.record(b[at:])
		if reason == "" {
			r.Offset = int64(at)
			if err := visit(r); err != nil {
				return err
			}
			at += int(r.Size)
			continue
		}
		next, _, _ := p.next(b, at+1)
		if next <= at {
			next = at + 1
		}
		if err := skipped(int64(at), int64(next-at), reason); err != nil {
			return err
		}
		at = next
	}
	return nil
}
