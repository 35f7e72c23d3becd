package admin

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/bugle-fleet/bugle/console"
)

func devicesRemove(o *Options) *cobra.Command {
	var reason string
	var yes bool
	c := &cobra.Command{
		Use:   "remove DEVICE...",
		Short: "End the records of devices for ever",
		Long: `End the records of devices for ever: their sessions end at once, their certificates are
refused, they are in no collection and no list any more, and their numbers are not given
again. What they did stays in the journal. A machine that is to come back joins anew, as
another device; to let the same one in again later, block it instead.

On a terminal the command asks first, and says how many of the devices are online;
--yes answers that. Elsewhere it does not ask, but for more than 50 devices it needs
--yes.`,
		Example:           "  bugle devices remove PC-0042 PC-0043 --reason 'scrapped'",
		Args:              atLeastOne("DEVICE"),
		ValidArgsFunction: o.complete(deviceNames),
		RunE: o.with(func(s *session, args []string) error {
			if !yes {
				question, err := s.deviceQuestion("Remove", args)
				if err != nil {
					return err
				}
				if err := s.confirm(yes, true, len(args), question); err != nil {
					return err
				}
			}
			return s.setBlocked(console.PathDeviceRemove, "removed", args, reason)
		}),
	}
	c.Flags().StringVar(&reason, "reason", "", "why, for the history")
	c.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return c
}

// deviceQuestion looks the devices up, so that a name that is wrong ends the command
// before anything is done.
func (s *session) deviceQuestion(verb string, devices []string) (string, error) {
	if len(devices) > large && !s.asks() {
		return "", nil
	}
	online := 0
	for _, name := range devices {
		var d console.DeviceReply
		if err := s.client.get(s.ctx, console.Path(console.PathDevice, name), nil, &d); err != nil {
			return "", err
		}
		if d.Online {
			online++
		}
	}
	if len(devices) == 1 {
		is := "not online"
		if online == 1 {
			is = "online"
		}
		return fmt.Sprintf("%s %s, which is %s?", verb, devices[0], is), nil
	}
	return fmt.Sprintf("%s %d devices, %d of them online?", verb, len(devices), online), nil
}
