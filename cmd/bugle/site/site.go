package site

import (
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/bugle-fleet/bugle/cmd/bugle/backup"
	"github.com/bugle-fleet/bugle/cmd/bugle/stage"
	"github.com/bugle-fleet/bugle/console"
	"github.com/bugle-fleet/bugle/console/authority"
	"github.com/bugle-fleet/bugle/console/clock"
	"github.com/bugle-fleet/bugle/console/collected"
	"github.com/bugle-fleet/bugle/console/definitions"
	"github.com/bugle-fleet/bugle/console/pacing"
	"github.com/bugle-fleet/bugle/inbox"
	"github.com/bugle-fleet/bugle/inbox/box"
	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/jetstream"
	"github.com/bugle-fleet/bugle/journal/lock"
	"github.com/bugle-fleet/bugle/journal/tree"
	"github.com/bugle-fleet/bugle/journal/upkeep"
	"github.com/bugle-fleet/bugle/listener"
	"github.com/bugle-fleet/bugle/listener/feed"
	"github.com/bugle-fleet/bugle/listener/relay"
	"github.com/bugle-fleet/bugle/listener/wire"
	"github.com/bugle-fleet/bugle/projectors"
	"github.com/bugle-fleet/bugle/projectors/collection"
	"github.com/bugle-fleet/bugle/projectors/collection/evaluator"
	"github.com/bugle-fleet/bugle/projectors/collection/schema"
	"github.com/bugle-fleet/bugle/projectors/device"
	"github.com/bugle-fleet/bugle/projectors/inventory"
	"github.com/bugle-fleet/bugle/projectors/operation"
	"github.com/bugle-fleet/bugle/projectors/presence"
	"github.com/bugle-fleet/bugle/projectors/status"
	"github.com/bugle-fleet/bugle/projectors/window"
)

// listenerName is the name of the listener that runs in the site's own process.
const listenerName = "SITE01"

// A Site runs from [Open] to [Site.Close].
type Site struct {
	cfg       Config
	unlock    func()
	sockets   sockets
	authority *authority.Authority
	policies  *console.Policies
	writes    *console.Writes
	defined   *definitions.Definitions
	gate      *pacing.Gate
	ledger    *inbox.Ledger
	notes     *upkeep.Notes
	space     *space
	store     *jetstream.Journal
	journal   journal.Journal // store, while the disk has room
	tree      *tree.Tree
	upkeep    *upkeep.Upkeep
	notices   *notices
	twins     twins
	views     *projectors.Views
	readers   readers
	evaluator *evaluator.Evaluator
	inbox     *inbox.Inbox
	collected *collected.Store
	feed      *siteFeed
	publisher *feed.Publisher // or nil
	relay     *relay.Server
	listener  *listener.Listener
	console   *console.Console
	server    *http.Server

	// One stage each, ended by Close in the order in which they stand here.
	consoleStage, listenerStage, publisherStage, inboxStage, keyStage, evaluatorStage, upkeepStage, noticeStage, viewStage, treeStage, storeStage, spaceStage stage.Stage
	failed                                                                                                                                                    chan error
}

// readers are what the parts may ask of the views.
type readers struct {
	device     *device.Reader
	presence   *presence.Reader
	operation  *operation.Reader
	status     *status.Reader
	inventory  *inventory.Reader
	collection *collection.Reader
	window     *window.Reader
}

