package console

import (
	"fmt"
	"time"

	"github.com/bugle-fleet/bugle/console/pacing"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/listener/wire/task"
	"github.com/bugle-fleet/bugle/projectors/operation"
)

// Pace says how an operation goes out. The zero value is: to all targets at once,
// with the priority of the kind.
type Pace struct {
	Priority      uint8    `json:"priority,omitempty" maximum:"3" doc:"order in the send queues: 1 before 2 before 3; default by kind"`
	Waves         []string `json:"waves,omitempty" maxItems:"64" doc:"sizes of the first waves, each a number of devices (500) or a share of the targets (5%); who is left is the last wave"`
	SpreadSeconds int64    `json:"spreadSeconds,omitempty" minimum:"0" maximum:"31536000" doc:"over which time each wave is sent"`
	Rate          uint32   `json:"rate,omitempty" doc:"so many devices a second at most"`
	StopOnFailure uint8    `json:"stopOnFailure,omitempty" maximum:"99" doc:"stop once more than so many percent of those that ended have failed or run out of time, counted from 10 ends on"`
}

// Plan is when which wave of an operation goes.
type Plan struct {
	Waves    []PlannedWave `json:"waves"`
	Earliest time.Time     `json:"earliest" doc:"when the last wave is sent whole if every wave before it ends at once"`
	Latest   time.Time     `json:"latest" doc:"the same if no wave ends before its time"`
}

// PlannedWave is one wave of a plan.
type PlannedWave struct {
	Wave          uint32    `json:"wave"`
	Devices       uint32    `json:"devices"`
	SpreadSeconds float64   `json:"spreadSeconds"`
	Earliest      time.Time `json:"earliest" doc:"when it is released if every wave before it ends at once"`
	Latest        time.Time `json:"latest" doc:"the same if none of them ends before its time"`
}

// Pacing is how an operation goes out, and how far that is.
type Pacing struct {
	Waves         []Wave  `json:"waves" doc:"those that were released, then those to come"`
	SpreadSeconds float64 `json:"spreadSeconds,omitempty"`
	Rate          uint32  `json:"rate,omitempty"`
	StopOnFailure uint8   `json:"stopOnFailure,omitempty" doc:"percent"`
	Left          *Left   `json:"left,omitempty" doc:"while waves are to be sent"`
}

// Wave is one wave of an operation.
type Wave struct {
	Wave          uint32     `json:"wave"`
	Devices       uint32     `json:"devices"`
	SpreadSeconds float64    `json:"spreadSeconds"`
	Released      *time.Time `json:"released,omitempty" doc:"absent while it is held"`
	Event         uint64     `json:"event,omitempty" doc:"that released it"`
	Online        uint32     `json:"online" doc:"how many of its devices were online at the release"`
	OnlineEnded   uint32     `json:"onlineEnded" doc:"how many of these have ended; once all have, the next wave goes"`
	Ended         uint32     `json:"ended" doc:"how many of all its devices have ended"`
	Failed        uint32     `json:"failed" doc:"how many of these failed or ran out of time"`
}

// Left is how long it takes until the last wave is sent whole, in seconds.
type Left struct {
	Soonest float64 `json:"soonest" doc:"if every wave ends at once"`
	Likely  float64 `json:"likely" doc:"if waves take as long as those before"`
	Latest  float64 `json:"latest" doc:"if no wave ends before its time"`
}

// Cut is what a cancel or a stop found and ended.
type Cut struct {
	Event   uint64    `json:"event"`
	At      time.Time `json:"at"`
	Reason  string    `json:"reason,omitempty"`
	Running uint32    `json:"running" doc:"devices that had begun, and went on"`
	Ended   uint32    `json:"ended" doc:"devices that had ended"`
	Spared  uint32    `json:"spared" doc:"devices that had not begun, and do not"`
}

// Stop is the site's own [Cut], and the counts that made it.
type Stop struct {
	Cut
	Wave   uint32 `json:"wave" doc:"that was under way"`
	Failed uint32 `json:"failed" doc:"so many had failed or run out of time"`
	Final  uint32 `json:"final" doc:"of so many that had ended"`
	Limit  uint8  `json:"limit" doc:"percent that may fail"`
}

