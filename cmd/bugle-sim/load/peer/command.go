package peer

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/bugle-fleet/bugle/listener"
)

// commandName is that of the command by which Open starts this program as a server.
const commandName = "peer-server"

// A server is a peer that this program is itself.
type server interface {
	address() string
	close() error
}

// A serverThatObeys is told by the back end what to do on its standard input.
type serverThatObeys interface {
	server
	obey(in io.Reader, out io.Writer) error
}

// servers open them with the files of trust in dir; log is told what is wrong.
var servers = map[string]func(dir string, log io.Writer) (server, error){
	"nats":      openNATS,
	"goroutine": openBare,

	"listener":      openListener(listener.ParkTLS),
	"listener-keys": openListener(listener.ParkKeys),
}

// ServerCommand returns the command as which Open starts this program again. The
// command is one of bugle-sim, hidden. It serves, with the files that Open has put into
// --dir, writes its address to standard output, its troubles to standard error, and
// ends when its context or its standard input does.
func ServerCommand() *cobra.Command {
	var dir string
	c := &cobra.Command{
		Use:           commandName + " NAME --dir DIR",
		Short:         "A server to compare with; started by bugle-sim itself",
		Hidden:        true,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			open := servers[args[0]]
			if open == nil {
				return fmt.Errorf("serve: there is no server %q", args[0])
			}
			return serve(c.Context(), open, dir, c.InOrStdin(), c.OutOrStdout(), c.ErrOrStderr())
		},
	}
	c.Flags().StringVar(&dir, "dir", "", "folder with the files of trust")
	_ = c.MarkFlagRequired("dir")
	return c
}

func serve(ctx context.Context, open func(string, io.Writer) (server, error), dir string, in io.Reader, out, log io.Writer) error {
	s, err := open(dir, log)
	if err != nil {
		return fmt.Errorf("serve: %w", err)
	}
	if _, err := fmt.Fprintln(out, s.address()); err != nil {
		return errors.Join(fmt.Errorf("serve: say address: %w", err), s.close())
	}
	ended := make(chan error, 1)
	go func() {
		if s, ok := s.(serverThatObeys); ok {
			ended <- s.obey(in, out)
			return
		}
		_, _ = io.Copy(io.Discard, in)
		ended <- nil
	}()
	select {
	case <-ctx.Done():
	case err = <-ended:
	}
	return errors.Join(err, s.close())
}
