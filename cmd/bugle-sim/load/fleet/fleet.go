package fleet

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"github.com/bugle-fleet/bugle/cmd/bugle-sim/load"
	"github.com/bugle-fleet/bugle/cmd/bugle-sim/site"
	"github.com/bugle-fleet/bugle/console"
	"github.com/bugle-fleet/bugle/listener/wire"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// version is what the agents call themselves.
const version = "bugle-sim"

// Config says which fleet, and which site.
type Config struct {
	Name      string // what figures call it; default bugle
	Agents    int
	Observer  load.Observer
	Dir       string        // of the identities, and of what is started; made if it is not there
	Addresses int           // of the loopback network over which the agents are spread; default one for 64 agents
	KeepAlive time.Duration // between two signs of life of an agent; default a minute
	Hybrid    bool          // key exchange with ML-KEM too, as real agents do
	Log       io.Writer     // for people; default nowhere

	// Hands is over how many other processes the agents are split, 0 for none: a
	// process may open only so many files. HandCommand is how to start one, which is
	// to call [ServeHand].
	Hands       int
	HandCommand []string

	// ProbeCommand is how to start a process that asks the site's API in storms, which
	// is to call [ServeProbe]; without it the API is not asked.
	ProbeCommand []string

	// A site that is started.
	Bugle         string   // the program; default [FindBugle]
	Flags         []string // more of bugle serve
	Listeners     int      // listeners that run apart, beside the site's own
	ListenerFlags []string // more of bugle listener
	CPU           int      // the processor of all of these; negative for any

	// Or one that runs.
	Place site.Place
	TCP   []string // addresses of its listeners, host:port; default what the site says
	PIDs  []int    // of its processes; default the one that serves the API on this machine
}

// Bounds.
const (
	maxAddresses   = 200 * 250
	maxHands       = 64
	agentsOfOne    = 64 // address, by default
	defaultBeat    = time.Minute
	beatParts      = 100
	pollEvery      = 20 * time.Millisecond
	deliverSeconds = 600 // how long tasks are good for: an agent that is off then does not get them later
	kind           = "scan.quick"
)

func (c *Config) check() error {
	switch {
	case c.Agents < 1 || c.Agents > maxIdentities:
		return fmt.Errorf("open fleet: %d agents are not from 1 to %d", c.Agents, maxIdentities)
	case c.Observer == nil || c.Dir == "":
		return errors.New("open fleet: observer or folder is missing")
	case c.Addresses < 0 || c.Addresses > maxAddresses:
		return fmt.Errorf("open fleet: %d addresses are not from 0 to %d", c.Addresses, maxAddresses)
	case c.Hands < 0 || c.Hands > maxHands:
		return fmt.Errorf("open fleet: %d hands are not from 0 to %d", c.Hands, maxHands)
	case c.KeepAlive < 0:
		return fmt.Errorf("open fleet: keep-alive of %v", c.KeepAlive)
	}
	c.Name = cmp.Or(c.Name, "bugle")
	c.KeepAlive = cmp.Or(c.KeepAlive, defaultBeat)
	c.Addresses = cmp.Or(c.Addresses, min(maxAddresses, (c.Agents+agentsOfOne-1)/agentsOfOne))
	if runtime.GOOS != "linux" {
		c.Addresses = 1 // elsewhere only 127.0.0.1 is there
	}
	if c.Log == nil {
		c.Log = io.Discard
	}
	return nil
}

// A Fleet is the agents and their site. It is a [load.Target].
type Fleet struct {
	cfg       Config
	place     site.Place // where the site is
	site      *site.Client
	ids       *identities
	listeners []string
	servers   []*server       // that were started here
	processes []*load.Process // whose use is measured
	agents    []agent
	hands     []*hand // that hold the connections, if there are any
	all       bool    // the site has no other devices
	gate      load.Gate

	mu       sync.Mutex // of the agents' sessions
	closing  context.Context
	end      context.CancelFunc
	beside   sync.WaitGroup
	counting context.CancelFunc // ends the look at the last operation
	lastLook chan struct{}      // closed when that has ended
}

// Open starts the site, or finds it, and lets agents join that have not.
func Open(ctx context.Context, cfg Config) (*Fleet, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	f := newFleet(cfg)
	if err := f.open(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("open fleet: %w", err), f.Close())
	}
	return f, nil
}

