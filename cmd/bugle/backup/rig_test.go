package backup

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/bugle-fleet/bugle/console/authority"
	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/journal/generation"
	"github.com/bugle-fleet/bugle/journal/jetstream"
	"github.com/bugle-fleet/bugle/journal/offline"
	"github.com/bugle-fleet/bugle/journal/tree"
)

// A site is what survives of one: keys, a journal with its tree, and inboxes.
type site struct {
	t       testing.TB
	data    string
	key     ed25519.PrivateKey
	journal *jetstream.Journal
	tree    *tree.Tree
	ended   chan error
	cancel  context.CancelFunc
}

func newSite(t testing.TB) *site {
	t.Helper()
	s := &site{t: t, data: filepath.Join(t.TempDir(), "site")}
	s.write("inboxes/bgb.box/SITE01-00000001-00000000000000000007.BOS", "waits")
	s.write("inboxes/bgb.box/work/SITE01-00000001-00000000000000000006.BOS", "claimed")
	s.write("inboxes/bgb.box/bad/SITE01-00000001-00000000000000000005.BOS", "bad")
	s.write("inboxes/bgb.box/archive/20261128/SITE01-00000001-00000000000000000004.BOS", "archived")
	s.write("inboxes/bgb.box/tmp/x", "unfinished")
	s.start()
	return s
}

func (s *site) write(name, text string) {
	s.t.Helper()
	full := filepath.Join(s.data, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(full), 0o700); err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(full, []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) start() {
	s.t.Helper()
	a, err := authority.Open(filepath.Join(s.data, "keys"), "P01")
	if err != nil {
		s.t.Fatal(err)
	}
	s.key = a.HeadKey()
	if s.journal, err = jetstream.Open(s.t.Context(), filepath.Join(s.data, "journal"), jetstream.Options{Key: s.key}); err != nil {
		s.t.Fatal(err)
	}
	s.tree, err = tree.Open(filepath.Join(s.data, "journal", "tree"), tree.Options{
		Journal: s.journal, Origin: fmt.Sprintf("bugle.P01/%x", s.journal.History()), Key: s.key,
		Log: slog.New(slog.DiscardHandler), Every: time.Millisecond,
	})
	if err != nil {
		s.t.Fatal(err)
	}
	var ctx context.Context
	ctx, s.cancel = context.WithCancel(context.Background())
	s.ended = make(chan error, 1)
	go func() { s.ended <- s.tree.Run(ctx) }()
	s.t.Cleanup(s.stop)
}

func (s *site) stop() {
	if s.cancel == nil {
		return
	}
	s.cancel()
	s.cancel = nil
	if err := errors.Join(<-s.ended, s.tree.Close(), s.journal.Close()); err != nil {
		s.t.Error(err)
	}
}

// append appends n events, a page each, and waits until they are signed.
func (s *site) append(n int) {
	s.t.Helper()
	var last uint64
	for range n {
		e := &event.Event{Actor: event.Actor{Issuer: "site", Subject: "test"}, Payload: &event.SiteMessage{Component: "test", Severity: event.Info, Text: strings.Repeat("x", 100)}}
		if err := s.journal.Append(s.t.Context(), e); err != nil {
			s.t.Fatal(err)
		}
		last = e.Number
	}
	if err := s.tree.Wait(s.t.Context(), last); err != nil {
		s.t.Fatal(err)
	}
}

// seal closes the open generation and archives it; it stays in the live store if
// keep says so.
func (s *site) seal(keep bool) {
	s.t.Helper()
	g, err := s.journal.Seal(s.t.Context())
	if err == nil {
		_, err = s.journal.Archive(s.t.Context(), g.Number, s.tree, nil)
	}
	if err == nil && !keep {
		err = s.journal.Remove(s.t.Context(), g.Number)
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

// Origin implements [Source], as the site's API does.
func (s *site) Origin() string { return fmt.Sprintf("bugle.P01/%x", s.journal.History()) }

func (s *site) Generations() (generation.List, error) {
	return generation.Read(filepath.Join(s.data, "journal"))
}

func (s *site) Pages(ctx context.Context, from uint64) (Pages, error) {
	end := s.journal.Head()
	if err := s.tree.Wait(ctx, end.Event); err != nil {
		return nil, err
	}
	r, err := s.journal.Read(ctx, from)
	if err != nil {
		return nil, err
	}
	return &livePages{Reader: r, site: s, end: end, done: from > end.Event}, nil
}

type livePages struct {
	journal.Reader
	site *site
	end  journal.Head
	done bool
	fail uint64 // the event before which it breaks off, or 0
}

func (p *livePages) Next(ctx context.Context) (*journal.Page, error) {
	if p.done {
		return nil, io.EOF
	}
	page, err := p.Reader.Next(ctx)
	if err == nil {
		p.done = page.Last() >= p.end.Event
		if p.fail > 0 && page.Last() >= p.fail {
			return nil, errInterrupted
		}
	}
	return page, err
}

func (p *livePages) Seal(ctx context.Context) (tlog.Hash, []byte, error) {
	text, c, err := p.site.tree.CheckpointAt(ctx, p.end)
	return c.Root, text, err
}

var errInterrupted = errors.New("interrupted")

// run backs the site up into dir.
func (s *site) run(dir string) (Result, error) {
	return Run(s.t.Context(), Config{Data: s.data, Dir: dir, Source: s, By: "me@here", Bugle: "test"})
}

func (s *site) mustRun(dir string) Result {
	s.t.Helper()
	r, err := s.run(dir)
	if err != nil {
		s.t.Fatal(err)
	}
	return r
}

func check(t testing.TB, dir string, key ed25519.PublicKey) Report {
	t.Helper()
	r, err := Check(t.Context(), dir, key, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// sameHistory checks that the site in data has the pages of the manifest, and all
// else that survives.
func sameHistory(t testing.TB, data string, m *Manifest) {
	t.Helper()
	j, err := offline.Open(data, offline.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	r, err := j.Read(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	report, err := tree.Verify(t.Context(), r, nil, nil)
	if err != nil || report.Events != m.Head.Event || report.Head != m.Head.Hash || report.Root != m.Root {
		t.Errorf("restored %+v, %v, want %+v", report, err, m.Head)
	}
	for _, f := range m.Files {
		if strings.HasPrefix(f.Name, "journal/") {
			continue
		}
		d, err := hashFile(filepath.Join(data, filepath.FromSlash(f.Name)), f.Size, nil)
		if err != nil || d != f.Digest {
			t.Errorf("%s: %x, %v, want %x", f.Name, d[:4], err, f.Digest[:4])
		}
	}
}

// tree is every file below dir with its content, to tell whether anything was
// changed.
func contents(t testing.TB, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || d.IsDir() || d.Name() == lockFile {
			return err
		}
		b, err := os.ReadFile(name)
		all[name] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}
