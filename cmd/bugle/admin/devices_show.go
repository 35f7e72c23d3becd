package admin

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/bugle-fleet/bugle/console"
	"github.com/bugle-fleet/bugle/projectors/inventory"
)

// How many changes and open operations "devices show" lists in its table.
const (
	shownChanges = 5
	shownPending = 10
)

// deviceFields are what the table and the CSV of one device show; what there are
// several of is in the table alone.
func (s *session) deviceFields(d *console.DeviceReply) []field {
	fields := []field{
		{"Name", "name", d.Name}, {"Number", "number", d.Number}, {"ID", "id", d.ID},
		{"Online", "online", d.Online}, {"Reason", "reason", d.Reason}, {"Since", "since", d.Since},
		{"Listener", "listener", d.Listener}, {"Carrier", "carrier", d.Carrier}, {"Connects by", "connection", connects(d.Connection)},
	}
	if s.out.table() {
		fields = append(fields, field{"Blocked", "", blockedFor(d)})
		if d.Imported != nil {
			fields = append(fields, field{"Imported", "", d.Imported})
		}
		if d.Removed != nil {
			fields = append(fields, field{"Removed", "", s.removedFor(d)})
		}
	} else {
		fields = append(fields, field{"", "blocked", d.Blocked}, field{"", "blockReason", d.BlockReason},
			field{"", "imported", d.Imported}, field{"", "removed", d.Removed}, field{"", "removeReason", d.Removal})
	}
	fields = append(fields,
		field{"System", "os", d.OS}, field{"Architecture", "arch", d.Arch}, field{"Agent", "agent", d.Agent}, field{"Joined", "joined", d.Joined},
		field{"Certificate", "certificate", d.Certificate.Serial}, field{"Good until", "expires", d.Certificate.Expires}, field{"Last event", "lastEvent", d.LastEvent},
	)
	if s.out.table() {
		fields = append(fields, s.recent(d)...)
	}
	for _, name := range slices.Sorted(maps.Keys(d.Facts)) {
		if strings.HasPrefix(name, "connection.") || s.out.table() && len(d.Inventory) > 0 && inventory.Mapped(name) {
			continue // it is shown elsewhere
		}
		fields = append(fields, field{clean(name), name, d.Facts[name]})
	}
	return fields
}

// recent are the last changes of a device and the operations that are open for it.
func (s *session) recent(d *console.DeviceReply) (fields []field) {
	for i, c := range d.Changes[:min(len(d.Changes), shownChanges)] {
		title := "Before"
		if i == 0 {
			title = "Last change"
		}
		fields = append(fields, field{title, "", s.change(c)})
	}
	for _, p := range d.Pending[:min(len(d.Pending), shownPending)] {
		fields = append(fields, field{"Open", "", fmt.Sprintf("%s %s, %s until %s", p.Operation, p.Kind, p.State, s.instant(p.DeliverBy))})
	}
	if more := len(d.Pending) - shownPending; more > 0 {
		fields = append(fields, field{"Open", "", fmt.Sprintf("and %d more", more)})
	}
	return fields
}

// instant is a time within a text of a table.
func (s *session) instant(t time.Time) string {
	text, _ := s.out.cell(t, false)
	return text
}

func connects(c *console.Connection) string {
	if c == nil {
		return ""
	}
	words := c.Carrier
	if c.Since != "" {
		words += " since " + c.Since
	}
	if c.Why != "" {
		words += ": " + c.Why
	}
	return words
}

func blockedFor(d *console.DeviceReply) any {
	if d.Blocked && d.BlockReason != "" {
		return "yes: " + d.BlockReason
	}
	return d.Blocked
}

func (s *session) removedFor(d *console.DeviceReply) string {
	text := s.instant(*d.Removed)
	if d.Removal != "" {
		text += ": " + d.Removal
	}
	return text
}

func (s *session) change(c console.PresenceChange) string {
	word := "offline"
	if c.Online {
		word = "online"
	}
	return fmt.Sprintf("%s %s, %s, %s by %s (event %d)", s.instant(c.At), word, c.Reason, c.Listener, c.Carrier, c.Event)
}

var presenceColumns = []column[console.PresenceChange]{
	{"at", false, func(c console.PresenceChange) any { return c.At }},
	{"online", false, func(c console.PresenceChange) any { return c.Online }},
	{"reason", false, func(c console.PresenceChange) any { return c.Reason }},
	{"listener", false, func(c console.PresenceChange) any { return c.Listener }},
	{"carrier", false, func(c console.PresenceChange) any { return c.Carrier }},
	{"event", false, func(c console.PresenceChange) any { return c.Event }},
}

func devicesHistory(o *Options) *cobra.Command {
	var past pastFlag
	c := &cobra.Command{
		Use:   "history DEVICE",
		Short: "List the last changes of a device's presence",
		Long: `List the last 20 states of a device, newest first: since when it was online or not, why,
at which listener, by which carrier, and the event that brought it. The first line is
what holds.

With --at the list is as it was then. For all of a device's history there is
'bugle journal tail --device DEVICE'.`,
		Example:           "  bugle devices history PC-0042\n  bugle devices history 42 --at 7d -o json",
		Args:              exactly("DEVICE"),
		ValidArgsFunction: onlyFirst(o.complete(deviceNames)),
		RunE: o.with(func(s *session, args []string) error {
			if err := past.check(); err != nil {
				return err
			}
			var h console.DeviceHistory
			if err := s.getAs(s.ctx, &past, console.Path(console.PathDeviceHistory, args[0]), nil, &h); err != nil {
				return err
			}
			return list(s.out, presenceColumns, all(h.Items))
		}),
	}
	past.add(c)
	return c
}
