package main

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/bugle-fleet/bugle/cmd/bugle/demo"
)

func newDemo() *cobra.Command {
	cfg := demo.Config{Version: version(), Command: command}
	var verbose bool
	c := &cobra.Command{
		Use:   "demo",
		Short: "Run a whole site with real agents on this machine and push to them",
		Long: `Run a whole site with real agents on this machine and push to them.

The site is in a temporary folder, or in the one that --data names, which must be empty
or not there yet and stays; it listens on loopback only. Some agents are off when the push is made and come back later. The
exit code is not 0 if anything is missing at the end.`,
		Example: "  bugle demo\n  bugle demo --exit --agents 100",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg.Data = c.Flag("data").Value.String()
			cfg.Out, cfg.Progress = c.OutOrStdout(), c.ErrOrStderr()
			cfg.Terminal = term.IsTerminal(int(os.Stderr.Fd()))
			cfg.Log = slog.New(slog.DiscardHandler)
			if verbose {
				cfg.Log = slog.New(slog.NewTextHandler(os.Stderr, nil))
			}
			return demo.Run(c.Context(), cfg)
		},
	}
	c.Flags().IntVar(&cfg.Agents, "agents", 25, "how many agents, at least 8")
	c.Flags().BoolVar(&cfg.Exit, "exit", false, "end after the push")
	c.Flags().BoolVar(&verbose, "verbose", false, "show the logs of the site and of the agents")
	return c
}

// command runs one of the administrator's commands in this process.
func command(ctx context.Context, args ...string) ([]byte, error) {
	var out, errs bytes.Buffer
	root := newRoot()
	root.SetArgs(args)
	root.SetOut(&out)
	root.SetErr(&errs)
	if err := root.ExecuteContext(ctx); err != nil {
		return nil, fmt.Errorf("%w %s", err, errs.Bytes())
	}
	return out.Bytes(), nil
}
