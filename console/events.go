package console

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/event"
)

// maxScanned is how many events one call looks at for those it was asked for.
const maxScanned = 50_000

type eventsInput struct {
	From  uint64   `query:"from" minimum:"0" doc:"the first event; default 1"`
	Limit int      `query:"limit" minimum:"1" maximum:"1000" default:"100"`
	Kind  []string `query:"kind" maxItems:"50" doc:"only these kinds, separated by commas"`
}

type out[T any] struct{ Body T }

func answer[T any](body T) (*out[T], error) { return &out[T]{body}, nil }

func (c *Console) listEvents(ctx context.Context, in *eventsInput) (*out[EventPage], error) {
	kinds, err := parseKinds(in.Kind)
	if err != nil {
		return nil, err
	}
	page, err := c.scan(ctx, max(in.From, 1), in.Limit, kinds)
	if err != nil {
		return nil, c.fail(ctx, "read the journal", err)
	}
	return answer(page)
}

func parseKinds(names []string) ([]event.Kind, error) {
	var all []event.Kind
	for _, n := range names {
		if _, ok := event.AppenderOf(event.Kind(n)); !ok {
			return nil, badRequest("The kind is unknown", "kind: there are no events %q; names look like device.joined.", clip(n))
		}
		all = append(all, event.Kind(n))
	}
	return all, nil
}

// scan reads events from number on until it has limit of them, or has looked at
// maxScanned.
func (c *Console) scan(ctx context.Context, from uint64, limit int, kinds []event.Kind) (EventPage, error) {
	page := EventPage{Items: []Event{}, Event: c.cfg.Journal.Head().Event}
	if from > page.Event {
		return page, nil
	}
	r, err := c.cfg.Journal.Read(ctx, from)
	if err != nil {
		return page, err
	}
	defer r.Close()
	for {
		p, err := r.Next(ctx)
		if errors.Is(err, io.EOF) {
			return page, nil
		}
		if err != nil {
			return page, err
		}
		for i := range p.Records {
			rec := &p.Records[i]
			if rec.Number < from {
				continue
			}
			if len(page.Items) == limit || rec.Number-from >= maxScanned {
				page.Next = rec.Number
				return page, nil
			}
			if !wanted(rec, kinds) {
				continue
			}
			e, err := rec.Event()
			if err != nil {
				return page, err
			}
			page.Items = append(page.Items, eventJSON(e))
		}
	}
}

func wanted(r *journal.Record, kinds []event.Kind) bool {
	return len(kinds) == 0 || slices.Contains(kinds, r.Kind())
}

type eventInput struct {
	Number uint64 `path:"number" minimum:"1"`
}

func (c *Console) getEvent(ctx context.Context, in *eventInput) (*out[Event], error) {
	e, err := c.event(ctx, in.Number)
	if err != nil {
		return nil, c.fail(ctx, "read the journal", err)
	}
	return answer(eventJSON(e))
}

// event reads one event of the journal; one that is not there is a problem.
func (c *Console) event(ctx context.Context, number uint64) (*event.Event, error) {
	if head := c.cfg.Journal.Head().Event; number == 0 || number > head {
		return nil, notFound("There is no event %d; the journal ends with event %d.", number, head)
	}
	r, err := c.cfg.Journal.Read(ctx, number)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	p, err := r.Next(ctx)
	if err != nil {
		return nil, err
	}
	if number < p.First || number > p.Last() {
		return nil, fmt.Errorf("read event %d: the journal gave events %d to %d", number, p.First, p.Last())
	}
	return p.Records[number-p.First].Event()
}

func (c *Console) getJournal(context.Context, *struct{}) (*out[JournalReply], error) {
	h := c.cfg.Journal.Head()
	return answer(JournalReply{Events: h.Event, Pages: h.Pages, Head: hex.EncodeToString(h.Hash[:])})
}

type streamInput struct {
	Last string   `header:"Last-Event-ID" doc:"the last event that was seen; the stream goes on behind it"`
	From uint64   `query:"from" minimum:"0" doc:"the first event, without Last-Event-ID; default the next one that happens"`
	Kind []string `query:"kind" maxItems:"50" doc:"only these kinds, separated by commas"`
}

// streamEvents sends every event as it becomes durable, as server-sent events
// whose id is the event's number, until the caller goes away.
func (c *Console) streamEvents(ctx context.Context, in *streamInput) (*huma.StreamResponse, error) {
	kinds, err := parseKinds(in.Kind)
	if err != nil {
		return nil, err
	}
	from, err := c.streamFrom(in)
	if err != nil {
		return nil, err
	}
	leave, err := c.enterStream()
	if err != nil {
		return nil, err
	}
	return &huma.StreamResponse{Body: func(hc huma.Context) {
		defer leave()
		ctx, cancel := c.streamContext(hc.Context())
		defer cancel()
		s := newStream(hc)
		if err := c.pump(ctx, s, from, kinds); err != nil && ctx.Err() == nil {
			c.cfg.Log.Warn("event stream broke", "err", err)
		}
	}}, nil
}

func (c *Console) streamFrom(in *streamInput) (uint64, error) {
	head := c.cfg.Journal.Head().Event
	from := in.From
	if in.Last != "" {
		last, err := strconv.ParseUint(strings.TrimSpace(in.Last), 10, 63)
		if err != nil {
			return 0, badRequest("The stream cannot begin there", "%s: %q is not the number of an event.", HeaderLastEventID, clip(in.Last))
		}
		from = last + 1
	}
	if from == 0 {
		from = head + 1
	}
	if from > head+1 {
		return 0, badRequest("The stream cannot begin there", "Event %d is not there yet; the journal ends with event %d.", from, head)
	}
	return from, nil
}

// pump follows the journal into a stream.
func (c *Console) pump(ctx context.Context, s *stream, from uint64, kinds []event.Kind) error {
	r, err := c.cfg.Journal.Follow(ctx, from)
	if err != nil {
		return err
	}
	defer r.Close()
	ctx, cancel := context.WithCancel(ctx)
	pages := make(chan *journal.Page)
	ended := make(chan error, 1)
	go func() { ended <- nextPages(ctx, r, pages) }()
	// The reader is closed only once Next has returned.
	stop := func() error { cancel(); return <-ended }
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	if err := s.comment("following"); err != nil {
		stop()
		return err
	}
	for {
		var err error
		select {
		case p := <-pages:
			err = sendPage(s, p, from, kinds)
		case <-beat.C:
			err = s.comment("alive")
		case err := <-ended:
			cancel()
			return err
		}
		if err != nil {
			stop()
			return err
		}
	}
}

func nextPages(ctx context.Context, r journal.Reader, pages chan<- *journal.Page) error {
	for {
		p, err := r.Next(ctx)
		if err != nil {
			return err
		}
		select {
		case pages <- p:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func sendPage(s *stream, p *journal.Page, from uint64, kinds []event.Kind) error {
	for i := range p.Records {
		rec := &p.Records[i]
		if rec.Number < from || !wanted(rec, kinds) {
			continue
		}
		e, err := rec.Event()
		if err != nil {
			return err
		}
		if err := s.send(strconv.FormatUint(e.Number, 10), "event", eventJSON(e)); err != nil {
			return err
		}
	}
	return s.flush()
}

// rawJSON is JSON as it came, or text if it is none.
func rawJSON(b []byte) any {
	if len(b) == 0 {
		return nil
	}
	if json.Valid(b) {
		return json.RawMessage(b)
	}
	return string(b)
}
