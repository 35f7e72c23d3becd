package console

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/bugle-fleet/bugle/console/authority"
	"github.com/bugle-fleet/bugle/console/definitions"
	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/projectors/collection"
	"github.com/bugle-fleet/bugle/projectors/inventory"
	"github.com/bugle-fleet/bugle/projectors/window"
)

// Config is what a console needs. What has no default must be set.
type Config struct {
	Site      string
	Version   string
	Journal   journal.Journal
	Authority *authority.Authority
	Policies  *Policies // a fold of Journal
	Writes    *Writes   // a fold of Journal

	Devices    DeviceReader
	Presence   PresenceReader
	Operations OperationReader
	Status     StatusReader
	Views      Views
	Inbox      Inbox

	// What a site with collections has; nil together means that there are none.
	Definitions *definitions.Definitions // a fold of Journal
	Collections *collection.Reader
	Windows     *window.Reader
	// Forecast tells whom a change of collections moves; without it nobody asks.
	Forecast Forecaster
	// Evaluator evaluates the collections; without it nobody can look what it does.
	Evaluator Evaluator

	Inventory *inventory.Reader // nil if the site keeps none

	// Past opens the views as they were right after an event; default Views.At.
	Past func(ctx context.Context, event uint64) (*Past, error)

	// InboxStats returns the inbox's counters, for JSON; nil if there are none.
	InboxStats func() any

	Checkpoints Checkpoints // signed states of Journal, and proofs

	Logs Logs // what devices sent for logs.collect; nil if nothing is kept

	// AdminTokenFile is where the administrator's token is, see
	// [EnsureAdminToken].
	AdminTokenFile string

	// Ready says why the site takes no work, beside what the views say of
	// themselves; default: it always does.
	Ready func() error
	// Collectors are what /metrics shows.
	Collectors []prometheus.Collector

	Log *slog.Logger     // default slog.Default()
	Now func() time.Time // default time.Now
}

func (c *Config) check() error {
	var missing []string
	for name, absent := range map[string]bool{
		"Site": c.Site == "", "Journal": c.Journal == nil, "Authority": c.Authority == nil, "Policies": c.Policies == nil,
		"Writes": c.Writes == nil, "Devices": c.Devices == nil, "Presence": c.Presence == nil, "Operations": c.Operations == nil,
		"Status": c.Status == nil, "Views": c.Views == nil, "Inbox": c.Inbox == nil, "AdminTokenFile": c.AdminTokenFile == "", "Checkpoints": c.Checkpoints == nil,
	} {
		if absent {
			missing = append(missing, name)
		}
	}
	slices.Sort(missing)
	if len(missing) > 0 {
		return fmt.Errorf("configure console: %s not set", strings.Join(missing, ", "))
	}
	return nil
}

// A Console answers administrators. It is safe for concurrent use.
type Console struct {
	cfg       Config
	gate      *gate
	handler   http.Handler
	openAPI   []byte
	streams   chan struct{} // a place for each stream that is open
	latency   latencies
	instants  instants
	importing *importer
	defining  chan struct{} // taken by the one call that changes definitions

	endOnce sync.Once
	ending  chan struct{}
}

// New makes a console. It serves once [Console.Handler] is given to a server and
// [Console.Run] runs.
func New(cfg Config) (*Console, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	cfg.Log = cfg.Log.With("component", "console")
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.InboxStats == nil {
		cfg.InboxStats = func() any { return struct{}{} }
	}
	if cfg.Ready == nil {
		cfg.Ready = func() error { return nil }
	}
	if cfg.Past == nil {
		cfg.Past = pastOf(cfg.Views)
	}
	token, err := EnsureAdminToken(cfg.AdminTokenFile)
	if err != nil {
		return nil, err
	}
	c := &Console{cfg: cfg, gate: newGate(token, cfg.Now), streams: make(chan struct{}, maxStreams), defining: make(chan struct{}, 1), importing: newImporter(), ending: make(chan struct{})}
	c.latency.now, c.instants.journal = cfg.Now, cfg.Journal
	if err := c.route(); err != nil {
		return nil, err
	}
	return c, nil
}

// Handler serves the API, /livez, /readyz and /metrics.
func (c *Console) Handler() http.Handler { return c.handler }

// Server returns a server for the console's port with every bound on time and
// size set. tlsConfig holds the certificate; TLS 1.3 is asked for whatever it
// says. Shutdown of the server ends the streams.
func (c *Console) Server(tlsConfig *tls.Config) *http.Server {
	tlsConfig = tlsConfig.Clone()
	tlsConfig.MinVersion = tls.VersionTLS13
	s := &http.Server{
		Handler:           c.handler,
		TLSConfig:         tlsConfig,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       60 * time.Second,
		WriteTimeout:      60 * time.Second, // a stream sets its own
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    32 << 10,
		ErrorLog:          slog.NewLogLogger(c.cfg.Log.Handler(), slog.LevelDebug),
	}
	s.RegisterOnShutdown(c.endStreams)
	return s
}

func (c *Console) endStreams() { c.endOnce.Do(func() { close(c.ending) }) }

// loginInterval is how often failed logins become events.
const loginInterval = time.Minute

// Run appends failed logins every minute until ctx ends, and then once more; it
// ends the streams and returns nil.
func (c *Console) Run(ctx context.Context) error {
	defer c.endStreams()
	tick := time.NewTicker(loginInterval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			c.reportLogins(ctx)
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
			defer cancel()
			c.reportLogins(last)
			return nil
		}
	}
}

func (c *Console) reportLogins(ctx context.Context) {
	events := c.gate.take()
	if len(events) == 0 {
		return
	}
	err := c.cfg.Journal.Append(ctx, events...)
	if errors.Is(err, journal.ErrUnavailable) { // none of them is stored
		c.gate.putBack(events)
	}
	if err != nil && !errors.Is(err, journal.ErrClosed) {
		c.cfg.Log.Error("failed logins are not in the journal", "addresses", len(events), "err", err)
	}
}
