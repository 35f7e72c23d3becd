package outpost

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/bugle-fleet/bugle/cmd/bugle/ports"
	"github.com/bugle-fleet/bugle/cmd/bugle/stage"
	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/durable"
	"github.com/bugle-fleet/bugle/journal/lock"
	"github.com/bugle-fleet/bugle/listener"
	"github.com/bugle-fleet/bugle/listener/feed"
	"github.com/bugle-fleet/bugle/listener/relay"
)

// An Outpost runs from [Open] to [Outpost.Close].
type Outpost struct {
	cfg       Config
	log       *slog.Logger
	unlock    func()
	tcp, http net.Listener
	id        *identity
	client    *relay.Client
	forwarder *relay.Forwarder
	feed      *feed.Saved
	listener  *listener.Listener

	changing sync.Mutex    // held by who changes the identity once the parts run
	learnt   chan struct{} // one slot: another keyring counts

	listening, forwarding stage.Stage // ended by Close in this order
	failed                chan error
}

// Addresses are where a listener listens, as host:port; DATA/run/addresses.json
// has them while it runs.
type Addresses struct {
	TCP  string `json:"tcp"`
	HTTP string `json:"http"`
}

// Open joins the site if need be, opens and binds everything, then starts it.
// While the site is away it waits for what only the site can tell.
func Open(ctx context.Context, cfg Config) (*Outpost, error) {
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	o := &Outpost{cfg: cfg, log: cfg.Log.With("component", "listener"), failed: make(chan error, 1), learnt: make(chan struct{}, 1)}
	if err := o.open(ctx); err != nil {
		return nil, errors.Join(err, o.Close())
	}
	return o, nil
}

func (o *Outpost) open(ctx context.Context) (err error) {
	for _, dir := range []string{o.cfg.Data, filepath.Join(o.cfg.Data, "run")} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	o.unlock, err = lock.Take(filepath.Join(o.cfg.Data, "lock"))
	if errors.Is(err, journal.ErrLocked) {
		return fmt.Errorf("another process runs the listener in %s: end it first, or name another folder with --data: %w", o.cfg.Data, err)
	}
	if err != nil {
		return err
	}
	if o.id, err = openIdentity(filepath.Join(o.cfg.Data, "keys")); err != nil {
		return err
	}
	if err := errors.Join(durable.SyncFolder(o.cfg.Data), o.bind()); err != nil {
		return err
	}
	if err := o.join(ctx); err != nil {
		return fmt.Errorf("join %s: %w", o.cfg.SiteURL, err)
	}
	o.client = relay.NewClient(o.cfg.SiteURL, o.id.trust(o.cfg.siteHost()), o.log)
	if err := o.revive(ctx); err != nil {
		return err
	}
	if err := o.describe(ctx); err != nil {
		return err
	}
	if err := o.openBox(ctx); err != nil {
		return err
	}
	if err := o.openListener(); err != nil {
		return err
	}
	o.forwarding.Start(o.failed, "forwarder", o.keepUp)
	o.listening.Start(o.failed, "listener", func(ctx context.Context) error {
		defer o.feed.Close()
		return o.listener.Serve(ctx, o.tcp, o.http)
	})
	return o.write("addresses.json", o.Addresses())
}

func (o *Outpost) boxDir() string { return filepath.Join(o.cfg.Data, "box") }

func (o *Outpost) bind() (err error) {
	if o.tcp, err = ports.Listen(o.cfg.ListenTCP); err != nil {
		return fmt.Errorf("listen on %s (--listen-tcp): %w", o.cfg.ListenTCP, err)
	}
	if o.http, err = ports.Listen(o.cfg.ListenHTTP); err != nil {
		return fmt.Errorf("listen on %s (--listen-http): %w", o.cfg.ListenHTTP, err)
	}
	return nil
}

func (o *Outpost) openListener() (err error) {
	k := o.id.get()
	client := feed.NewClient(feed.ClientConfig{Name: k.Joined.Name, Address: o.feedAddress,
		TLS: func() (*tls.Config, error) { return o.id.trust(o.cfg.siteHost()), nil }})
	o.feed = feed.NewSaved(client, filepath.Join(o.cfg.Data, "feed"), o.log)
	o.listener, err = listener.New(listener.Config{
		Site: k.Joined.Site, Name: k.Joined.Name, Epoch: k.Joined.Epoch, Version: o.cfg.Version, History: [16]byte(k.Site.History),
		Certificate: o.id.server, ClientCAs: o.id.clientCAs,
		Drop: o.forwarder.Drop, Feed: learning{o.feed, o},
		Beacon: o.client.Beacon, Policy: o.client.Policy, Join: o.joinDevice, Renew: o.client.Renew, StoreLog: o.client.StoreLog,
		KeepAlive: k.Site.KeepAlive, KeepAliveOf: o.client.KeepAliveOf, SnapshotEvery: k.Site.Snapshot, Spread: o.cfg.Spread,
		Park:   o.cfg.Park,
		Limits: listener.Limits{PerAddress: o.cfg.PerAddress},
		Log:    o.log,
	})
	return err
}

// feedAddress is where the site publishes the feed: it said at which port.
func (o *Outpost) feedAddress() string {
	host, port, err := net.SplitHostPort(o.id.get().Site.Feed)
	if err != nil || port == "" {
		return net.JoinHostPort(o.cfg.siteHost(), "10124")
	}
	if host == "" {
		host = o.cfg.siteHost()
	}
	return net.JoinHostPort(host, port)
}

