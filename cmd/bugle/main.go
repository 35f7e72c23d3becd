// Command bugle is a site and the administrator's command line.
//
//	bugle demo     a whole site with real agents on this machine
//	bugle serve    the site: journal, inbox, views, listener, console
//	bugle …        everything else talks to a site that runs
//
// "bugle help" lists the commands.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/bugle-fleet/bugle/cmd/bugle/admin"
)

func main() { os.Exit(run(os.Args[1:])) }

// run is main without the exit, for tests that run the command in their own
// process.
func run(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root := newRoot()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err != nil {
		fmt.Fprintln(os.Stderr, "bugle:", err)
	}
	return admin.ExitCode(err)
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:           "bugle",
		Short:         "The fast channel of a fleet",
		Long:          "bugle makes something happen on every machine of a fleet now, and keeps the history of it.\n\nStart with: bugle demo",
		Version:       version(),
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	o := new(admin.Options)
	o.AddFlags(root.PersistentFlags())
	root.AddCommand(newServe(), newListener(), newDemo(), newVersion())
	root.AddCommand(admin.Commands(o)...)
	return root
}

func newVersion() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cobra.NoArgs,
		Run:   func(c *cobra.Command, _ []string) { fmt.Fprintln(c.OutOrStdout(), "bugle", version()) },
	}
}

// version is what the build says of itself: the module's version or the commit.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "devel"
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 {
			return s.Value[:12]
		}
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	return "devel"
}
