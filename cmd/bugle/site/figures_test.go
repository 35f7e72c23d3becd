package site

import (
	"crypto/tls"
	"io"
	"log/slog"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/console"
	"github.com/bugle-fleet/bugle/journal/event"
)

// opened is a site that runs to the end of the test.
func opened(t *testing.T) *Site {
	t.Helper()
	cfg := Default()
	cfg.Data, cfg.Log = t.TempDir(), slog.New(slog.DiscardHandler)
	cfg.ListenTCP, cfg.ListenHTTP, cfg.ListenFeed, cfg.Console = "127.0.0.1:0", "127.0.0.1:0", "", "127.0.0.1:0"
	s, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// scrape reads the site's metrics.
func scrape(t *testing.T, s *Site) string {
	t.Helper()
	roots := s.authority.ClientCAs()
	client := &http.Client{Timeout: time.Minute, Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: roots}}}
	res, err := client.Get("https://" + s.Addresses().Console + console.PathMetrics)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("%s, %v: %s", res.Status, err, b)
	}
	return string(b)
}

// What the listener measures and what Go and the system say of the process are among
// the metrics.
func TestFigures(t *testing.T) {
	text := scrape(t, opened(t))
	want := []string{
		"bugle_listener_waiting 0", "bugle_listener_handshake_cost_seconds 0.001", "bugle_listener_sign_in_rate ", "bugle_listener_spread_seconds 5",
		"bugle_listener_overflowed_total 0", "bugle_listener_no_files_total 0", "bugle_listener_known_certificates_total 0", "bugle_listener_resumed_total 0",
		"go_goroutines ", "go_gc_gogc_percent ",
	}
	if runtime.GOOS == "linux" {
		want = append(want, "process_resident_memory_bytes ", "process_open_fds ")
	}
	for _, line := range want {
		if !strings.Contains(text, "\n"+line) {
			t.Errorf("there is no %q in\n%s", line, text)
		}
	}
}

// Agents are told to spread their return by how many of the site's devices may come,
// though none of them is there.
func TestSpreadOfAFleet(t *testing.T) {
	s := opened(t)
	before := s.listener.Stats()
	fleet := uint32(20 * before.SignInRate)
	for n := range fleet {
		s.authority.Apply(&event.Event{Number: uint64(n), Payload: &event.DeviceJoined{Device: n + 1, PublicKey: []byte{1}}})
	}
	if got := s.listener.Stats().Spread; before.Spread != 5*time.Second || got < 19*time.Second || got > 21*time.Second {
		t.Errorf("%d devices are told to spread over %s, nobody over %s", fleet, got, before.Spread)
	}
	for n := range fleet {
		s.authority.Apply(&event.Event{Number: uint64(n), Payload: &event.DeviceBlocked{Device: n + 1}})
	}
	if got := s.listener.Stats().Spread; got != before.Spread {
		t.Errorf("devices that are blocked are told to spread over %s", got)
	}
}
