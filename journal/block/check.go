package block

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/bugle-fleet/bugle/journal"
)

// A Position is a place between two pages of a journal, and all that the page
// behind it is checked against.
type Position struct {
	Head     journal.Head // behind the page before
	Accepted int64        // when its last event was accepted, Unix nanoseconds
}

// An Entry is what [Check] found in a file.
type Entry struct {
	File          File
	Before, After Position // After is Before if the file holds no page
}

// Pages is how many pages the file holds.
func (e *Entry) Pages() uint64 { return e.After.Head.Pages - e.Before.Head.Pages }

// Check reads files that follow one another in one generation of a journal,
// which begins behind page before: message s of its stream is page before + s. The first page must
// be the one behind at. It calls visit, which may be nil, for every page that
// holds. The entries are those of the files up to where it came: in the last one,
// File says what is there and After how far it is good. What does not hold is a
// [*DamageError].
//
// That a file is missing at the end, or was cut where a record ends, shows nowhere
// in it: whoever calls compares After of the last entry with what must be there.
func Check(ctx context.Context, files []File, before uint64, at Position, visit func(*journal.Page, Record) error) ([]Entry, error) {
	entries := make([]Entry, 0, len(files))
	for _, f := range files {
		c := checker{file: f, before: before, at: at}
		err := Walk(f, func(r Record) error {
			if err := ctx.Err(); err != nil {
				return err
			}
			page, err := c.page(r)
			if err != nil || visit == nil {
				return err
			}
			return visit(page, r)
		})
		entries = append(entries, Entry{File: f, Before: at, After: c.at})
		if err != nil {
			return entries, c.explain(err)
		}
		at = c.at
	}
	return entries, nil
}

type checker struct {
	file   File
	before uint64
	at     Position
}

// page reads the page of a record, which must be the one behind c.at.
func (c *checker) page(r Record) (*journal.Page, error) {
	if want := c.at.Head.Pages - c.before + 1; r.Sequence != want {
		return nil, c.damage(r, "message %d is here, and message %d should be", r.Sequence, want)
	}
	page, err := journal.ParsePage(r.Data, c.at.Head)
	var bad *journal.DamageError
	if errors.As(err, &bad) {
		return nil, c.damage(r, "%s", bad.Reason)
	}
	if err != nil {
		return nil, err
	}
	if id, ok := messageID(r.Header); ok && !isHex(id, page.Hash) {
		return nil, c.damage(r, "the page has another hash than the record was filed under")
	}
	accepted := c.at.Accepted
	for i := range page.Records {
		if page.Records[i].Accepted <= accepted {
			return nil, c.damage(r, "event %d was accepted before the one before it", page.Records[i].Number)
		}
		accepted = page.Records[i].Accepted
	}
	c.at = Position{Head: c.at.Head.Next(page), Accepted: accepted}
	return page, nil
}

func (c *checker) damage(r Record, format string, args ...any) error {
	return &DamageError{File: c.file.Path, Offset: r.Offset, Sequence: r.Sequence, Reason: fmt.Sprintf(format, args...)}
}

// explain adds to a DamageError which event and page it is about.
func (c *checker) explain(err error) error {
	var bad *DamageError
	if errors.As(err, &bad) {
		bad.Event, bad.Page = c.at.Head.Event+1, c.at.Head.Pages+1
		bad.Sequence = bad.Page - c.before
	}
	return err
}

var idHeader = []byte("\r\nNats-Msg-Id:")

// messageID is the id under which the message was published.
func messageID(header []byte) (id []byte, ok bool) {
	_, rest, ok := bytes.Cut(header, idHeader)
	if !ok {
		return nil, false
	}
	id, _, ok = bytes.Cut(rest, []byte("\r\n"))
	return bytes.TrimSpace(id), ok
}

func isHex(id []byte, hash [32]byte) bool {
	var b [64]byte
	hex.Encode(b[:], hash[:])
	return bytes.Equal(id, b[:])
}
