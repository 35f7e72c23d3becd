package admin

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/user"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/bugle-fleet/bugle/cmd/bugle/backup"
	"github.com/bugle-fleet/bugle/console"
	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/archive"
	"github.com/bugle-fleet/bugle/journal/generation"
)

func backupCommand(o *Options) *cobra.Command {
	var reason string
	c := &cobra.Command{
		Use:   "backup DIR",
		Short: "Copy what survives of the site on this machine into a folder",
		Long: `Copy what survives of the site on this machine (--data) into the folder DIR: its keys, its
history, and what waits in its inboxes. All else is made anew from these. The site may
run meanwhile; what was acknowledged before the command began is in the copy.

DIR may hold an earlier backup of the same site: then only what is new is copied. A
backup that was interrupted is none; give the command again, it goes on. Until the new
one is whole the earlier one stays what it was.

DIR holds the site's keys. Whoever can read it can act for the site: keep it as safe as
the site itself. It is made for its owner only.

'bugle restore' makes a site of it again.`,
		Example: "  bugle backup /mnt/backup/bugle --data /var/lib/bugle\n  bugle backup check /mnt/backup/bugle",
		Args:    exactly("DIR"),
	}
	c.RunE = o.with(func(s *session, args []string) error {
		return s.backUp(args[0], reason, c.Root().Version)
	})
	c.Flags().StringVar(&reason, "reason", "", "why, for the journal of a site that runs")
	c.AddCommand(backupCheck(o))
	return c
}

func backupCheck(o *Options) *cobra.Command {
	var key, keyFile string
	c := &cobra.Command{
		Use:   "check DIR",
		Short: "Check a backup to its last byte, without a site",
		Long: `Check the backup in DIR to its last byte: who signed it, the hash of each file, the chain
over all pages of the history, the tree made anew, and the site's checkpoint.

The public key of the site (--key or --key-file) is what 'bugle journal checkpoint -o
json' shows. Without it the backup is checked with the key that it holds itself, which
shows that it is whole, not whose it is.`,
		Example: "  bugle backup check /mnt/backup/bugle --key-file head.key",
		Args:    exactly("DIR"),
		RunE: o.with(func(s *session, args []string) error {
			public, err := optionalKey(key, keyFile)
			if err != nil {
				return err
			}
			t := s.transfer()
			report, err := backup.Check(s.ctx, args[0], public, t.show)
			t.end()
			if err != nil {
				return err
			}
			s.sayBackup("whole", args[0], report.Manifest)
			if report.Unfinished {
				s.note("A later run into this folder was interrupted; the backup before it is whole. 'bugle backup' goes on with that run.")
			}
			return nil
		}),
	}
	c.Flags().StringVar(&key, "key", "", "the site's public key, ORIGIN+ID+BASE64")
	c.Flags().StringVar(&keyFile, "key-file", "", "file that holds it")
	return c
}

func optionalKey(key, file string) (ed25519.PublicKey, error) {
	if key == "" && file == "" {
		return nil, nil
	}
	_, public, err := readVerifierKey(key, file)
	return public, err
}

// backUp copies the site that is in the data folder, from its files if it does
// not run.
func (s *session) backUp(dir, reason, version string) error {
	if s.given("url") {
		return usage("a backup is taken on the site's own machine: name its folder with --data")
	}
	data := s.DataFolder()
	source, closing, err := s.backupSource(data, reason)
	if err != nil {
		return err
	}
	defer closing()
	t := s.transfer()
	result, err := backup.Run(s.ctx, backup.Config{
		Data: data, Dir: dir, Source: source, By: whoAmI(), Bugle: version, Progress: t.show,
	})
	t.end()
	switch {
	case errors.Is(err, context.Canceled):
		return fmt.Errorf("interrupted: %s is not a whole backup of now; give the command again, it goes on", dir)
	case err != nil:
		return err
	}
	s.sayBackup(fmt.Sprintf("made, %s copied in %s", inBytes(result.Copied), result.Took.Round(time.Millisecond)), dir, result.Manifest)
	s.note("It holds the site's keys: keep it as safe as the site itself.")
	return nil
}

