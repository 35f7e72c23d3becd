package admin

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/bugle-fleet/bugle/cmd/bugle/replay"
	"github.com/bugle-fleet/bugle/console"
	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/offline"
	"github.com/bugle-fleet/bugle/projectors"
)

// replayFlags are the flags of a replay.
type replayFlags struct {
	to, view, offline string
	archives          []string
	format            string
}

// replayFormats are what --output may be here.
var replayFormats = []string{"table", "jsonl", "json", "dump"}

func replayCommand(o *Options) *cobra.Command {
	f := new(replayFlags)
	c := &cobra.Command{
		Use:   "replay --to EVENT|TIME --view VIEW",
		Short: "Fold the history anew, here, up to an event, and show what it comes to",
		Long: `Fold the history from its first event up to an event, or to the last one that was accepted
at or before a time (an instant, or a time back from now such as 2h or 7d), and show a view
as of that: its rows, and its digest. Nothing of what
the site has folded is used, so that an auditor can redo what the site says: the digest is
that of 'bugle views digest' at the same position, on any machine.

The history comes from the site; or from the journal in the folder --offline, of a site
that does not run; or from archives (--archive, all of them from the first event on).
Every page is checked against the chain of hashes. Nothing is changed anywhere; it takes
room for temporary files.

-o table, the default, shows the digest alone; jsonl has each row and then a line with the
digest; json is one object; dump is the canonical bytes that the digest is of.`,
		Example: `  bugle replay --to 4711 --view device -o jsonl
  bugle replay --to 2026-11-28T12:00:00Z --view operation --offline /var/lib/bugle/journal
  bugle replay --to 100000 --view presence --archive 00000001.bga --archive 00000002.bga -o dump | sha256sum`,
		Args: exactly(),
		RunE: o.with(func(s *session, _ []string) error { return s.replay(f) }),
	}
	c.Flags().StringVar(&f.to, "to", "", "the last event to fold: a number, an instant such as 2026-11-28T12:00:00Z, or a time back such as 2h")
	c.Flags().StringVar(&f.view, "view", "", "device, presence, operation or status")
	c.Flags().StringVar(&f.offline, "offline", "", "take the journal in this folder, without a site")
	c.Flags().StringSliceVar(&f.archives, "archive", nil, "take this archive, without a site; may be repeated")
	c.Flags().StringVarP(&f.format, "output", "o", "table", "table, jsonl, json or dump")
	c.RegisterFlagCompletionFunc("view", cobra.FixedCompletions(replay.Views(), cobra.ShellCompDirectiveNoFileComp))
	return c
}

func (f *replayFlags) check() error {
	switch {
	case f.to == "":
		return usage("--to: name the last event to fold, by its number or a time")
	case !slices.Contains(replay.Views(), f.view):
		return usage("--view: %q is none of %s", f.view, strings.Join(replay.Views(), ", "))
	case !slices.Contains(replayFormats, f.format):
		return usage("--output: %q is none of %s", f.format, strings.Join(replayFormats, ", "))
	case f.offline != "" && len(f.archives) > 0:
		return usage("give --offline or --archive, not both")
	}
	return nil
}

// A replayMoment is the end of a replay: an event by its number, or a time.
type replayMoment struct {
	number uint64 // 0 means that it is a time
	at     time.Time
}

