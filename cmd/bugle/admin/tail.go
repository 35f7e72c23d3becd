package admin

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/bugle-fleet/bugle/console"
)

// showLast shows the events that tail begins with and returns the number of the
// first that it has not looked at.
func (s *session) showLast(f *tailFlags, out *eventPrinter) (next uint64, err error) {
	head, err := s.head()
	if err != nil {
		return 0, err
	}
	progress := s.scanProgress()
	defer progress.clear()
	if f.from == "" {
		return head.Events + 1, s.showLastOf(f, head.Events, progress, out)
	}
	if n, err := strconv.ParseUint(f.from, 10, 64); err == nil && n > head.Events+1 {
		return 0, usage("--from: there is no event %d yet, the last one is %d", n, head.Events)
	}
	to := f.to
	if to == "" {
		to = number(head.Events)
	}
	left := f.limit
	for e, err := range s.events(&f.eventFilter, f.from, to, progress.looked) {
		if err != nil {
			return 0, err
		}
		if left--; left < 0 && f.limitGiven() {
			break
		}
		progress.clear()
		out.show(e)
	}
	return head.Events + 1, nil
}

// showLastOf shows the last events up to --to.
func (s *session) showLastOf(f *tailFlags, last uint64, progress *scanProgress, out *eventPrinter) error {
	if f.to != "" {
		var page console.EventPage // for the number of the event alone
		if err := s.client.get(s.ctx, console.PathEvents, query("from", "1", "to", f.to, "limit", "1"), &page); err != nil {
			return err
		}
		last = page.To
	}
	events, err := s.lastEvents(f, last+1, progress)
	progress.clear()
	for _, e := range events {
		out.show(e)
	}
	return err
}

// lastEvents is the last events that are wanted before number until. It looks
// backwards in windows that grow, for the site only reads forwards.
func (s *session) lastEvents(f *tailFlags, until uint64, progress *scanProgress) ([]console.Event, error) {
	var found []console.Event
	n := f.limit
	window := uint64(n)
	if f.eventFilter.some() {
		window = max(window, 1000)
	}
	for until > 1 && len(found) < n {
		from := until - min(window, until-1)
		var part []console.Event
		for e, err := range s.events(&f.eventFilter, number(from), number(until-1), progress.looked) {
			if err != nil {
				return nil, err
			}
			if part = append(part, e); len(part) > 2*n {
				part = append(part[:0], part[len(part)-n:]...)
			}
		}
		found = append(part, found...)
		until, window = from, window*4
	}
	return found[max(0, len(found)-n):], nil
}

// showNew shows events as they happen, until the command is interrupted, which
// is its good end. A stream that breaks is taken up where it broke.
func (s *session) showNew(f *tailFlags, next uint64, out *eventPrinter) error {
	ctx, stop := signal.NotifyContext(s.ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	silent := 0
	for {
		r := request{method: "GET", path: console.PathEventStream,
			query: f.query("from", number(next))}
		err := s.client.stream(ctx, r, func(m message) error {
			var e console.Event
			if err := unmarshal(m.data, &e); err != nil || e.Number < next {
				return fmt.Errorf("follow journal: %q is not the next event (%v)", clean(cut(string(m.data), maxLong)), err)
			}
			next, silent = e.Number+1, 0
			out.show(e)
			return out.p.err
		})
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && !mayPass(err):
			return err
		case silent == maxSilent:
			return errors.Join(err, errors.New("follow journal: the site does not answer any more"))
		case silent == 0:
			s.note("The connection ended; trying to go on with event %d.", next)
		}
		silent++
		if s.pause(ctx, slowPoll) != nil {
			return nil
		}
	}
}

var eventColumns = []column[console.Event]{
	{"number", false, func(e console.Event) any { return e.Number }},
	{"accepted", false, func(e console.Event) any { return e.Accepted }},
	{"kind", false, func(e console.Event) any { return e.Kind }},
	{"actor", false, func(e console.Event) any { return actor(e.Actor) }},
	{"address", false, func(e console.Event) any { return e.Actor.Address }},
	{"source", false, func(e console.Event) any { return source(e.Source) }},
	{"payload", false, func(e console.Event) any { return compact(e.Payload) }},
}

// An eventPrinter shows events one by one: a table of events does not wait for
// its end.
type eventPrinter struct {
	p     *printer
	shown int
}

func newEventPrinter(p *printer) *eventPrinter { return &eventPrinter{p: p} }

func (o *eventPrinter) show(e console.Event) {
	first := o.shown == 0
	o.shown++
	switch o.p.format {
	case "json":
		separator := ",\n  "
		if first {
			separator = "[\n  "
		}
		o.p.printf("%s%s", separator, indented(e))
	case "jsonl":
		o.p.json(e, false)
	case "csv":
		if first {
			o.p.csv(mapped(eventColumns, func(c column[console.Event]) string { return c.name }))
		}
		o.p.csv(mapped(eventColumns, func(c column[console.Event]) string { return plain(c.value(e)) }))
	default:
		if first {
			o.p.printf("%10s  %-23s  %-20s  %-22s  %s\n", "NUMBER", "ACCEPTED", "KIND", "ACTOR", "WHAT")
		}
		at, _ := o.p.cell(exact(e.Accepted), true)
		o.p.printf("%10d  %s  %-20s  %-22s  %s\n", e.Number, at, clean(e.Kind), clean(actor(e.Actor)), clean(brief(e)))
	}
}

// close ends what was begun. Without it JSON stays open, and nobody takes it for
// the whole.
func (o *eventPrinter) close() {
	if o.p.format != "json" {
		return
	}
	if o.shown == 0 {
		o.p.printf("[]\n")
		return
	}
	o.p.printf("\n]\n")
}

func actor(a console.EventActor) string {
	s := a.Issuer
	if a.Subject != "" {
		s += "/" + a.Subject
	}
	return s
}

// source is the file that an event was made of, as it is named in the box.
func source(f *console.EventSource) string {
	if f == nil {
		return ""
	}
	return fmt.Sprintf("%s-%08d-%020d.%s", f.Listener, f.Epoch, f.Number, f.File)
}

func eventFields(e console.Event) []field {
	fields := []field{{"Number", "number", e.Number}, {"Kind", "kind", e.Kind}, {"Accepted", "accepted", exact(e.Accepted)}}
	if e.Observed != nil {
		fields = append(fields, field{"Observed", "observed", exact(*e.Observed)})
	}
	if e.Delay != 0 {
		fields = append(fields, field{"Difference", "delaySeconds", time.Duration(e.Delay * float64(time.Second)).Round(time.Millisecond)})
	}
	fields = append(fields, field{"Who", "who", e.Who}, field{"From where", "where", e.Where}, field{"Why", "why", e.Why},
		field{"Actor", "actor", actor(e.Actor)}, field{"Address", "address", e.Actor.Address})
	if e.Source != nil {
		fields = append(fields, field{"File", "source", source(e.Source)},
			field{"Part", "part", fmt.Sprintf("%d of %d", e.Source.Part, e.Source.Of)})
	}
	return fields
}
