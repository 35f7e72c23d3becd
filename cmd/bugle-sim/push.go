package main

import (
	"context"
	"fmt"
	"time"

	"github.com/bugle-fleet/bugle/console"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// deliverBy is how long the tasks are good for: a device that is off then does not
// get them in a later run.
const deliverBy = 10 * time.Minute

// A pushFigures is one push.
type pushFigures struct {
	Operation string  `json:"operation"`
	Online    uint32  `json:"online"` // as the site saw it at the request
	APIMs     float64 `json:"apiMs"`  // how long the call took
	Received  int     `json:"received"`
	Missing   int     `json:"missing"`
	quantiles
	SinceRequest *quantiles `json:"sinceRequest,omitempty"` // with --data
	LastDevice   uint32     `json:"lastDevice"`             // the one that received last
	Ended        quantiles  `json:"ended"`                  // from the answer until the task had ended on each agent
	Unended      int        `json:"unended"`
	Syncs        uint64     `json:"recordSyncs"` // fsyncs of the shared record meanwhile
}

// A pushLine is what phase push prints.
type pushLine struct {
	Phase   string        `json:"phase"`
	Agents  int           `json:"agents"`
	Kind    string        `json:"kind"`
	Noop    bool          `json:"noopActions"`
	Gather  float64       `json:"gatherMs"`
	Pushes  []pushFigures `json:"pushes"`
	Summary summary       `json:"summary"`
	Missing int           `json:"missing"`
	Lost    int64         `json:"lostConnections"` // in the whole run so far
	RSS     uint64        `json:"rssBytes"`
}

// A pushed is a push that the site took.
type pushed struct {
	console.PushReply
	course   *course
	sent     time.Time
	answered time.Time
	syncs    uint64 // before
}

func (s *simulation) push(ctx context.Context) error {
	line := pushLine{Phase: phasePush, Agents: s.o.agents, Kind: s.o.kind, Noop: s.o.noop, Gather: ms(s.o.gather)}
	var all []quantiles
	for range s.o.pushes {
		p, err := s.ask(ctx)
		if err != nil {
			return err
		}
		if err := s.await(ctx, "received", p.course.received); err != nil {
			return err
		}
		if err := s.await(ctx, "ended", p.course.ended); err != nil {
			return err
		}
		figures, err := s.pushFigures(ctx, p)
		if err != nil {
			return err
		}
		if figures.Missing > 0 {
			s.missing("%d of %d agents did not receive operation %s", figures.Missing, s.o.agents, p.Operation)
		}
		if figures.Unended > 0 {
			s.missing("operation %s did not end on %d agents", p.Operation, figures.Unended)
		}
		line.Pushes = append(line.Pushes, figures)
		line.Missing += figures.Missing + figures.Unended
		all = append(all, figures.quantiles)
	}
	line.Summary, line.Lost = summaryOf(all), s.fleet.lost.Load()
	return s.print(&line, &line.RSS)
}

// ask pushes once, to the fleet and nobody else.
func (s *simulation) ask(ctx context.Context) (*pushed, error) {
	if err := sleep(ctx, s.o.pause); err != nil {
		return nil, err
	}
	request := console.PushRequest{Kind: s.o.kind, Params: s.o.params, Devices: s.fleet.numbers(),
		DeliverBySeconds: int64(deliverBy / time.Second), Reason: "bugle-sim"}
	s.fleet.courses.begin()
	p := &pushed{sent: time.Now(), syncs: s.fleet.records.Syncs()}
	var err error
	if p.PushReply, err = s.site.Push(ctx, request); err != nil {
		return nil, err
	}
	p.answered = time.Now()
	id, err := task.ParseID(p.Operation)
	if err != nil {
		return nil, fmt.Errorf("read answer to push: operation %q: %w", p.Operation, err)
	}
	p.course = s.fleet.courses.settle(id)
	return p, nil
}

func (s *simulation) pushFigures(ctx context.Context, p *pushed) (f pushFigures, err error) {
	at, missing := p.course.received.times()
	took := since(p.answered, at)
	f = pushFigures{Operation: p.Operation, Online: p.Online, APIMs: ms(p.answered.Sub(p.sent)),
		Received: len(took), Missing: missing, quantiles: quantilesOf(took), Syncs: s.fleet.records.Syncs() - p.syncs}
	var last time.Time
	for i, t := range at {
		if t.After(last) {
			last, f.LastDevice = t, s.fleet.members[i].device
		}
	}
	ends, unended := p.course.ended.times()
	f.Unended, f.Ended = unended, quantilesOf(since(p.answered, ends))
	if s.site.Local {
		accepted, err := s.site.AcceptedAt(ctx, p.Event)
		if err != nil {
			return f, err
		}
		q := quantilesOf(since(accepted, at))
		f.SinceRequest = &q
	}
	return f, nil
}
