package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/bugle-fleet/bugle/cmd/bugle-sim/load"
	lightfleet "github.com/bugle-fleet/bugle/cmd/bugle-sim/load/fleet"
	"github.com/bugle-fleet/bugle/cmd/bugle-sim/load/peer"
	"github.com/bugle-fleet/bugle/cmd/bugle-sim/site"
)

const aboutLoad = `Put a push server under the load of many light agents, and measure it.

The server is bugle, or another one that is measured alike in the same run (--peer).
It is started on one processor (--server-cpu), the load keeps to the others. With
--data it is a site that runs on this machine; its devices stay its devices.

Each phase prints one line of JSON on standard output. At the end a table in Markdown
with the medians over all rounds (of faults the most, zeros left out) goes to --table,
or else to standard error.

  connect  all sign in with a full handshake (connect), return with one (known), and
           return with their TLS session (resumed)
  idle     memory that an agent holds, processor that all of them take
  push     a small task to all; each agent answers at once
  tenth    the same to every tenth agent
  storm    all are away, a task is pushed, all return at once: with their TLS sessions,
           and with full handshakes; with --jitter once more, spread over that time;
           bugle's API is asked meanwhile, by a process that does nothing else
  churn    agents drop and return at random

A light agent is a connection with a certificate of its own: it decodes what comes,
checks nothing, and runs nothing. The figures are those of the server. Agents that run
the real actions are those of bugle-sim without load.

A variant of bugle with other flags is a peer too: bugle:LABEL=FLAGS. listener and
listener-keys are bugle's listener alone, with its files and without journal and views.

The exit code is 1 if anything is missing: then the error names the bound that was
hit.`

// loadOptions are what the command load is called with.
type loadOptions struct {
	load.Options
	peers  []string
	rounds int
	cpu    int
	table  string
	dir    string
	fleet  lightfleet.Config
	flags  string // of bugle serve
	apart  string // flags of bugle listener
}

const (
	maxRounds   = 100
	maxHands    = 64
	filesOfLoad = 256 // beside one for each agent
)

func newLoad(out, log io.Writer) *cobra.Command {
	o := &loadOptions{peers: []string{"bugle"}, rounds: 1, cpu: -1}
	o.Agents, o.Phases = 1000, load.Phases
	o.Log = log
	c := &cobra.Command{
		Use:   "load",
		Short: "Load a push server with many light agents, and measure it",
		Long:  aboutLoad,
		Example: `  bugle-sim load --agents 10000 --server-cpu 0 --peer bugle,mosquitto,nats --rounds 3 --table table.md
  bugle-sim load --agents 2500 --peer 'bugle,bugle:keys=--tls-park=keys' --phases connect,idle
  bugle-sim load --agents 500 --data /var/lib/bugle --dir fleet`,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := o.check(); err != nil {
				return fmt.Errorf("%w: %w", errUsage, err)
			}
			return o.run(c.Context(), out)
		},
	}
	o.addFlags(c.Flags())
	return c
}

func (o *loadOptions) addFlags(f *pflag.FlagSet) {
	f.StringSliceVar(&o.peers, "peer", o.peers, "what to measure, one after the other: bugle, "+strings.Join(peer.Names(), ", "))
	f.IntVar(&o.Agents, "agents", o.Agents, "how many agents")
	f.StringSliceVar(&o.Phases, "phases", o.Phases, "what to measure; connect always comes first")
	f.IntVar(&o.rounds, "rounds", o.rounds, "how often, the peers in turn")
	f.IntVar(&o.cpu, "server-cpu", o.cpu, "processor for the server alone, Linux only; -1 is any")
	f.StringVar(&o.table, "table", o.table, "file for the table; - is standard error, as without")
	f.StringVar(&o.dir, "dir", o.dir, "folder for what is started and who the agents are, kept for a later run (default: a temporary one)")

	f.StringVar(&o.fleet.Bugle, "bugle", o.fleet.Bugle, "the program bugle (default: beside this one, or in PATH)")
	f.StringVar(&o.flags, "bugle-flags", o.flags, "more flags of bugle serve")
	f.IntVar(&o.fleet.Listeners, "listeners", o.fleet.Listeners, "listeners of bugle that run apart, beside the site's own; the agents are split over all")
	f.StringVar(&o.apart, "listener-flags", o.apart, "more flags of bugle listener")
	f.StringVar(&o.fleet.Place.Data, "data", o.fleet.Place.Data, "folder of a site that runs on this machine, in place of one that is started")
	f.IntSliceVar(&o.fleet.PIDs, "pid", o.fleet.PIDs, "with --data: the processes to measure (default: the site's)")
	f.StringSliceVar(&o.fleet.TCP, "tcp", o.fleet.TCP, "with --data: HOST:PORT of its listeners, over which the agents are split (default: the site's own)")
	f.DurationVar(&o.fleet.KeepAlive, "keep-alive", time.Minute, "time between two keep-alives of an agent of bugle; those of others say one a minute")
	f.BoolVar(&o.fleet.Hybrid, "hybrid", o.fleet.Hybrid, "agents of bugle exchange keys with ML-KEM too, as real ones do; those of others do not")
	f.IntVar(&o.fleet.Hands, "processes", o.fleet.Hands, "processes that hold the connections of bugle's agents (default: as many as the limit of open files demands)")
	f.IntVar(&o.fleet.Addresses, "addresses", o.fleet.Addresses, "addresses of the loopback network over which the agents are spread (default: one for 64 agents)")

	f.IntVar(&o.InFlight, "in-flight", 64, "sign-ins under way at once, but for storms")
	f.IntVar(&o.Storm, "storm-in-flight", 0, "sign-ins under way at once in a storm; 0 is all")
	f.DurationVar(&o.Jitter, "jitter", 0, "storms once more, with the return spread over this time")
	f.IntVar(&o.Pushes, "pushes", 5, "tasks in each of the phases push and tenth")
	f.DurationVar(&o.Idle, "idle", 20*time.Second, "how long the processor is watched in phase idle")
	f.DurationVar(&o.Settle, "settle", 3*time.Second, "how long memory must not move to be settled")
	f.IntVar(&o.Churn, "churn", 0, "sign-ins of the churn; 0 is four for each agent")
	f.DurationVar(&o.ChurnFor, "churn-for", 0, "a churn of so long, in place of a number")
	f.DurationVar(&o.Sample, "sample", time.Minute, "time between two looks at the server during a churn")
	f.DurationVar(&o.Pause, "pause", time.Second, "wait before each measurement")
	f.DurationVar(&o.Timeout, "timeout", 2*time.Minute, "how long to wait in each step of a phase")
}

