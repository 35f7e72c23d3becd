package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"gopkg.in/natefinch/lumberjack.v2"

	"github.com/bugle-fleet/bugle/agent"
	"github.com/bugle-fleet/bugle/agent/watchdog"
)

// options are the flags of run and join.
type options struct {
	dir, site, token, tokenFile, name string
	scanner, roots, kinds             string
	logFormat, logLevel               string
}

// defaultDir is where an agent keeps its files: of the machine if root runs it,
// else of the user.
func defaultDir() string {
	if os.Geteuid() == 0 {
		return "/var/lib/bugle-agent"
	}
	if dir, err := os.UserConfigDir(); err == nil {
		return filepath.Join(dir, "bugle-agent")
	}
	return "bugle-agent"
}

// defaultKinds is where a machine's packages put the kinds that administrators add.
func defaultKinds() string {
	switch runtime.GOOS {
	case "windows":
		return filepath.Join(os.Getenv("ProgramFiles"), "bugle", "kinds")
	case "darwin":
		return "/usr/local/lib/bugle/kinds"
	}
	return "/usr/lib/bugle/kinds"
}

func (o *options) join(f *flag.FlagSet) {
	f.StringVar(&o.dir, "dir", defaultDir(), "folder of this agent")
	f.StringVar(&o.site, "site", "", "HOST:PORT of the site's HTTPS port, to join")
	f.StringVar(&o.token, "token", "", "join token; others on this machine can see it, --token-file is better")
	f.StringVar(&o.tokenFile, "token-file", "", "file with the join token, - for standard input")
	f.StringVar(&o.name, "name", "", "name of this machine (default its host name)")
	f.StringVar(&o.logFormat, "log-format", "text", "text or json")
	f.StringVar(&o.logLevel, "log-level", "info", "debug, info, warn or error")
}

func (o *options) run(f *flag.FlagSet) {
	f.StringVar(&o.scanner, "scanner", "auto", "auto, builtin, or the path of clamdscan, clamscan or MpCmdRun.exe")
	f.StringVar(&o.kinds, "kinds", defaultKinds(), "folder of the kinds of task that administrators add, which only root may write; empty for none")
	f.StringVar(&o.roots, "scan-roots", "", "folders of a full scan, separated by "+string(os.PathListSeparator))
}

