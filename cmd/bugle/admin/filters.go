package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/bugle-fleet/bugle/console"
	"github.com/bugle-fleet/bugle/console/filter"
	"github.com/bugle-fleet/bugle/journal/event"
)

// eventFilter is the flags that pick events. Whether device and operation are
// there, the site tells.
type eventFilter struct {
	from, to                 string
	kinds                    []string
	actor, device, operation string
	collection               string
	changes                  bool
}

const filterHelp = `--from and --to are the number of an event, an instant such as 2026-12-24T18:00:00Z, or a
time back from now such as 2h or 7d; both ends are included. --kind takes kinds, and
beginnings that end with a dot (operation.). --actor is a subject, or ISSUER:SUBJECT (also
ISSUER/SUBJECT, as a table shows it) with one of the issuers local, token, certificate,
listener and site; it also finds what the files of a listener said. --device finds every
event that concerns a device: that it joined, was blocked or unblocked, what was discovered,
its entries in presence reports, its rows of results, the operations that it is a target of,
status messages about it, that it entered or left collections. --operation finds every event
that touched an operation, and the request of one that repeats it. --collection finds what is
about a collection: its definition, its windows, its evaluations, pushes to it. All that is
given must hold.`

func (f *eventFilter) add(c *cobra.Command, o *Options) {
	c.Flags().StringVar(&f.from, "from", "", "begin with this event: a number, an instant, or a time back such as 2h")
	c.Flags().StringVar(&f.to, "to", "", "end with this event: a number, an instant, or a time back such as 2h")
	c.Flags().StringSliceVar(&f.kinds, "kind", nil, "only events of this kind, or that begin so if it ends with a dot; may be repeated")
	c.Flags().StringVar(&f.actor, "actor", "", "only what this actor did: SUBJECT or ISSUER:SUBJECT, or a listener")
	c.Flags().StringVar(&f.device, "device", "", "only what concerns this device, by number, id or name")
	c.Flags().StringVar(&f.operation, "operation", "", "only what touched this operation")
	c.Flags().StringVar(&f.collection, "collection", "", "only what is about this collection, by id or name")
	c.RegisterFlagCompletionFunc("collection", o.complete(collectionNames))
	c.RegisterFlagCompletionFunc("kind", cobra.FixedCompletions(eventKinds(), cobra.ShellCompDirectiveNoFileComp))
	c.RegisterFlagCompletionFunc("device", o.complete(deviceNames))
	c.RegisterFlagCompletionFunc("operation", o.complete(operationIDs))
}

