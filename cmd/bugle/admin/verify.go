package admin

import (
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/bugle-fleet/bugle/console"
	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/archive"
	"github.com/bugle-fleet/bugle/journal/offline"
	"github.com/bugle-fleet/bugle/journal/tree"
)

type verifyFlags struct {
	folder  string   // of a journal or a site; empty means to ask the site
	archive string   // file with an archive; empty means a whole history
	from    []string // files with checkpoints
	key     keyFlags
}

func journalVerify(o *Options) *cobra.Command {
	f := new(verifyFlags)
	c := &cobra.Command{
		Use:   "verify",
		Short: "Check the whole history from its bytes",
		Long: `Read the whole history, make chain and tree anew from its bytes, and compare them with
what was signed: with the site's last checkpoint, and with each --from, a file with a
checkpoint that was kept elsewhere ('bugle journal checkpoint' prints one). A checkpoint
that was kept elsewhere finds every change, made after it, of what it covers.

Without --offline the pages come from the site, and nothing else that it says is relied
on; that they were asked for is an event (journal.exported). With --offline they are read
from the files in a folder, of a site that does not run or of a copy; also archives. No
server is needed, and nothing is written. With --archive one archive is checked to its last
byte, as 'bugle journal export --format archive' makes it: its pages, and that its own
checkpoint is of exactly these.

The public key of the site (--key or --key-file) is what 'bugle journal checkpoint -o
json' shows; get it once, over a way you trust. Without it the key is taken from where
the site is: that finds damage, but not what somebody did who has the site's key.

It ends with 0 if all holds, with 1 if not; then it names the first event that cannot be
trusted.`,
		Example: `  bugle journal verify --from monday.txt --key-file head.key
  bugle journal verify --offline /var/lib/bugle
  bugle journal verify --offline /mnt/copy/journal --from monday.txt --key-file head.key -o json
  bugle journal verify --archive first.bga --key-file head.key`,
		Args: exactly(),
		RunE: o.with(func(s *session, _ []string) error { return s.verify(f) }),
	}
	c.Flags().StringVar(&f.folder, "offline", "", "folder of a site that does not run, or of a journal")
	c.Flags().StringVar(&f.archive, "archive", "", "file with an archive, which may be of a part of the history")
	c.Flags().StringArrayVar(&f.from, "from", nil, "file with a checkpoint that was kept elsewhere; may be repeated")
	f.key.add(c)
	return c
}

// A verified is what became of a verification, as it is shown.
type verified struct {
	OK      bool   `json:"ok"`
	Events  uint64 `json:"events"` // that were read and hold together
	Pages   uint64 `json:"pages"`
	Head    string `json:"head"`
	Root    string `json:"root"`
	Covered uint64 `json:"covered"` // events up to this one are as they were signed
	Matched int    `json:"matched"` // checkpoints

	// If it is not OK: the first event that cannot be trusted.
	Event  uint64 `json:"event,omitempty"`
	Page   uint64 `json:"page,omitempty"`
	File   string `json:"file,omitempty"`
	Offset *int64 `json:"offset,omitempty"`
	Reason string `json:"reason,omitempty"`
}

func (s *session) verify(f *verifyFlags) error {
	if f.archive != "" {
		return s.verifyFile(f)
	}
	var report tree.Report
	var err error
	if f.folder != "" {
		report, err = s.verifyOffline(f)
	} else {
		report, err = s.verifyOnline(f)
	}
	var exit *ExitError
	if errors.As(err, &exit) || err != nil && s.ctx.Err() != nil {
		return err
	}
	shown := verified{OK: err == nil, Events: report.Events, Pages: report.Pages, Head: fmt.Sprintf("%x", report.Head),
		Root: report.Root.String(), Covered: report.Covered, Matched: report.Matched}
	if err != nil {
		shown.blame(err)
	}
	if err == nil || !s.out.table() {
		s.out.object(shown, shown.fields())
	}
	if err == nil && report.Covered < report.Events {
		s.note("Nothing that was signed covers events %d to %d; they hold together.", report.Covered+1, report.Events)
	}
	return err
}

func (v *verified) fields() []field {
	all := []field{{"OK", "ok", v.OK}, {"Events", "events", v.Events}, {"Pages", "pages", v.Pages}, {"Head", "head", v.Head},
		{"Root", "root", v.Root}, {"As signed up to", "covered", v.Covered}, {"Checkpoints", "matched", v.Matched}}
	if !v.OK {
		offset := ""
		if v.Offset != nil {
			offset = fmt.Sprint(*v.Offset)
		}
		all = append(all, field{"First bad event", "event", v.Event}, field{"Page", "page", v.Page}, field{"File", "file", v.File},
			field{"Offset", "offset", offset}, field{"Reason", "reason", v.Reason})
	}
	return all
}

