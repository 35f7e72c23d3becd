package console

import (
	"context"
	"time"

	"github.com/bugle-fleet/bugle/agent/window"
	"github.com/bugle-fleet/bugle/projectors/collection"
	"github.com/bugle-fleet/bugle/projectors/device"
)

// WindowsQuestion are the parameters of the calls that ask when windows are open.
type WindowsQuestion struct {
	When
	Of         string `query:"of" maxLength:"256" doc:"the device or the collection that this names; both at once are an error"`
	Collection string `query:"collection" maxLength:"256" doc:"id or name; its windows and those in the policy of the site"`
	Device     string `query:"device" maxLength:"256" doc:"number, id or name"`
	Zone       string `query:"zone" maxLength:"64" doc:"the time zone in which local windows are reckoned, such as Europe/Berlin or +02:00; default that of the device, or else UTC"`
	Kind       string `query:"kind" enum:"general,updates,task-sequences" doc:"only windows that count for this"`
}

// A schedule is the windows that a question is about.
type schedule struct {
	about    WindowsFor
	zone     zone
	now      time.Time // the moment in question
	all      []placedWindow
	disabled []placedWindow
}

// scheduleOf collects the windows of a device or of a collection.
func (c *Console) scheduleOf(ctx context.Context, in *WindowsQuestion) (*schedule, error) {
	given := 0
	for _, word := range []string{in.Of, in.Device, in.Collection} {
		if word != "" {
			given++
		}
	}
	if given != 1 {
		return nil, badRequest("The request does not say whose windows it is about", "Give one of device, collection and of.")
	}
	v, err := c.read(ctx, in.When)
	if err != nil {
		return nil, err
	}
	d, info, err := v.whose(in)
	if err != nil {
		return nil, err
	}
	s := &schedule{now: c.cfg.Now()}
	if v.past {
		e, err := c.event(ctx, v.event)
		if err != nil {
			return nil, err
		}
		s.now = e.Accepted
	}
	s.about.Event = v.event
	if d != nil {
		err = s.ofDevice(ctx, c, v, in.Zone, d)
	} else {
		err = s.ofCollection(ctx, c, v, in.Zone, info)
	}
	if err != nil {
		return nil, err
	}
	s.about.Zone, s.about.ZoneFrom = s.zone.name, s.zone.from
	return s, nil
}

// whose returns the device or the collection that a question is about.
func (v *reading) whose(in *WindowsQuestion) (*device.Device, *collection.Info, error) {
	if in.Device != "" {
		d, err := v.findDevice(in.Device)
		return &d, nil, err
	}
	if in.Collection != "" {
		info, err := v.collectionNamed(in.Collection)
		return nil, &info, err
	}
	d, noDevice := v.findDevice(in.Of)
	info, noCollection := v.collectionNamed(in.Of)
	switch {
	case noDevice == nil && noCollection == nil:
		return nil, nil, conflict("%q is device %d and collection %s; say which one is meant.", clip(in.Of), d.Number, info.ID)
	case noDevice == nil && isNotFound(noCollection):
		return &d, nil, nil
	case noCollection == nil && isNotFound(noDevice):
		return nil, &info, nil
	case isNotFound(noDevice) && isNotFound(noCollection):
		return nil, nil, notFound("There is no device and no collection %q.", clip(in.Of))
	case isNotFound(noDevice):
		return nil, nil, noCollection
	}
	return nil, nil, noDevice
}

func (s *schedule) ofDevice(ctx context.Context, c *Console, v *reading, asked string, d *device.Device) (err error) {
	s.about.Device, s.about.DeviceName = d.Number, d.Name
	if s.zone, err = zoneFor(asked, d); err != nil {
		return err
	}
	s.all, s.disabled, s.about.LeftOut, err = c.windowsOfDevice(ctx, v, d)
	return err
}

func (s *schedule) ofCollection(ctx context.Context, c *Console, v *reading, asked string, info *collection.Info) (err error) {
	s.about.Collection, s.about.CollectionName = info.ID, info.Name
	if s.zone, err = zoneFor(asked, nil); err != nil {
		return err
	}
	own, err := v.windowsOfCollection(info)
	if err != nil {
		return err
	}
	s.all, err = c.sitesWindows(ctx, v)
	s.all = append(s.all, own...)
	return err
}

// list returns the windows that count for a kind, or all that are enabled if it is
// empty; any tells that none counts.
func (s *schedule) list(kind string) (l window.List, any bool) {
	for i := range s.all {
		if s.all[i].Enabled {
			l = append(l, s.all[i].Window)
		}
	}
	if kind != "" {
		l = l.For(window.Kind(kind))
	}
	return l, len(l) == 0
}

// span describes a time in which windows are open: in the zone, and with those of
// l that are open in it.
func (s *schedule) span(of window.Span, l window.List) WindowSpan {
	w := WindowSpan{Open: of.Open.In(s.zone.loc), Close: of.Close.In(s.zone.loc), Minutes: int64(of.Length() / time.Minute), Windows: []WindowRef{}}
	counts := map[window.Kind]bool{}
	for i := range l {
		counts[l[i].Kind] = true
	}
	for i := range s.all {
		p := &s.all[i]
		if !p.Enabled || !counts[p.Kind] {
			continue
		}
		if own, ok := (window.List{p.Window}).Next(of.Open, s.zone.loc); ok && own.Open.Before(of.Close) {
			w.Windows = append(w.Windows, p.ref())
		}
	}
	return w
}

