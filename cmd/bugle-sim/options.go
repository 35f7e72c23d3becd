package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/bugle-fleet/bugle/cmd/bugle-sim/site"
)

// The phases.
const (
	phaseConnect = "connect"
	phasePush    = "push"
	phaseResults = "results"
)

var allPhases = []string{phaseConnect, phasePush, phaseResults}

// options are what the command is called with.
type options struct {
	site      string // host:port of the port where devices join
	data      string // folder of a site on this machine
	console   string // URL of the API
	tokenFile string
	caFile    string

	agents      int
	dir         string
	joinRate    float64 // joins a second
	joinBurst   int
	connectRate float64 // sign-ins begun a second
	work        int     // actions that run at once
	gather      time.Duration
	noop        bool

	phases  []string
	pushes  int
	kind    string
	pairs   []string // parameters as NAME=VALUE
	params  map[string]any
	pause   time.Duration // before each push
	poll    time.Duration // between two looks at an operation
	timeout time.Duration // for each step of a phase

	verbose bool
	profile string
}

// Bounds of options.
const (
	maxAgents = 100_000 // targets that one push may name
	maxPushes = 10_000
	minRate   = 0.1
)

func defaults() *options {
	return &options{agents: 1000, joinRate: 20, joinBurst: 200, connectRate: 500, work: 2 * runtime.GOMAXPROCS(0), gather: 100 * time.Millisecond,
		phases: []string{phaseConnect, phasePush}, pushes: 3, kind: "scan.quick",
		pause: 500 * time.Millisecond, poll: 20 * time.Millisecond, timeout: 2 * time.Minute}
}

func (o *options) addFlags(f *pflag.FlagSet) {
	f.StringVar(&o.data, "data", o.data, "folder of a site on this machine, in place of the four flags that follow")
	f.StringVar(&o.site, "site", o.site, "HOST:PORT where devices join")
	f.StringVar(&o.console, "console", o.console, "URL of the API, such as https://127.0.0.1:8443")
	f.StringVar(&o.tokenFile, "token-file", o.tokenFile, "file with an administrator's token")
	f.StringVar(&o.caFile, "ca-file", o.caFile, "file with the certificate of the site's CA")
	f.IntVar(&o.agents, "agents", o.agents, "how many agents")
	f.StringVar(&o.dir, "dir", o.dir, "folder of the agents, kept for a later run (default: a temporary one)")
	f.Float64Var(&o.joinRate, "join-rate", o.joinRate, "joins a second; a listener takes 20 of one address")
	f.IntVar(&o.joinBurst, "join-burst", o.joinBurst, "joins at once before that; a listener takes 200")
	f.Float64Var(&o.connectRate, "connect-rate", o.connectRate, "sign-ins begun a second")
	f.IntVar(&o.work, "work", o.work, "actions that run at once, of all agents together")
	f.DurationVar(&o.gather, "gather", o.gather, "how long records wait for others before one fsync for all of them, as if disks took that long; 0 is not at all")
	f.BoolVar(&o.noop, "noop-actions", o.noop, "put an empty action in the place of scan.quick")
	f.StringSliceVar(&o.phases, "phases", o.phases, "what to do and measure: connect, push, results")
	f.IntVar(&o.pushes, "pushes", o.pushes, "operations in each of the phases push and results")
	f.StringVar(&o.kind, "kind", o.kind, "what to push")
	f.StringArrayVar(&o.pairs, "param", o.pairs, "a parameter of the kind as NAME=VALUE, with a value that is JSON or else text; may be repeated")
	f.DurationVar(&o.pause, "pause", o.pause, "wait before each push, for the site to be idle")
	f.DurationVar(&o.poll, "poll", o.poll, "time between two looks at an operation in phase results")
	f.DurationVar(&o.timeout, "timeout", o.timeout, "how long to wait for all agents in each step")
	f.BoolVar(&o.verbose, "verbose", o.verbose, "log what each agent says")
	f.StringVar(&o.profile, "cpu-profile", o.profile, "write a CPU profile of the phases push and results to this file")
}

func (o *options) check() error {
	switch {
	case o.agents < 1 || o.agents > maxAgents:
		return fmt.Errorf("--agents: %d is not from 1 to %d", o.agents, maxAgents)
	case o.pushes < 1 || o.pushes > maxPushes:
		return fmt.Errorf("--pushes: %d is not from 1 to %d", o.pushes, maxPushes)
	case o.joinRate < minRate || o.joinBurst < 1:
		return fmt.Errorf("--join-rate must be %v or more, --join-burst 1 or more", minRate)
	case o.connectRate < minRate:
		return fmt.Errorf("--connect-rate must be %v or more", minRate)
	case o.work < 1 || o.gather < 0:
		return errors.New("--work must be 1 or more, --gather not less than 0")
	case o.kind == "":
		return errors.New("--kind is empty")
	case o.poll < time.Millisecond || o.timeout < time.Second || o.pause < 0:
		return errors.New("--poll must be 1ms or more, --timeout 1s or more, --pause not less than 0")
	}
	if err := o.checkPhases(); err != nil {
		return err
	}
	if err := o.checkSite(); err != nil {
		return err
	}
	var err error
	o.params, err = parseParams(o.pairs)
	return err
}

// checkPhases also brings the phases into their order; connect always comes
// first, named or not.
func (o *options) checkPhases() error {
	for _, p := range o.phases {
		if !slices.Contains(allPhases, p) {
			return fmt.Errorf("--phases: %q is none of %s", p, strings.Join(allPhases, ", "))
		}
	}
	ordered := []string{phaseConnect}
	for _, p := range allPhases[1:] {
		if slices.Contains(o.phases, p) {
			ordered = append(ordered, p)
		}
	}
	o.phases = ordered
	return nil
}

func (o *options) checkSite() error {
	if o.data != "" {
		return nil
	}
	for name, value := range map[string]string{"site": o.site, "console": o.console, "token-file": o.tokenFile, "ca-file": o.caFile} {
		if value == "" {
			return fmt.Errorf("no site: give --data, or all of --site, --console, --token-file and --ca-file (--%s is missing)", name)
		}
	}
	return nil
}

func (o *options) place() site.Place {
	return site.Place{Data: o.data, Join: o.site, API: o.console, TokenFile: o.tokenFile, CAFile: o.caFile}
}

// parseParams reads NAME=VALUE pairs. A value that is not JSON is text; a name
// that comes several times is a list.
func parseParams(pairs []string) (map[string]any, error) {
	if len(pairs) == 0 {
		return nil, nil
	}
	values := map[string][]any{}
	for _, pair := range pairs {
		name, text, ok := strings.Cut(pair, "=")
		if !ok || name == "" {
			return nil, fmt.Errorf("--param: %q is not NAME=VALUE", pair)
		}
		var v any
		if json.Unmarshal([]byte(text), &v) != nil {
			v = text
		}
		values[name] = append(values[name], v)
	}
	params := make(map[string]any, len(values))
	for name, list := range values {
		params[name] = list
		if len(list) == 1 {
			params[name] = list[0]
		}
	}
	return params, nil
}
