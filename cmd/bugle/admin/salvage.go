package admin

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/bugle-fleet/bugle/cmd/bugle/backup"
	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/jetstream"
	"github.com/bugle-fleet/bugle/journal/offline"
	"github.com/bugle-fleet/bugle/journal/salvage"
	"github.com/bugle-fleet/bugle/journal/tree"
)

type salvageFlags struct {
	verifyFlags
	to string
}

func journalSalvage(o *Options) *cobra.Command {
	f := new(salvageFlags)
	c := &cobra.Command{
		Use:   "salvage --to NEWDIR",
		Short: "Make a new journal of what can be proved of a damaged one",
		Long: `Copy everything that can be proved of the damaged journal in --data, the folder of a site
that does not run, into a new one in the folder NEWDIR, which must be empty or not there.
The old one is not changed.

What can be proved is what leads, page by page, to something that vouches for it: the
site's signed checkpoint, those that were kept elsewhere (--from), the end of a sealed
generation, an archive, the file history. Every event that is found keeps its number and
its time. In the place of each that is not, the new journal has an event 'event.lost';
its last event, 'journal.salvaged', lists them. This command lists them too.

The new journal has a name of its own, and so checkpoints of its own: proofs and
checkpoints of the old one hold for the old one. Keep that.

Before you salvage: 'bugle restore' brings back everything that a backup has.`,
		Example: "  bugle journal salvage --data /var/lib/bugle --to /var/lib/bugle/journal.new",
		Args:    exactly(),
		RunE:    o.with(func(s *session, _ []string) error { return s.salvage(f) }),
	}
	c.Flags().StringVar(&f.to, "to", "", "folder for the new journal")
	c.Flags().StringArrayVar(&f.from, "from", nil, "file with a checkpoint that was kept elsewhere; may be repeated")
	f.key.add(c)
	return c
}

// A salvaged is what became of a damaged journal, as it is shown.
type salvaged struct {
	Old     string          `json:"old"`
	New     string          `json:"new"`
	Folder  string          `json:"folder"`
	Events  uint64          `json:"events"`
	Vouched uint64          `json:"vouched"`
	Last    uint64          `json:"last"`
	Lost    uint64          `json:"lost"`
	Ranges  []lostRange     `json:"ranges"`
	Damages []damagedStream `json:"damages"`
}

type lostRange struct {
	From   uint64 `json:"from"`
	To     uint64 `json:"to"`
	File   string `json:"file"`
	Offset int64  `json:"offset"`
	Reason string `json:"reason"`
}

type damagedStream struct {
	File   string `json:"file"`
	Offset int64  `json:"offset"`
	Size   int64  `json:"size"`
	Reason string `json:"reason"`
}

func (s *session) salvage(f *salvageFlags) error {
	switch {
	case s.given("url"):
		return usage("a journal is salvaged on the site's own machine: name its folder with --data")
	case f.to == "":
		return usage("name the folder for the new journal with --to")
	}
	data := s.DataFolder()
	if folder, err := offline.Folder(data); err == nil {
		if in, err := backup.Inside(f.to, folder); err != nil {
			return err
		} else if in {
			return usage("--to: %s lies in the journal that is salvaged, which is not changed: name another folder", f.to)
		}
	}
	k, err := offlineKey(data, f.key)
	if err != nil {
		return err
	}
	told, err := s.salvageTrust(data, k, f.from)
	if err != nil {
		return err
	}
	p := s.eventPace("written")
	report, err := salvage.Run(s.ctx, salvage.Options{Dir: data, To: f.to, Trust: told, Progress: p.show,
		Write: func(ctx context.Context, dir string, history [16]byte, pages iter.Seq2[[]byte, error]) error {
			return jetstream.Import(ctx, dir, history, nil, pages)
		}})
	p.end()
	switch {
	case errors.Is(err, journal.ErrLocked):
		return fmt.Errorf("%w: stop the site first", err)
	case errors.Is(err, salvage.ErrNothing):
		return fmt.Errorf("%w; nothing was changed; is there a backup? see 'bugle restore --help'", err)
	case err != nil:
		return err
	}
	s.saySalvaged(data, f.to, report)
	return nil
}

// salvageTrust is trust for a journal of which anything may be damaged, the
// checkpoint and the file with its name too.
func (s *session) salvageTrust(data string, k headKey, files []string) (offline.Trust, error) {
	folder, err := offline.Folder(data)
	if err != nil {
		return offline.Trust{}, fmt.Errorf("salvage journal %s: %w", data, err)
	}
	told, err := s.trust(k, files, folder, [16]byte{})
	if err == nil || k.public == nil {
		return told, err
	}
	if !errors.Is(err, tree.ErrFormat) && !errors.Is(err, tree.ErrSignature) {
		return told, err
	}
	// One that was given must be good; the journal's own may be what is damaged.
	given, err2 := s.trust(k, files, "", [16]byte{})
	if err2 != nil {
		return told, err2
	}
	s.warn("the journal's own checkpoint vouches for nothing: %v", err)
	return given, nil
}

// saySalvaged says what is missing and how to go on.
func (s *session) saySalvaged(data, to string, r salvage.Report) {
	shown := salvaged{Old: fmt.Sprintf("%x", r.Old), New: fmt.Sprintf("%x", r.New), Folder: to, Events: r.Events, Vouched: r.Vouched, Last: r.Last,
		Ranges: make([]lostRange, len(r.Lost)), Damages: make([]damagedStream, len(r.Damages))}
	for i, l := range r.Lost {
		shown.Ranges[i] = lostRange{l.From, l.To, l.File, l.Offset, l.Reason}
		shown.Lost += l.To - l.From + 1
	}
	for i, d := range r.Damages {
		shown.Damages[i] = damagedStream{d.File, d.Offset, d.Size, d.Reason}
	}
	if !s.out.table() {
		s.out.object(shown, []field{{"Old", "old", shown.Old}, {"New", "new", shown.New}, {"Folder", "folder", to}, {"Events", "events", r.Events},
			{"Vouched for", "vouched", r.Vouched}, {"Last", "last", r.Last}, {"Lost", "lost", shown.Lost}})
		return
	}
	s.out.printf("%d of %d events are in the new journal in %s; %d of them are vouched for by more than their own chain.\n", r.Events, r.Last, clean(to), r.Vouched)
	s.out.printf("Missing: %s\n", countOf(int(shown.Lost), "event"))
	for _, l := range shown.Ranges {
		events := fmt.Sprintf("events %d to %d", l.From, l.To)
		if l.From == l.To {
			events = fmt.Sprintf("event %d", l.From)
		}
		s.out.printf("  %s: %s at offset %d: %s\n", events, clean(l.File), l.Offset, clean(l.Reason))
	}
	folder, err := offline.Folder(data)
	if err != nil {
		folder = filepath.Join(data, "journal")
	}
	s.out.printf(`
To go on, keep the old journal and put the new one in its place:
  mv %s %s.damaged
  mv %s %s
The site makes its views anew when it starts. Checkpoints and proofs from before hold for
the old journal.
`, folder, folder, to, folder)
}
