package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/pprof"
	"strings"
	"time"

	"github.com/bugle-fleet/bugle/agent"
	"github.com/bugle-fleet/bugle/cmd/bugle-sim/site"
)

// A simulation is one run of the command.
type simulation struct {
	o     *options
	site  *site.Client
	fleet *fleet
	out   *json.Encoder
	log   io.Writer
	short []string // what is missing, for the error at the end
}

// simulate does what the options say.
func simulate(ctx context.Context, o *options, out, log io.Writer) (err error) {
	at, err := site.Find(o.place())
	if err != nil {
		return err
	}
	if err := enoughFiles(o.agents); err != nil {
		return err
	}
	dir, remove, err := makeDir(o.dir)
	if err != nil {
		return fmt.Errorf("make folder of the fleet: %w", err)
	}
	s := &simulation{o: o, site: at, fleet: newFleet(o, dir, log), out: json.NewEncoder(out), log: log}
	defer func() { err = errors.Join(err, s.fleet.stop(), remove()) }()
	if err := s.phases(ctx); err != nil {
		return err
	}
	if len(s.short) > 0 {
		return fmt.Errorf("incomplete: %s", strings.Join(s.short, "; "))
	}
	return nil
}

func (s *simulation) phases(ctx context.Context) error {
	if err := s.connect(ctx); err != nil {
		return err
	}
	stop, err := s.profile()
	if err != nil {
		return err
	}
	defer stop()
	for _, phase := range s.o.phases {
		switch phase {
		case phasePush:
			err = s.push(ctx)
		case phaseResults:
			err = s.results(ctx)
		}
		if err != nil {
			return fmt.Errorf("phase %s: %w", phase, err)
		}
	}
	return nil
}

// profile begins the CPU profile, if one is wanted.
func (s *simulation) profile() (stop func(), err error) {
	if s.o.profile == "" {
		return func() {}, nil
	}
	f, err := os.Create(s.o.profile)
	if err != nil {
		return nil, fmt.Errorf("write profile: %w", err)
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return nil, errors.Join(fmt.Errorf("write profile: %w", err), f.Close())
	}
	return func() {
		pprof.StopCPUProfile()
		if err := f.Close(); err != nil {
			fmt.Fprintln(s.log, "bugle-sim: write profile:", err)
		}
	}, nil
}

// A connectLine is what phase connect prints.
type connectLine struct {
	Phase       string    `json:"phase"`
	Agents      int       `json:"agents"`
	Joined      int       `json:"joined"`      // now; the others had joined before
	JoinSeconds float64   `json:"joinSeconds"` // at --join-rate
	Connected   int       `json:"connected"`
	Missing     int       `json:"missing"`
	Seconds     float64   `json:"seconds"` // from the first agent's start to the last one's welcome
	PerSecond   float64   `json:"signInsPerSecond"`
	SignIn      quantiles `json:"signIn"` // of one agent, from its start to its welcome
	RSS         uint64    `json:"rssBytes"`
	Noop        bool      `json:"noopActions"`
}

func (s *simulation) connect(ctx context.Context) error {
	line := connectLine{Phase: phaseConnect, Agents: s.o.agents, Noop: s.o.noop}
	begun := time.Now()
	var err error
	if line.Joined, err = s.join(ctx); err != nil {
		return fmt.Errorf("join: %w", err)
	}
	line.JoinSeconds = time.Since(begun).Seconds()
	if err := s.fleet.open(ctx); err != nil {
		return fmt.Errorf("open agents: %w", err)
	}
	if err := s.fleet.start(ctx); err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	if err := s.await(ctx, "signed in", s.fleet.signedIn); err != nil {
		return err
	}
	s.fillConnect(&line)
	if line.Missing > 0 {
		s.missing("%d of %d agents did not sign in%s", line.Missing, s.o.agents, s.whyOffline())
	}
	return s.print(&line, &line.RSS)
}

// join joins the fleet with a token of its own, and revokes what is left of it.
func (s *simulation) join(ctx context.Context) (int, error) {
	token, err := s.site.CreateToken(ctx, s.o.agents)
	if err != nil {
		return 0, err
	}
	joined, err := s.fleet.join(ctx, s.site, token.Token)
	if joined < s.o.agents {
		if err := s.site.RevokeToken(context.WithoutCancel(ctx), token.ID); err != nil {
			fmt.Fprintln(s.log, "bugle-sim: revoke join token:", err)
		}
	}
	return joined, err
}

func (s *simulation) fillConnect(line *connectLine) {
	at, missing := s.fleet.signedIn.times()
	var took []time.Duration
	var last time.Time
	for i, m := range s.fleet.members {
		if at[i].IsZero() {
			continue
		}
		took = append(took, at[i].Sub(m.begun))
		if at[i].After(last) {
			last = at[i]
		}
	}
	line.Connected, line.Missing, line.SignIn = len(took), missing, quantilesOf(took)
	if len(took) > 0 {
		line.Seconds = last.Sub(s.fleet.members[0].begun).Seconds()
		line.PerSecond = float64(len(took)) / line.Seconds
	}
}

// whyOffline is what the first agent that did not sign in says.
func (s *simulation) whyOffline() string {
	at, _ := s.fleet.signedIn.times()
	for i, m := range s.fleet.members {
		if !at[i].IsZero() {
			continue
		}
		if status, err := agent.ReadStatus(m.dir); err == nil && status.LastError != "" {
			return fmt.Sprintf(" (%s: %s)", m.name, status.LastError)
		}
	}
	return ""
}

// await waits for all agents, or for --timeout; only the end of ctx is an error.
func (s *simulation) await(ctx context.Context, what string, r *rollCall) error {
	limited, cancel := context.WithTimeout(ctx, s.o.timeout)
	defer cancel()
	defer s.fleet.say(limited, func() string { return fmt.Sprintf("%s: %d of %d agents", what, s.o.agents-r.missing(), s.o.agents) })()
	r.wait(limited)
	return ctx.Err()
}

func (s *simulation) missing(format string, args ...any) {
	s.short = append(s.short, fmt.Sprintf(format, args...))
}

// print prints one line and fills in the memory of the process.
func (s *simulation) print(line any, rss *uint64) (err error) {
	*rss, err = residentBytes()
	if err != nil {
		return err
	}
	return s.out.Encode(line)
}