// readToken returns the token, "" if none is given.
func (p *program) readToken(o *options) (string, error) {
	switch {
	case o.token != "" && o.tokenFile != "":
		return "", &usageError{"give --token or --token-file, not both"}
	case o.tokenFile == "":
		return o.token, nil
	}
	in := p.stdin
	if o.tokenFile != "-" {
		f, err := os.Open(o.tokenFile)
		if err != nil {
			return "", fmt.Errorf("read token: %w", err)
		}
		defer f.Close()
		in = f
	}
	b, err := io.ReadAll(io.LimitReader(in, 4<<10))
	if err != nil {
		return "", fmt.Errorf("read token: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}

// logger returns what the agent says to, and its level, which can be changed.
func (p *program) logger(o *options, to io.Writer) (*slog.Logger, *slog.LevelVar, error) {
	level := new(slog.LevelVar)
	if err := level.UnmarshalText([]byte(o.logLevel)); err != nil {
		return nil, nil, &usageError{fmt.Sprintf("--log-level %q: it is debug, info, warn or error", o.logLevel)}
	}
	how := &slog.HandlerOptions{Level: level}
	switch o.logFormat {
	case "text":
		return slog.New(slog.NewTextHandler(to, how)), level, nil
	case "json":
		return slog.New(slog.NewJSONHandler(to, how)), level, nil
	}
	return nil, nil, &usageError{fmt.Sprintf("--log-format %q: it is text or json", o.logFormat)}
}

// logFile is the agent's log in its folder: 10 MiB, and five older ones.
func logFile(dir string) *lumberjack.Logger {
	return &lumberjack.Logger{Filename: filepath.Join(dir, "logs", "agent.log"), MaxSize: 10, MaxBackups: 5}
}

func (p *program) joinConfig(o *options) (agent.JoinConfig, error) {
	token, err := p.readToken(o)
	if err != nil {
		return agent.JoinConfig{}, err
	}
	if token != "" && o.site == "" { // a site without a token is that of an agent that has joined
		return agent.JoinConfig{}, &usageError{"to join, give both --site and --token-file (or --token)"}
	}
	return agent.JoinConfig{Dir: o.dir, Site: o.site, Token: token, Name: o.name, Version: version}, nil
}

// join joins and ends.
func (p *program) join(args []string) error {
	var o options
	f := p.flags("join")
	o.join(f)
	if err := p.parse(f, args); err != nil {
		return err
	}
	if _, _, err := p.logger(&o, p.stderr); err != nil {
		return err
	}
	cfg, err := p.joinConfig(&o)
	if err != nil {
		return err
	}
	if cfg.Token == "" {
		return &usageError{"to join, give both --site and --token-file (or --token)"}
	}
	id, err := agent.Join(p.ctx, cfg)
	if err != nil {
		return err
	}
	fmt.Fprintf(p.stdout, "device %d of site %s (%s)\n", id.Device, id.Site, id.ID)
	return nil
}

// run joins if needed, and serves until it is told to end.
func (p *program) run(args []string) error {
	var o options
	f := p.flags("run")
	o.join(f)
	o.run(f)
	if err := p.parse(f, args); err != nil {
		return err
	}
	file := logFile(o.dir)
	defer file.Close()
	log, level, err := p.logger(&o, io.MultiWriter(p.stderr, file))
	if err != nil {
		return err
	}
	cfg, err := p.joinConfig(&o)
	if err != nil {
		return err
	}
	if cfg.Token != "" {
		if err := joinUntil(p.ctx, cfg, log); err != nil {
			return err
		}
	}
	a, err := agent.Open(o.dir, agent.Config{Version: version, Log: log, Scanner: o.scanner, ScanRoots: splitRoots(o.roots),
		Kinds: o.kinds, Verbose: detail(level)})
	if errors.Is(err, agent.ErrNotJoined) {
		return fmt.Errorf("%w; give --site and --token-file once", err)
	}
	if err != nil {
		return err
	}
	log.Info("agent runs", "version", version, "site", a.Identity().Site, "device", a.Identity().Device, "dir", o.dir)
	watchdog.Notify("READY=1")
	ctx, cancel := context.WithCancel(p.ctx)
	go watchdog.Watch(ctx, a.Alive)
	err = a.Run(p.ctx)
	cancel()
	watchdog.Notify("STOPPING=1")
	return errors.Join(err, a.Close())
}

// detail returns what makes the log detailed, and puts it back to its level.
func detail(level *slog.LevelVar) func(on bool) {
	usual := level.Level()
	return func(on bool) {
		if on {
			level.Set(min(usual, slog.LevelDebug))
		} else {
			level.Set(usual)
		}
	}
}

func splitRoots(s string) []string {
	if s == "" {
		return nil
	}
	return filepath.SplitList(s)
}

// joinUntil joins. While the site cannot be reached it tries again, as the site
// may be installed after its agents.
func joinUntil(ctx context.Context, cfg agent.JoinConfig, log *slog.Logger) error {
	limit := time.Second
	for {
		id, err := agent.Join(ctx, cfg)
		if err == nil {
			log.Info("joined", "site", id.Site, "device", id.Device)
			return nil
		}
		if ctx.Err() != nil || !errors.Is(err, agent.ErrUnreachable) {
			return err
		}
		wait := rand.N(limit)
		limit = min(2*limit, 5*time.Minute)
		log.Warn("cannot join yet", "err", err, "again-in", wait.Round(time.Millisecond))
		select {
		case <-ctx.Done():
			return err
		case <-time.After(wait):
		}
	}
}
