package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/knadh/koanf/parsers/yaml"
	"github.com/knadh/koanf/providers/env/v2"
	"github.com/knadh/koanf/providers/file"
	"github.com/knadh/koanf/providers/posflag"
	"github.com/knadh/koanf/v2"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/bugle-fleet/bugle/agent/watchdog"
	"github.com/bugle-fleet/bugle/cmd/bugle/admin"
	"github.com/bugle-fleet/bugle/cmd/bugle/backup"
	"github.com/bugle-fleet/bugle/cmd/bugle/logs"
	"github.com/bugle-fleet/bugle/cmd/bugle/site"
)

func newServe() *cobra.Command {
	serve := &cobra.Command{
		Use:   "serve",
		Short: "Run a site: journal, inbox, views, listener and console in one process",
		Long: `Run a site: journal, inbox, views, listener and console in one process.

The folder (--data) is made if it is not there, with keys and an administrator's
token of its own. Addresses may end in :0; those in use are in
DATA/run/addresses.json once the site is ready.

Every setting is a flag, a key of the same name in the file that --config names
(YAML), or an environment variable: BUGLE_LISTEN_TCP is --listen-tcp. A flag wins
over the environment, that over the file. SIGTERM and Ctrl-C end the site in good
order.

Go's garbage collector runs with GOGC=30 unless the environment has GOGC.`,
		Example: "  bugle serve --data /var/lib/bugle --hosts bugle.example.com",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := configure(c.Flags())
			if err != nil {
				return &admin.ExitError{Code: 2, Err: err}
			}
			collectOften()
			return serveLogged(c.Context(), cfg)
		},
	}
	addServeFlags(serve.Flags())
	return serve
}

func addServeFlags(f *pflag.FlagSet) {
	d := site.Default()
	f.String("config", "", "YAML file of settings")
	f.String("site", d.Code, "the site's code, three capital letters or digits; it cannot change later")
	f.String("listen-tcp", d.ListenTCP, "address for agents")
	f.String("listen-http", d.ListenHTTP, "HTTPS address for agents that join")
	f.String("listen-feed", d.ListenFeed, "address for listeners that run apart; empty if there are none")
	f.String("console", d.Console, "HTTPS address for administrators, /livez, /readyz and /metrics")
	f.StringSlice("hosts", nil, "names and addresses under which agents reach this machine, beside those it knows itself")
	f.Duration("cert-validity", d.CertValidity, "how long a device's certificate is good; it is renewed at two thirds")
	f.Duration("keep-alive", d.KeepAlive, "how often an agent must be heard, unless its policy says otherwise")
	f.Duration("snapshot-every", d.Snapshot, "how often the listener reports presence in full")
	f.Bool("inbox-polling", false, "look into the inbox every second; for file systems without change notification (NFS, SMB)")
	f.Int64("max-store", d.MaxStore, "largest size of the journal in bytes")
	f.Int64("seal-bytes", d.SealBytes, "bytes of journal after which a generation is closed and archived")
	f.Duration("seal-age", d.SealAge, "age of its first event after which a generation is closed and archived")
	f.Int("keep-live", d.KeepLive, "how many archived generations stay in the live store too; reading them is faster there")
	f.Duration("check-every", d.CheckEvery, "how often the whole history is checked against its bytes on disk")
	f.String("tls-park", string(d.Park), "what to keep of the TLS connection of an idle agent: tls (all of it) or keys (its keys alone; a fraction of the memory, see SECURITY.md)")
	f.Int("per-address", d.PerAddress, "how many agents of one address may be signing in at once; raise it for a fleet behind one address")
	f.Int64("min-free", d.MinFree, "bytes of disk to keep free: with less the site takes no new work, and goes on once there is room")
	f.Int64("max-logs", d.MaxLogs, "bytes of logs that devices sent (logs.collect) to keep; the oldest make room")
	f.String("log-format", "text", "text or json")
	f.String("log-level", "info", "debug, info, warn or error")
}

// serveKeys are the settings that a file or the environment may name.
var serveKeys = []string{"data", "site", "listen-tcp", "listen-http", "listen-feed", "console", "hosts", "cert-validity", "keep-alive",
	"snapshot-every", "inbox-polling", "max-store", "seal-bytes", "seal-age", "keep-live", "check-every", "tls-park", "per-address", "min-free", "max-logs", "log-format", "log-level"}