// Open opens and binds everything, then starts it. When it returns, the site
// takes agents and administrators, and DATA/run/addresses.json says where.
func Open(ctx context.Context, cfg Config) (*Site, error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	s := &Site{cfg: cfg, failed: make(chan error, 1)}
	if err := s.open(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Site) open(ctx context.Context) error {
	// Before anything is made: a restore goes on in a folder that holds nothing else.
	if err := backup.Unfinished(s.cfg.Data); err != nil {
		return err
	}
	if err := makeFolders(s.cfg.Data, s.boxDir()); err != nil {
		return fmt.Errorf("make the site's folders: %w", err)
	}
	if err := s.lock(); err != nil {
		return err
	}
	if err := backup.Unfinished(s.cfg.Data); err != nil {
		return err // it began meanwhile
	}
	for _, open := range []func(context.Context) error{
		s.openHistory, s.bind, s.openViews, s.openEvaluator, s.openInbox, s.openListener, s.openPublisher, s.openConsole,
	} {
		if err := open(ctx); err != nil {
			return err
		}
	}
	s.startListener()
	s.startConsole()
	return publish(s.cfg.Data, s.Addresses())
}

// lock takes the folder before anything in it is read or made: two that make keys
// at once would leave some of each.
func (s *Site) lock() (err error) {
	s.unlock, err = lock.Take(filepath.Join(s.cfg.Data, "lock"))
	if errors.Is(err, journal.ErrLocked) {
		return s.inUse(err)
	}
	return err
}

func (s *Site) inUse(err error) error {
	return fmt.Errorf("another process runs the site in %s: end it first, or name another folder with --data: %w", s.cfg.Data, err)
}

// openHistory opens the keys and the journal, and so takes the folder.
func (s *Site) openHistory(ctx context.Context) (err error) {
	if s.authority, err = authority.Open(filepath.Join(s.cfg.Data, "keys"), s.cfg.Code, authority.WithValidity(s.cfg.CertValidity), authority.WithNewcomers(s.newcomer)); err != nil {
		return err
	}
	covered, err := signedHead(s.cfg.Data, s.authority.HeadPublicKey())
	if err != nil {
		return err
	}
	s.policies, s.writes, s.ledger, s.notes = console.NewPolicies(s.authority), console.NewWrites(), inbox.NewLedger(), upkeep.NewNotes()
	s.gate, s.defined = pacing.NewGate(), definitions.New(s.cfg.Code)
	s.space = newSpace(s.cfg.Data, uint64(s.cfg.MinFree), s.cfg.Log)
	s.spaceStage.Start(s.failed, "disk space", s.space.run)
	s.store, err = jetstream.Open(ctx, filepath.Join(s.cfg.Data, "journal"), jetstream.Options{
		Options:   journal.Options{Folds: []journal.Fold{s.authority, s.policies, s.writes, s.ledger, s.notes, s.gate, s.defined}},
		Log:       s.cfg.Log.With("component", "journal"),
		MaxStore:  s.cfg.MaxStore,
		SealBytes: s.cfg.SealBytes, SealAge: s.cfg.SealAge,
		Key: s.authority.HeadKey(), Covered: covered,
	})
	if errors.Is(err, journal.ErrLocked) {
		return s.inUse(err)
	}
	if err != nil {
		return err
	}
	s.journal = roomyJournal{s.store, s.space}
	s.notices = newNotices(s.journal, s.cfg.Log.With("component", "notices"))
	s.noticeStage.Start(s.failed, "notices", s.notices.run)
	s.storeStage.Start(s.failed, "journal", s.watchStore)
	s.authority.Attach(s.journal)
	if err := s.authority.Check(); err != nil {
		return err
	}
	if err := s.openTree(); err != nil {
		return err
	}
	return s.openUpkeep()
}

// openTree opens the tree over the journal, whose last checkpoint says what the
// journal must still hold.
func (s *Site) openTree() (err error) {
	s.tree, err = tree.Open(filepath.Join(s.cfg.Data, "journal", "tree"), tree.Options{
		Journal: s.store, Origin: fmt.Sprintf("bugle.%s/%x", s.cfg.Code, s.store.History()), Key: s.authority.HeadKey(),
		Log: s.cfg.Log.With("component", "tree"),
	})
	if errors.Is(err, tree.ErrTampered) {
		return fmt.Errorf("the journal in %s is not the one that was signed; nothing was changed: copy the folder, then bring back what is missing: %w", s.cfg.Data, err)
	}
	if err != nil {
		return err
	}
	s.treeStage.Start(s.failed, "tree", s.tree.Run)
	return nil
}

// watchStore ends with an error once the journal takes no more events: what was
// under way then is known only after a new start. Damage to what was written
// earlier stops nothing, but operators are told.
func (s *Site) watchStore(ctx context.Context) error {
	damaged := s.store.Damaged()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.store.Failed():
			return errors.New("a write failed and nothing more is taken; start the site again once its disk is well, nothing that was acknowledged is lost")
		case <-damaged:
			damaged = nil
			s.notices.damage(s.store.Damage())
		}
	}
}

func (s *Site) bind(context.Context) (err error) {
	if err := withdraw(s.cfg.Data); err != nil {
		return err
	}
	if s.sockets, err = bind(&s.cfg); err != nil {
		return err
	}
	s.authority.SetListeners(reachable(s.sockets.tcp, &s.cfg)...)
	s.authority.SetHTTPS(reachable(s.sockets.http, &s.cfg)...)
	return nil
}

