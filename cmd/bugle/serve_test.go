package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/bugle-fleet/bugle/cmd/bugle/site"
	"github.com/bugle-fleet/bugle/console"
)

// TestDemo is the README's first command.
func TestDemo(t *testing.T) {
	t.Parallel()
	if code := run([]string{"demo", "--exit", "--agents", "12"}); code != 0 {
		t.Fatalf("demo ended with %d", code)
	}
}

// TestDemoThatCannotBegin ends at once, as a wrong call.
func TestDemoThatCannotBegin(t *testing.T) {
	used := t.TempDir()
	if err := os.Mkdir(filepath.Join(used, "journal"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"--agents", "3"}, {"--data", used}} {
		if code := run(append([]string{"demo", "--exit"}, args...)); code != 2 {
			t.Errorf("demo %q ended with %d, want 2", args, code)
		}
	}
	if entries, err := os.ReadDir(used); err != nil || len(entries) != 1 {
		t.Errorf("the folder holds %d entries, %v", len(entries), err)
	}
}

// TestSecondServer starts a site in a folder that has one.
func TestSecondServer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	second := start(t, "bugle", "serve", "--data", w.data(), "--listen-tcp", "127.0.0.1:0", "--listen-http", "127.0.0.1:0", "--listen-feed", "", "--console", "127.0.0.1:0")
	second.await("another process runs the site in " + w.data())
	<-second.done
	if code := second.cmd.ProcessState.ExitCode(); code != 1 {
		t.Errorf("the second site ended with %d, want 1", code)
	}
	w.text("devices", "list")
}

// TestStopWhileStarting ends a site that is not ready yet, which is no failure.
func TestStopWhileStarting(t *testing.T) {
	cfg := site.Default()
	cfg.Data, cfg.Log = t.TempDir(), slog.New(slog.DiscardHandler)
	cfg.ListenTCP, cfg.ListenHTTP, cfg.ListenFeed, cfg.Console = "127.0.0.1:0", "127.0.0.1:0", "", "127.0.0.1:0"
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := serveSite(ctx, cfg); err != nil {
		t.Error(err)
	}
}

// TestPortInUse starts a site on a port that somebody has.
func TestPortInUse(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	address := taken.Addr().String()
	p := start(t, "bugle", "serve", "--data", t.TempDir(), "--listen-tcp", address, "--listen-http", "127.0.0.1:0", "--listen-feed", "", "--console", "127.0.0.1:0")
	p.await("listen on " + address + " (--listen-tcp)")
	<-p.done
}

// TestGarbageOfASite asks a site's process how often it collects garbage.
func TestGarbageOfASite(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	pem, err := os.ReadFile(filepath.Join(w.data(), "keys", "ca.crt"))
	roots := x509.NewCertPool()
	if err != nil || !roots.AppendCertsFromPEM(pem) {
		t.Fatalf("read CA: %v", err)
	}
	client := &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: roots}}}
	res, err := client.Get("https://" + w.ip + ":8443" + console.PathMetrics)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	want := "\ngo_gc_gogc_percent " + cmp.Or(os.Getenv("GOGC"), "30") + "\n"
	if err != nil || !strings.Contains(string(b), want) {
		t.Errorf("%v, there is no %q in\n%s", err, want, b)
	}
}

// TestGarbageByTheEnvironment leaves the collector alone if the environment sets it.
func TestGarbageByTheEnvironment(t *testing.T) {
	before := debug.SetGCPercent(77)
	defer debug.SetGCPercent(before)
	for set, want := range map[string]int{"": sitePercent, "55": 77} {
		t.Setenv("GOGC", set)
		debug.SetGCPercent(77)
		collectOften()
		if got := debug.SetGCPercent(77); got != want {
			t.Errorf("with GOGC=%q the collector runs with %d, want %d", set, got, want)
		}
	}
}

func TestSettings(t *testing.T) {
	file := filepath.Join(t.TempDir(), "bugle.yaml")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	parse := func(args ...string) *pflag.FlagSet {
		root := newRoot()
		serve, _, err := root.Find([]string{"serve"})
		if err != nil {
			t.Fatal(err)
		}
		if err := serve.ParseFlags(append(args, "--config", file)); err != nil {
			t.Fatal(err)
		}
		return serve.Flags()
	}

	write("site: F01\nkeep-alive: 30s\nlisten-tcp: 127.0.0.1:1\nhosts: [a.example]\n")
	t.Setenv("BUGLE_KEEP_ALIVE", "40s")
	t.Setenv("BUGLE_LISTEN_TCP", "127.0.0.1:2")
	t.Setenv("BUGLE_URL", "https://elsewhere.example")
	cfg, err := configure(parse("--listen-tcp", "127.0.0.1:3"))
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Code != "F01" || cfg.KeepAlive.String() != "40s" || cfg.ListenTCP != "127.0.0.1:3" || strings.Join(cfg.Hosts, " ") != "a.example" || cfg.Console != "127.0.0.1:8443" {
		t.Errorf("file < environment < flag gave %+v", cfg)
	}

	for text, want := range map[string]string{
		"lisen-tcp: x":        `setting "lisen-tcp" is not known`,
		"log-format: xml":     "it is text or json",
		"log-level: loud":     "is none of debug",
		"keep-alive: [1":      "read settings from",
		"keep-alive: forever": "read settings",
		"keep-alive: 1ms":     "keep-alive: 1ms is not between",
		"site: p1":            `site: "p1" is not three capital letters or digits`,
	} {
		write(text)
		t.Setenv("BUGLE_KEEP_ALIVE", "")
		os.Unsetenv("BUGLE_KEEP_ALIVE")
		if _, err := configure(parse()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q gave %v, want an error with %q", text, err, want)
		}
	}
}