func newFleet(cfg Config) *Fleet {
	f := &Fleet{cfg: cfg, agents: make([]agent, cfg.Agents), gate: load.NewGate()}
	f.closing, f.end = context.WithCancel(context.Background())
	return f
}

func (f *Fleet) open(ctx context.Context) (err error) {
	if err := os.MkdirAll(f.cfg.Dir, 0o700); err != nil {
		return err
	}
	own := f.cfg.Place == (site.Place{})
	if own && f.cfg.Bugle == "" {
		if f.cfg.Bugle, err = FindBugle(); err != nil {
			return err
		}
	}
	if own {
		err = f.startSite(ctx)
	} else {
		f.place = f.cfg.Place
		f.site, err = site.Find(f.place)
	}
	if err != nil {
		return err
	}
	joined, err := f.identify(ctx)
	if err != nil {
		return err
	}
	f.all = own && len(f.ids.all) == f.cfg.Agents
	if own && joined > 0 {
		f.site.Close()
		if err := f.stopServers(); err != nil {
			return err
		}
		if err := f.startSite(ctx); err != nil {
			return err
		}
	}
	if err := f.findListeners(ctx); err != nil {
		return err
	}
	if f.cfg.Hands > 0 {
		return f.startHands()
	}
	f.beside.Go(f.keepAlive)
	return nil
}

// identitiesFile is in the fleet's folder.
const identitiesFile = "identities"