// openViews opens the views and waits until they hold what the journal holds. A
// view that stops before is there to be read as far as it came, and to be rebuilt.
// Without the operations that are open, though, no listener and no clock can work.
func (s *Site) openViews(ctx context.Context) (err error) {
	devices, dr := device.New()
	presences, pr := presence.New()
	operations, or := operation.New()
	messages, sr := status.New()
	known, ir := inventory.New(schema.Standard())
	collections, cr := collection.New()
	windows, wr := window.New()
	s.readers = readers{dr, pr, or, sr, ir, cr, wr}
	dir := filepath.Join(s.cfg.Data, "views")
	s.views, err = projectors.Open(projectors.Options{
		Dir: dir, Journal: s.journal, History: s.store.History(),
		Notify: s.notices.view, Log: s.cfg.Log.With("component", "views"),
		CloseWithin: s.cfg.closeViews, Room: func() error { return s.space.roomToClose(dir) },
	}, devices, presences, operations, messages, known, collections, windows)
	if err != nil {
		return err
	}
	s.policies.Attach(console.PolicyParts{Operations: or, Listeners: console.ListenersOf(s.authority), Windows: console.WindowsOf(s.defined, cr)})
	s.viewStage.Start(s.failed, "views", s.views.Run)
	head := s.journal.Head().Event
	for _, v := range s.views.Status() {
		err := s.views.Wait(ctx, head, v.Name)
		if err != nil && (ctx.Err() != nil || v.Name == operations.Name) {
			return err
		}
		if err != nil {
			s.cfg.Log.Error("a view has stopped, the site goes on without its news", "view", v.Name, "error", err)
		}
	}
	return nil
}

func (s *Site) openInbox(context.Context) (err error) {
	s.inbox, err = inbox.New(inbox.Config{
		Dir: s.boxDir(), Site: s.cfg.Code, Journal: s.journal, Ledger: s.ledger,
		ListenerKey: s.authority.ListenerKey, ResultKey: s.authority.ResultKey, ListenerScope: s.authority.ListenerScope,
		Poll: s.cfg.Polling, Log: s.cfg.Log.With("component", "inbox"),
	})
	if err != nil {
		return err
	}
	s.inboxStage.Start(s.failed, "inbox", s.inbox.Run)
	s.keyStage.Start(s.failed, "result keys", s.authority.DeriveResultKeys)
	return nil
}

func (s *Site) boxDir() string { return filepath.Join(s.cfg.Data, "inboxes", "bgb.box") }

func (s *Site) openListener(ctx context.Context) error {
	key, err := listenerKey(filepath.Join(s.cfg.Data, "keys", "listener.key"))
	if err != nil {
		return err
	}
	epoch, err := s.authority.GrantListener(ctx, listenerName, key.Public().(ed25519.PublicKey))
	if err != nil {
		return err
	}
	spool, err := box.OpenSpool(s.boxDir(), box.SpoolConfig{Site: s.cfg.Code, Listener: listenerName, Epoch: epoch, Key: key})
	if err != nil {
		return err
	}
	if s.feed, err = newFeed(s.journal, s.authority, s.readers.operation); err != nil {
		return err
	}
	certificate, err := s.authority.ServerCertificates(s.cfg.hosts())
	if err != nil {
		return err
	}
	if err := s.openRelay(); err != nil {
		return err
	}
	if err := s.openCollected(); err != nil {
		return err
	}
	s.listener, err = listener.New(listener.Config{
		Site: s.cfg.Code, Name: listenerName, Epoch: epoch, Version: s.cfg.Version, History: s.store.History(),
		Certificate: certificate, ClientCAs: s.authority.ClientCAs, Issued: s.authority.Issued,
		Drop: s.space.roomyDrop(spool),
		Feed: s.feed, Beacon: s.authority.Beacon, Policy: s.policy, Join: s.join, Renew: s.renew, Routes: s.relay, Outpost: s.outpost, StoreLog: s.storeLog,
		KeepAlive: s.cfg.KeepAlive, KeepAliveOf: s.policies.KeepAlive, SnapshotEvery: s.cfg.Snapshot,
		Agents: s.authority.Active,
		Park:   s.cfg.Park,
		Limits: listener.Limits{PerAddress: s.cfg.PerAddress},
		Log:    s.cfg.Log.With("component", "listener"),
	})
	return err
}

func (s *Site) openConsole(context.Context) error {
	certificate, err := s.authority.ServerCertificates(s.cfg.hosts())
	if err != nil {
		return err
	}
	s.console, err = console.New(console.Config{
		Site: s.cfg.Code, Version: s.cfg.Version, Journal: s.journal, Authority: s.authority,
		Policies: s.policies, Writes: s.writes,
		Devices: s.readers.device, Presence: s.readers.presence, Operations: s.readers.operation, Status: s.readers.status,
		Inventory: s.readers.inventory, Definitions: s.defined, Collections: s.readers.collection, Windows: s.readers.window,
		Forecast: forecast{s.evaluator}, Evaluator: s.evaluator,
		Checkpoints: s.tree, Views: s.views, Inbox: s.inbox, InboxStats: func() any { return s.inbox.Stats() },
		Ready:          s.ready,
		Logs:           s.collected,
		AdminTokenFile: filepath.Join(s.cfg.Data, "keys", "admin.token"),
		Collectors:     s.collectors(), Log: s.cfg.Log,
	})
	if err != nil {
		return err
	}
	s.server = s.console.Server(&tls.Config{GetCertificate: certificate, MinVersion: tls.VersionTLS13})
	return nil
}

