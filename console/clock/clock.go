package clock

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/listener/wire/task"
	"github.com/bugle-fleet/bugle/projectors"
	"github.com/bugle-fleet/bugle/projectors/status"
)

// tickEvery is how often the site's clock looks at what is due.
const tickEvery = time.Second

// sayEvery is how many rounds that fail in a row make one line of the log.
const sayEvery = 60

// lostAfter is how many intervals a listener may be silent.
const lostAfter = 3

// Config is what a [Clock] needs.
type Config struct {
	Journal    journal.Journal
	Operations interface {
		// Due returns the operations whose deliver-by has passed and those whose
		// time to close has come, and are not said to be so yet.
		Due(now time.Time) (expire, close []task.ID, err error)
	}
	Listeners interface {
		Listeners() ([]status.Listener, error)
	}
	// Flapping and Messages are for devices that come and go; nobody is told of them
	// if Flapping is nil.
	Flapping Flapping
	Messages Messages
	Views    interface {
		Wait(ctx context.Context, event uint64, names ...string) error
	}
	// Heard is when files of a listener last reached the inbox, whether or not the
	// journal has them yet: what waits there, behind much else, is no silence. Nil if
	// all listeners write into the inbox themselves.
	Heard func(listener string) time.Time
	// Interval is how often a listener is heard at the least: that of its full
	// presence reports.
	Interval time.Duration

	Log *slog.Logger     // default slog.Default()
	Now func() time.Time // default time.Now
}

// A Clock appends what time brings about.
type Clock struct {
	cfg     Config
	started time.Time // nobody counts as silent for the time before
	flaps   flaps
}

// New makes a clock; [Clock.Run] lets it run.
func New(cfg Config) *Clock {
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	cfg.Log = cfg.Log.With("component", "clock")
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Clock{cfg: cfg, flaps: flaps{devices: cfg.Flapping, said: cfg.Messages}}
}

// Run looks every second at what is due until ctx ends, and returns nil. What it
// cannot append it tries again a second later.
func (c *Clock) Run(ctx context.Context) error {
	c.started = c.cfg.Now()
	tick := time.NewTicker(tickEvery)
	defer tick.Stop()
	failures := 0 // in a row
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		err := errors.Join(c.round(ctx), c.tellFlapping(ctx))
		if err == nil || ctx.Err() != nil || errors.Is(err, projectors.ErrBuilding) {
			failures = 0
			continue
		}
		if failures%sayEvery == 0 {
			c.cfg.Log.Error("what is due is not in the journal", "err", err)
		}
		failures++
	}
}

// round appends what is due, and waits until the views know of it: else the next
// round would append it again.
func (c *Clock) round(ctx context.Context) error {
	now := c.cfg.Now()
	events, err := c.due(now)
	if err != nil || len(events) == 0 {
		return err
	}
	if err := c.cfg.Journal.Append(ctx, events...); err != nil {
		return err
	}
	return c.cfg.Views.Wait(ctx, events[len(events)-1].Number, "operation", "status")
}

func (c *Clock) due(now time.Time) ([]*event.Event, error) {
	expire, closing, err := c.cfg.Operations.Due(now)
	if err != nil {
		return nil, err
	}
	listeners, err := c.cfg.Listeners.Listeners()
	if err != nil {
		return nil, err
	}
	var events []*event.Event
	add := func(p event.Payload) {
		if len(events) < journal.MaxPageEvents { // the rest is due a second later too
			events = append(events, &event.Event{Observed: now, Actor: event.Actor{Issuer: "site", Subject: "clock"}, Payload: p})
		}
	}
	for i := range listeners {
		if l := &listeners[i]; c.silent(l, now) {
			add(&event.ListenerLost{Listener: l.Name, Epoch: l.Epoch, Heard: l.Heard})
		}
	}
	for _, id := range expire {
		add(&event.OperationExpired{Operation: id})
	}
	for _, id := range closing {
		add(&event.OperationClosed{Operation: id})
	}
	return events, nil
}

// silent tells whether a listener that serves was not heard for too long. While
// the site itself was down, nobody could be heard.
func (c *Clock) silent(l *status.Listener, now time.Time) bool {
	if l.State != status.Started {
		return false
	}
	heard := c.started
	times := []time.Time{l.Heard, l.Started}
	if c.cfg.Heard != nil {
		times = append(times, c.cfg.Heard(l.Name))
	}
	for _, t := range times {
		if t.After(heard) {
			heard = t
		}
	}
	return now.Sub(heard) > lostAfter*c.cfg.Interval
}