// backupSource is the site's journal as files, or, if the site has it open, the
// site.
func (s *session) backupSource(data, reason string) (backup.Source, func() error, error) {
	offline, err := backup.OpenOffline(data)
	if err == nil {
		s.note("The site in %s does not run, and cannot be started until the backup is made.", data)
		return offline, offline.Close, nil
	}
	if !errors.Is(err, journal.ErrLocked) {
		return nil, nil, err
	}
	var reply console.CheckpointReply
	if err := s.client.get(s.ctx, console.PathCheckpoint, nil, &reply); err != nil {
		return nil, nil, err
	}
	return &siteSource{s.client, data, reply.Origin, reason}, func() error { return nil }, nil
}

// A siteSource is the journal of a site that runs.
type siteSource struct {
	client *client
	data   string
	origin string
	reason string
}

func (s *siteSource) Origin() string { return s.origin }

func (s *siteSource) Generations() (generation.List, error) {
	return generation.Read(filepath.Join(s.data, "journal"))
}

// Pages implements [backup.Source]: from the site's first answer on nothing that
// it acknowledged before is missing.
func (s *siteSource) Pages(ctx context.Context, from uint64) (backup.Pages, error) {
	ctx, cancel := context.WithCancel(ctx)
	body, err := s.client.history(ctx, from, 0, "backup", s.reason)
	var p *problem
	if errors.As(err, &p) && p.Status == http.StatusUnprocessableEntity {
		err = fmt.Errorf("%w: the folder holds events that the site does not have; was the site restored from an older copy? take another folder (%w)", backup.ErrOther, p)
	}
	if err != nil {
		cancel()
		return nil, err
	}
	stream, err := archive.NewStream(body)
	if err != nil {
		body.Close()
		cancel()
		return nil, err
	}
	return &sitePages{stream, body, cancel}, nil
}

type sitePages struct {
	*archive.Stream
	body   io.Closer
	cancel context.CancelFunc
}

// Seal implements [backup.Pages].
func (p *sitePages) Seal(context.Context) (root tlog.Hash, checkpoint []byte, err error) {
	i, ok := p.Info()
	if !ok || len(i.Checkpoint) == 0 {
		return root, nil, errors.New("the site ended the archive without a checkpoint")
	}
	return i.Root, i.Checkpoint, nil
}

// Close implements [journal.Reader].
func (p *sitePages) Close() error {
	p.cancel()
	return errors.Join(p.Stream.Close(), p.body.Close())
}

// whoAmI is this user on this machine.
func whoAmI() string {
	name := "unknown"
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return name + "@" + host
}

// sayBackup shows a backup.
func (s *session) sayBackup(state, dir string, m *backup.Manifest) {
	shown := struct {
		Folder string    `json:"folder"`
		Site   string    `json:"site"`
		Origin string    `json:"origin"`
		Events uint64    `json:"events"`
		Pages  uint64    `json:"pages"`
		Head   string    `json:"head"`
		Root   string    `json:"root"`
		Files  int       `json:"files"`
		Bytes  int64     `json:"bytes"`
		Made   time.Time `json:"made"`
		By     string    `json:"by"`
	}{dir, m.Site, m.Origin, m.Head.Event, m.Head.Pages, fmt.Sprintf("%x", m.Head.Hash), m.Root.String(), len(m.Files), m.Bytes(), m.Made, m.By}
	if s.out.table() {
		s.out.printf("Backup %s\n", state)
	}
	s.out.object(shown, []field{
		{"Folder", "folder", dir}, {"Site", "site", shown.Site}, {"Origin", "origin", shown.Origin}, {"Events", "events", shown.Events},
		{"Pages", "pages", shown.Pages}, {"Head", "head", shown.Head}, {"Root", "root", shown.Root}, {"Files", "files", shown.Files},
		{"Bytes", "bytes", shown.Bytes}, {"Made", "made", shown.Made}, {"By", "by", shown.By},
	})
}
