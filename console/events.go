package console

import (
	"context"
	"encoding/hex"
	"errors"
	"io"
	"strings"

	"github.com/bugle-fleet/bugle/console/definitions"
	"github.com/bugle-fleet/bugle/console/filter"
	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/event"
)

// Bounds of one call for events.
const (
	maxScanned      = 50_000    // events that are looked at for those that are asked for
	maxScannedBytes = 256 << 20 // of them
	maxShownBytes   = 2 << 20   // of events that are shown, as the journal has them; JSON is some twenty times that
	maxChanges      = 100       // events that are shown with what was before and after
)

// EventFilter is the parameters of calls that pick events.
type EventFilter struct {
	Kind      []string `query:"kind" maxItems:"50" doc:"only these kinds, separated by commas; one that ends with a dot stands for all that begin so"`
	Actor     string   `query:"actor" maxLength:"300" doc:"only what this actor did, by SUBJECT or ISSUER:SUBJECT, or what a listener's files said"`
	Device    string   `query:"device" maxLength:"256" doc:"only what concerns this device, by number, id or name"`
	Operation string   `query:"operation" maxLength:"64" doc:"only what touched this operation"`

	Collection string `query:"collection" maxLength:"256" doc:"only what is about this collection, by id or name: its definition, windows, evaluations and members, and pushes to it"`
}

// filter checks that what is asked for is there.
func (c *Console) filter(ctx context.Context, in *EventFilter) (*filter.Filter, error) {
	f := &filter.Filter{Kinds: in.Kind}
	for _, k := range in.Kind {
		if err := filter.CheckKind(k); err != nil {
			return nil, badRequest("The kind is unknown", "kind: %s.", err)
		}
	}
	var err error
	if in.Actor != "" {
		if f.Actor, err = filter.ParseActor(in.Actor); err != nil {
			return nil, badRequest("The actor cannot be read", "actor: %s.", err)
		}
	}
	if in.Device != "" {
		d, err := c.findDeviceNow(ctx, in.Device)
		if err != nil {
			return nil, c.failView(ctx, "find the device", err)
		}
		f.Device = d.Number
	}
	if in.Operation != "" {
		if f.Operation, err = parseOperation(in.Operation); err != nil {
			return nil, err
		}
		if _, err := c.now().findOperation(ctx, f.Operation); err != nil {
			return nil, c.failView(ctx, "find the operation", err)
		}
	}
	f.Collection, err = c.collectionID(in.Collection)
	return f, err
}

// collectionID is the id of a collection that there is, or an id of one that there
// was.
func (c *Console) collectionID(word string) (string, error) {
	if word == "" {
		return "", nil
	}
	if c.cfg.Definitions == nil {
		return "", errNoCollections
	}
	d, ok := c.cfg.Definitions.Now().Find(word)
	switch {
	case ok:
		return d.ID, nil
	case definitions.IsID(strings.ToUpper(word)):
		return strings.ToUpper(word), nil
	}
	return "", notFound("There is no collection with the id or name %q.", clip(word))
}

type eventsInput struct {
	From   string `query:"from" maxLength:"64" doc:"the first event: its number, or the first one since an instant (RFC 3339) or a time back from now (2h, 7d); default 1"`
	To     string `query:"to" maxLength:"64" doc:"the last event, in the same words; default the last one there is"`
	Limit  int    `query:"limit" minimum:"1" maximum:"1000" default:"100"`
	Change bool   `query:"change" doc:"show what was before and after, of events that change what an administrator defines"`
	EventFilter
}

func (c *Console) listEvents(ctx context.Context, in *eventsInput) (*out[EventPage], error) {
	f, err := c.filter(ctx, &in.EventFilter)
	if err != nil {
		return nil, err
	}
	s := &scan{limit: in.Limit, filter: f}
	if s.page.From, s.page.To, err = c.span(ctx, in.From, in.To); err != nil {
		return nil, c.fail(ctx, "find the events", err)
	}
	if err := c.scan(ctx, s); err != nil {
		return nil, c.fail(ctx, "read the journal", err)
	}
	if in.Change {
		c.addChanges(ctx, s)
	}
	return answerAt(s.page, s.page.Event)
}

// A scan is one walk over a part of the journal.
type scan struct {
	limit  int
	filter *filter.Filter
	page   EventPage      // From and To are set before
	events []*event.Event // of page.Items

	scanned, shown int // bytes
}

// scan reads events until it has what was asked for or a bound is reached.
func (c *Console) scan(ctx context.Context, s *scan) error {
	s.page.Items, s.page.Event = []Event{}, c.cfg.Journal.Head().Event
	if s.page.From > s.page.To {
		return nil
	}
	r, err := c.cfg.Journal.Read(ctx, s.page.From)
	if err != nil {
		return err
	}
	defer r.Close()
	for more := true; more; {
		p, err := r.Next(ctx)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if more, err = s.take(p); err != nil {
			return err
		}
	}
	return nil
}

// take looks at the events of a page; more is false at the end.
func (s *scan) take(p *journal.Page) (more bool, err error) {
	for i := range p.Records {
		rec := &p.Records[i]
		switch {
		case rec.Number < s.page.From:
			continue
		case rec.Number > s.page.To:
			return false, nil
		case s.full(rec.Number):
			s.page.Next = rec.Number
			return false, nil
		}
		s.scanned += len(rec.Body)
		wanted, err := s.filter.Matches(rec)
		if err != nil {
			return false, err
		}
		if !wanted {
			continue
		}
		e, err := rec.Event()
		if err != nil {
			return false, err
		}
		s.shown += len(rec.Body)
		s.page.Items, s.events = append(s.page.Items, eventJSON(e)), append(s.events, e)
	}
	return p.Last() < s.page.To, nil
}

func (s *scan) full(number uint64) bool {
	return len(s.page.Items) >= s.limit || number-s.page.From >= maxScanned || s.scanned >= maxScannedBytes || s.shown >= maxShownBytes
}

type showInput struct {
	Number uint64 `path:"number" minimum:"1"`
	Change bool   `query:"change" doc:"show what was before and after, of an event that changes what an administrator defines"`
}

func (c *Console) getEvent(ctx context.Context, in *showInput) (*out[Event], error) {
	e, err := c.event(ctx, in.Number)
	if err != nil {
		return nil, c.fail(ctx, "read the journal", err)
	}
	shown := eventJSON(e)
	if in.Change {
		shown.Change = c.changeOf(ctx, e)
	}
	return answerAt(shown, in.Number)
}

// event reads one event of the journal; one that is not there is a problem.
func (c *Console) event(ctx context.Context, number uint64) (*event.Event, error) {
	if head := c.cfg.Journal.Head().Event; number == 0 || number > head {
		return nil, notFound("There is no event %d; the journal ends with event %d.", number, head)
	}
	p, err := readPage(ctx, c.cfg.Journal, number)
	if err != nil {
		return nil, err
	}
	return p.Records[number-p.First].Event()
}

func (c *Console) getJournal(context.Context, *struct{}) (*out[JournalReply], error) {
	h := c.cfg.Journal.Head()
	return answer(JournalReply{Events: h.Event, Pages: h.Pages, Head: hex.EncodeToString(h.Hash[:])})
}