// learning is the feed, of which the listener's own process takes the keyrings
// first: before an agent has a certificate by a new authority, it is trusted here.
type learning struct {
	*feed.Saved
	o *Outpost
}

// Next implements [listener.Feed].
func (l learning) Next(ctx context.Context) (listener.Update, error) {
	u, err := l.Saved.Next(ctx)
	if err != nil {
		l.o.lookAgain(ctx)
		return nil, err
	}
	if k, ok := u.(listener.ChangeKeys); ok {
		l.o.learn(k.Ring)
	}
	return u, nil
}

func (o *Outpost) learn(ring []byte) {
	o.changing.Lock()
	defer o.changing.Unlock()
	changed, err := o.id.learn(ring)
	if err != nil {
		o.log.Error("a keyring is not taken", "error", err)
	}
	if changed {
		o.client.Trust(o.id.trust(o.cfg.siteHost()))
		select {
		case o.learnt <- struct{}{}:
		default:
		}
	}
}

// lookAgain asks where the feed is, after it has broken: the site may have moved
// it.
func (o *Outpost) lookAgain(ctx context.Context) {
	s, err := o.client.Site(ctx)
	if err != nil || s.Feed == o.id.get().Site.Feed {
		return
	}
	o.changing.Lock()
	defer o.changing.Unlock()
	if err := o.id.change(func(k *known) { k.Site.Feed = s.Feed }); err != nil {
		o.log.Error("where the feed is cannot be kept", "error", err)
	}
}

// keepUp runs what goes on behind the listener.
func (o *Outpost) keepUp(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var parts sync.WaitGroup
	parts.Go(func() { o.renew(ctx) })
	parts.Go(func() { o.report(ctx) })
	err := o.forwarder.Run(ctx)
	if errors.Is(err, relay.ErrBehind) {
		if kept := o.behind(); kept != nil {
			err = errors.Join(err, kept)
		} else {
			err = fmt.Errorf("%w: %w", ErrAgain, err)
		}
	}
	if err != nil {
		stop()
	}
	parts.Wait()
	return err
}

// ErrAgain is wrapped by what [Outpost.Failed] tells if the listener is to be
// closed and opened again, and will then be well.
var ErrAgain = errors.New("the listener must begin again")

// behind keeps in mind that the files of this epoch need other numbers.
func (o *Outpost) behind() error {
	o.changing.Lock()
	defer o.changing.Unlock()
	return o.id.change(func(k *known) { k.Behind = k.Joined.Epoch })
}

// Status is how a listener does; DATA/run/status.json has it while it runs.
type Status struct {
	At       time.Time `json:"at"`
	Site     string    `json:"site"`
	Listener string    `json:"listener"`
	Epoch    uint32    `json:"epoch"`
	Sessions int       `json:"sessions"`
	Waiting  int64     `json:"waitingFiles"` // that the site has not taken yet
	Bytes    int64     `json:"waitingBytes"`
	Expires  time.Time `json:"certificateExpires"`
}

const reportEvery = 5 * time.Second

func (o *Outpost) report(ctx context.Context) {
	for {
		if err := o.write("status.json", o.Status()); err != nil {
			o.log.Warn("status cannot be written", "error", err)
		}
		o.feed.Heard()
		if !sleep(ctx, reportEvery) {
			return
		}
	}
}

// Status is how the listener does now.
func (o *Outpost) Status() Status {
	k := o.id.get()
	cert, _ := o.id.server(nil)
	s := Status{At: time.Now().UTC(), Site: k.Joined.Site, Listener: k.Joined.Name, Epoch: k.Joined.Epoch,
		Sessions: int(o.listener.Stats().Sessions), Expires: cert.Leaf.NotAfter}
	s.Waiting, s.Bytes = o.forwarder.Waiting()
	return s
}

// write puts a hint for people and commands into DATA/run; it is not fsynced.
func (o *Outpost) write(name string, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	name = filepath.Join(o.cfg.Data, "run", name)
	if err := os.WriteFile(name+".tmp", append(b, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(name+".tmp", name)
}

// Failed tells of the first part that ended by itself; the listener is then of no
// more use and must be closed.
func (o *Outpost) Failed() <-chan error { return o.failed }

// Name is the listener's, as the site gave it.
func (o *Outpost) Name() string { return o.id.get().Joined.Name }

// Addresses are where the listener listens.
func (o *Outpost) Addresses() Addresses {
	return Addresses{TCP: o.tcp.Addr().String(), HTTP: o.http.Addr().String()}
}

// Close ends the listener in the order of its data: agents are told to come back
// later, or elsewhere; what the listener knows is dropped; the site is given what
// it takes within [Config].Drain, and the rest waits for the next start.
func (o *Outpost) Close() error {
	errs := []error{o.listening.End(), o.forwarding.End()}
	if o.forwarder != nil {
		ctx, cancel := context.WithTimeout(context.Background(), o.cfg.Drain)
		if err := o.forwarder.Drain(ctx); err != nil {
			files, bytes := o.forwarder.Waiting()
			o.log.Warn("the site has not taken all files; they wait for the next start", "files", files, "bytes", bytes, "error", err)
		}
		cancel()
		errs = append(errs, o.forwarder.Close())
	}
	for _, l := range []net.Listener{o.tcp, o.http} {
		if l != nil {
			if err := l.Close(); !errors.Is(err, net.ErrClosed) {
				errs = append(errs, err)
			}
		}
	}
	if o.unlock != nil {
		o.unlock()
	}
	return errors.Join(errs...)
}