type nextInput struct{ WindowsQuestion }

func (c *Console) getNextWindow(ctx context.Context, in *nextInput) (*out[WindowNext], error) {
	s, err := c.scheduleOf(ctx, &in.WindowsQuestion)
	if err != nil {
		return nil, c.failView(ctx, "find the next window", err)
	}
	reply := WindowNext{WindowsFor: s.about, Kind: in.Kind, Now: s.now.In(s.zone.loc)}
	l, any := s.list(in.Kind)
	reply.Any = any
	if next, ok := l.Next(s.now, s.zone.loc); ok {
		span := s.span(next, l)
		reply.Span, reply.IsOpen = &span, !next.Open.After(s.now)
	}
	return answerAt(reply, s.about.Event)
}

type calendarInput struct {
	WindowsQuestion
	From  string `query:"from" maxLength:"64" doc:"an instant (RFC 3339), or a day or a time in the zone (2026-12-24 or 2026-12-24T18:00); default now"`
	To    string `query:"to" maxLength:"64" doc:"likewise, at most 400 days behind from; default some weeks behind it"`
	Weeks int    `query:"weeks" minimum:"1" maximum:"57" default:"4" doc:"how many, if there is no to"`
}

func (c *Console) getWindowCalendar(ctx context.Context, in *calendarInput) (*out[WindowCalendar], error) {
	s, err := c.scheduleOf(ctx, &in.WindowsQuestion)
	if err != nil {
		return nil, c.failView(ctx, "make the calendar", err)
	}
	from, err := instantIn("from", in.From, s.zone.loc, s.now)
	if err != nil {
		return nil, err
	}
	to, err := instantIn("to", in.To, s.zone.loc, from.AddDate(0, 0, 7*in.Weeks))
	if err != nil {
		return nil, err
	}
	if !to.After(from) || to.Sub(from) > maxCalendar {
		return nil, badRequest("The calendar cannot be made", "from %s to %s: it ends behind its beginning, at most %d days.",
			from.Format(time.RFC3339), to.Format(time.RFC3339), int(maxCalendar.Hours()/24))
	}
	l, any := s.list(in.Kind)
	reply := WindowCalendar{WindowsFor: s.about, Kind: in.Kind, From: from, To: to, Any: any, Spans: []WindowSpan{}}
	for _, span := range l.Between(from, to, s.zone.loc) {
		reply.Spans = append(reply.Spans, s.span(span, l))
	}
	return answerAt(reply, s.about.Event)
}

// instantIn reads an instant, or a day or wall time of a zone.
func instantIn(name, text string, loc *time.Location, otherwise time.Time) (time.Time, error) {
	if text == "" {
		return otherwise.In(loc), nil
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02T15:04", time.DateOnly} {
		if t, err := time.ParseInLocation(layout, text, loc); err == nil && t.Year() >= 1970 && t.Year() <= 9000 {
			return t.In(loc), nil
		}
	}
	return time.Time{}, badRequest("The calendar cannot be made", "%s: %q is neither an instant such as 2026-12-24T18:00:00Z nor a day or time such as 2026-12-24 or 2026-12-24T18:00.", name, clip(text))
}

type whyInput struct {
	When
	Device  string `query:"device" required:"true" maxLength:"256" doc:"number, id or name"`
	Kind    string `query:"kind" enum:"general,updates,task-sequences" default:"updates" doc:"the sort of work"`
	Minutes int64  `query:"minutes" minimum:"1" maximum:"10080" default:"60" doc:"its longest run time; five minutes for a restart come on top"`
	Zone    string `query:"zone" maxLength:"64" doc:"the time zone in which local windows are reckoned; default that of the device, or else UTC"`
}

func (c *Console) getWindowWhy(ctx context.Context, in *whyInput) (*out[WindowWhy], error) {
	s, err := c.scheduleOf(ctx, &WindowsQuestion{When: in.When, Device: in.Device, Zone: in.Zone})
	if err != nil {
		return nil, c.failView(ctx, "answer from the windows", err)
	}
	need := window.Need(time.Duration(in.Minutes) * time.Minute)
	all, _ := s.list("")
	l, any := s.list(in.Kind)
	a := all.Fits(s.now, s.zone.loc, window.Kind(in.Kind), need)
	reply := WindowWhy{WindowsFor: s.about, Kind: in.Kind, Minutes: in.Minutes, Needs: int64(need / time.Minute), Now: s.now.In(s.zone.loc),
		Run: a.Run, Why: a.Why, Windows: []WindowRef{}, OtherKinds: len(all) - len(l)}
	counts := map[window.Kind]bool{}
	for i := range l {
		counts[l[i].Kind] = true
	}
	for i := range s.all {
		if p := &s.all[i]; p.Enabled && counts[p.Kind] {
			reply.Windows = append(reply.Windows, p.ref())
		} else if !p.Enabled {
			reply.SwitchedOff++
		}
	}
	reply.SwitchedOff += len(s.disabled)
	if !a.Now.IsZero() {
		span := s.span(a.Now, l)
		reply.Current = &span
	}
	if !a.Next.IsZero() {
		span := s.span(a.Next, l)
		reply.Next = &span
	}
	switch {
	case any:
		reply.Why = "no window counts for it: any time is good"
	case a.Run:
		reply.Why = "a window is open for long enough"
	}
	return answerAt(reply, s.about.Event)
}
