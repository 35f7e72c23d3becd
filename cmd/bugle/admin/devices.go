package admin

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/bugle-fleet/bugle/console"
)

func devicesCommand(o *Options) *cobra.Command {
	return group(&cobra.Command{
		Use:     "devices",
		Aliases: []string{"device"},
		Short:   "List, show, import, block and remove devices",
		Long: `List, show, import, block, unblock and remove devices.

Wherever a command takes a device it takes its number, its id or its name.`,
		Example: "  bugle devices list --online\n  bugle devices show PC-0042",
	}, devicesList(o), devicesShow(o), devicesHistory(o), devicesCollections(o), devicesImport(o), devicesClasses(o), devicesBlock(o), devicesUnblock(o), devicesRemove(o))
}

// A deviceRow is a device as the list has it: every field, always.
type deviceRow struct {
	ID        string     `json:"id"`
	Number    uint32     `json:"number"`
	Name      string     `json:"name"`
	Online    bool       `json:"online"`
	Reason    string     `json:"reason"`
	Since     *time.Time `json:"since"`
	Listener  string     `json:"listener"`
	Carrier   string     `json:"carrier"`
	Blocked   bool       `json:"blocked"`
	OS        string     `json:"os"`
	Arch      string     `json:"arch"`
	Agent     string     `json:"agent"`
	Joined    time.Time  `json:"joined"`
	LastEvent uint64     `json:"lastEvent"`
	Imported  *time.Time `json:"imported"`
	Removed   *time.Time `json:"removed"`
}

func newDeviceRow(d console.Device) deviceRow {
	return deviceRow{d.ID, d.Number, d.Name, d.Online, d.Reason, d.Since, d.Listener, d.Carrier, d.Blocked,
		d.OS, d.Arch, d.Agent, d.Joined, d.LastEvent, d.Imported, d.Removed}
}

var deviceColumns = []column[deviceRow]{
	{"number", false, func(d deviceRow) any { return d.Number }},
	{"name", false, func(d deviceRow) any { return d.Name }},
	{"online", false, func(d deviceRow) any { return d.Online }},
	{"reason", false, func(d deviceRow) any { return d.Reason }},
	{"since", false, func(d deviceRow) any { return d.Since }},
	{"listener", false, func(d deviceRow) any { return d.Listener }},
	{"carrier", false, func(d deviceRow) any { return d.Carrier }},
	{"blocked", false, func(d deviceRow) any { return d.Blocked }},
	{"os", false, func(d deviceRow) any { return d.OS }},
	{"id", true, func(d deviceRow) any { return d.ID }},
	{"arch", true, func(d deviceRow) any { return d.Arch }},
	{"agent", true, func(d deviceRow) any { return d.Agent }},
	{"joined", true, func(d deviceRow) any { return d.Joined }},
	{"lastEvent", true, func(d deviceRow) any { return d.LastEvent }},
	{"imported", true, func(d deviceRow) any { return d.Imported }},
	{"removed", true, func(d deviceRow) any { return d.Removed }},
}

func devicesList(o *Options) *cobra.Command {
	var online, offline, removed bool
	var name string
	var limit int
	var past pastFlag
	c := &cobra.Command{
		Use:   "list",
		Short: "List devices with their presence",
		Long: `List devices with their presence, by rising number.

REASON says why a device is online or not: signed-in, signed-out, closed, timed-out,
replaced, listener-stopped, listener-lost, blocked, not-in-snapshot, never-seen if it
has never connected, no-agent if the record was imported and no agent has joined for it,
or removed, which is shown with --removed alone.`,
		Example: `  bugle devices list --offline
  bugle devices list -o json | jq '.[] | select(.reason == "timed-out") | .name'
  bugle devices list --online --at 2h
  bugle devices list -o csv > devices.csv`,
		Args: exactly(),
		RunE: o.with(func(s *session, _ []string) error {
			if online && offline {
				return usage("--online and --offline exclude each other")
			}
			if err := errors.Join(checkLimit(limit), past.check()); err != nil {
				return err
			}
			which, also := "", ""
			if removed {
				also = "true"
			}
			if online || offline {
				which = strconv.FormatBool(online)
			}
			rows := pages(func(next string) ([]deviceRow, string, error) {
				var page console.DevicePage
				q := query("after", next, "limit", limited(limit), "online", which, "name", name, "removed", also)
				err := s.getAs(s.ctx, &past, console.PathDevices, q, &page)
				rows := make([]deviceRow, 0, len(page.Items))
				for _, d := range page.Items {
					rows = append(rows, newDeviceRow(d))
				}
				return rows, number(page.Next), err
			})
			return list(s.out, deviceColumns, first(limit, rows))
		}),
	}
	c.Flags().BoolVar(&online, "online", false, "only those that are online")
	c.Flags().BoolVar(&offline, "offline", false, "only those that are not")
	c.Flags().StringVar(&name, "name", "", "only those whose name contains this")
	c.Flags().BoolVar(&removed, "removed", false, "also those that were removed")
	past.add(c)
	limitFlag(c, &limit, 0)
	return c
}