// clientKeys are environment variables of the administrator's commands, which a
// shell may have set while it starts a site.
var clientKeys = []string{"url", "token-file", "ca-file", "output"}

// settings are those of a site, and how it logs.
type settings struct {
	site.Config
	format logs.Format
	level  slog.Level
}

func configure(flags *pflag.FlagSet) (settings, error) {
	k := koanf.New(".")
	if name, _ := flags.GetString("config"); name != "" {
		if err := k.Load(file.Provider(name), yaml.Parser()); err != nil {
			return settings{}, fmt.Errorf("read settings from %s: %w", name, err)
		}
	}
	if err := k.Load(environment(), nil); err != nil {
		return settings{}, fmt.Errorf("read settings from the environment: %w", err)
	}
	for _, key := range k.Keys() {
		if !slices.Contains(serveKeys, key) {
			return settings{}, fmt.Errorf("setting %q is not known; there are %s", key, strings.Join(serveKeys, ", "))
		}
	}
	if err := k.Load(posflag.Provider(flags, ".", k), nil); err != nil {
		return settings{}, fmt.Errorf("read flags: %w", err)
	}
	cfg := settings{Config: site.Default(), format: logs.Format(k.String("log-format"))}
	if err := k.Unmarshal("", &cfg.Config); err != nil {
		return cfg, fmt.Errorf("read settings: %w", err)
	}
	if cfg.Data == "" {
		cfg.Data = site.Default().Data
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

func environment() koanf.Provider {
	return env.Provider(".", env.Opt{
		Prefix: "BUGLE_",
		TransformFunc: func(key, value string) (string, any) {
			key = strings.ReplaceAll(strings.ToLower(strings.TrimPrefix(key, "BUGLE_")), "_", "-")
			if slices.Contains(clientKeys, key) || strings.HasPrefix(key, "agent-") {
				return "", nil
			}
			if key == "hosts" {
				return key, strings.Split(value, ",")
			}
			return key, value
		},
	})
}

// sitePercent is how much garbage there may be in a site, in percent of what lives.
//
// The memtables of the views count as living from the start, 42 MB each though hardly
// a page of them was touched, and there is nothing in them to scan. With the usual 100
// the garbage of a fleet that returns grows by as much again before anybody looks for
// it: while 2,500 agents came back at once the process grew by 255 MiB with 100 and by
// 104 MiB with 20, and by 305 MiB for 10,000 agents with 30. The processor time of a
// sign-in was the same within the noise.
const sitePercent = 30

// collectOften sets the garbage collector of a site, unless the environment does.
func collectOften() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(sitePercent)
	}
}

// serveLogged serves with log files in the site's folder, unless a restore is under
// way there, which wants nothing else in it.
func serveLogged(ctx context.Context, cfg settings) error {
	if err := backup.Unfinished(cfg.Data); err != nil {
		return err
	}
	files, err := logs.Open(filepath.Join(cfg.Data, "logs"), cfg.format, cfg.level, os.Stderr)
	if err != nil {
		return err
	}
	cfg.Log = files.Logger()
	err = serveSite(ctx, cfg.Config)
	if err != nil {
		files.Quiet().Error("the site has ended", "error", err)
	}
	return errors.Join(err, files.Close())
}

func serveSite(ctx context.Context, cfg site.Config) error {
	s, err := site.Open(ctx, cfg)
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		cfg.Log.Info("stopped before the site was ready", "at", err)
		return nil
	}
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	watchdog.Notify("READY=1")
	go watchdog.Watch(ctx, s.Alive)
	a := s.Addresses()
	cfg.Log.Info("site is ready", "site", cfg.Code, "agents", a.TCP, "join", a.HTTP, "console", a.Console, "data", cfg.Data)
	debug.FreeOSMemory() // what it took to read the journal and to tidy up the views
	select {
	case <-ctx.Done():
		cfg.Log.Info("stopping")
	case err = <-s.Failed():
		cfg.Log.Error("stopping, for a part of the site has failed", "error", err)
	}
	watchdog.Notify("STOPPING=1")
	return errors.Join(err, s.Close())
}