func (s *Site) startListener() {
	s.listenerStage.Start(s.failed, "listener", func(ctx context.Context) error {
		defer s.feed.Close()
		return s.listener.Serve(ctx, s.sockets.tcp, s.sockets.http)
	})
}

// startConsole runs what serves administrators, and with it the site's clock and
// the waves.
func (s *Site) startConsole() {
	c := clock.New(clock.Config{
		Journal: s.journal, Operations: s.readers.operation, Listeners: s.readers.status, Views: s.views, Heard: s.relay.Heard,
		Flapping: s.readers.presence, Messages: s.readers.status,
		Interval: s.cfg.Snapshot, Log: s.cfg.Log,
	})
	waves := pacing.New(pacing.Config{
		Journal: s.journal, Gate: s.gate, Operations: s.readers.operation, Online: s.readers.presence.Online,
		SignCancel: s.authority.SignCancel, Signs: s.authority.Signs, Views: s.views, Log: s.cfg.Log,
	})
	s.consoleStage.Start(s.failed, "console", func(ctx context.Context) error {
		parts, ctx := errgroup.WithContext(ctx)
		parts.Go(func() error { return c.Run(ctx) })
		parts.Go(func() error { return waves.Run(ctx) })
		parts.Go(func() error { return s.console.Run(ctx) })
		parts.Go(func() error {
			if err := s.server.ServeTLS(s.sockets.console, "", ""); !errors.Is(err, http.ErrServerClosed) {
				return err
			}
			return nil
		})
		parts.Go(func() error {
			<-ctx.Done()
			late, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTime)
			defer cancel()
			return errors.Join(s.server.Shutdown(late), s.server.Close())
		})
		return parts.Wait()
	})
}

func (s *Site) policy(device uint32, user string) (p listener.Policy, err error) {
	p.ETag, p.Signed, p.Proofs, err = s.policies.For(device, user)
	return p, err
}

// join hands a request from the listener to the authority; a refusal is told to
// the device.
func (s *Site) join(ctx context.Context, r wire.JoinRequest, address string) (wire.JoinReply, error) {
	reply, err := s.authority.Join(ctx, r, address)
	var refusal *authority.Refusal
	if errors.As(err, &refusal) {
		return reply, &listener.JoinRefused{Status: refusal.Status, Title: refusal.Title, Detail: refusal.Detail}
	}
	return reply, err
}

// Failed tells of the first part that ended by itself; the site is then of no
// more use and must be closed.
func (s *Site) Failed() <-chan error { return s.failed }

// Addresses are where the site listens.
func (s *Site) Addresses() Addresses {
	a := s.sockets.addresses()
	if s.publisher != nil {
		a.Feed = s.publisher.Address()
	}
	return a
}

// Close ends the site in the order of its data: administrators are turned away;
// agents are told to come back later and what the listener knows is dropped; the
// inbox takes those files; the views catch up; the tree signs what is new; views
// and journal close.
func (s *Site) Close() error {
	errs := []error{s.consoleStage.End(), s.listenerStage.End(), s.publisherStage.End()}
	if s.publisher != nil {
		errs = append(errs, s.publisher.Close())
	}
	if s.inbox != nil {
		ctx, cancel := context.WithTimeout(context.Background(), closeTime)
		errs = append(errs, s.drain(ctx))
		cancel()
	}
	errs = append(errs, s.inboxStage.End(), s.keyStage.End())
	if s.inbox != nil {
		errs = append(errs, s.inbox.Close())
	}
	errs = append(errs, s.evaluatorStage.End(), s.upkeepStage.End(), s.noticeStage.End())
	if s.views != nil {
		ctx, cancel := context.WithTimeout(context.Background(), closeTime)
		errs = append(errs, s.views.Wait(ctx, s.journal.Head().Event))
		cancel()
		errs = append(errs, s.viewStage.End(), s.views.Close())
	}
	if s.tree != nil {
		errs = append(errs, s.treeStage.End(), s.tree.Close())
	}
	if s.store != nil {
		errs = append(errs, s.store.Close())
	}
	errs = append(errs, s.storeStage.End(), s.spaceStage.End())
	errs = append(errs, s.sockets.close())
	if s.unlock != nil {
		s.unlock()
	}
	return errors.Join(errs...)
}

// closeTime is how long Close waits for one part to take what there is.
const closeTime = 20 * time.Second
