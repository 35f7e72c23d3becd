package peer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/bugle-fleet/bugle/cmd/bugle-sim/load"
	"github.com/bugle-fleet/bugle/listener/wire"
)

// Config is what a peer is opened with.
type Config struct {
	// Agents is how many there are; their numbers are 0 to Agents-1.
	Agents int
	// Observer is told what happens at the agents and the back end.
	Observer load.Observer
	// CPU is the processor that the server is kept on, or negative for any.
	CPU int
	// Dir is a folder of the caller for certificates, configuration and the log.
	Dir string
	// Addresses is over how many addresses of the loopback network the agents are
	// spread: each has 28,000 ports. With 0 or 1 the system chooses. More than one
	// needs a system on which all of 127.0.0.0/8 is this machine, such as Linux.
	Addresses int
	// Log is told what Open does; nil is nobody.
	Log io.Writer
}

// Bounds.
const (
	maxAgents    = 200_000
	maxAddresses = 200
	startWait    = 30 * time.Second // for a server to listen
	signInWait   = 2 * time.Minute  // a storm of 18,000 full handshakes takes mosquitto nearly as long
	pushWait     = time.Minute
	writeWait    = 30 * time.Second // for one write to the server
	keepAlive    = time.Minute      // between signs of life on a quiet connection
)

// A kind is what differs between the servers.
type kind struct {
	// start starts the server and returns once it listens. It returns what it has
	// started with an error too.
	start func(ctx context.Context, c Config) (started, error)
	// connect connects the back end, and makes ready what tasks need.
	connect func(ctx context.Context, t *target) (backEnd, error)
	// speak returns how an agent speaks on a new connection.
	speak func(agent int) dialect
	// protocol is the application's, by the name that TLS has for it; empty for none.
	protocol string
}

// started is a server that runs.
type started struct {
	process *load.Process
	address string
	in      io.Writer // its standard input, with which it ends, and
	out     *os.File  // what it says behind its address: of those that are this program
}

// A backEnd is where tasks come from and answers go, which it tells target.count.
type backEnd interface {
	// push hands over a task for some agents, nil for all, until it is taken.
	push(ctx context.Context, number uint64, agents []int) error
	// beat is called every [keepAlive].
	beat() error
	close()
}

var kinds = map[string]kind{
	"mosquitto": {startMosquitto, connectMQTT, func(a int) dialect { return &mqttAgent{number: a} }, ""},
	"nats":      {startOwn("nats"), connectNATS, func(a int) dialect { return &natsAgent{number: a} }, ""},
	"goroutine": {startOwn("goroutine"), connectBare, func(a int) dialect { return &bareAgent{number: a} }, ""},

	"listener":      {startOwn("listener"), connectListener, func(int) dialect { return new(listenerAgent) }, wire.ALPN},
	"listener-keys": {startOwn("listener-keys"), connectListener, func(int) dialect { return new(listenerAgent) }, wire.ALPN},
}

// Names are the servers that Open knows.
func Names() []string { return slices.Sorted(maps.Keys(kinds)) }

// A target is a server and its agents.
type target struct {
	name  string
	kind  kind
	cfg   Config
	trust *trust
	started
	agents  []agent
	counter *counter
	gate    load.Gate
	back    backEnd

	pushing sync.Mutex // one push after the other, so that numbers rise
	pushed  uint64

	closing context.Context // ends what runs beside
	end     context.CancelFunc
	beside  sync.WaitGroup
	ending  sync.Once
	closed  error
}

