package admin

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/bugle-fleet/bugle/cmd/bugle/backup"
)

func restoreCommand(o *Options) *cobra.Command {
	var key, keyFile string
	c := &cobra.Command{
		Use:   "restore DIR --data NEWDIR",
		Short: "Make a site of a backup",
		Long: `Make a site of the backup in DIR, in the folder that --data names, which must be empty or
not there. The whole backup is checked before anything is written, and what was written
is read back before it is put in its place. If the command was interrupted, give it
again.

The public key of the site (--key or --key-file) is what 'bugle journal checkpoint -o
json' shows. Without it the backup is checked with the key that it holds itself, which
shows that it is whole, not whose it is.

Never let two sites run that were made of one: end the old one for good before you start
this one.`,
		Example: "  bugle restore /mnt/backup/bugle --data /var/lib/bugle\n  bugle serve --data /var/lib/bugle",
		Args:    exactly("DIR"),
		RunE: o.with(func(s *session, args []string) error {
			if !s.given("data") || s.given("url") {
				return usage("name the folder of the site to be with --data")
			}
			public, err := optionalKey(key, keyFile)
			if err != nil {
				return err
			}
			t := s.transfer()
			report, err := backup.Restore(s.ctx, backup.RestoreConfig{Dir: args[0], Data: s.Data, Key: public, Progress: t.show})
			t.end()
			switch {
			case errors.Is(err, context.Canceled):
				return fmt.Errorf("interrupted: %s is no site yet; give the command again, it goes on", s.Data)
			case err != nil:
				return err
			}
			s.sayRestored(args[0], report)
			return nil
		}),
	}
	c.Flags().StringVar(&key, "key", "", "the site's public key, ORIGIN+ID+BASE64")
	c.Flags().StringVar(&keyFile, "key-file", "", "file that holds it")
	return c
}

// sayRestored shows the site that was made, and what to do now.
func (s *session) sayRestored(dir string, r backup.Report) {
	s.sayBackup("restored into "+s.Data, dir, r.Manifest)
	if !s.out.table() || s.Quiet {
		return
	}
	made := r.Manifest.Made.In(s.out.zone).Format(timeLayout)
	s.out.printf(`
What now:
  - Start it: bugle serve --data %s
  - Agents come back by themselves, under the names and addresses that they know.
  - What happened after %s is not in this copy: devices that have
    joined since must join again, and what was pushed since is not known.
  - A checkpoint that was kept elsewhere, of more than %d events, will say from now on
    that history was cut. That is right: it was. Keep that checkpoint together with the
    reason for the restore, and keep new ones from here on.
`, clean(s.Data), made, r.Manifest.Head.Event)
}
