package main

import (
	"context"
	"slices"
	"time"

	"github.com/bugle-fleet/bugle/console"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// A resultFigures is one push of phase results.
type resultFigures struct {
	Operation string `json:"operation"`
	Visible   int    `json:"visible"` // results of agents that the API shows
	Missing   int    `json:"missing"`
	quantiles
	DoneMs float64                `json:"doneMs"` // from the answer to the push until all were visible
	Looks  int                    `json:"looks"`  // how often the operation was asked for
	States map[string]uint32      `json:"states"` // those that are not 0
	Hops   map[string]console.Hop `json:"hops"`   // as the site measured them
}

// A resultsLine is what phase results prints.
type resultsLine struct {
	Phase   string          `json:"phase"`
	Agents  int             `json:"agents"`
	Kind    string          `json:"kind"`
	Noop    bool            `json:"noopActions"`
	Gather  float64         `json:"gatherMs"`
	PollMs  float64         `json:"pollMs"`
	Pushes  []resultFigures `json:"pushes"`
	Summary summary         `json:"summary"`
	Missing int             `json:"missing"`
	Lost    int64           `json:"lostConnections"` // in the whole run so far
	RSS     uint64          `json:"rssBytes"`
}

func (s *simulation) results(ctx context.Context) error {
	line := resultsLine{Phase: phaseResults, Agents: s.o.agents, Kind: s.o.kind, Noop: s.o.noop, Gather: ms(s.o.gather), PollMs: ms(s.o.poll)}
	var all []quantiles
	for range s.o.pushes {
		p, err := s.ask(ctx)
		if err != nil {
			return err
		}
		looks, err := s.watch(ctx, p)
		if err != nil {
			return err
		}
		figures, err := s.resultFigures(ctx, p, looks)
		if err != nil {
			return err
		}
		if figures.Missing > 0 {
			s.missing("results of %d of %d agents to operation %s are not visible", figures.Missing, s.o.agents, p.Operation)
		}
		line.Pushes = append(line.Pushes, figures)
		line.Missing += figures.Missing
		all = append(all, figures.quantiles)
	}
	line.Summary, line.Lost = summaryOf(all), s.fleet.lost.Load()
	return s.print(&line, &line.RSS)
}

// A look is one answer about an operation: what it says is as of event.
type look struct {
	at    time.Time
	event uint64
	reply console.OperationReply // of the last look only
}

// watch asks for the operation until every target has ended, or for --timeout.
func (s *simulation) watch(ctx context.Context, p *pushed) (looks []look, err error) {
	limited, cancel := context.WithTimeout(ctx, s.o.timeout)
	defer cancel()
	for {
		reply, err := s.site.Operation(limited, p.Operation, p.Event)
		if limited.Err() != nil {
			return looks, ctx.Err()
		}
		if err != nil {
			return nil, err
		}
		if n := len(looks); n > 0 {
			looks[n-1].reply = console.OperationReply{}
		}
		looks = append(looks, look{time.Now(), reply.Event, reply})
		if reply.Done {
			// An agent tells of an end a little after it has sent it.
			return looks, s.await(ctx, "ended", p.course.ended)
		}
		if sleep(limited, s.o.poll) != nil {
			return looks, ctx.Err()
		}
	}
}

func (s *simulation) resultFigures(ctx context.Context, p *pushed, looks []look) (f resultFigures, err error) {
	f = resultFigures{Operation: p.Operation, Looks: len(looks), States: make(map[string]uint32)}
	rows, err := s.site.Targets(ctx, p.Operation)
	if err != nil {
		return f, err
	}
	latest := time.Now()
	if n := len(looks); n > 0 && looks[n-1].reply.Done {
		latest = looks[n-1].at
	}
	ends, _ := p.course.ended.times()
	took, last := visibleAfter(s.fleet.members, ends, rows, looks, latest)
	f.Visible, f.Missing, f.quantiles = len(took), len(ends)-len(took), quantilesOf(took)
	if len(took) > 0 {
		f.DoneMs = ms(last.Sub(p.answered))
	}
	if len(looks) > 0 {
		reply := &looks[len(looks)-1].reply
		f.Hops = reply.Latency
		for state, n := range reply.States {
			if n > 0 {
				f.States[state] = n
			}
		}
	}
	return f, nil
}

// visibleAfter returns how long after its end the result of each member was
// visible: by the first look that is current to the newest event that changed its
// row, and at the latest when all rows were seen. (An event that came after the
// result may have changed the row, such as the listener's word that the task was
// sent; the figure is then too long.) Those whose end is not known, or is not what
// an agent said, are left out. last is when the last one was visible.
func visibleAfter(members []*member, ends []time.Time, rows []console.Target, looks []look, latest time.Time) (took []time.Duration, last time.Time) {
	events := make(map[uint32]uint64, len(rows))
	for i := range rows {
		if state, ok := task.ParseState(rows[i].State); ok && state.Final() && state.FromAgent() {
			events[rows[i].Device] = rows[i].Event
		}
	}
	for i, m := range members {
		event, ok := events[m.device]
		if !ok || ends[i].IsZero() {
			continue
		}
		at := latest
		if n := slices.IndexFunc(looks, func(l look) bool { return l.event >= event }); n >= 0 {
			at = looks[n].at
		}
		took = append(took, at.Sub(ends[i]))
		if at.After(last) {
			last = at
		}
	}
	return took, last
}
