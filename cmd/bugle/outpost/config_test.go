package outpost_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/bugle-fleet/bugle/cmd/bugle/outpost"
)

func TestCheck(t *testing.T) {
	for setting, change := range map[string]func(*outpost.Config){
		"data":        func(c *outpost.Config) { c.Data = "" },
		"site-url":    func(c *outpost.Config) { c.SiteURL = "http://site:10443" },
		"join":        func(c *outpost.Config) { c.Token, c.TokenFile = "a", "b" },
		"quota":       func(c *outpost.Config) { c.Quota = 1 },
		"per-address": func(c *outpost.Config) { c.PerAddress = 0 },
		"tls-park":    func(c *outpost.Config) { c.Park = "all" },
		"spread":      func(c *outpost.Config) { c.Spread = 0 },
		"drain":       func(c *outpost.Config) { c.Drain = -1 },
	} {
		cfg := outpost.Default()
		cfg.SiteURL = "https://site:10443"
		if err := cfg.Check(); err != nil {
			t.Fatal(err)
		}
		change(&cfg)
		if err := cfg.Check(); err == nil || !strings.HasPrefix(err.Error(), setting+":") {
			t.Errorf("%s: %v", setting, err)
		}
	}
}

// A listener that was never told who its site is.
func ExampleConfig_Check() {
	cfg := outpost.Default()
	fmt.Println(cfg.Check())
	// Output: site-url: "" is not https://HOST:PORT
}
