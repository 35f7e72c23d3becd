package outpost

import (
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"time"

	"github.com/bugle-fleet/bugle/listener"
)

// Config is what a listener can be told. The names in the tags are those of the
// flags and, in capitals behind BUGLE_ and with _ for -, of the environment.
type Config struct {
	Data       string        `koanf:"data"`        // the listener's folder
	SiteURL    string        `koanf:"site-url"`    // the site's HTTPS port, as https://HOST:PORT
	Token      string        `koanf:"join"`        // to join with; not needed once it has joined
	TokenFile  string        `koanf:"join-file"`   // the same in a file
	ListenTCP  string        `koanf:"listen-tcp"`  // agents
	ListenHTTP string        `koanf:"listen-http"` // agents behind proxies, and those that join
	Hosts      []string      `koanf:"hosts"`       // under which agents reach this machine
	Quota      int64         `koanf:"quota"`       // bytes of files that wait for the site
	Park       listener.Park `koanf:"tls-park"`    // what is kept of the TLS connection of an idle agent
	PerAddress int           `koanf:"per-address"` // agents of one address that may be signing in at once
	Spread     time.Duration `koanf:"spread"`      // over which agents are told to come back after a stop
	Drain      time.Duration `koanf:"drain"`       // how long a stop waits for the site to take what is left
	Version    string        `koanf:"-"`
	Log        *slog.Logger  `koanf:"-"`
}

// Default is the configuration that a listener has if nobody says anything.
func Default() Config {
	return Config{
		Data:       "bugle-listener",
		ListenTCP:  ":10123",
		ListenHTTP: ":10443",
		Quota:      4 << 30,
		Park:       listener.ParkTLS,
		PerAddress: 128,
		Spread:     5 * time.Second,
		Drain:      10 * time.Second,
	}
}

// Check says what cannot work, with the name of the setting.
func (c *Config) Check() error {
	u, err := url.Parse(c.SiteURL)
	switch {
	case c.Data == "":
		return fmt.Errorf("data: a folder must be named")
	case err != nil || u.Scheme != "https" || u.Host == "" || u.Path != "" && u.Path != "/":
		return fmt.Errorf("site-url: %q is not https://HOST:PORT", c.SiteURL)
	case c.Token != "" && c.TokenFile != "":
		return fmt.Errorf("join: the token is named twice, here and in --join-file")
	case c.Quota < 1<<20:
		return fmt.Errorf("quota: %d is less than 1 MiB", c.Quota)
	case c.Park.Check() != nil:
		return fmt.Errorf("tls-park: %w", c.Park.Check())
	case c.PerAddress < 1:
		return fmt.Errorf("per-address: %d is less than 1", c.PerAddress)
	case c.Spread < time.Millisecond || c.Spread > time.Hour:
		return fmt.Errorf("spread: %s is not between 1ms and 1h", c.Spread)
	case c.Drain < 0 || c.Drain > time.Hour:
		return fmt.Errorf("drain: %s is not between 0s and 1h", c.Drain)
	}
	return nil
}

func (c *Config) siteHost() string {
	u, _ := url.Parse(c.SiteURL) // Check has
	return u.Hostname()
}

// reachable are the addresses of a socket that agents are told: under the names
// that were set, or the address that is bound, or this machine's name.
func (c *Config) reachable(socket net.Listener) (all []string, err error) {
	address := socket.Addr().(*net.TCPAddr)
	port := fmt.Sprint(address.Port)
	for _, host := range c.Hosts {
		all = append(all, net.JoinHostPort(host, port))
	}
	switch {
	case len(all) > 0:
		return all, nil
	case !address.IP.IsUnspecified():
		return []string{address.String()}, nil
	}
	name, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("hosts: none is named, and this machine has no name: %w", err)
	}
	return []string{net.JoinHostPort(name, port)}, nil
}