func (o *loadOptions) check() error {
	switch {
	case o.Agents < 1 || o.Agents > maxAgents:
		return fmt.Errorf("--agents: %d is not from 1 to %d", o.Agents, maxAgents)
	case o.rounds < 1 || o.rounds > maxRounds:
		return fmt.Errorf("--rounds: %d is not from 1 to %d", o.rounds, maxRounds)
	case o.Pushes < 1 || o.Pushes > maxPushes:
		return fmt.Errorf("--pushes: %d is not from 1 to %d", o.Pushes, maxPushes)
	case o.InFlight < 1 || o.Storm < 0 || o.Churn < 0:
		return errors.New("--in-flight must be 1 or more, --storm-in-flight and --churn not less than 0")
	case o.Jitter < 0 || o.ChurnFor < 0 || o.Pause < 0:
		return errors.New("--jitter, --churn-for and --pause must not be less than 0")
	case o.Idle < time.Millisecond || o.Settle < time.Millisecond || o.Sample < time.Millisecond || o.Timeout < time.Second || o.fleet.KeepAlive < time.Second:
		return errors.New("--idle, --settle and --sample must be 1ms or more, --timeout and --keep-alive 1s or more")
	case o.fleet.Hands < 0 || o.fleet.Hands > maxHands:
		return fmt.Errorf("--processes: %d is not from 0 to %d", o.fleet.Hands, maxHands)
	case o.fleet.Listeners < 0 || o.fleet.Listeners > 16:
		return fmt.Errorf("--listeners: %d is not from 0 to 16", o.fleet.Listeners)
	case o.fleet.Place.Data != "" && (o.fleet.Listeners > 0 || o.flags != ""):
		return errors.New("--listeners and --bugle-flags are for a site that is started; with --data one runs")
	}
	for _, p := range o.Phases {
		if !slices.Contains(load.Phases, p) {
			return fmt.Errorf("--phases: %q is none of %s", p, strings.Join(load.Phases, ", "))
		}
	}
	for _, p := range o.peers {
		if _, _, ok := variant(p); !ok && !slices.Contains(peer.Names(), p) {
			return fmt.Errorf("--peer: %q is none of bugle, bugle:LABEL=FLAGS, %s", p, strings.Join(peer.Names(), ", "))
		}
	}
	return nil
}

// variant reads a peer that is bugle.
func variant(p string) (name, flags string, ok bool) {
	if p == "bugle" {
		return p, "", true
	}
	if !strings.HasPrefix(p, "bugle:") {
		return "", "", false
	}
	name, flags, ok = strings.Cut(p, "=")
	return name, flags, ok && name != "bugle:"
}

