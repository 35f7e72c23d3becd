package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"github.com/bugle-fleet/bugle/agent"
	"github.com/bugle-fleet/bugle/agent/action"
	"github.com/bugle-fleet/bugle/cmd/bugle-sim/record"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// version is what the agents call themselves.
const version = "bugle-sim"

const (
	maxOpening    = 16               // agents opened at once
	maxConnecting = 64               // agents that have begun to connect and are not signed in
	patience      = 10 * time.Second // after which another begins all the same
	sayEvery      = 5 * time.Second
)

// A fleet is the agents.
type fleet struct {
	o       *options
	dir     string
	log     io.Writer
	members []*member
	records *record.Log
	running sync.WaitGroup
	cancel  context.CancelFunc // ends what start began

	joinAgain time.Duration // wait of all if one is told to come later

	signedIn *rollCall
	courses  courses
	lost     atomic.Int64 // connections that ended
	stopping atomic.Bool
}

// A member is one agent.
type member struct {
	index  int
	name   string
	dir    string
	device uint32 // from join on
	agent  *agent.Agent
	begun  time.Time // when it began to connect
	settle func()    // lets another begin
}

func newFleet(o *options, dir string, log io.Writer) *fleet {
	f := &fleet{o: o, dir: dir, log: log, joinAgain: joinAgain, signedIn: newRollCall(o.agents), courses: courses{agents: o.agents}}
	for i := range o.agents {
		name := fmt.Sprintf("sim-%06d", i+1)
		f.members = append(f.members, &member{index: i, name: name, dir: filepath.Join(dir, "agents", name)})
	}
	return f
}

// open opens the records and all agents. Stop gives back what it opened, also
// after an error.
func (f *fleet) open(ctx context.Context) (err error) {
	if f.records, err = record.Open(filepath.Join(f.dir, "records"), f.o.gather); err != nil {
		return err
	}
	log := slog.New(slog.DiscardHandler)
	if f.o.verbose {
		log = slog.New(slog.NewTextHandler(f.log, nil))
	}
	turn := turns(f.o.work)
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(maxOpening)
	for _, m := range f.members {
		g.Go(func() (err error) {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			m.agent, err = agent.Open(m.dir, agent.Config{
				Version: version, Log: log.With("agent", m.name), Scanner: "builtin", Actions: f.actions(),
				Record: f.records.Agent(m.device), Turn: turn, OnEvent: func(e agent.Event) { f.event(m, e) }, Users: nobody})
			if err != nil {
				return fmt.Errorf("agent %s: %w", m.name, err)
			}
			return nil
		})
	}
	return g.Wait()
}

// nobody is signed in at a simulated machine: its policy would be that of whoever
// runs the simulation.
func nobody() ([]string, error) { return nil, nil }

// actions are those that take the place of real ones.
func (f *fleet) actions() []action.Description {
	if !f.o.noop {
		return nil
	}
	nothing := func(context.Context, action.Request) action.Outcome {
		return action.Outcome{State: task.Succeeded, Detail: "simulated: nothing was scanned"}
	}
	return []action.Description{{Kind: "scan.quick", Timeout: time.Minute, Action: action.Func(nothing)}}
}

// event is what agents tell; it does not block.
func (f *fleet) event(m *member, e agent.Event) {
	switch e.What {
	case agent.Connected:
		m.settle()
		f.signedIn.mark(m.index, e.At)
	case agent.Disconnected:
		if !f.stopping.Load() {
			f.lost.Add(1)
		}
	case agent.TaskReceived:
		if c := f.courses.of(e.Operation); c != nil {
			c.received.mark(m.index, e.At)
		}
	case agent.StateReached:
		if !e.State.Final() {
			return
		}
		if c := f.courses.of(e.Operation); c != nil {
			c.ended.mark(m.index, e.At)
		}
	}
}

// start lets all agents connect, one after the other at --connect-rate, and not
// more than a few at once.
func (f *fleet) start(ctx context.Context) error {
	var run context.Context
	run, f.cancel = context.WithCancel(context.WithoutCancel(ctx))
	limit := rate.NewLimiter(rate.Limit(f.o.connectRate), max(1, int(f.o.connectRate/50)))
	places := make(chan struct{}, maxConnecting)
	for _, m := range f.members {
		if err := limit.Wait(ctx); err != nil {
			return err
		}
		select {
		case places <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
		m.settle = sync.OnceFunc(func() { <-places })
		m.begun = time.Now()
		time.AfterFunc(patience, m.settle)
		f.running.Go(func() {
			if err := m.agent.Run(run); err != nil {
				fmt.Fprintf(f.log, "bugle-sim: agent %s ended: %v\n", m.name, err)
			}
		})
	}
	return nil
}

// stop ends all agents in good order and closes the records.
func (f *fleet) stop() error {
	f.stopping.Store(true)
	if f.cancel != nil {
		f.cancel()
	}
	f.running.Wait()
	var errs []error
	for _, m := range f.members {
		if m.agent != nil {
			errs = append(errs, m.agent.Close())
		}
	}
	if f.records != nil {
		errs = append(errs, f.records.Close())
	}
	return errors.Join(errs...)
}

// numbers are the devices as a push names them.
func (f *fleet) numbers() []string {
	all := make([]string, len(f.members))
	for i, m := range f.members {
		all[i] = fmt.Sprint(m.device)
	}
	return all
}

// say writes what to the log from time to time, until the function that it
// returns is called.
func (f *fleet) say(ctx context.Context, what func() string) (enough func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for sleep(ctx, sayEvery) == nil {
			fmt.Fprintln(f.log, "bugle-sim:", what())
		}
	}()
	return func() { cancel(); <-done }
}

// makeDir makes the folder of the fleet; remove removes it if it is temporary.
func makeDir(dir string) (_ string, remove func() error, err error) {
	if dir != "" {
		return dir, func() error { return nil }, os.MkdirAll(dir, 0o700)
	}
	dir, err = os.MkdirTemp("", "bugle-sim-")
	return dir, func() error { return os.RemoveAll(dir) }, err
}
