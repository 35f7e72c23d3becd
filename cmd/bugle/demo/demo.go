package demo

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/bugle-fleet/bugle/cmd/bugle/admin"
	"github.com/bugle-fleet/bugle/cmd/bugle/site"
	"github.com/bugle-fleet/bugle/console"
)

// Config says how the demo runs.
type Config struct {
	Data     string // where the site stays; empty means a temporary folder
	Agents   int    // at least 8
	Exit     bool   // end after the push
	Version  string
	Out      io.Writer // the story
	Progress io.Writer // the progress, usually stderr
	Terminal bool      // Progress is a terminal
	// Command gives one of the administrator's commands, such as "devices",
	// "list", and returns what it prints to stdout.
	Command func(ctx context.Context, args ...string) ([]byte, error)
	Log     *slog.Logger
}

// The parts of the fleet that something happens to.
const (
	off      = 5 // agents that are off at the push
	infected = 3 // agents that have the planted file
	minimum  = off + infected
)

// patience is how long the demo waits for any one thing.
const patience = time.Minute

// Run plays the demo. It returns an error if anything that it promises did not
// happen.
func Run(ctx context.Context, cfg Config) (err error) {
	if cfg.Agents < minimum {
		return &admin.ExitError{Code: 2, Err: fmt.Errorf("a demo needs at least %d agents", minimum)}
	}
	// Devices of an earlier demo would wait for a site at its old addresses.
	if entries, _ := os.ReadDir(cfg.Data); cfg.Data != "" && len(entries) > 0 {
		return &admin.ExitError{Code: 2, Err: fmt.Errorf("the folder %s is not empty, and a demo begins with a new site: name another one with --data; to start the site in it again: bugle serve --data %[1]s", cfg.Data)}
	}
	if cfg.Data == "" {
		if cfg.Data, err = os.MkdirTemp("", "bugle-demo-"); err != nil {
			return fmt.Errorf("make a folder for the demo: %w", err)
		}
		defer os.RemoveAll(cfg.Data)
	}
	s := site.Default()
	s.Data, s.Version, s.Log = cfg.Data, cfg.Version, cfg.Log
	s.ListenTCP, s.ListenHTTP, s.ListenFeed, s.Console = "127.0.0.1:0", "127.0.0.1:0", "", "127.0.0.1:0"
	running, err := site.Open(ctx, s)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, running.Close()) }()

	d := &demo{Config: cfg, fleet: newFleet(filepath.Join(cfg.Data, "agents"), running.Addresses().HTTP, cfg.Version, cfg.Agents, cfg.Log)}
	d.say("Site P01 in %s", cfg.Data)
	defer func() { err = errors.Join(err, d.fleet.stopAll(d.fleet.members)) }()
	if err := d.play(ctx); err != nil {
		return err
	}
	if cfg.Exit {
		return nil
	}
	return d.stay(ctx, running)
}

type demo struct {
	Config
	fleet *fleet
}

func (d *demo) say(format string, args ...any) { fmt.Fprintf(d.Out, format+"\n", args...) }

// command gives a command and decodes what it answers.
func (d *demo) command(ctx context.Context, v any, args ...string) error {
	out, err := d.Command(ctx, append(args, "--data", d.Data, "-o", "json")...)
	if err != nil {
		return fmt.Errorf("bugle %s: %w", strings.Join(args, " "), err)
	}
	if err := json.Unmarshal(out, v); err != nil {
		return fmt.Errorf("bugle %s: read answer: %w", strings.Join(args, " "), err)
	}
	return nil
}

func (d *demo) play(ctx context.Context) error {
	if err := d.assemble(ctx); err != nil {
		return err
	}
	away := d.fleet.members[:off]
	if err := d.fleet.stopAll(away); err != nil {
		return err
	}
	contents := []byte("bugle demo: a harmless file that the indicator list names\n")
	for _, m := range d.fleet.members[off-1 : off-1+infected] {
		if err := d.fleet.plant(m, contents); err != nil {
			return fmt.Errorf("plant file: %w", err)
		}
	}
	if err := d.await(ctx, len(d.fleet.members)-off); err != nil {
		return err
	}
	d.say("%d agents were switched off; a harmless file was planted on %d, one of which is off", off, infected)
	sum := sha256.Sum256(contents)
	op, err := d.push(ctx, hex.EncodeToString(sum[:]))
	if err != nil {
		return err
	}
	if err := d.report(ctx, op); err != nil {
		return err
	}
	if err := d.collect(ctx); err != nil {
		return err
	}
	d.say("\nok: all %d devices ran the scan, the %d that were off included; the collection has its members", d.Agents, off)
	return nil
}

