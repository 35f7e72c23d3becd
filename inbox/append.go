package inbox

import (
	"context"
	"errors"
	"fmt"

	"github.com/bugle-fleet/bugle/inbox/box"
	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/event"
)

// The stable numbers of the status messages of component "inbox".
const (
	MessageGap      uint32 = 1 // a warning: numbers are missing
	MessageConflict uint32 = 2 // an error: two files have the same number
	MessageRefused  uint32 = 3 // an error: the journal refuses what a file says
	MessageScope    uint32 = 4 // an error: a listener speaks for devices that are not its own
)

// pageRoom is how much goes into one append, in estimated bytes.
const pageRoom = journal.MaxPageBytes - 16<<10

// A pager collects events and appends a page of them whenever it is full.
type pager struct {
	in     *Inbox
	events []*event.Event
	size   int
}

// append appends what is to be said of the items, in their order. A file that
// fits a page is never divided between two.
func (in *Inbox) append(ctx context.Context, items []*item) error {
	p := pager{in: in}
	top := make(map[sequence]uint64)
	for _, it := range items {
		missing, gap := in.gap(it, top)
		todo := in.todo(it, missing, gap)
		size := 0
		for _, e := range todo {
			size += e.size
		}
		if !p.room(len(todo), size) {
			if err := p.flush(ctx); err != nil {
				return err
			}
		}
		for _, e := range todo {
			if !p.room(1, e.size) {
				if err := p.flush(ctx); err != nil {
					return err
				}
			}
			p.events = append(p.events, e.Event)
			p.size += e.size
		}
		it.told = true
	}
	return p.flush(ctx)
}

func (p *pager) room(n, size int) bool {
	return len(p.events)+n <= journal.MaxPageEvents && p.size+size <= pageRoom
}

// flush appends the page. It waits for the outcome even if ctx ends: an append
// whose outcome nobody waited for could still be stored after the ledger was
// asked.
func (p *pager) flush(ctx context.Context) error {
	if len(p.events) == 0 {
		return nil
	}
	err := p.in.cfg.Journal.Append(context.WithoutCancel(ctx), p.events...)
	if err != nil {
		return fmt.Errorf("append files: %w", err)
	}
	p.in.count(func(s *Stats) { s.Events += uint64(len(p.events)) })
	p.events, p.size = p.events[:0], 0
	return nil
}

// gap returns the numbers that are missing before a file, given the highest
// number of each sequence that was appended, or is about to be.
func (in *Inbox) gap(it *item, top map[sequence]uint64) (missing Span, ok bool) {
	if it.name == (box.Name{}) {
		return Span{}, false
	}
	s, n := sequenceOf(it.name), it.name.Number
	last, known := top[s]
	if !known {
		last = in.cfg.Ledger.top(s)
	}
	switch {
	case n <= last:
		return Span{}, false
	case it.reason != "" && n > last+1:
		return Span{}, false // a bad file proves nothing about those before it
	}
	top[s] = n
	return Span{last + 1, n - 1}, n > last+1 && !it.partly
}

// todo is what is to be said of one item. What belongs together comes in one
// page: the message about a gap and the first event behind it.
func (in *Inbox) todo(it *item, missing Span, gap bool) []sized {
	if it.reason != "" {
		return in.quarantine(it)
	}
	if !gap {
		return it.todo
	}
	text := fmt.Sprintf("%s files of listener %s in epoch %d: number %d is here, %s missing",
		it.name.Kind, it.name.Listener, it.name.Epoch, it.name.Number, missing)
	if !it.told {
		in.count(func(s *Stats) { s.Gaps++ })
	}
	return append([]sized{in.message(MessageGap, event.Warning, text)}, it.todo...)
}

// String returns the range in words: "number 7 is", "numbers 7 to 9 are".
func (s Span) String() string {
	if s.From == s.To {
		return fmt.Sprintf("number %d is", s.From)
	}
	return fmt.Sprintf("numbers %d to %d are", s.From, s.To)
}

// quarantine is what is said of a file that is put aside.
func (in *Inbox) quarantine(it *item) []sized {
	e := &event.Event{Observed: in.now(), Actor: self,
		Payload: &event.FileQuarantined{Name: it.label, Digest: it.digest, Size: uint64(it.size), Reason: it.reason}}
	all := []sized{{e, envelopeSize + len(it.label) + len(it.reason)}}
	if it.alarm != 0 {
		all = append(all, in.message(it.alarm, event.Error, it.label+": "+it.reason))
	}
	return all
}

func (in *Inbox) message(number uint32, severity event.Severity, text string) sized {
	e := &event.Event{Observed: in.now(), Actor: self,
		Payload: &event.StatusMessage{Component: component, Message: number, Severity: severity, Text: text}}
	return sized{e, envelopeSize + len(text)}
}

var errNotWired = errors.New("the ledger is not told of events: it must be among the folds of the journal")

// confirm checks that the ledger was told of what was just appended.
func (in *Inbox) confirm(items []*item) error {
	for _, it := range items {
		if it.reason != "" {
			if in.cfg.Ledger.asideAt(it.label, it.digest) <= it.aside {
				return errNotWired
			}
		} else if v, _ := in.cfg.Ledger.judge(it.name, it.digest, len(it.events)); v == unseen {
			return errNotWired
		}
	}
	return nil
}
