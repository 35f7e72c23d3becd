package site

import (
	"fmt"
	"log/slog"
	"net"
	"os"
	"regexp"
	"slices"
	"time"

	"github.com/bugle-fleet/bugle/console/authority"
	"github.com/bugle-fleet/bugle/console/collected"
	"github.com/bugle-fleet/bugle/listener"
)

// Config is what a site can be told. The names in the tags are those of the
// flags, of the keys in a file, and, in capitals behind BUGLE_ and with _ for -,
// of the environment.
type Config struct {
	Data         string        `koanf:"data"`           // the site's folder
	Code         string        `koanf:"site"`           // [A-Z0-9]{3}, in certificates and in all that is signed
	ListenTCP    string        `koanf:"listen-tcp"`     // agents
	ListenHTTP   string        `koanf:"listen-http"`    // agents that join
	ListenFeed   string        `koanf:"listen-feed"`    // listeners that run apart; empty if there are none
	Console      string        `koanf:"console"`        // administrators
	Hosts        []string      `koanf:"hosts"`          // names and addresses under which agents reach this machine
	CertValidity time.Duration `koanf:"cert-validity"`  // of a device's certificate
	KeepAlive    time.Duration `koanf:"keep-alive"`     // until policy says otherwise
	Snapshot     time.Duration `koanf:"snapshot-every"` // of full presence reports
	Polling      bool          `koanf:"inbox-polling"`  // for file systems without change notification
	MaxStore     int64         `koanf:"max-store"`      // bytes of journal
	SealBytes    int64         `koanf:"seal-bytes"`     // of the journal, after which a generation is closed and archived
	SealAge      time.Duration `koanf:"seal-age"`       // of a generation's first event, likewise
	KeepLive     int           `koanf:"keep-live"`      // archived generations that stay in the live store too
	CheckEvery   time.Duration `koanf:"check-every"`    // between two checks of the whole history
	Park         listener.Park `koanf:"tls-park"`       // what is kept of the TLS connection of an idle agent
	PerAddress   int           `koanf:"per-address"`    // agents of one address that may be signing in at once
	MinFree      int64         `koanf:"min-free"`       // bytes of disk below which no new work is taken
	MaxLogs      int64         `koanf:"max-logs"`       // bytes of logs of devices that are kept
	Version      string        `koanf:"-"`
	Log          *slog.Logger  `koanf:"-"`

	closeViews time.Duration // how long the stop waits for the views; 0 means as long as they say
}

// Default is the configuration that a site has if nobody says anything.
func Default() Config {
	return Config{
		Data:         "bugle-data",
		Code:         "P01",
		ListenTCP:    ":10123",
		ListenHTTP:   ":10443",
		ListenFeed:   ":10124",
		Console:      "127.0.0.1:8443",
		CertValidity: authority.Validity,
		KeepAlive:    15 * time.Minute,
		Snapshot:     5 * time.Minute,
		MaxStore:     1 << 40,
		SealBytes:    1 << 30,
		SealAge:      30 * 24 * time.Hour,
		CheckEvery:   24 * time.Hour,
		Park:         listener.ParkTLS,
		PerAddress:   128,
		MinFree:      128 << 20,
		MaxLogs:      collected.DefaultQuota,
	}
}

var siteCode = regexp.MustCompile(`^[A-Z0-9]{3}$`)

// Check says what cannot work, with the name of the setting.
func (c *Config) Check() error {
	switch {
	case c.Data == "":
		return fmt.Errorf("data: a folder must be named")
	case !siteCode.MatchString(c.Code):
		return fmt.Errorf("site: %q is not three capital letters or digits", c.Code)
	case c.CertValidity < time.Minute || c.CertValidity > authority.MaxValidity:
		return fmt.Errorf("cert-validity: %s is not between 1m and %s", c.CertValidity, authority.MaxValidity)
	case c.KeepAlive < time.Second || c.KeepAlive > 24*time.Hour:
		return fmt.Errorf("keep-alive: %s is not between 1s and 24h", c.KeepAlive)
	case c.Snapshot < time.Second || c.Snapshot > time.Hour:
		return fmt.Errorf("snapshot-every: %s is not between 1s and 1h", c.Snapshot)
	case c.Park.Check() != nil:
		return fmt.Errorf("tls-park: %w", c.Park.Check())
	case c.PerAddress < 1:
		return fmt.Errorf("per-address: %d is less than 1", c.PerAddress)
	case c.MinFree < 0:
		return fmt.Errorf("min-free: %d is below zero", c.MinFree)
	case c.MaxLogs != 0 && c.MaxLogs < 1<<20:
		return fmt.Errorf("max-logs: %d is less than 1 MiB", c.MaxLogs)
	case c.SealBytes < 1<<20:
		return fmt.Errorf("seal-bytes: %d is less than 1 MiB", c.SealBytes)
	case c.SealAge < time.Minute:
		return fmt.Errorf("seal-age: %s is less than 1m", c.SealAge)
	case c.KeepLive < 0:
		return fmt.Errorf("keep-live: %d is below zero", c.KeepLive)
	case c.CheckEvery < time.Minute:
		return fmt.Errorf("check-every: %s is less than 1m", c.CheckEvery)
	case c.MaxStore < 64<<20:
		return fmt.Errorf("max-store: %d is less than 64 MiB", c.MaxStore)
	}
	return nil
}

// hosts are the names that the site's certificate holds: those that were set,
// this machine's name, and its addresses, loopback included.
func (c *Config) hosts() []string {
	hosts := append(slices.Clone(c.Hosts), "localhost", "127.0.0.1", "::1")
	if name, err := os.Hostname(); err == nil {
		hosts = append(hosts, name)
	}
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		c.Log.Warn("cannot list this machine's addresses", "error", err)
	}
	for _, a := range addresses {
		if ip, ok := a.(*net.IPNet); ok && !ip.IP.IsLinkLocalUnicast() {
			hosts = append(hosts, ip.IP.String())
		}
	}
	slices.Sort(hosts)
	return slices.Compact(hosts)
}