// pacing is what a request asks for, for so many targets.
func (p *Pace) pacing(count uint32) (event.Pacing, error) {
	waves, err := pacing.ParseWaves(p.Waves, count)
	if err != nil {
		return event.Pacing{}, badRequest(titlePush, "waves: %s.", err)
	}
	return event.Pacing{Waves: waves, Spread: time.Duration(p.SpreadSeconds) * time.Second, Rate: p.Rate, StopOnFailure: p.StopOnFailure}, nil
}

// fits refuses what cannot be sent before its deadline even if all goes well.
func fits(t *task.Task, p *event.OperationRequested) error {
	plan := pacing.PlanOf(&p.Pacing, p.Count, t.RunTimeout)
	if have := t.DeliverBy.Sub(t.NotBefore); plan.Soonest >= have {
		return badRequest(titlePush, "The waves do not fit: to send %s to %d devices takes %s, and from notBefore to deliverBy there are %s; give a later deliverBy, a shorter spread, or a higher rate.",
			waveCount(len(plan.Waves)), p.Count, plan.Soonest.Round(time.Second), have.Round(time.Second))
	}
	return nil
}

func waveCount(n int) string {
	if n == 1 {
		return "one wave"
	}
	return fmt.Sprintf("%d waves", n)
}

// planOf is the plan of an operation as answers show it, and what may not be meant;
// nothing if all targets go at once.
func planOf(t *task.Task, p *event.OperationRequested) (*Plan, []string) {
	if p.Pacing.IsZero() {
		return nil, nil
	}
	plan := pacing.PlanOf(&p.Pacing, p.Count, t.RunTimeout)
	at := func(d time.Duration) time.Time { return t.NotBefore.Add(min(d, maxValidity*100)) }
	shown := &Plan{Waves: []PlannedWave{}, Earliest: at(plan.Soonest), Latest: at(plan.Latest)}
	for i, w := range plan.Waves {
		shown.Waves = append(shown.Waves, PlannedWave{uint32(i + 1), w.Devices, w.Spread.Seconds(), at(w.Earliest), at(w.Latest)})
	}
	var warnings []string
	if shown.Latest.After(t.DeliverBy) {
		warnings = append(warnings, fmt.Sprintf("If no wave ends before its time (run timeout and %s), the last one goes at %s, and deliverBy is %s: who is in a wave that is not released by then expires.",
			pacing.Patience, shown.Waves[len(shown.Waves)-1].Latest.Format(time.RFC3339), t.DeliverBy.Format(time.RFC3339)))
	}
	if p.Pacing.StopOnFailure > 0 && p.Count < pacing.MinFinal {
		warnings = append(warnings, fmt.Sprintf("stopOnFailure counts from %d ends on, and there are only %d targets.", pacing.MinFinal, p.Count))
	}
	return shown, warnings
}

// pacingJSON is how far the waves of an operation are; nil if it has none.
func pacingJSON(o *operation.Operation, now time.Time) *Pacing {
	if !o.Paced() {
		return nil
	}
	p := &Pacing{Waves: []Wave{}, SpreadSeconds: o.Pacing.Spread.Seconds(), Rate: o.Pacing.Rate, StopOnFailure: o.Pacing.StopOnFailure}
	for i := range o.Waves {
		w := &o.Waves[i]
		p.Waves = append(p.Waves, Wave{w.Number, w.Count, w.Spread.Seconds(), instant(w.At), w.Event, w.Online, w.OnlineFinal, w.Final, w.Failed})
	}
	if !o.Open() {
		return p
	}
	sizes := pacing.Sizes(&o.Pacing, o.Count)
	held := o.Held()
	for i := len(o.Waves); i < len(sizes) && held > 0; i++ {
		n := min(sizes[i], held)
		if i == len(sizes)-1 {
			n = held
		}
		held -= n
		p.Waves = append(p.Waves, Wave{Wave: uint32(i + 1), Devices: n, SpreadSeconds: pacing.SpreadOf(&o.Pacing, n).Seconds()})
	}
	if left := pacing.LeftOf(o, now); left.Latest > 0 {
		p.Left = &Left{left.Soonest.Seconds(), left.Likely.Seconds(), left.Latest.Seconds()}
	}
	return p
}

func cutJSON(c *operation.Cut) *Cut {
	if c.Event == 0 {
		return nil
	}
	return &Cut{c.Event, c.At, c.Reason, c.Running, c.Ended, c.Spared}
}

func stopJSON(s *operation.Stop) *Stop {
	if s.Event == 0 {
		return nil
	}
	return &Stop{*cutJSON(&s.Cut), s.Wave, s.Failed, s.Final, s.Limit}
}
