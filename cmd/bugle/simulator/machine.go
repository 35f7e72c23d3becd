package simulator

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"net"
	"path/filepath"
	"sync"
	"time"

	"github.com/bugle-fleet/bugle/agent"
	"github.com/bugle-fleet/bugle/agent/action"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// A machine is one managed device: a disk, two clocks, a way to the listeners,
// and at most one process, which is a real agent.
type machine struct {
	w       *world
	name    string
	number  uint32
	dir     string
	health  health
	forgets bool // its disk keeps nothing of the record; for tests

	mu     sync.Mutex
	offset time.Duration // of the wall clock against the site's
	slept  time.Duration // that the monotonic clock did not count
	asleep time.Time     // since when, zero if it is awake
	stuck  []*link       // that nothing comes through because it sleeps
	woken  chan struct{} // closed when it wakes
	full   bool          // the disk takes nothing
	proc   *process
	armed  map[point]*armed
}

// A point is where a process can be killed.
type point string

// The points of an agent's life with a task, in their order.
const (
	received   point = "agent killed: task received"
	recording  point = "agent killed: while it writes its record"
	recorded   point = "agent killed: the start is on record"
	starting   point = "agent killed: before the start"
	started    point = "agent killed: just started"
	ended      point = "agent killed: the task has ended"
	finished   point = "agent killed: the end is on record"
	agentKills       = "agent killed: "
)

var points = []point{received, recording, recorded, starting, started, ended, finished}

type armed struct {
	left  int // times that the point is passed before
	power bool
}

// A process is one run of an agent, from its start to its end or until it is
// killed: from then on nothing that its goroutines still do has an effect.
type process struct {
	m      *machine
	agent  *agent.Agent
	stop   context.CancelFunc
	gone   chan struct{} // closed when its last goroutine has ended
	record *record
	at     time.Time // when it began

	mu        sync.Mutex
	dead      bool
	connected string // the listener, or empty
	since     time.Time
	took      map[task.ID]time.Time // genuine tasks that came, and when
}

func newMachine(w *world, i int) *machine {
	name := fmt.Sprintf("m%d", i+1)
	return &machine{w: w, name: name, dir: filepath.Join(w.dir, "machines", name),
		woken: make(chan struct{}), armed: make(map[point]*armed)}
}

// start runs an agent, if none runs.
func (m *machine) start() error {
	if m.current() != nil {
		return nil // only the steps start and end processes, one after the other
	}
	p := &process{m: m, gone: make(chan struct{}), took: make(map[task.ID]time.Time), at: time.Now()}
	p.record = newRecord(p)
	a, err := agent.Open(m.dir, agent.Config{Version: "simulated", Scanner: "builtin", Actions: p.actions(), Record: p.record,
		Clocks: m.clocks, Dial: p.dial, OnEvent: p.event, Users: func() ([]string, error) { return nil, nil }, Log: Log.With("machine", m.name)})
	if err != nil {
		return fmt.Errorf("machine %s does not start: %w", m.name, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	p.agent, p.stop = a, cancel
	m.mu.Lock()
	m.proc = p
	m.mu.Unlock()
	go func() {
		defer close(p.gone)
		a.Run(ctx)
		a.Close()
	}()
	return nil
}

// current is the process that runs, or nil.
func (m *machine) current() *process {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.proc
}

// halt ends the process in good order and waits for its end.
func (m *machine) halt() {
	p := m.current()
	if p == nil {
		return
	}
	p.stop()
	<-p.gone
	m.forget(p)
}

func (m *machine) forget(p *process) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.proc == p {
		m.proc = nil
	}
}

// kill ends the process at once. With power it is the machine that dies: what was
// not synced may be lost, and nobody is told.
func (m *machine) kill(power bool) {
	if p := m.current(); p != nil && p.die(power) {
		m.w.hit("agent killed")
	}
}

// die returns false if the process was dead before.
func (p *process) die(power bool) bool {
	p.mu.Lock()
	was := p.dead
	p.dead = true
	p.mu.Unlock()
	if was {
		return false
	}
	for _, l := range p.m.w.net.of(p.m.name) {
		if power {
			l.vanish(true)
		} else {
			l.reset()
		}
	}
	p.record.die(power)
	p.stop()
	p.m.health.begin()
	p.m.w.later(p.m.w.drawn(20*time.Second), func() { p.m.revive(p) })
	return true
}

// revive starts the agent anew once the one that was killed is gone, unless
// somebody did so before.
func (m *machine) revive(p *process) {
	<-p.gone
	defer m.health.end()
	if m.current() != p {
		return
	}
	if p.record.power {
		if n := p.record.tear(); n > 0 {
			m.w.hit("agent's record torn by a power cut")
		}
	}
	m.forget(p)
	m.mu.Lock()
	clear(m.armed)
	m.mu.Unlock()
	if err := m.start(); err != nil {
		m.w.violated(3, "%v", err)
	}
}

func (p *process) isDead() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.dead
}

// pass kills the process if this is the point and the time for it; it returns
// true if the process is dead.
func (p *process) pass(at point) bool {
	p.m.mu.Lock()
	a := p.m.armed[at]
	now := a != nil && a.left == 0
	if a != nil {
		a.left--
	}
	if now {
		delete(p.m.armed, at)
	}
	p.m.mu.Unlock()
	if now && !p.isDead() && p.die(a.power) {
		p.m.w.hit(string(at))
	}
	return p.isDead()
}

