package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/knadh/koanf/providers/posflag"
	"github.com/knadh/koanf/v2"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/bugle-fleet/bugle/cmd/bugle/admin"
	"github.com/bugle-fleet/bugle/cmd/bugle/logs"
	"github.com/bugle-fleet/bugle/cmd/bugle/outpost"
)

func newListener() *cobra.Command {
	c := &cobra.Command{
		Use:   "listener",
		Short: "Run a listener apart from its site: it serves agents and hands on what they say",
		Long: `Run a listener apart from its site: it serves agents and hands on what they say.

It joins with a token that was made for its name ("bugle token create --listener
NAME" at the site) and keeps what it was given in its folder (--data); from then on
the token is not needed. The site must be reached at its HTTPS port (--site-url) and
at the port of its feed, which the site names. While the site is away the listener
goes on, and hands on its files later.

One that was off for long renews its certificate when it starts. If the site does not
do that any more (90 days after its end) a new token for its name lets it join again;
its folder is kept, and what waits in it is handed on.

Every setting is a flag or an environment variable: BUGLE_SITE_URL is --site-url.
SIGTERM and Ctrl-C end the listener in good order.`,
		Example: "  bugle listener --site-url https://bugle.example.com:10443 --join-file token --data /var/lib/bugle-listener --hosts east.example.com",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := configureListener(c.Flags())
			if err != nil {
				return &admin.ExitError{Code: 2, Err: err}
			}
			return listenLogged(c.Context(), cfg)
		},
	}
	addListenerFlags(c.Flags())
	return c
}

func addListenerFlags(f *pflag.FlagSet) {
	d := outpost.Default()
	f.String("site-url", "", "the site's HTTPS port, as https://HOST:10443")
	f.String("join", "", "token to join with; others on this machine may see it, --join-file keeps it from them")
	f.String("join-file", "", "file that holds the token to join with")
	f.String("listen-tcp", d.ListenTCP, "address for agents")
	f.String("listen-http", d.ListenHTTP, "HTTPS address for agents behind proxies, and for those that join")
	f.StringSlice("hosts", nil, "names and addresses under which agents reach this machine; they stand in its certificate from the join on")
	f.Int64("quota", d.Quota, "bytes of files that may wait for the site; with more, nothing is taken from agents")
	f.String("tls-park", string(d.Park), "what to keep of the TLS connection of an idle agent: tls (all of it) or keys (its keys alone; a fraction of the memory, see SECURITY.md)")
	f.Int("per-address", d.PerAddress, "how many agents of one address may be signing in at once; raise it for a fleet behind one address")
	f.Duration("spread", d.Spread, "over which agents are told to spread their return after a stop")
	f.Duration("drain", d.Drain, "how long a stop waits for the site to take what is left")
	f.String("log-format", "text", "text or json")
	f.String("log-level", "info", "debug, info, warn or error")
}

// listenerKeys are the settings that the environment may name.
var listenerKeys = []string{"data", "site-url", "join", "join-file", "listen-tcp", "listen-http", "hosts", "quota", "tls-park", "per-address",
	"spread", "drain", "log-format", "log-level"}

// listenerSettings are those of a listener, and how it logs.
type listenerSettings struct {
	outpost.Config
	format logs.Format
	level  slog.Level
}

func configureListener(flags *pflag.FlagSet) (listenerSettings, error) {
	k := koanf.New(".")
	if err := k.Load(environment(), nil); err != nil {
		return listenerSettings{}, fmt.Errorf("read settings from the environment: %w", err)
	}
	for _, key := range k.Keys() {
		if !slices.Contains(listenerKeys, key) {
			return listenerSettings{}, fmt.Errorf("setting %q is not known; there are %s", key, strings.Join(listenerKeys, ", "))
		}
	}
	if err := k.Load(posflag.Provider(flags, ".", k), nil); err != nil {
		return listenerSettings{}, fmt.Errorf("read flags: %w", err)
	}
	cfg := listenerSettings{Config: outpost.Default(), format: logs.Format(k.String("log-format"))}
	if err := k.Unmarshal("", &cfg.Config); err != nil {
		return cfg, fmt.Errorf("read settings: %w", err)
	}
	if cfg.Data == "" {
		cfg.Data = outpost.Default().Data
	}
	cfg.Version = version()
	if err := cfg.level.UnmarshalText([]byte(k.String("log-level"))); err != nil {
		return cfg, fmt.Errorf("log-level: %q is none of debug, info, warn, error", k.String("log-level"))
	}
	if _, err := cfg.format.Handler(io.Discard, cfg.level); err != nil {
		return cfg, err
	}
	return cfg, cfg.Check()
}

// listenLogged runs a listener with log files in its folder.
func listenLogged(ctx context.Context, cfg listenerSettings) error {
	files, err := logs.Open(filepath.Join(cfg.Data, "logs"), cfg.format, cfg.level, os.Stderr)
	if err != nil {
		return err
	}
	cfg.Log = files.Logger()
	err = runListener(ctx, cfg.Config)
	if err != nil {
		files.Quiet().Error("the listener has ended", "error", err)
	}
	return errors.Join(err, files.Close())
}

// runListener runs a listener, and once more if it says that it will do then.
func runListener(ctx context.Context, cfg outpost.Config) error {
	for {
		err := listenOnce(ctx, cfg)
		if ctx.Err() != nil || !errors.Is(err, outpost.ErrAgain) {
			return err
		}
		cfg.Log.Warn("the listener begins again")
	}
}

func listenOnce(ctx context.Context, cfg outpost.Config) error {
	o, err := outpost.Open(ctx, cfg)
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		cfg.Log.Info("stopped before the listener was ready", "at", err)
		return nil
	}
	if err != nil {
		return err
	}
	a := o.Addresses()
	cfg.Log.Info("listener is ready", "listener", o.Name(), "agents", a.TCP, "https", a.HTTP, "site", cfg.SiteURL, "data", cfg.Data)
	select {
	case <-ctx.Done():
		cfg.Log.Info("stopping")
	case err = <-o.Failed():
		cfg.Log.Error("stopping, for a part of the listener has failed", "error", err)
	}
	return errors.Join(err, o.Close())
}
