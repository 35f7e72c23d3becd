package admin

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/bugle-fleet/bugle/console"
)

func keysCommand(o *Options) *cobra.Command {
	return group(&cobra.Command{
		Use:   "keys",
		Short: "List, rotate and retire the site's keys",
		Long: `List, rotate and retire the site's keys.

Agents trust a ring of keys: task keys, which sign tasks, cancels and the site's time;
policy keys; and certificate authorities. A key is changed in two steps. Rotate makes a
new one that takes over at once, while the old one stays trusted: agents are told before
they get anything that it signed, and those that are off when they come back. Retire ends
the trust in the old ones, some days later.`,
		Example: `  bugle keys list
  bugle keys rotate task --reason 'yearly'
  bugle keys retire task`,
	}, keysList(o), keysRotate(o), keysRetire(o))
}

var keyColumns = []column[console.Key]{
	{"what", false, func(k console.Key) any { return k.What }},
	{"id", false, func(k console.Key) any { return k.ID }},
	{"since", false, func(k console.Key) any { return k.Since }},
	{"inUse", false, func(k console.Key) any { return k.InUse }},
}

func keysList(o *Options) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the keys that are trusted",
		Long: `List the keys that are trusted.

SINCE is the number of the ring that brought a key. Which rings devices have, and how many
still have a certificate of an old authority, is told below the table, and is in the
fields devices and oldCA of -o json.`,
		Example: "  bugle keys list\n  bugle keys list -o json | jq .devices",
		Args:    exactly(),
		RunE: o.with(func(s *session, _ []string) error {
			var keys console.KeyList
			if err := s.client.get(s.ctx, console.PathKeys, nil, &keys); err != nil {
				return err
			}
			if f := s.out.format; f == "json" || f == "jsonl" {
				s.out.object(keys, nil)
				return nil
			}
			if err := list(s.out, keyColumns, all(keys.Keys)); err != nil {
				return err
			}
			for _, d := range keys.Devices {
				s.note("Ring %d of %d: %d devices", d.Ring, keys.Ring, d.Devices)
			}
			if keys.OldCA > 0 {
				s.note("%d devices have a certificate of an old authority; they renew it by themselves.", keys.OldCA)
			}
			return nil
		}),
	}
}

// sortsOfKeys are what can be rotated and retired.
var sortsOfKeys = []string{"task", "policy", "ca"}

func sortOfKeys(word string) error {
	if !slices.Contains(sortsOfKeys, word) {
		return usage("%q is none of %s", word, strings.Join(sortsOfKeys, ", "))
	}
	return nil
}

func keysRotate(o *Options) *cobra.Command {
	var reason string
	var yes bool
	c := &cobra.Command{
		Use:   "rotate task|policy|ca",
		Short: "Make a new key that takes over at once",
		Long: `Make a new key that takes over at once. The old one stays trusted until it is retired.

A new certificate authority signs the certificates of devices from now on; those of the
site's own ports and of its listeners stay with the oldest one that is trusted, so that
devices that have not heard of the new one can connect.`,
		Example:   "  bugle keys rotate ca --reason 'the old one ends in a year'",
		Args:      exactly("task|policy|ca"),
		ValidArgs: sortsOfKeys,
		RunE: o.with(func(s *session, args []string) error {
			if err := sortOfKeys(args[0]); err != nil {
				return err
			}
			if err := s.confirm(yes, true, 0, "Make a new "+args[0]+" key that takes over at once?"); err != nil {
				return err
			}
			var w console.Written
			if err := s.client.post(s.ctx, console.Path(console.PathKeyRotate, args[0]), console.ReasonRequest{Reason: reason}, &w); err != nil {
				return err
			}
			s.out.sentence(s.Quiet, w, "A new %s key is in use (event %d). The old one is trusted until: bugle keys retire %s", args[0], w.Event, args[0])
			return nil
		}),
	}
	c.Flags().StringVar(&reason, "reason", "", "why, for the history")
	c.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return c
}

func keysRetire(o *Options) *cobra.Command {
	var r console.RetireRequest
	var yes bool
	c := &cobra.Command{
		Use:   "retire task|policy|ca",
		Short: "Trust the old keys of a sort no more",
		Long: `Trust the old keys of a sort no more; only the one that is in use stays.

This is refused while something rests on them: operations that are open and signed by an
old task key; devices whose certificate is by an old authority, or ended not longer ago
than it may still be renewed; listeners that run apart and were not heard since the
authority was changed. --force does it nevertheless: agents refuse those tasks, and those
devices and listeners have to join again. Tokens that were made before an authority was retired
are of no use afterwards.

Devices that have been off since before the key was rotated take the rings one after
the other when they come back. For ca that is so only if they can still connect: the
site's ports have a certificate of the new authority from then on.`,
		Example:   "  bugle keys retire task --reason 'all devices have ring 3'",
		Args:      exactly("task|policy|ca"),
		ValidArgs: sortsOfKeys,
		RunE: o.with(func(s *session, args []string) error {
			if err := sortOfKeys(args[0]); err != nil {
				return err
			}
			if err := s.confirm(yes, true, 0, "Trust the old "+args[0]+" keys no more?"); err != nil {
				return err
			}
			var w console.Written
			if err := s.client.post(s.ctx, console.Path(console.PathKeyRetire, args[0]), r, &w); err != nil {
				return err
			}
			s.out.sentence(s.Quiet, w, "The old %s keys are trusted no more (event %d).", args[0], w.Event)
			return nil
		}),
	}
	c.Flags().StringVar(&r.Reason, "reason", "", "why, for the history")
	c.Flags().BoolVar(&r.Force, "force", false, "also if something rests on the old keys")
	c.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return c
}
