package simulator

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/bugle-fleet/bugle/console"
	"github.com/bugle-fleet/bugle/console/authority"
	"github.com/bugle-fleet/bugle/console/clock"
	"github.com/bugle-fleet/bugle/console/pacing"
	"github.com/bugle-fleet/bugle/inbox"
	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/journal/journaltest"
	"github.com/bugle-fleet/bugle/journal/tree"
	"github.com/bugle-fleet/bugle/projectors"
	"github.com/bugle-fleet/bugle/projectors/device"
	"github.com/bugle-fleet/bugle/projectors/operation"
	"github.com/bugle-fleet/bugle/projectors/presence"
	"github.com/bugle-fleet/bugle/projectors/status"
)

// siteCode is the code of the simulated site.
const siteCode = "SIM"

// interval is how often listeners report in full; three of them in silence and a
// listener is lost.
const interval = time.Minute

var history = [16]byte{'s', 'i', 'm', 'u', 'l', 'a', 't', 'e', 'd'}

// origin names the journal in checkpoints.
const origin = "bugle.SIM/simulated"

// A site is the process that serves administrators and keeps the history: the
// same parts that cmd/bugle/site joins, over a journal in memory whose pages
// outlive it. The listeners are processes of their own.
type site struct {
	w      *world
	dir    string
	health health

	parked *journaltest.Memory // the pages, while it is down; the driver's
	saved  saved               // what the folds of the last run knew

	mu  sync.Mutex
	run *running // nil while the site is down
}

// running is one run of the site.
type running struct {
	s         *site
	authority *authority.Authority
	policies  *console.Policies
	writes    *console.Writes
	gate      *pacing.Gate
	ledger    *inbox.Ledger
	store     *journaltest.Memory
	journal   *roomy
	tree      *tree.Tree
	views     *projectors.Views
	readers
	inbox   *inbox.Inbox
	console *console.Console
	token   string
	parts   parts
	calls   sync.WaitGroup
}

// roomy is the journal as the parts of the site see it: a disk without room takes
// nothing, and says so.
type roomy struct {
	*journaltest.Memory
	mu   sync.Mutex
	full bool
}

func (j *roomy) room() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.full {
		return fmt.Errorf("%w: the disk is full", journal.ErrUnavailable)
	}
	return nil
}

func (j *roomy) fill(full bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.full = full
}

// Append implements [journal.Journal].
func (j *roomy) Append(ctx context.Context, events ...*event.Event) error {
	if err := j.room(); err != nil {
		return err
	}
	return j.Memory.Append(ctx, events...)
}

// AppendIf implements [journal.Journal].
func (j *roomy) AppendIf(ctx context.Context, guard func() error, events ...*event.Event) error {
	if err := j.room(); err != nil {
		return err
	}
	return j.Memory.AppendIf(ctx, guard, events...)
}

// parts are goroutines that end together.
type parts struct {
	ctx    context.Context
	cancel context.CancelFunc
	all    sync.WaitGroup
	mu     sync.Mutex
	err    error
}

func (p *parts) start(name string, run func(context.Context) error) {
	p.all.Go(func() {
		if err := run(p.ctx); err != nil && p.ctx.Err() == nil {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.err = errors.Join(p.err, fmt.Errorf("%s: %w", name, err))
		}
	})
}

// failed is what ended a part by itself, or nil.
func (p *parts) failed() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}

func newSite(w *world) *site {
	return &site{w: w, dir: filepath.Join(w.dir, "site"), parked: journaltest.NewMemory(journal.Options{})}
}

// now is the run under way, or nil.
func (s *site) now() *running {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.run
}

// enter is now for a call; whoever gets a run says calls.Done at the end.
func (s *site) enter() *running {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.run != nil {
		s.run.calls.Add(1)
	}
	return s.run
}

func (s *site) box() string { return filepath.Join(s.dir, "inbox") }

// open starts the site, unless it runs. Only the driver opens and crashes it.
func (s *site) open() error {
	switch {
	case s.now() != nil:
		return nil
	case s.parked == nil:
		return errors.New("site does not start: its journal could not be opened after a crash")
	}
	r := &running{s: s}
	r.parts.ctx, r.parts.cancel = context.WithCancel(context.Background())
	for _, open := range []func() error{r.openHistory, r.openViews, r.openInbox, r.openConsole} {
		if err := open(); err != nil {
			return errors.Join(fmt.Errorf("site does not start: %w", err), s.abandon(r))
		}
	}
	s.set(r)
	return nil
}

func (s *site) set(r *running) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.run = r
}

func (r *running) openHistory() (err error) {
	if r.authority, err = authority.Open(filepath.Join(r.s.dir, "keys"), siteCode); err != nil {
		return err
	}
	r.policies, r.writes, r.ledger = console.NewPolicies(r.authority), console.NewWrites(), inbox.NewLedger()
	r.gate = pacing.NewGate()
	r.store, err = r.s.parked.Reopen(journal.Options{Folds: r.folds()})
	if err != nil {
		return err
	}
	if err := r.remember(r.s.saved); err != nil { // nothing is appended yet
		return err
	}
	r.journal = &roomy{Memory: r.store}
	r.authority.Attach(r.journal)
	r.authority.SetListeners(r.s.w.addresses()...)
	r.tree, err = tree.Open(filepath.Join(r.s.dir, "tree"), tree.Options{Journal: r.store, Origin: origin, Key: r.authority.HeadKey(), Log: Log})
	if err != nil {
		return err
	}
	r.parts.start("tree", r.tree.Run)
	return nil
}

