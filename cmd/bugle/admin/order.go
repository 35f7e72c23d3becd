package admin

import (
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/bugle-fleet/bugle/console"
)

// orderFlags are the flags that a push and a retry share: when and how it goes.
type orderFlags struct {
	notBefore string
	deliverBy string
	priority  uint8
	waves     []string
	spread    string
	rate      string
	stop      string
	reason    string
	dryRun    bool
}

func (f *orderFlags) add(c *cobra.Command) {
	c.Flags().StringVar(&f.notBefore, "not-before", "", "no start before this time from now, such as 2h, or this instant, such as 2026-12-24T18:00:00Z (default now)")
	c.Flags().StringVar(&f.deliverBy, "deliver-by", "", "how long the task may still be started: a time from now such as 90m or 7d, or an instant such as 2026-12-24T18:00:00Z (default by kind)")
	c.Flags().Uint8Var(&f.priority, "priority", 0, "order in the send queues: 1 before 2 before 3 (default by kind)")
	c.Flags().StringSliceVar(&f.waves, "wave", nil, "how many devices go first, as a number or a share such as 5%; may be repeated")
	c.Flags().StringVar(&f.spread, "spread", "", "the time over which each wave is sent, such as 2m")
	c.Flags().StringVar(&f.rate, "rate", "", "so many devices a second at most, such as 500/s")
	c.Flags().StringVar(&f.stop, "stop-on-failure", "", "stop once more than this share has failed, such as 10%")
	c.Flags().StringVar(&f.reason, "reason", "", "why, for the history")
	c.Flags().BoolVar(&f.dryRun, "dry-run", false, "say whom it would be for and when it would go, and do nothing")
}

// An order is what the flags ask for.
type order struct {
	notBefore, deliverBy *time.Time
	deliverBySeconds     int64
	pace                 console.Pace
}

func (f *orderFlags) order(now time.Time) (o order, err error) {
	if f.notBefore != "" {
		at, after, err := when("--not-before", f.notBefore)
		if err != nil {
			return o, err
		}
		if at.IsZero() {
			at = now.Add(after).UTC().Truncate(time.Second)
		}
		o.notBefore = &at
	}
	if f.deliverBy != "" {
		at, after, err := when("--deliver-by", f.deliverBy)
		switch {
		case err != nil:
			return o, err
		case !at.IsZero():
			o.deliverBy = &at
		case after <= 0:
			return o, usage("--deliver-by: %s is in the past: no device could start the task", f.deliverBy)
		}
		if o.deliverBySeconds, err = seconds("--deliver-by", after); err != nil {
			return o, err
		}
	}
	o.pace, err = f.pace()
	return o, err
}

// when reads an instant, or how long from now.
func when(flag, text string) (at time.Time, after time.Duration, err error) {
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		return at, 0, nil
	}
	after, err = parseDuration(text)
	if err != nil {
		err = usage("%s: %q is neither a time such as 90m or 7d nor an instant such as 2026-12-24T18:00:00Z", flag, text)
	}
	return at, after, err
}

func (f *orderFlags) pace() (p console.Pace, err error) {
	if p.Priority = f.priority; p.Priority > 3 {
		return p, usage("--priority: %d is not 1, 2 or 3", p.Priority)
	}
	for _, w := range f.waves {
		if w = strings.TrimSpace(w); w == "" {
			return p, usage("--wave: a wave has no size; give a number of devices or a share such as 5%%")
		}
		p.Waves = append(p.Waves, w)
	}
	if f.spread != "" {
		d, err := parseDuration(f.spread)
		if err != nil || d < 0 {
			return p, usage("--spread: %q is not a time such as 2m", f.spread)
		}
		if p.SpreadSeconds, err = seconds("--spread", d); err != nil {
			return p, err
		}
	}
	if f.rate != "" {
		n, err := strconv.ParseUint(strings.TrimSuffix(f.rate, "/s"), 10, 32)
		if err != nil || n == 0 {
			return p, usage("--rate: %q is not a number of devices a second such as 500/s", f.rate)
		}
		p.Rate = uint32(n)
	}
	if f.stop != "" {
		n, err := strconv.ParseUint(strings.TrimSuffix(f.stop, "%"), 10, 8)
		if err != nil || n == 0 || n > 99 {
			return p, usage("--stop-on-failure: %q is not a share from 1%% to 99%%", f.stop)
		}
		p.StopOnFailure = uint8(n)
	}
	return p, nil
}
