package main

import (
	"fmt"
	"log/slog"
	"testing"
	"time"

	realsite "github.com/bugle-fleet/bugle/cmd/bugle/site"
)

// TestThreeAgentsAgainstASite is the one test against the real thing: it fails if
// the site's API is not what this command takes it for.
func TestThreeAgentsAgainstASite(t *testing.T) {
	data := openRealSite(t)
	lines, _ := sim(t, 0, args("--data", data, "--phases", "push,results", "--pushes", "1")...)
	results := lines[2]["pushes"].([]any)[0].(map[string]any)
	if hops, _ := results["hops"].(map[string]any); len(hops) != 6 || results["visible"] != 3.0 {
		t.Errorf("results: %v", results)
	}
}

// openRealSite opens a site and returns its folder.
func openRealSite(t *testing.T) string {
	t.Helper()
	cfg := realsite.Default()
	cfg.Data, cfg.Version = t.TempDir(), "test"
	cfg.ListenTCP, cfg.ListenHTTP, cfg.ListenFeed, cfg.Console = "127.0.0.1:0", "127.0.0.1:0", "", "127.0.0.1:0"
	cfg.Log = slog.New(slog.DiscardHandler)
	s, err := realsite.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return cfg.Data
}

func Example() {
	took := []time.Duration{3 * time.Millisecond, 1500 * time.Microsecond, 40 * time.Millisecond}
	q := quantilesOf(took)
	fmt.Printf("p50 %v ms, p99 %v ms, max %v ms\n", q.P50, q.P99, q.Max)
	// Output: p50 3 ms, p99 40 ms, max 40 ms
}