func (r *running) viewsDir() string { return filepath.Join(r.s.dir, "views") }

// readers are what the parts may ask of the views.
type readers struct {
	devices  *device.Reader
	presence *presence.Reader
	ops      *operation.Reader
	status   *status.Reader
}

// newViews makes the views that a site has, and their readers.
func newViews() ([]*projectors.View, readers) {
	d, dr := device.New()
	p, pr := presence.New()
	o, or := operation.New()
	s, sr := status.New()
	return []*projectors.View{d, p, o, s}, readers{dr, pr, or, sr}
}

func (r *running) openViews() (err error) {
	var views []*projectors.View
	views, r.readers = newViews()
	r.views, err = projectors.Open(projectors.Options{Dir: r.viewsDir(), Journal: r.store, History: history, Log: Log}, views...)
	if err != nil {
		return err
	}
	r.policies.Attach(console.PolicyParts{Operations: r.readers.ops})
	r.parts.start("views", r.views.Run)
	return r.views.Wait(r.parts.ctx, r.store.Head().Event)
}

func (r *running) openInbox() (err error) {
	r.inbox, err = inbox.New(inbox.Config{Dir: r.s.box(), Site: siteCode, Journal: r.journal, Ledger: r.ledger,
		ListenerKey: r.authority.ListenerKey, ResultKey: r.authority.ResultKey, ListenerScope: r.authority.ListenerScope, Poll: true, Log: Log})
	if err != nil {
		return err
	}
	r.parts.start("inbox", r.inbox.Run)
	return nil
}

func (r *running) openConsole() (err error) {
	token := filepath.Join(r.s.dir, "keys", "admin.token")
	r.console, err = console.New(console.Config{
		Site: siteCode, Version: "simulated", Journal: r.journal, Authority: r.authority, Policies: r.policies, Writes: r.writes,
		Devices: r.devices, Presence: r.presence, Operations: r.ops, Status: r.status, Checkpoints: r.tree, Views: r.views, Inbox: r.inbox,
		Ready: r.journal.room, AdminTokenFile: token, Log: Log,
	})
	if err != nil {
		return err
	}
	if r.token, err = console.EnsureAdminToken(token); err != nil {
		return err
	}
	c := clock.New(clock.Config{Journal: r.journal, Operations: r.ops, Listeners: r.status, Views: r.views, Interval: interval, Log: Log})
	r.parts.start("clock", c.Run)
	waves := pacing.New(pacing.Config{Journal: r.journal, Gate: r.gate, Operations: r.ops, Online: r.presence.Online,
		SignCancel: r.authority.SignCancel, Signs: r.authority.Signs, Views: r.views, Log: Log})
	r.parts.start("pacing", waves.Run)
	r.parts.start("console", r.console.Run)
	return nil
}

// crash ends the run as a kill does: what is under way in the journal is stored or
// not, and nobody is told which. The views are closed in good order, the rest is
// left as it is.
func (s *site) crash() bool {
	r := s.now()
	if r == nil {
		return false
	}
	s.set(nil)
	if err := s.abandon(r); err != nil {
		s.w.violated(1, "site after a crash: %v", err)
	}
	return true
}

// abandon lets go of what a run has opened so far, and parks the journal.
func (s *site) abandon(r *running) (err error) {
	if r.store != nil {
		s.parked, err = r.store.Reopen(journal.Options{})
		if err == nil {
			s.saved, err = r.save()
		}
	}
	r.parts.cancel()
	r.parts.all.Wait()
	r.calls.Wait()
	if r.inbox != nil {
		err = errors.Join(err, r.inbox.Close())
	}
	if r.views != nil {
		err = errors.Join(err, r.views.Close())
	}
	if r.tree != nil {
		err = errors.Join(err, r.tree.Close())
	}
	return err
}

// end stops the site at the end of the world.
func (s *site) end() {
	s.crash()
	if s.parked != nil {
		s.parked.Close()
	}
}

// lose removes what can be made anew, or takes back what a crash may: renames in
// the box that were not synced.
func (s *site) lose(w *world) {
	if w.chance(4) {
		name := viewNames[w.below(len(viewNames))]
		if err := os.RemoveAll(filepath.Join(s.dir, "views", name)); err != nil {
			w.violated(0, "remove view: %v", err)
		}
		w.hit("view removed while the site was down")
	}
	if !w.chance(2) {
		return
	}
	archived, _ := filepath.Glob(filepath.Join(s.box(), "archive", "*", "*"))
	for range min(len(archived), 1+w.below(3)) {
		path := archived[w.below(len(archived))]
		to := filepath.Join(s.box(), filepath.Base(path))
		if w.chance(2) {
			to = filepath.Join(s.box(), "work", filepath.Base(path))
		}
		if os.Rename(path, to) == nil {
			w.hit("archived file back after a crash")
		}
	}
}

// handle is a call of an administrator to the console of this run.
func (r *running) handle(req *http.Request, w http.ResponseWriter) {
	req.Header.Set("Authorization", "Bearer "+r.token)
	r.console.Handler().ServeHTTP(w, req)
}
