package pacing

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/listener/wire/task"
	"github.com/bugle-fleet/bugle/projectors"
	"github.com/bugle-fleet/bugle/projectors/operation"
)

// tickEvery is how often the runner looks at what is to be released.
const tickEvery = time.Second

// sayEvery is how many rounds that fail in a row make one line of the log.
const sayEvery = 60

// Config is what a [Runner] needs.
type Config struct {
	Journal    journal.Journal
	Gate       *Gate // a fold of Journal
	Operations interface {
		// Paced returns the open operations that go out by waves.
		Paced() ([]operation.Paced, error)
	}
	// Online returns the devices that are online, which nobody changes.
	Online func() *roaring.Bitmap
	// SignCancel signs what agents are told of an operation that was stopped.
	SignCancel func(c *task.Cancel) ([]byte, error)
	// Signs is nil for the key that signs now: a word of another one is signed anew,
	// for agents may not trust it any more. It is asked in the guard of the append;
	// default: every key does.
	Signs func(task.KeyID) error
	Views interface {
		Wait(ctx context.Context, event uint64, names ...string) error
	}

	Log *slog.Logger     // default slog.Default()
	Now func() time.Time // default time.Now
}

// A Runner releases waves and stops what fails.
type Runner struct{ cfg Config }

// New makes a runner; [Runner.Run] lets it run.
func New(cfg Config) *Runner {
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	cfg.Log = cfg.Log.With("component", "pacing")
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Signs == nil {
		cfg.Signs = func(task.KeyID) error { return nil }
	}
	return &Runner{cfg}
}

// Run looks every second at the paced operations until ctx ends, and returns nil.
// What it cannot append it tries again a second later.
func (r *Runner) Run(ctx context.Context) error {
	tick := time.NewTicker(tickEvery)
	defer tick.Stop()
	failures := 0 // in a row
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		err := r.round(ctx)
		if err == nil || ctx.Err() != nil || errors.Is(err, projectors.ErrBuilding) {
			failures = 0
			continue
		}
		if failures%sayEvery == 0 {
			r.cfg.Log.Error("waves are not released", "err", err)
		}
		failures++
	}
}

// round appends what is to be said of each operation, and waits until the view
// knows of it.
func (r *Runner) round(ctx context.Context) error {
	all, err := r.cfg.Operations.Paced()
	if err != nil {
		return err
	}
	var last uint64
	var errs []error
	for i := range all {
		number, err := r.advance(ctx, &all[i])
		last = max(last, number)
		if err != nil {
			errs = append(errs, fmt.Errorf("operation %s: %w", all[i].ID, err))
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	if last > 0 {
		errs = append(errs, r.cfg.Views.Wait(ctx, last, "operation"))
	}
	return errors.Join(errs...)
}

// advance appends what is to be said of one operation, and returns the number of
// that event, 0 if there is none.
func (r *Runner) advance(ctx context.Context, o *operation.Paced) (number uint64, err error) {
	now := r.cfg.Now()
	var p event.Payload
	var by task.KeyID // that signed what p carries, none if it carries nothing
	switch next(&o.Operation, now) {
	case release:
		p, err = r.wave(o)
	case stop:
		p, by, err = r.stopping(o, now)
	default:
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	e := &event.Event{Observed: now, Actor: event.Actor{Issuer: "site", Subject: "pacing"}, Payload: p}
	err = r.cfg.Journal.AppendIf(ctx, func() error {
		if err := r.cfg.Gate.next(o.ID, len(o.Waves)); err != nil || by == (task.KeyID{}) {
			return err
		}
		return r.cfg.Signs(by)
	}, e)
	if errors.Is(err, errSaid) {
		return 0, nil
	}
	if err == nil {
		r.cfg.Log.Info("operation goes on", "operation", o.ID, "kind", e.Kind(), "wave", len(o.Waves)+1, "event", e.Number)
	}
	return e.Number, err
}

// An action is what is to be said of an operation now.
type action uint8

const (
	wait action = iota
	release
	stop
)

// next decides.
func next(o *operation.Operation, now time.Time) action {
	switch {
	case !o.Paced() || !o.Open():
		return wait
	case failing(o):
		return stop
	case o.Held() == 0 || !o.DeliverBy.After(now):
		return wait
	case len(o.Waves) == 0:
		return after(o.NotBefore, now)
	}
	w := &o.Waves[len(o.Waves)-1]
	sent := w.At.Add(w.Spread)
	switch {
	case w.Last:
		return wait
	case w.Settled():
		return after(sent, now)
	}
	return after(sent.Add(add(o.RunTimeout, Patience)), now)
}

func after(at, now time.Time) action {
	if now.Before(at) {
		return wait
	}
	return release
}

// failing tells whether too much of what ended has failed, while there is
// something to stop.
func failing(o *operation.Operation) bool {
	final, failed := o.Reported(), o.Faulty()
	waiting := o.States[task.Waiting] + o.States[task.Sent] + o.States[task.Delivered] + o.States[task.Deferred]
	return o.Pacing.StopOnFailure > 0 && final >= MinFinal && waiting > 0 &&
		uint64(failed)*100 > uint64(o.Pacing.StopOnFailure)*uint64(final)
}

func (r *Runner) wave(o *operation.Paced) (event.Payload, error) {
	left := roaring.AndNot(o.Targets, o.Out)
	size := uint32(left.GetCardinality())
	if sizes := Sizes(&o.Pacing, o.Count); len(o.Waves) < len(sizes)-1 {
		size = min(size, sizes[len(o.Waves)])
	}
	online := r.cfg.Online()
	wave, raw, err := encodeWave(o.ID, left, online, size)
	if err != nil {
		return nil, fmt.Errorf("encode wave: %w", err)
	}
	p := &event.OperationReleased{Operation: o.ID, Wave: uint32(len(o.Waves) + 1), Devices: raw, Count: uint32(wave.GetCardinality())}
	p.Last = wave.GetCardinality() == left.GetCardinality()
	p.Spread = SpreadOf(&o.Pacing, p.Count)
	if p.Online, err = encodeSome(roaring.And(wave, online)); err != nil {
		return nil, fmt.Errorf("encode wave: %w", err)
	}
	return p, nil
}

func (r *Runner) stopping(o *operation.Paced, now time.Time) (event.Payload, task.KeyID, error) {
	p := &event.OperationStopped{Operation: o.ID, Wave: uint32(len(o.Waves)), Failed: o.Faulty(), Final: o.Reported(), Limit: o.Pacing.StopOnFailure}
	p.Reason = fmt.Sprintf("of %d devices that have ended, %d failed or ran out of time: %.3g%%, and at most %d%% may",
		p.Final, p.Failed, 100*float64(p.Failed)/float64(p.Final), p.Limit)
	word := &task.Cancel{Operation: o.ID, At: now}
	var err error
	if p.Cancel, err = r.cfg.SignCancel(word); err != nil {
		return nil, word.Key, fmt.Errorf("sign cancel: %w", err)
	}
	return p, word.Key, nil
}