// split finds out over how many processes the agents of bugle are to be spread, if
// nobody said: as many as the limit of open files demands. Those of others are all in
// this process.
func (o *loadOptions) split() error {
	limit, err := openFiles()
	if err != nil {
		return err
	}
	if limit <= filesOfLoad {
		return fmt.Errorf("this process may open %d files only: raise the limit (ulimit -n)", limit)
	}
	each := limit - filesOfLoad
	needed := int((uint64(o.Agents) + each - 1) / each)
	for _, p := range o.peers {
		if _, _, ok := variant(p); !ok && needed > 1 {
			return fmt.Errorf("%d agents of %s need more than the %d files that this process may open: raise the limit (ulimit -n)", o.Agents, p, limit)
		}
	}
	switch {
	case o.fleet.Hands == 0 && needed > 1:
		o.fleet.Hands = needed
	case o.fleet.Hands > 0 && o.fleet.Hands < needed:
		return fmt.Errorf("%d agents need %d processes, for one may open %d files: raise the limit (ulimit -n) or --processes", o.Agents, needed, limit)
	}
	fmt.Fprintf(o.Log, "bugle-sim: a process may open %d files; %d agents of bugle are held by %d\n", limit, o.Agents, max(1, o.fleet.Hands))
	self, err := os.Executable()
	if err != nil {
		return err
	}
	o.fleet.HandCommand, o.fleet.ProbeCommand = []string{self, handCommand}, []string{self, probeCommand}
	return nil
}

// What this program calls itself with to hold a part of the agents, and to ask the
// site's API in a storm.
const (
	handCommand  = "load-hand"
	probeCommand = "load-probe"
)

func newHand() *cobra.Command {
	return &cobra.Command{Use: handCommand, Hidden: true, Args: noArguments, RunE: func(c *cobra.Command, _ []string) error {
		return lightfleet.ServeHand(c.Context(), os.Stdin, os.Stdout)
	}}
}

func newProbe() *cobra.Command {
	return &cobra.Command{Use: probeCommand, Hidden: true, Args: noArguments, RunE: func(c *cobra.Command, _ []string) error {
		return lightfleet.ServeProbe(c.Context(), os.Stdin, os.Stdout)
	}}
}

// run takes all peers through all rounds.
func (o *loadOptions) run(ctx context.Context, out io.Writer) (err error) {
	if err := o.split(); err != nil {
		return err
	}
	if err := load.KeepOff(o.cpu); err != nil {
		return err
	}
	dir, remove, err := makeDir(o.dir)
	if err != nil {
		return fmt.Errorf("make folder of the load: %w", err)
	}
	defer func() { err = errors.Join(err, remove()) }()
	var lines []load.Line
	var failed []error
	encoder := json.NewEncoder(out)
	o.Line = func(l load.Line) {
		lines = append(lines, l)
		if err := encoder.Encode(l); err != nil {
			failed = append(failed, fmt.Errorf("write figures: %w", err))
		}
	}
	for o.Round = 1; o.Round <= o.rounds; o.Round++ {
		for _, p := range o.peers {
			if err := o.measure(ctx, p, dir); err != nil {
				failed = append(failed, fmt.Errorf("round %d: %w", o.Round, err))
			}
			if ctx.Err() != nil {
				return ctx.Err()
			}
		}
	}
	return errors.Join(errors.Join(failed...), o.writeTable(lines))
}

// measure takes one peer through the phases.
func (o *loadOptions) measure(ctx context.Context, name, dir string) (err error) {
	r := load.New(o.Options)
	t, err := o.open(ctx, name, dir, r.Observer())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.Close()) }()
	return r.Run(ctx, t)
}

func (o *loadOptions) open(ctx context.Context, name, dir string, observer load.Observer) (load.Target, error) {
	label, flags, ok := variant(name)
	if !ok {
		dir := filepath.Join(dir, name)
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("make folder of %s: %w", name, err)
		}
		return peer.Open(ctx, name, peer.Config{Agents: o.Agents, Observer: observer, CPU: o.cpu, Dir: dir,
			Addresses: min(200, (o.Agents+9999)/10000), Log: o.Log})
	}
	c := o.fleet
	c.Name, c.Agents, c.Observer, c.CPU, c.Log = label, o.Agents, observer, o.cpu, o.Log
	c.Dir = filepath.Join(dir, "bugle")
	c.Flags = slices.Concat(strings.Fields(o.flags), strings.Fields(flags))
	c.ListenerFlags = strings.Fields(o.apart)
	if c.Place != (site.Place{}) && flags != "" {
		return nil, fmt.Errorf("%s: a site that runs (--data) takes no other flags", name)
	}
	return lightfleet.Open(ctx, c)
}

func (o *loadOptions) writeTable(lines []load.Line) error {
	ours := func(target string) bool {
		name, _, _ := strings.Cut(target, ":")
		return name == "bugle" || strings.HasPrefix(name, "listener")
	}
	if o.table == "" || o.table == "-" {
		return load.Table(o.Log, lines, ours)
	}
	f, err := os.Create(o.table)
	if err != nil {
		return fmt.Errorf("write table: %w", err)
	}
	return errors.Join(load.Table(f, lines, ours), f.Close())
}