// blame fills in what is wrong.
func (v *verified) blame(err error) {
	v.Reason = err.Error()
	if bad, ok := errors.AsType[*offline.VerifyError](err); ok {
		v.Event, v.Page, v.File, v.Reason = bad.Event, bad.Page, bad.File, bad.Reason
		if bad.File != "" {
			v.Offset = &bad.Offset
		}
		return
	}
	if bad, ok := errors.AsType[*tree.TamperError](err); ok {
		v.Event = bad.Good + 1
	}
	if bad, ok := errors.AsType[*journal.DamageError](err); ok {
		v.Event, v.Page, v.File, v.Reason = bad.Event, bad.Page, bad.File, bad.Reason
	}
}

// verifyOffline reads files.
func (s *session) verifyOffline(f *verifyFlags) (tree.Report, error) {
	k, err := offlineKey(f.folder, f.key)
	if err != nil {
		return tree.Report{}, err
	}
	j, err := offline.Open(f.folder, offline.Options{})
	if errors.Is(err, journal.ErrLocked) {
		return tree.Report{}, fmt.Errorf("%w: the site runs; leave out --offline, or take a copy", err)
	}
	if err != nil {
		return tree.Report{}, err
	}
	defer j.Close()
	told, err := s.trust(k, f.from, j.Folder(), j.History())
	if err != nil {
		return tree.Report{}, err
	}
	p, total := s.eventPace("verified"), j.Head().Event
	report, err := j.Verify(s.ctx, told, func(r tree.Report) { p.show(r.Events, total) })
	p.end()
	if torn := j.Torn(); torn != nil && err == nil {
		s.warn("behind the last event are bytes of a write that never ended (%s at offset %d): nobody was told that it is stored; the site puts them aside when it starts", torn.File, torn.Offset)
	}
	return report, err
}

// verifyFile reads an archive. What was before its first page is as its header
// says, so its own checkpoint, of all up to its last one, vouches for it or nobody.
func (s *session) verifyFile(f *verifyFlags) error {
	if f.folder != "" || len(f.from) > 0 {
		return usage("--archive is for one archive, which has a checkpoint of its own: leave out --offline and --from")
	}
	var k headKey
	var err error
	if f.key == (keyFlags{}) {
		s.warn("there is no key: that the archive is whole is checked, not who signed it; name the site's public key with --key or --key-file")
	} else if k.origin, k.public, err = f.key.read(); err != nil {
		return err
	}
	report, err := verifyArchive(s.ctx, f.archive, k.public)
	switch {
	case err != nil:
		return err
	case k.public == nil:
	case !report.Signed:
		return fmt.Errorf("verify archive %s: it is whole, and nobody has signed it", f.archive)
	case report.Checkpoint.Origin != k.origin:
		return fmt.Errorf("verify archive %s: %w: it is of %s, the key of %s", f.archive, tree.ErrOrigin, report.Checkpoint.Origin, k.origin)
	}
	s.sayArchive(f.archive, report.Info, "whole", report.Signed)
	return nil
}

// A headKey is the public key that checkpoints are signed with, and of which
// journal; the origin is empty if the key says nothing of it.
type headKey struct {
	public ed25519.PublicKey
	origin string
}

// offlineKey is the key that the flags name, else that in the folder keys beside
// the journal, else none.
func offlineKey(folder string, f keyFlags) (k headKey, err error) {
	if f != (keyFlags{}) {
		k.origin, k.public, err = f.read()
		return k, err
	}
	for _, dir := range []string{folder, filepath.Dir(filepath.Clean(folder))} {
		k.public, err = readHeadKey(filepath.Join(dir, "keys", "head.key"))
		if !errors.Is(err, fs.ErrNotExist) {
			return k, err
		}
	}
	return headKey{}, nil
}

