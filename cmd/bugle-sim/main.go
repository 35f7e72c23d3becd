package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/bugle-fleet/bugle/cmd/bugle-sim/load/peer"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// The codes with which the command ends.
const (
	codeMissing = 1 // something is missing or failed
	codeUsage   = 2
)

// errUsage is wrapped by every error of a wrong call.
var errUsage = errors.New("wrong call")

// run is main without the process.
func run(ctx context.Context, args []string, out, log io.Writer) int {
	c := newCommand(out, log)
	c.SetArgs(args)
	c.SetOut(out)
	c.SetErr(log)
	err := c.ExecuteContext(ctx)
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errUsage):
		fmt.Fprintf(log, "bugle-sim: %v; see 'bugle-sim --help'\n", err)
		return codeUsage
	}
	fmt.Fprintln(log, "bugle-sim:", err)
	return codeMissing
}

const about = `A simulated fleet against a site that runs.

It joins --agents devices, signs them in, pushes --pushes operations to them, and
prints one line of JSON with figures for each phase. The devices stay devices of the
site; with --dir a later run uses them again.

The agents run the real actions, with the built-in scanner. --noop-actions puts an
empty action that succeeds at once in the place of scan.quick, to load the channel
and not the machine; the figures then say "noopActions": true.

The exit code is 1 if any agent did not sign in, did not receive a task, or has no
visible result.`

func newCommand(out, log io.Writer) *cobra.Command {
	o := defaults()
	c := &cobra.Command{
		Use:   "bugle-sim",
		Short: "A simulated fleet against a site that runs",
		Long:  about,
		Example: `  bugle-sim --data /var/lib/bugle --agents 1000 --phases connect,push,results
  bugle-sim --data /var/lib/bugle --agents 200 --dir fleet --pushes 10 --noop-actions
  bugle-sim --site bugle.example.com:10443 --console https://bugle.example.com:8443 --token-file admin.token --ca-file ca.crt`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := o.check(); err != nil {
				return fmt.Errorf("%w: %w", errUsage, err)
			}
			return simulate(c.Context(), o, out, log)
		},
	}
	c.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return fmt.Errorf("%w: %w", errUsage, err) })
	o.addFlags(c.Flags())
	c.AddCommand(newLoad(out, log), newHand(), newProbe(), peer.ServerCommand(), newEstate(), newCollections(out, log))
	return c
}

func noArguments(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("%w: %q is one argument too many", errUsage, args[0])
	}
	return nil
}
