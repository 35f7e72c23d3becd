package salvage

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/journal/offline"
)

// A copier makes the pages of the new journal.
type copier struct {
	options    Options
	survey     *offline.Survey
	history    [16]byte // of the new journal
	seal       event.EventLost
	checkpoint []byte
	last       uint64         // of the damaged journal
	lost       []offline.Loss // that the survey found and that are not written yet

	head     journal.Head // of the new journal, so far
	accepted int64        // of its last event
	yield    func([]byte, error) bool
	copied   uint64
	gone     []offline.Loss // that are written
}

// errStopped says that nobody wants more pages.
var errStopped = errors.New("stopped")

// pages hands all pages of the new journal to yield.
func (c *copier) pages(ctx context.Context, yield func([]byte, error) bool) {
	c.yield = yield
	err := c.survey.Pages(ctx, c.page)
	if err == nil {
		err = c.end()
	}
	if err != nil && !errors.Is(err, errStopped) {
		yield(nil, err)
	}
}

// page copies a page of the damaged journal, behind events in the place of those
// that are missing before it. One whose times do not fit is lost too.
func (c *copier) page(p *journal.Page) error {
	before := c.takeLost(p.First)
	missing := p.First - 1 - c.head.Event
	begin, ok := rising(p)
	if !ok || begin <= c.accepted+int64(missing) {
		c.lost = append([]offline.Loss{{From: p.First, To: p.Last(), Reason: "its times are not behind those of the events before"}}, c.lost...)
		return c.mourn(before)
	}
	if c.accepted == 0 {
		c.accepted = begin - int64(missing) - 1 // what is lost came just before
	}
	if err := c.mourn(before); err != nil {
		return err
	}
	if c.head.Event+1 != p.First {
		return fmt.Errorf("events %d to %d were neither found nor listed as lost", c.head.Event+1, p.First-1)
	}
	if p.Previous == c.head.Hash {
		c.accepted = p.Records[len(p.Records)-1].Accepted
		c.head = c.head.Next(p)
		return c.hand(p.Bytes(), len(p.Records))
	}
	return c.chain(p)
}

// rising is when the first event of a page was accepted; it is not ok if the times
// of the others do not rise.
func rising(p *journal.Page) (begin int64, ok bool) {
	for i := 1; i < len(p.Records); i++ {
		if p.Records[i].Accepted <= p.Records[i-1].Accepted {
			return 0, false
		}
	}
	return p.Records[0].Accepted, true
}

// chain writes the events of a page as a page behind the head, or as more than one
// if their times do not follow one another by a nanosecond.
func (c *copier) chain(p *journal.Page) error {
	var b journal.PageBuilder
	begin := p.Records[0].Accepted
	for i := range p.Records {
		b.Add(p.Records[i].Body)
		if i+1 < len(p.Records) && p.Records[i+1].Accepted == p.Records[i].Accepted+1 {
			continue
		}
		n := b.Count()
		if err := c.put(&b, begin); err != nil {
			return err
		}
		c.copied += uint64(n)
		if i+1 < len(p.Records) {
			begin = p.Records[i+1].Accepted
		}
	}
	c.options.Progress(c.head.Event, c.last)
	return nil
}

// put seals what was built, as accepted from a nanosecond on.
func (c *copier) put(b *journal.PageBuilder, accepted int64) error {
	n := int64(b.Count())
	s := b.Seal(c.head, accepted)
	c.head, c.accepted = s.Head, accepted+n-1
	if !c.yield(s.Bytes(), nil) {
		return errStopped
	}
	return nil
}

// hand hands over a page that is as it was.
func (c *copier) hand(raw []byte, events int) error {
	if !c.yield(raw, nil) {
		return errStopped
	}
	c.copied += uint64(events)
	c.options.Progress(c.head.Event, c.last)
	return nil
}

// takeLost takes the losses before an event off the list.
func (c *copier) takeLost(event uint64) (before []offline.Loss) {
	for len(c.lost) > 0 && c.lost[0].From < event {
		before, c.lost = append(before, c.lost[0]), c.lost[1:]
	}
	return before
}

// mourn writes an event for each that is lost.
func (c *copier) mourn(losses []offline.Loss) error {
	for _, l := range losses {
		c.gone = append(c.gone, l)
		e := c.seal
		e.Reason = cut(l.Reason, event.MaxText)
		body, err := c.encode(&e)
		if err != nil {
			return err
		}
		var b journal.PageBuilder
		for n := l.From; n <= l.To; n++ {
			b.Add(body)
			if n < l.To && b.Room(1, len(body)) {
				continue
			}
			if err := c.put(&b, c.accepted+1); err != nil {
				return err
			}
			c.options.Progress(c.head.Event, c.last)
		}
	}
	return nil
}

// end writes what is lost at the end, and what was lost in all.
func (c *copier) end() error {
	if err := c.mourn(c.lost); err != nil {
		return err
	}
	c.lost = nil
	accepted := max(c.accepted+1, c.options.Now().UnixNano())
	ranges := make([]event.Range, 0, len(c.gone))
	for _, l := range c.gone {
		if n := len(ranges); n > 0 && ranges[n-1].To+1 == l.From {
			ranges[n-1].To = l.To
			continue
		}
		ranges = append(ranges, event.Range{From: l.From, To: l.To})
	}
	for first := true; first || len(ranges) > 0; first = false {
		n := min(len(ranges), event.MaxLost)
		body, err := c.encode(&event.JournalSalvaged{History: c.survey.History, Last: c.last, Lost: ranges[:n], Checkpoint: c.checkpoint, Reason: c.reason()})
		if err != nil {
			return err
		}
		ranges = ranges[n:]
		var b journal.PageBuilder
		b.Add(body)
		if err := c.put(&b, accepted); err != nil {
			return err
		}
		accepted++
	}
	return nil
}

// reason is what was wrong, in brief.
func (c *copier) reason() string {
	var parts []string
	for i, l := range c.gone {
		if i == 10 {
			parts = append(parts, fmt.Sprintf("and %d more", len(c.gone)-i))
			break
		}
		parts = append(parts, fmt.Sprintf("events %d to %d (%s at offset %d): %s", l.From, l.To, l.File, l.Offset, l.Reason))
	}
	if len(parts) == 0 {
		parts = append(parts, "nothing is missing")
	}
	return cut(strings.Join(parts, "; "), event.MaxText)
}

func (c *copier) encode(p event.Payload) ([]byte, error) {
	e := &event.Event{Observed: c.options.Now().UTC().Truncate(time.Microsecond), Actor: event.Actor{Issuer: "local", Subject: "salvage"}, Payload: p}
	return e.Append(nil)
}

// cut is s with at most n bytes, which end where a character does.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "")
}