func devicesShow(o *Options) *cobra.Command {
	var past pastFlag
	c := &cobra.Command{
		Use:   "show DEVICE",
		Short: "Show a device and what is known of it",
		Long: `Show a device: its presence and last changes, how it connects, its certificate, the
operations that are open for it, and all that is known of it: its inventory by class,
each value with the event that changed it last, and the facts that are in no class.

What is known comes with the operations discovery.collect, inventory.hardware and
inventory.software, and with 'bugle devices import'; before the first one there is none.
The table shows at most 40 rows of a class; -o json shows 2000 of all.`,
		Example:           "  bugle devices show 42\n  bugle devices show PC-0042 --at 2026-12-24T18:00:00Z -o json",
		Args:              exactly("DEVICE"),
		ValidArgsFunction: onlyFirst(o.complete(deviceNames)),
		RunE: o.with(func(s *session, args []string) error {
			if err := past.check(); err != nil {
				return err
			}
			var d console.DeviceReply
			if err := s.getAs(s.ctx, &past, console.Path(console.PathDevice, args[0]), nil, &d); err != nil {
				return err
			}
			s.out.object(d, s.deviceFields(&d))
			if s.out.table() {
				s.inventory(&d)
			}
			return nil
		}),
	}
	past.add(c)
	return c
}

func devicesBlock(o *Options) *cobra.Command {
	var reason string
	var yes bool
	c := &cobra.Command{
		Use:   "block DEVICE...",
		Short: "Cut devices off",
		Long: `Cut devices off: their sessions end at once, and they are not let in again until they
are unblocked.

On a terminal the command asks first, and says how many of the devices are online;
--yes answers that. Elsewhere it does not ask, but for more than 50 devices it needs
--yes.`,
		Example:           "  bugle devices block PC-0042 --reason 'stolen'",
		Args:              atLeastOne("DEVICE"),
		ValidArgsFunction: o.complete(deviceNames),
		RunE: o.with(func(s *session, args []string) error {
			if !yes {
				question, err := s.deviceQuestion("Block", args)
				if err != nil {
					return err
				}
				if err := s.confirm(yes, true, len(args), question); err != nil {
					return err
				}
			}
			return s.setBlocked(console.PathDeviceBlock, "blocked", args, reason)
		}),
	}
	c.Flags().StringVar(&reason, "reason", "", "why, for the history")
	c.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return c
}

func devicesUnblock(o *Options) *cobra.Command {
	var reason string
	c := &cobra.Command{
		Use:   "unblock DEVICE...",
		Short: "Let blocked devices in again",
		Long: `Let blocked devices in again. They connect by themselves at their next attempt: an agent
that was told that it is blocked makes one about every hour, and when it is started.`,
		Example:           "  bugle devices unblock PC-0042 --reason 'found'",
		Args:              atLeastOne("DEVICE"),
		ValidArgsFunction: o.complete(deviceNames),
		RunE: o.with(func(s *session, args []string) error {
			return s.setBlocked(console.PathDeviceUnblock, "unblocked", args, reason)
		}),
	}
	c.Flags().StringVar(&reason, "reason", "", "why, for the history")
	return c
}

// A blockRow is what became of one device.
type blockRow struct {
	Device string `json:"device"`
	Event  uint64 `json:"event"`
}

func (s *session) setBlocked(pattern, what string, devices []string, reason string) error {
	rows := make([]blockRow, 0, len(devices))
	var failed error
	for _, name := range devices {
		var w console.Written
		if err := s.client.post(s.ctx, console.Path(pattern, name), console.ReasonRequest{Reason: reason}, &w); err != nil {
			failed = fmt.Errorf("%s: %w", name, err)
			break
		}
		rows = append(rows, blockRow{name, w.Event})
		if s.out.table() && !s.Quiet {
			s.out.printf("%s is %s (event %d).\n", clean(name), what, w.Event)
		}
	}
	if !s.out.table() {
		columns := []column[blockRow]{
			{"device", false, func(r blockRow) any { return r.Device }},
			{"event", false, func(r blockRow) any { return r.Event }},
		}
		if err := list(s.out, columns, all(rows)); err != nil {
			return err
		}
	}
	if failed != nil && len(rows) > 0 {
		return &ExitError{codePartly, fmt.Errorf("%w (of %d devices %d are %s)", failed, len(devices), len(rows), what)}
	}
	return failed
}