// assemble joins and starts the fleet and waits until the site sees all of it.
func (d *demo) assemble(ctx context.Context) error {
	var token console.TokenReply
	if err := d.command(ctx, &token, "token", "create", "--uses", fmt.Sprint(d.Agents)); err != nil {
		return err
	}
	if err := d.fleet.join(ctx, token.Token); err != nil {
		return err
	}
	if err := d.fleet.startAll(ctx, d.fleet.members); err != nil {
		return err
	}
	if err := d.await(ctx, d.Agents); err != nil {
		return err
	}
	d.say("%d agents joined with a token and are online over mutual TLS 1.3", d.Agents)
	return nil
}

// await waits until exactly n devices are online.
func (d *demo) await(ctx context.Context, n int) error {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("%d devices were not online within %s", n, patience))
	defer cancel()
	for {
		var devices []console.Device
		if err := d.command(ctx, &devices, "devices", "list", "--limit", "100000"); err != nil {
			return err
		}
		online := 0
		for _, device := range devices {
			if device.Online {
				online++
			}
		}
		if online == n {
			return nil
		}
		if err := pause(ctx); err != nil {
			return err
		}
	}
}

// push pushes the scan, brings those who were off back, and follows the
// operation until every device has ended.
func (d *demo) push(ctx context.Context, indicator string) (*console.OperationReply, error) {
	args := []string{"push", "scan.quick", "--all", "--yes", "--param", "sha256=" + indicator, "--reason", "demo"}
	d.say("\n$ bugle %s", strings.Join(args, " "))
	var pushed console.PushReply
	if err := d.command(ctx, &pushed, args...); err != nil {
		return nil, err
	}
	d.say("operation %s: %d targets, %d of them online", pushed.Operation, pushed.Targets, pushed.Online)

	progress := admin.NewProgress(d.Progress, d.Terminal, d.Agents)
	op, err := d.follow(ctx, pushed.Operation, d.Agents-off, progress)
	if err != nil {
		return nil, err
	}
	if got := op.States["waiting"]; got != off {
		return nil, fmt.Errorf("%d devices wait, and %d are off", got, off)
	}
	progress.Done()
	d.say("\nthe %d that were off are switched on again", off)
	if err := d.fleet.startAll(ctx, d.fleet.members[:off]); err != nil {
		return nil, err
	}
	progress = admin.NewProgress(d.Progress, d.Terminal, d.Agents)
	op, err = d.follow(ctx, pushed.Operation, d.Agents, progress)
	if err != nil {
		return nil, err
	}
	progress.Done()
	return op, nil
}

// follow shows an operation, if progress is not nil, until n devices have succeeded.
func (d *demo) follow(ctx context.Context, id string, n int, progress *admin.Progress) (*console.OperationReply, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("%d devices had not succeeded within %s", n, patience))
	defer cancel()
	for {
		var op console.OperationReply
		if err := d.command(ctx, &op, "ops", "show", id); err != nil {
			return nil, err
		}
		states := map[string]int{}
		for s, count := range op.States {
			states[s] = int(count)
		}
		if progress != nil {
			progress.Update(states)
		}
		if states["succeeded"] >= n {
			return &op, nil
		}
		if err := pause(ctx); err != nil {
			return nil, err
		}
	}
}

func pause(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(25 * time.Millisecond):
		return nil
	}
}

// stay says how to go on and waits for the end.
func (d *demo) stay(ctx context.Context, s *site.Site) error {
	d.say("\nThe site and its agents stay up until Ctrl-C. To go on, in another shell:\n")
	d.say("  export BUGLE_DATA=%s", d.Data)
	for _, c := range []string{"devices list", "push discovery.collect --all --yes --watch", "ops list", "collections explain 'Odd ones' demo-03", "journal tail", "views digest"} {
		d.say("  bugle %s", c)
	}
	d.say("\nThe console's API is at https://%s/api/openapi.json", s.Addresses().Console)
	select {
	case <-ctx.Done():
		return nil
	case err := <-s.Failed():
		return err
	}
}