// eventKinds are all kinds, and the words before their dots.
func eventKinds() []string {
	var names []string
	for _, k := range event.Kinds() {
		group, _, _ := strings.Cut(string(k), ".")
		names = append(names, string(k), group+".")
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func (f *eventFilter) check(s *session) error {
	for _, given := range [][2]string{{"--from", f.from}, {"--to", f.to}} {
		flag, value := given[0], given[1]
		if value == "" {
			continue
		}
		if err := console.CheckMoment(value); err != nil {
			return usage("%s: %q: %w", flag, value, err)
		}
	}
	if f.actor != "" {
		if _, err := filter.ParseActor(f.actor); err != nil {
			return usage("--actor: %q: %w", f.actor, err)
		}
	}
	if f.operation != "" {
		if err := operationID(f.operation); err != nil {
			return err
		}
	}
	for _, k := range f.kinds {
		if filter.CheckKind(k) != nil {
			s.note("This bugle does not know events of kind %q; the site may.", k)
		}
	}
	return nil
}

// some tells whether not all events are wanted.
func (f *eventFilter) some() bool {
	return len(f.kinds) > 0 || f.actor != "" || f.device != "" || f.operation != "" || f.collection != ""
}

func (f *eventFilter) query(pairs ...string) url.Values {
	return query(append(pairs, "kind", strings.Join(f.kinds, ","), "actor", f.actor, "device", f.device, "operation", f.operation, "collection", f.collection)...)
}

// events is the events between two moments that the filter wants. It follows the
// site to the end, however few it finds on the way, and tells looked how far it
// is.
func (s *session) events(f *eventFilter, from, to string, looked func(page *console.EventPage)) iter.Seq2[console.Event, error] {
	return pages(func(next string) ([]console.Event, string, error) {
		if next != "" {
			from = next
		}
		q := f.query("from", from, "to", to, "limit", strconv.Itoa(pageSize))
		if f.changes {
			q.Set("change", "true")
		}
		var page console.EventPage
		if err := s.client.callAgain(s.ctx, request{method: "GET", path: console.PathEvents, query: q}, &page); err != nil {
			return nil, "", err
		}
		if looked != nil {
			looked(&page)
		}
		// A time back from now must not move while pages are read.
		to = strconv.FormatUint(page.To, 10)
		return page.Items, number(page.Next), nil
	})
}

// How soon and how often a long scan says how far it is.
const (
	scanQuiet = 2 * time.Second
	scanEvery = 5 * time.Second // where it is not a terminal
)

// A scanProgress shows on stderr how far a scan is, if it takes long.
type scanProgress struct {
	s     *session
	shown *Progress
	first uint64
	began time.Time
	last  time.Time
}

func (s *session) scanProgress() *scanProgress { return &scanProgress{s: s, began: s.time()} }

func (p *scanProgress) looked(page *console.EventPage) {
	now := p.s.time()
	if p.first == 0 {
		p.first = page.From
	}
	terminal := p.s.isTerminal(p.s.err)
	if page.Next == 0 || now.Sub(p.began) < scanQuiet || !terminal && now.Sub(p.last) < scanEvery {
		return
	}
	p.last = now
	if p.shown == nil {
		p.shown = p.s.progress(0)
	}
	p.shown.show(int(page.Next-p.first), int(page.To-p.first+1), "event", "looked at up to event "+strconv.FormatUint(page.Next-1, 10))
}

// clear makes room for a line of output on the same terminal.
func (p *scanProgress) clear() {
	if p.shown != nil {
		p.shown.clear()
	}
}

// A pastFlag is --at: as of when a command shows what it shows.
type pastFlag struct {
	text  string
	event uint64 // that it turned out to be
}

func (p *pastFlag) add(c *cobra.Command) {
	c.Flags().StringVar(&p.text, "at", "", "show it as of an event: a number, an instant such as 2026-12-24T18:00:00Z, or a time back such as 2h")
}

func (p *pastFlag) check() error {
	if p.text == "" {
		return nil
	}
	if err := console.CheckMoment(p.text); err != nil {
		return usage("--at: %q: %w", p.text, err)
	}
	return nil
}

// getAs is get as of --at. The first answer says which event that is; all that
// follow are as of the same.
func (s *session) getAs(ctx context.Context, p *pastFlag, path string, q url.Values, out any) error {
	if p.text == "" {
		return s.client.get(ctx, path, q, out)
	}
	if q == nil {
		q = url.Values{}
	}
	q.Set(console.QueryAt, p.text)
	if p.event > 0 {
		q.Set(console.QueryAt, number(p.event))
	}
	as, err := s.client.getEvent(ctx, path, q, out)
	if err == nil && p.event == 0 {
		p.event = as
		s.note("As of event %d.", as)
	}
	return err
}

// getEvent is get, and returns the event that the answer is as of.
func (c *client) getEvent(ctx context.Context, path string, q url.Values, out any) (uint64, error) {
	var as uint64
	err := c.call(ctx, request{method: "GET", path: path, query: q, event: &as}, out)
	if err == nil && as == 0 {
		err = fmt.Errorf("read answer of %s: it does not say which event it is as of: this site cannot tell the past", c.at.base.Host)
	}
	return as, err
}

// unmarshal keeps numbers as they are: those of events may have more digits than
// a float holds.
func unmarshal(b []byte, out any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	if err := d.Decode(out); err != nil {
		return err
	}
	if d.More() {
		return errors.New("more follows")
	}
	return nil
}
