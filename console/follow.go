package console

import (
	"context"
	"errors"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/bugle-fleet/bugle/console/filter"
	"github.com/bugle-fleet/bugle/journal"
)

type streamInput struct {
	Last string `header:"Last-Event-ID" doc:"the last event that was seen; the stream goes on behind it"`
	From string `query:"from" maxLength:"64" doc:"the first event, without Last-Event-ID: its number, or the first one since an instant (RFC 3339) or a time back from now (2h, 7d); default the next one that happens"`
	To   string `query:"to" maxLength:"64" doc:"the last event: its number or an instant, which may be still to come; the stream ends behind it; default never"`
	EventFilter
}

// A following is one stream of events.
type following struct {
	*stream
	from   uint64
	to     uint64 // the last event
	until  int64  // the last time, in Unix nanoseconds
	filter *filter.Filter
}

// streamEvents sends every event as it becomes durable, as server-sent events
// whose id is the event's number, until the caller goes away or the last one that
// was asked for is sent.
func (c *Console) streamEvents(ctx context.Context, in *streamInput) (*huma.StreamResponse, error) {
	f := &following{to: math.MaxUint64, until: math.MaxInt64}
	var err error
	if f.filter, err = c.filter(ctx, &in.EventFilter); err != nil {
		return nil, err
	}
	if f.from, err = c.streamFrom(ctx, in); err != nil {
		return nil, err
	}
	if in.To != "" {
		m, err := parseMoment(in.To, c.cfg.Now())
		switch {
		case err != nil:
			return nil, badMoment("to", in.To, err)
		case m.number > 0:
			f.to = m.number
		default:
			f.until = nanoseconds(m.at)
		}
	}
	leave, err := c.enterStream()
	if err != nil {
		return nil, err
	}
	return &huma.StreamResponse{Body: func(hc huma.Context) {
		defer leave()
		ctx, cancel := c.streamContext(hc.Context())
		defer cancel()
		f.stream = newStream(hc)
		if err := c.pump(ctx, f); err != nil && ctx.Err() == nil {
			c.cfg.Log.Warn("event stream broke", "err", err)
		}
	}}, nil
}

func (c *Console) streamFrom(ctx context.Context, in *streamInput) (uint64, error) {
	head := c.cfg.Journal.Head().Event
	from := head + 1
	switch {
	case in.Last != "":
		last, err := strconv.ParseUint(strings.TrimSpace(in.Last), 10, 63)
		if err != nil {
			return 0, badRequest("The stream cannot begin there", "%s: %q is not the number of an event.", HeaderLastEventID, clip(in.Last))
		}
		from = last + 1
	case in.From != "":
		var err error
		if from, err = c.firstFrom(ctx, in.From, head); err != nil {
			return 0, c.fail(ctx, "find the event", err)
		}
	}
	if from > head+1 {
		return 0, noEventYet("from", from, head)
	}
	return from, nil
}

// errLast ends a stream behind the last event that was asked for.
var errLast = errors.New("the last event was sent")

// pump follows the journal into a stream.
func (c *Console) pump(ctx context.Context, f *following) error {
	r, err := c.cfg.Journal.Follow(ctx, f.from)
	if err != nil {
		return err
	}
	defer r.Close()
	ctx, cancel := context.WithCancel(ctx)
	pages := make(chan *journal.Page)
	ended := make(chan error, 1)
	go func() { ended <- nextPages(ctx, r, pages) }()
	// The reader is closed only once Next has returned.
	stop := func() { cancel(); <-ended }
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	if err := f.comment("following"); err != nil {
		stop()
		return err
	}
	for {
		var err error
		select {
		case p := <-pages:
			err = f.sendPage(p)
		case <-beat.C:
			err = f.comment("alive")
			if err == nil && c.cfg.Now().UnixNano() > f.until {
				err = errLast
			}
		case err := <-ended:
			cancel()
			return err
		}
		if err != nil {
			stop()
			if errors.Is(err, errLast) {
				return nil
			}
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

func (f *following) sendPage(p *journal.Page) error {
	for i := range p.Records {
		rec := &p.Records[i]
		if rec.Number < f.from {
			continue
		}
		if rec.Number > f.to || rec.Accepted > f.until {
			return errors.Join(f.flush(), errLast)
		}
		wanted, err := f.filter.Matches(rec)
		if err != nil {
			return err
		}
		if !wanted {
			continue
		}
		e, err := rec.Event()
		if err != nil {
			return err
		}
		if err := f.send(strconv.FormatUint(e.Number, 10), "event", eventJSON(e)); err != nil {
			return err
		}
	}
	if p.Last() >= f.to {
		return errors.Join(f.flush(), errLast)
	}
	return f.flush()
}