func (s *session) replay(f *replayFlags) (err error) {
	if err := f.check(); err != nil {
		return err
	}
	to := new(replayMoment)
	if to.number, to.at, err = console.ParseMoment(f.to, s.time()); err != nil {
		return usage("--to: %q: %w", f.to, err)
	}
	dir, err := os.MkdirTemp("", "bugle-replay-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	h, err := s.pastHistory(f, to, dir)
	if err != nil {
		return err
	}
	defer h.Close()
	last, err := to.end(s.ctx, h)
	if err != nil {
		return err
	}
	s.note("Folding %d events.", last)
	return replay.Fold(s.ctx, h, last, f.view, filepath.Join(dir, "views"), func(r *replay.Result) error {
		return s.showReplay(f, r)
	})
}

// pastHistory opens the history. Of a site no more is fetched than is folded: it
// knows which event a time stands for, which to is from then on.
func (s *session) pastHistory(f *replayFlags, to *replayMoment, dir string) (replay.History, error) {
	switch {
	case f.offline != "":
		h, err := offline.Open(f.offline, offline.Options{})
		if errors.Is(err, journal.ErrLocked) {
			err = fmt.Errorf("%w: the site runs; leave out --offline, or take a copy", err)
		}
		if err != nil {
			return nil, err
		}
		return h, nil
	case len(f.archives) > 0:
		return replay.OpenArchives(f.archives)
	}
	last, err := s.siteEvent(to)
	if err != nil {
		return nil, err
	}
	*to = replayMoment{number: last}
	name := filepath.Join(dir, "history.bga")
	if err := s.exportOnline(1, last, name, "replay"); err != nil {
		return nil, err
	}
	key, err := s.client.headKey(s.ctx)
	if err != nil {
		return nil, err
	}
	if _, err := verifyArchive(s.ctx, name, key); err != nil {
		return nil, err
	}
	return replay.OpenArchives([]string{name})
}

// siteEvent is the last event to fold, as the site knows it.
func (s *session) siteEvent(to *replayMoment) (uint64, error) {
	if to.number > 0 {
		head, err := s.head()
		if err == nil && to.number > head.Events {
			err = noEvent(to.number, head.Events)
		}
		return to.number, err
	}
	if now := s.time(); to.at.After(now) {
		return 0, usage("--to: %s is in the future, it is now %s: what it was then is not known yet", to, now.UTC().Format(time.RFC3339))
	}
	var page console.EventPage
	if err := s.client.get(s.ctx, console.PathEvents, query("to", to.String(), "limit", "1"), &page); err != nil {
		return 0, err
	}
	if page.To == 0 {
		return 0, beforeAll(to)
	}
	return page.To, nil
}

// String is the time.
func (m *replayMoment) String() string { return m.at.UTC().Format(time.RFC3339Nano) }

func noEvent(number, last uint64) error {
	return usage("--to: there is no event %d; the history has the events 1 to %d", number, last)
}

func beforeAll(to *replayMoment) error { return usage("--to: the first event came after %s", to) }

// end finds the last event to fold.
func (m *replayMoment) end(ctx context.Context, h replay.History) (uint64, error) {
	head := h.Head().Event
	if m.number > 0 {
		if m.number > head {
			return 0, noEvent(m.number, head)
		}
		return m.number, nil
	}
	if head == 0 {
		return 0, errors.New("the history has no events")
	}
	newest, err := projectors.TimeOf(ctx, h, head)
	if err != nil {
		return 0, err
	}
	if m.at.After(newest) {
		// A later event could come, and be in time.
		return 0, usage("--to: the last event, %d, was accepted at %s, and %s is later: what it was then is not known yet",
			head, newest.UTC().Format(time.RFC3339Nano), m)
	}
	n, err := projectors.EventAt(ctx, h, m.at)
	if err == nil && n == 0 {
		err = beforeAll(m)
	}
	return n, err
}

// A replayed is what a replay came to.
type replayed struct {
	View     string    `json:"view"`
	Event    uint64    `json:"event"`
	Accepted time.Time `json:"accepted"`
	Digest   string    `json:"digest"`
	Rows     int       `json:"rows"`
}

// showReplay shows a view as of an event.
func (s *session) showReplay(f *replayFlags, r *replay.Result) error {
	shown := replayed{View: f.view, Event: r.Event, Accepted: r.Accepted, Digest: hex.EncodeToString(r.Digest[:])}
	switch f.format {
	case "dump":
		s.note("View %s as of event %d (%s): digest %s.", shown.View, r.Event, r.Accepted.Format(time.RFC3339Nano), shown.Digest)
		return r.Dump(s.out.w)
	case "table":
		s.out.fields([]field{{"View", "view", shown.View}, {"Event", "event", shown.Event},
			{"Accepted", "accepted", exact(shown.Accepted)}, {"Digest", "digest", shown.Digest}})
		return nil
	case "json":
		return s.replayObject(r, shown)
	}
	err := r.Rows(func(row map[string]any) error {
		shown.Rows++
		s.out.json(row, false)
		return s.out.err
	})
	if err == nil {
		s.out.json(shown, false)
	}
	return err
}

// replayObject writes one JSON object, a row as it comes.
func (s *session) replayObject(r *replay.Result, shown replayed) error {
	separator := ""
	s.out.printf("{\n  \"items\": [")
	err := r.Rows(func(row map[string]any) error {
		shown.Rows++
		s.out.printf("%s\n    %s", separator, strings.TrimSuffix(encoded(row, "", ""), "\n"))
		separator = ","
		return s.out.err
	})
	if err != nil {
		return err
	}
	s.out.printf("\n  ],\n  %s", strings.TrimPrefix(encoded(shown, "", "  "), "{\n  "))
	return nil
}