// identify reads who the agents are, and lets those join that are missing.
func (f *Fleet) identify(ctx context.Context) (joined int, err error) {
	name := filepath.Join(f.cfg.Dir, identitiesFile)
	if f.ids, err = restore(name); err != nil {
		return 0, err
	}
	if len(f.ids.all) > 0 {
		ca, err := x509.ParseCertificate(f.ids.Authority)
		if err == nil {
			_, err = ca.Verify(x509.VerifyOptions{Roots: f.site.Roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
		}
		if err != nil {
			return 0, fmt.Errorf("the agents in %s are of another site: %w", name, err)
		}
	}
	return f.ids.join(ctx, f.site, &f.cfg, name)
}

// findListeners finds where agents sign in, and whose use is measured.
func (f *Fleet) findListeners(ctx context.Context) error {
	f.listeners = f.cfg.TCP
	if len(f.listeners) == 0 && f.site.Listener != "" {
		f.listeners = []string{f.site.Listener}
	}
	if len(f.listeners) == 0 {
		f.listeners = f.ids.Listeners
	}
	if len(f.servers) > 0 {
		if err := f.startListeners(ctx); err != nil {
			return err
		}
		for _, s := range f.servers {
			f.processes = append(f.processes, s.process)
		}
		return nil
	}
	pids := f.cfg.PIDs
	if len(pids) == 0 {
		pid, err := load.ListeningAt(f.site.API)
		if err != nil {
			return err
		}
		pids = []int{pid}
	}
	for _, pid := range pids {
		f.processes = append(f.processes, load.Watch(pid))
	}
	return nil
}

// Name is of [load.Target].
func (f *Fleet) Name() string { return f.cfg.Name }

// Push is of [load.Target]. Its number is a part of the operation's id.
func (f *Fleet) Push(ctx context.Context, agents []int) (uint64, error) {
	f.stopLooking()
	q := console.PushRequest{Kind: kind, DeliverBySeconds: deliverSeconds, Reason: version}
	switch {
	case agents == nil && f.all:
		q.All = true
	case agents == nil:
		for i := range f.agents {
			q.Devices = append(q.Devices, fmt.Sprint(f.ids.all[i].Device))
		}
	}
	for _, i := range agents {
		q.Devices = append(q.Devices, fmt.Sprint(f.ids.all[i].Device))
	}
	reply, err := f.site.Push(ctx, q)
	if err != nil {
		return 0, err
	}
	id, err := task.ParseID(reply.Operation)
	if err != nil {
		return 0, fmt.Errorf("read answer to push: operation %q: %w", reply.Operation, err)
	}
	f.look(id, reply)
	return numberOf(id), nil
}

// look looks at an operation until every answer is in its view.
func (f *Fleet) look(id task.ID, p console.PushReply) {
	ctx, cancel := context.WithCancel(f.closing)
	f.counting, f.lastLook = cancel, make(chan struct{})
	done := f.lastLook
	f.beside.Go(func() {
		defer close(done)
		defer cancel()
		told, failed := 0, false
		for told < int(p.Targets) {
			o, err := f.site.Counts(ctx, p.Operation, p.Event)
			now := time.Now()
			if err != nil && !failed && ctx.Err() == nil {
				failed = true
				fmt.Fprintf(f.cfg.Log, "bugle-sim: look at operation: %v\n", err)
			}
			if n := finals(o.States); err == nil && n > told {
				f.cfg.Observer.Counted(numberOf(id), n-told, now)
				told = n
			}
			if sleep(ctx, pollEvery) != nil {
				return
			}
		}
	})
}

func (f *Fleet) stopLooking() {
	if f.counting != nil {
		f.counting()
		<-f.lastLook
		f.counting = nil
	}
}

// finals is how many devices are in a final state.
func finals(states map[string]uint32) (n int) {
	for name, count := range states {
		if s, ok := task.ParseState(name); ok && s.Final() {
			n += int(count)
		}
	}
	return n
}

// Usage is of [load.Target]: the sum of all processes. The sum of their peaks is
// reached only if they come at the same time.
func (f *Fleet) Usage() (sum load.Usage, err error) {
	for _, p := range f.processes {
		u, err := p.Usage()
		if err != nil {
			return sum, err
		}
		sum.CPU += u.CPU
		sum.RSS += u.RSS
		sum.Peak += u.Peak
		sum.Mapped += u.Mapped
	}
	return sum, nil
}

// ResetPeak is of [load.Target].
func (f *Fleet) ResetPeak() error {
	for _, p := range f.processes {
		if err := p.ResetPeak(); err != nil {
			return err
		}
	}
	return nil
}

// gauges are metrics of a site by the names that figures have; not every site has
// all.
var gauges = map[string]string{"goroutines": "go_goroutines", "connections": "bugle_listener_connections", "sessions": "bugle_listener_sessions"}

// Gauges is of [load.Gauger]: files of all processes, and metrics of the site's own.
func (f *Fleet) Gauges(ctx context.Context) (map[string]float64, error) {
	all, err := f.site.Metrics(ctx)
	if err != nil {
		return nil, err
	}
	of := map[string]float64{}
	for name, metric := range gauges {
		if v, ok := all[metric]; ok {
			of[name] = v
		}
	}
	for _, p := range f.processes {
		n, err := p.Files()
		if err != nil {
			return nil, err
		}
		of["files"] += float64(n)
	}
	return of, nil
}

// keepAlive lets each agent say that it is there, spread over the time.
func (f *Fleet) keepAlive() {
	tick := time.NewTicker(max(time.Millisecond, f.cfg.KeepAlive/beatParts))
	defer tick.Stop()
	for part := 0; ; part = (part + 1) % beatParts {
		select {
		case <-f.closing.Done():
			return
		case <-tick.C:
		}
		for i := part; i < len(f.agents); i += beatParts {
			f.mu.Lock()
			s := f.agents[i].session
			f.mu.Unlock()
			if s != nil && s.state.Load() == alive {
				_ = s.write(&wire.KeepAlive{}) // its reader knows of the end
			}
		}
	}
}

// Close drops all sessions and ends what was started.
func (f *Fleet) Close() error {
	f.end()
	f.mu.Lock()
	for i := range f.agents {
		if s := f.agents[i].session; s != nil {
			s.Drop()
		}
	}
	f.mu.Unlock()
	var errs []error
	for _, h := range f.hands {
		if err := h.stop(); err != nil {
			errs = append(errs, fmt.Errorf("stop hand: %w", err))
		}
	}
	f.beside.Wait()
	if f.site != nil {
		f.site.Close()
	}
	return errors.Join(errors.Join(errs...), f.stopServers())
}

// source is the address of the loopback network from which an agent comes; nil
// leaves it to the system.
func source(agent, addresses int) net.Addr {
	if addresses <= 1 {
		return nil
	}
	n := agent % addresses
	return &net.TCPAddr{IP: net.IPv4(127, 1, byte(1+n/250), byte(1+n%250))}
}
