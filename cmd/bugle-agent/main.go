package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"
	_ "time/tzdata" // local maintenance windows, also where the system has no time zones
)

// version is set when a release is linked.
var version = "0.1.0-dev"

// How a process ends.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

func main() {
	small()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	p := program{ctx: ctx, stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, env: os.Getenv}
	code, ok := asService(p, os.Args[1:])
	if !ok {
		code = p.main(os.Args[1:])
	}
	stop()
	os.Exit(code)
}

// small trades processor time, of which an agent needs little, for memory.
func small() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(40)
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(48 << 20)
	}
}

// program is one call of this command.
type program struct {
	ctx            context.Context
	stdin          io.Reader
	stdout, stderr io.Writer
	env            func(string) string
}

const usage = `bugle-agent makes this machine a device of a bugle site.

  bugle-agent run [--site HOST:PORT --token-file FILE]   join if needed, then serve
  bugle-agent join --site HOST:PORT --token-file FILE    join and end
  bugle-agent status [-o json]                           where the agent stands
  bugle-agent service install|uninstall|status|print     from boot on, by systemd, launchd or Windows
  bugle-agent version

bugle-agent COMMAND -h lists the flags of a command.
`

// usageError is a call that cannot be understood.
type usageError struct{ text string }

func (e *usageError) Error() string { return e.text }

func (p *program) main(args []string) int {
	err := p.dispatch(args)
	var wrong *usageError
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return exitOK
	case errors.As(err, &wrong):
		fmt.Fprintf(p.stderr, "bugle-agent: %v\nbugle-agent -h says how it is called.\n", err)
		return exitUsage
	}
	fmt.Fprintf(p.stderr, "bugle-agent: %v\n", err)
	return exitFailed
}

func (p *program) dispatch(args []string) error {
	if len(args) == 0 {
		return &usageError{"say what to do: run, join, status, service or version"}
	}
	command, args := args[0], args[1:]
	switch command {
	case "run":
		return p.run(args)
	case "join":
		return p.join(args)
	case "status":
		return p.status(args)
	case "service":
		return p.service(args)
	case "version":
		return p.version(args)
	case "help", "-h", "-help", "--help":
		fmt.Fprint(p.stdout, usage)
		return nil
	}
	return &usageError{fmt.Sprintf("unknown command %q: it is run, join, status, service or version", command)}
}

func (p *program) version(args []string) error {
	if err := p.parse(p.flags("version"), args); err != nil {
		return err
	}
	fmt.Fprintln(p.stdout, "bugle-agent", version)
	return nil
}

func (p *program) flags(command string) *flag.FlagSet {
	f := flag.NewFlagSet("bugle-agent "+command, flag.ContinueOnError)
	f.SetOutput(io.Discard)
	return f
}

// parse reads flags. One that is not given takes its value from the environment.
func (p *program) parse(f *flag.FlagSet, args []string) error {
	err := f.Parse(args)
	if errors.Is(err, flag.ErrHelp) {
		fmt.Fprintf(p.stdout, "Flags of %s:\n", f.Name())
		f.SetOutput(p.stdout)
		f.PrintDefaults()
		return err
	}
	if err != nil {
		return &usageError{err.Error()}
	}
	if f.NArg() > 0 {
		return &usageError{fmt.Sprintf("%q is not a flag", f.Arg(0))}
	}
	given := make(map[string]bool)
	f.Visit(func(fl *flag.Flag) { given[fl.Name] = true })
	if given["token"] || given["token-file"] {
		given["token"], given["token-file"] = true, true // one stands for both
	}
	f.VisitAll(func(fl *flag.Flag) {
		name := "BUGLE_AGENT_" + strings.ToUpper(strings.ReplaceAll(fl.Name, "-", "_"))
		v := p.env(name)
		if v == "" || given[fl.Name] || len(fl.Name) == 1 {
			return
		}
		if e := f.Set(fl.Name, v); e != nil && err == nil {
			err = &usageError{fmt.Sprintf("%s: %v", name, e)}
		}
	})
	return err
}
