package tree

import (
	"errors"
	"fmt"

	"github.com/bugle-fleet/bugle/journal"
)

// What is wrong with a proof or a checkpoint. Nothing of one that gives an error
// may be believed.
var (
	ErrFormat    = errors.New("malformed")                                            // foreign, damaged, cut short, too large
	ErrVersion   = errors.New("made by a later version")                              // of a format that this bugle does not know
	ErrOrigin    = errors.New("of another journal")                                   // well signed or not
	ErrKey       = errors.New("not signed by this key")                               // but by some other
	ErrSignature = errors.New("signature does not match: the checkpoint was altered") // or the proof that holds it
	ErrMismatch  = errors.New("proof does not hold")                                  // the hashes do not lead to the signed root
)

// What a [Tree] cannot do.
var (
	ErrNotCovered = errors.New("not covered by a checkpoint yet")         // event or checkpoint; wait, or there is no such event
	ErrNotPrefix  = errors.New("not where a page of this journal ends")   // a head that is another journal's, or none
	ErrCache      = errors.New("file hashes is damaged")                  // stop, remove the file, start: it is made anew
	ErrTampered   = errors.New("journal is not what its checkpoint says") // matches every *TamperError
)

// A TamperError tells that a journal was shortened or rewritten: it is not the
// one that a checkpoint was signed for.
type TamperError struct {
	Signed Checkpoint   // what was signed
	Found  journal.Head // of the journal at Signed.Pages pages, or its end if that is before
	What   string       // what differs: "length", "events", "chain" or "root"
	Good   uint64       // all events up to this one are as they were; 0 if that is not known of any
	Page   uint64       // the first page that differs, from 1; 0 if that is not known
}

func (e *TamperError) Error() string {
	s := fmt.Sprintf("%v: signed for %d events in %d pages, hash %x; ", ErrTampered, e.Signed.Events, e.Signed.Pages, e.Signed.Chain[:8])
	switch e.What {
	case "length":
		s += fmt.Sprintf("it ends with event %d, page %d", e.Found.Event, e.Found.Pages)
	case "events":
		s += fmt.Sprintf("its page %d ends with event %d", e.Found.Pages, e.Found.Event)
	case "chain":
		s += fmt.Sprintf("its page %d has the hash %x", e.Found.Pages, e.Found.Hash[:8])
	default:
		s += fmt.Sprintf("its tree over %d pages has another root", e.Found.Pages)
	}
	if e.Page > 0 {
		s += fmt.Sprintf("; the first difference is in page %d, behind event %d", e.Page, e.Good)
	} else if e.Good > 0 {
		s += fmt.Sprintf("; events up to %d are as signed", e.Good)
	}
	return s
}

// Is makes a TamperError match [ErrTampered].
func (e *TamperError) Is(target error) bool { return target == ErrTampered }