// now is the time as far as the machine lives: it stands still in a sleep.
func (m *machine) now() time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.moment()
}

func (m *machine) moment() time.Time {
	if !m.asleep.IsZero() {
		return m.asleep
	}
	return time.Now()
}

func (m *machine) clocks() agent.Moment {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.moment()
	return agent.Moment{Wall: now.Add(m.offset).Round(0), Mono: now.Sub(m.w.begun) - m.slept}
}

// sleep puts the machine to sleep: its clocks stand still and nothing comes
// through to it.
func (m *machine) sleep() bool {
	m.mu.Lock()
	if !m.asleep.IsZero() {
		m.mu.Unlock()
		return false
	}
	m.asleep = time.Now()
	m.stuck = m.w.net.of(m.name)
	for _, l := range m.stuck {
		l.stall(true)
	}
	m.mu.Unlock()
	m.health.begin()
	return true
}

func (m *machine) wake() {
	m.mu.Lock()
	m.slept += time.Since(m.asleep)
	m.asleep = time.Time{}
	for _, l := range m.stuck {
		l.stall(false)
	}
	m.stuck = nil
	close(m.woken)
	m.woken = make(chan struct{})
	m.mu.Unlock()
	m.health.end()
}

// jump sets the wall clock.
func (m *machine) jump(offset time.Duration) {
	m.mu.Lock()
	m.offset = offset
	m.mu.Unlock()
	m.health.blink()
}

func (p *process) dial(ctx context.Context, _, address string) (net.Conn, error) {
	if err := p.m.awake(ctx); err != nil {
		return nil, err
	}
	if p.isDead() {
		return nil, errDead
	}
	c, err := p.m.w.net.dial(ctx, p.m.name, address)
	if err == nil {
		err = p.m.awake(ctx)
	}
	return c, err
}

// awake waits until the machine is.
func (m *machine) awake(ctx context.Context) error {
	for {
		m.mu.Lock()
		awake, woken := m.asleep.IsZero(), m.woken
		m.mu.Unlock()
		if awake {
			return nil
		}
		select {
		case <-woken:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// event is told what the agent does.
func (p *process) event(e agent.Event) {
	if p.isDead() {
		return
	}
	switch e.What {
	case agent.Connected:
		p.mu.Lock()
		p.connected, p.since = e.Listener, time.Now()
		p.mu.Unlock()
		p.m.w.hit("sessions")
	case agent.Disconnected:
		p.mu.Lock()
		p.connected = ""
		p.mu.Unlock()
	case agent.TaskReceived:
		if p.pass(received) {
			return
		}
		p.mu.Lock()
		if _, ok := p.took[e.Operation]; !ok {
			p.took[e.Operation] = time.Now()
		}
		p.mu.Unlock()
	case agent.StateReached:
		if e.State.Final() {
			p.pass(finished)
		}
	}
}

// actions are the kinds of tasks, all of which leave a trace of their start in
// the world and nothing else.
func (p *process) actions() []action.Description {
	run := func(each func(context.Context, action.Request) error) action.Action {
		return action.Func(func(ctx context.Context, r action.Request) action.Outcome { return p.run(ctx, r, each) })
	}
	nothing := func(context.Context, action.Request) error { return nil }
	return []action.Description{
		{Kind: "scan.quick", Class: action.Alone, Action: run(nothing)},
		{Kind: "scan.full", Action: run(nothing)},
		{Kind: "definitions.download", Action: run(nothing)},
		{Kind: "policy.machine", AtLeastOnce: true, Action: run(func(ctx context.Context, r action.Request) error {
			_, err := r.Host.FetchPolicy(ctx)
			return err
		})},
		{Kind: "discovery.collect", AtLeastOnce: true, Action: run(func(ctx context.Context, r action.Request) error {
			return r.Host.SendFacts(ctx, []action.Fact{{Name: "operation", Value: r.Operation.String()}, {Name: "machine", Value: p.m.name}})
		})},
	}
}

func (p *process) run(ctx context.Context, r action.Request, each func(context.Context, action.Request) error) action.Outcome {
	if p.pass(starting) {
		return action.Outcome{State: task.Failed}
	}
	p.m.w.truth.start(start{key{r.Operation, p.m.number}, p.m.now(), r.Kind, string(r.Params)})
	if p.pass(started) {
		return action.Outcome{State: task.Failed}
	}
	fate := fateOf(r.Operation, p.m.number)
	if fate.lasts > 0 {
		t := time.NewTimer(fate.lasts)
		defer t.Stop()
		select {
		case <-t.C:
		case <-ctx.Done():
		}
	}
	if err := each(ctx, r); err != nil {
		return action.Outcome{State: task.Failed, Detail: err.Error()}
	}
	p.pass(ended)
	return action.Outcome{State: fate.ends, Detail: fmt.Sprintf("%s on %s", r.Operation, p.m.name)}
}

// A fate is what becomes of a task on a device that nothing disturbs.
type fate struct {
	lasts time.Duration
	ends  task.State
}

// fateOf is the same whenever it is asked.
func fateOf(op task.ID, device uint32) fate {
	h := sha256.Sum256(binary.BigEndian.AppendUint32(op[:], device))
	f := fate{ends: task.Succeeded}
	if h[0]%4 == 0 {
		f.lasts = time.Duration(h[1]%5) * time.Second
	}
	if h[2]%8 == 0 {
		f.ends = task.Failed
	}
	return f
}
