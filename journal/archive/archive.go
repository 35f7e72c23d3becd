package archive

import (
	"errors"
	"fmt"
	"slices"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/tree"
)

// A Header is what an archive says of itself before its first page.
type Header struct {
	History    [16]byte     // the journal's identity
	Generation uint32       // which generation it is, whole; 0 if it is any run of pages
	Before     journal.Head // the journal's end before the first page
	Peaks      []tlog.Hash  // of the tree over the pages before; see [tree.Builder.Peaks]
}

// A Seal is what an archive says of itself behind its last page.
type Seal struct {
	Root       tlog.Hash // of the tree over all pages up to the last one here; zero: as the writer found it
	Checkpoint []byte    // a signed checkpoint of exactly these pages; none: nobody vouches for them
}

// An Info is all that an archive says of itself.
type Info struct {
	Header
	End        journal.Head // behind the last page
	Root       tlog.Hash    // of the tree over all pages of the journal up to End
	Checkpoint []byte       // the text, or none
	Frames     int          // compressed pieces
	Size       int64        // of the file in bytes
	Digest     [32]byte     // SHA-256 of the file; zero as long as not all of it was read
}

// Pages is how many pages it holds.
func (i Info) Pages() uint64 { return i.End.Pages - i.Before.Pages }

// Events is how many events it holds.
func (i Info) Events() uint64 { return i.End.Event - i.Before.Event }

// Bounds of the format.
const (
	MaxFrame  = 1 << 20 // bytes of pages in one frame, before compression
	MaxFrames = 1 << 20 // frames in one archive
	maxPages  = 1 << 48 // as of the tree
)

// maxPage is the longest page that there can be, in bytes.
const maxPage = 4 + 8 + 4 + 32 + journal.MaxPageEvents*(4+8) + journal.MaxPageBytes

// Errors of an archive; [*DamageError] is the one of bytes that are not as they
// were written. What is wrong with its checkpoint is an error of package tree.
var (
	ErrForeign = errors.New("not an archive of a journal")
	ErrVersion = errors.New("archive was made by a later version")
	ErrHistory = errors.New("archive is of another journal")
	ErrGap     = errors.New("archive does not go on where the one before ends")
	ErrNoPage  = errors.New("no such page in the archive")
	ErrSeal    = errors.New("seal is not that of the pages") // given to a writer, or signed
)

// A DamageError tells where an archive is not as it was written. It matches
// [journal.ErrDamaged].
type DamageError struct {
	File   string // its name; empty if it is a stream
	Offset int64  // of the section that is damaged, in bytes from the start
	Event  uint64 // the first event that cannot be trusted; 0 if that is not known, or if all were well
	Page   uint64 // the page it is in
	Reason string
}

func (e *DamageError) Error() string {
	s := "archive"
	if e.File != "" {
		s += " " + e.File
	}
	s += fmt.Sprintf(" is damaged at byte %d", e.Offset)
	if e.Event > 0 {
		s += fmt.Sprintf(", event %d (page %d)", e.Event, e.Page)
	}
	return s + ": " + e.Reason
}

// Unwrap is the damage as other readers of a journal tell it.
func (e *DamageError) Unwrap() error {
	return &journal.DamageError{Event: e.Event, Page: e.Page, File: e.File, Offset: e.Offset, Reason: e.Reason}
}

// Continues checks that next goes on where prev ends, of the same journal: number
// and hash of the page before, and a tree that leads to the root of prev. If both
// are whole generations they must have numbers that follow. The error wraps
// [ErrHistory] or [ErrGap].
func Continues(prev, next Info) error {
	gap := func(format string, args ...any) error {
		return fmt.Errorf("%w: %s", ErrGap, fmt.Sprintf(format, args...))
	}
	switch {
	case prev.History != next.History:
		return fmt.Errorf("%w: %x, the one before is of %x", ErrHistory, next.History, prev.History)
	case prev.Generation != 0 && next.Generation != 0 && next.Generation != prev.Generation+1:
		return gap("generation %d behind generation %d", next.Generation, prev.Generation)
	case next.Before.Event != prev.End.Event || next.Before.Pages != prev.End.Pages:
		return gap("it begins behind event %d, page %d, that one ends with event %d, page %d", next.Before.Event, next.Before.Pages, prev.End.Event, prev.End.Pages)
	case next.Before.Hash != prev.End.Hash:
		return gap("the chain of hashes is broken behind event %d", prev.End.Event)
	}
	b, err := tree.RestoreBuilder(next.Peaks, next.Before)
	if err != nil || b.Root() != prev.Root {
		return gap("its tree does not grow out of that one's, behind event %d", prev.End.Event)
	}
	return nil
}

// check tells whether a header can be true.
func (h *Header) check() error {
	b := h.Before
	switch {
	case b.Pages > maxPages || b.Event < b.Pages || b.Event > b.Pages*journal.MaxPageEvents || b.Pages == 0 && b.Hash != [32]byte{}:
		return fmt.Errorf("%d events in %d pages before the first one", b.Event, b.Pages)
	case h.Generation == 1 && b.Pages > 0:
		return errors.New("pages before the first generation")
	}
	_, err := tree.RestoreBuilder(h.Peaks, b)
	return err
}

func (i Info) clone() Info {
	i.Peaks, i.Checkpoint = slices.Clone(i.Peaks), slices.Clone(i.Checkpoint)
	return i
}