func readHeadKey(name string) (ed25519.PublicKey, error) {
	b, err := readSmall(name)
	if err != nil {
		return nil, fmt.Errorf("read head key: %w", readable(err))
	}
	block, _ := pem.Decode(b)
	if block == nil {
		return nil, fmt.Errorf("read head key: %s holds no PEM", name)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	private, ok := parsed.(ed25519.PrivateKey)
	if err != nil || !ok {
		return nil, fmt.Errorf("read head key: %s holds no Ed25519 key", name)
	}
	return private.Public().(ed25519.PublicKey), nil
}

// trust is the key and the checkpoints to compare with: those in the files, and
// the journal's own if folder names where that is.
func (s *session) trust(k headKey, files []string, folder string, history [16]byte) (told offline.Trust, err error) {
	told.Key = k.public
	if k.public == nil && len(files) > 0 {
		return told, usage("--from needs the site's public key: give --key or --key-file")
	}
	for _, name := range files {
		c, err := openCheckpoint(name, k, history)
		if err != nil {
			return told, err
		}
		told.Checkpoints = append(told.Checkpoints, c)
	}
	if folder == "" {
		return told, nil
	}
	own := offline.CheckpointFile(folder)
	switch _, err := os.Lstat(own); {
	case errors.Is(err, fs.ErrNotExist):
		s.warn("the journal has no checkpoint of its own (%s): nothing that it signed can be compared", own)
	case err != nil:
		return told, err
	case k.public == nil:
		s.warn("there is no key: the journal's own checkpoint is not compared; name the site's public key with --key or --key-file")
	default:
		c, err := openCheckpoint(own, k, history)
		if err != nil {
			return told, err
		}
		told.Checkpoints = append(told.Checkpoints, c)
	}
	return told, nil
}

// openCheckpoint reads a checkpoint of the journal with this name; zero means any.
func openCheckpoint(name string, k headKey, history [16]byte) (tree.Checkpoint, error) {
	text, err := readSmall(name)
	if err != nil {
		return tree.Checkpoint{}, fmt.Errorf("read checkpoint: %w", readable(err))
	}
	c, err := tree.OpenCheckpoint(text, k.public, k.origin)
	if err != nil {
		return c, fmt.Errorf("read checkpoint %s: %w", name, err)
	}
	if !ofHistory(c.Origin, history) {
		return c, fmt.Errorf("read checkpoint %s: %w: it is of %s, the journal is %x", name, tree.ErrOrigin, c.Origin, history)
	}
	return c, nil
}

func ofHistory(origin string, history [16]byte) bool {
	_, name, _ := strings.Cut(origin, "/")
	return history == [16]byte{} || name == fmt.Sprintf("%x", history)
}

// verifyOnline reads the pages that the site gives away.
func (s *session) verifyOnline(f *verifyFlags) (tree.Report, error) {
	k, err := s.siteKey(f)
	if err != nil {
		return tree.Report{}, err
	}
	total := uint64(0)
	var j console.JournalReply
	if err := s.client.get(s.ctx, console.PathJournal, nil, &j); err != nil {
		return tree.Report{}, err
	}
	total = j.Events
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	stream, err := s.client.archive(ctx, 1, 0, "verify")
	if err != nil {
		return tree.Report{}, err
	}
	told, err := s.trust(k, f.from, "", stream.Header().History)
	if err != nil {
		return tree.Report{}, err
	}
	p := s.eventPace("verified")
	report, err := tree.Verify(ctx, stream, told.Checkpoints, func(r tree.Report) { p.show(r.Events, total) })
	p.end()
	if err != nil {
		return report, err
	}
	return report, compareSeal(stream, k, &report)
}

// compareSeal compares what was read with the checkpoint that the site sent behind
// it.
func compareSeal(stream *archive.Stream, k headKey, report *tree.Report) error {
	info, whole := stream.Info()
	if !whole || len(info.Checkpoint) == 0 {
		return errors.New("verify journal: the site has not signed what it sent")
	}
	c, err := tree.OpenCheckpoint(info.Checkpoint, k.public, k.origin)
	switch {
	case err != nil:
		return fmt.Errorf("verify journal: what the site signed: %w", err)
	case !ofHistory(c.Origin, info.History):
		return fmt.Errorf("verify journal: %w: the site sent a checkpoint of %s with the journal %x", tree.ErrOrigin, c.Origin, info.History)
	case c.Head() != (journal.Head{Event: report.Events, Pages: report.Pages, Hash: report.Head}) || c.Root != report.Root:
		return fmt.Errorf("verify journal: %w: the site signed for %d events with the root %s", tree.ErrMismatch, c.Events, c.Root)
	}
	report.Covered, report.Matched = c.Events, report.Matched+1
	return nil
}

// siteKey is the key that the flags name, else that of the site on this machine,
// else what the site says, which proves less.
func (s *session) siteKey(f *verifyFlags) (headKey, error) {
	data := ""
	if at := s.client.at; at != nil && at.local {
		data = at.data
	}
	if data != "" || f.key != (keyFlags{}) {
		k, err := offlineKey(data, f.key)
		if err != nil || k.public != nil {
			return k, err
		}
	}
	s.warn("the site's public key is what the site itself says; name one that came over a way you trust with --key or --key-file")
	public, err := s.client.headKey(s.ctx)
	return headKey{public: public}, err
}