// Open makes certificates, starts the server NAME and connects the back end. Close
// ends the server. The server's use before the first sign-in does not hold the making
// of certificates, which takes some seconds for 10,000 agents.
func Open(ctx context.Context, name string, cfg Config) (load.Target, error) {
	k, ok := kinds[name]
	switch {
	case !ok:
		return nil, fmt.Errorf("open peer: %q is none of %s", name, strings.Join(Names(), ", "))
	case cfg.Agents < 1 || cfg.Agents > maxAgents:
		return nil, fmt.Errorf("open peer: %d agents are not from 1 to %d", cfg.Agents, maxAgents)
	case cfg.Addresses < 0 || cfg.Addresses > maxAddresses:
		return nil, fmt.Errorf("open peer: %d addresses are not from 0 to %d", cfg.Addresses, maxAddresses)
	case cfg.Observer == nil || cfg.Dir == "":
		return nil, errors.New("open peer: observer or folder is missing")
	}
	if cfg.Log == nil {
		cfg.Log = io.Discard
	}
	t := &target{name: name, kind: k, cfg: cfg, agents: make([]agent, cfg.Agents), gate: load.NewGate()}
	t.closing, t.end = context.WithCancel(context.Background())
	if err := t.open(ctx); err != nil {
		err = t.fault(err)
		return nil, fmt.Errorf("open peer %s: %w", name, errors.Join(err, t.Close()))
	}
	return t, nil
}

func (t *target) open(ctx context.Context) (err error) {
	begun := time.Now()
	if t.trust, err = makeTrust(t.cfg.Dir, t.cfg.Agents); err != nil {
		return err
	}
	t.say("made %d certificates in %v", t.cfg.Agents, time.Since(begun).Round(time.Millisecond))
	t.counter = newCounter(t.cfg.Agents, t.cfg.Observer.Counted)
	wait, enough := context.WithTimeout(ctx, startWait)
	defer enough()
	if t.started, err = t.kind.start(wait, t.cfg); err != nil {
		return err
	}
	t.say("process %d listens on %s", t.process.PID, t.address)
	if t.back, err = t.kind.connect(wait, t); err != nil {
		return fmt.Errorf("connect back end: %w", err)
	}
	t.beside.Go(t.keepAlive)
	return nil
}

func (t *target) say(format string, args ...any) {
	fmt.Fprintf(t.cfg.Log, "peer "+t.name+": "+format+"\n", args...)
}

func (t *target) Name() string { return t.name }

// Push implements [load.Target]. Pushes are made one after the other.
func (t *target) Push(ctx context.Context, agents []int) (uint64, error) {
	for _, a := range agents {
		if a < 0 || a >= len(t.agents) {
			return 0, fmt.Errorf("push: there is no agent %d", a)
		}
	}
	ctx, enough := context.WithTimeout(ctx, pushWait)
	defer enough()
	t.pushing.Lock()
	defer t.pushing.Unlock()
	t.pushed++
	if err := t.back.push(ctx, t.pushed, agents); err != nil {
		return 0, fmt.Errorf("push task %d: %w", t.pushed, t.fault(err))
	}
	return t.pushed, nil
}

func (t *target) Usage() (load.Usage, error) { return t.process.Usage() }
func (t *target) ResetPeak() error           { return t.process.ResetPeak() }

// Close drops all sessions and ends the server. Nothing is told to the observer once
// it has returned.
func (t *target) Close() error {
	t.ending.Do(func() {
		t.end()
		t.beside.Wait()
		for i := range t.agents {
			t.agents[i].leave()
		}
		if t.back != nil {
			t.back.close()
		}
		if t.counter != nil {
			t.counter.close()
		}
		if t.out != nil {
			defer t.out.Close()
		}
		if t.process == nil {
			return
		}
		if err := t.process.Stop(); err != nil {
			t.closed = fmt.Errorf("end server: %w", t.fault(err))
		}
	})
	return t.closed
}

// keepAlive gives each quiet connection its sign of life, spread over the time.
func (t *target) keepAlive() {
	const parts = 60
	tick := time.NewTicker(keepAlive / parts)
	defer tick.Stop()
	for part := 0; ; part = (part + 1) % parts {
		select {
		case <-t.closing.Done():
			return
		case <-tick.C:
		}
		for i := part; i < len(t.agents); i += parts {
			t.agents[i].beat()
		}
		if part == 0 {
			if err := t.back.beat(); err != nil {
				t.say("back end: %v", err)
			}
		}
	}
}
