package agent

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/bugle-fleet/bugle/agent/action"
	"github.com/bugle-fleet/bugle/listener/wire"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// Config is what [Open] needs besides the folder. The zero value is usable.
type Config struct {
	Version string       // of the agent
	Log     *slog.Logger // default: nowhere

	Scanner   string   // see [action.Config]
	ScanRoots []string // see [action.Config]
	ScanRate  int64    // see [action.Config]
	Kinds     string   // folder of the kinds that administrators add, see [action.Find]; empty for none

	Workers int                  // tasks that run at once, default 4
	Actions []action.Description // kinds to add to those of [action.Table], or to put in their place

	// Record is where the agent keeps what it must not forget, by default a file
	// in its folder. [Agent.Close] closes it.
	Record Record
	// Clocks reads the machine's clocks; it is called from many goroutines. The
	// default is the system's. A simulated machine has its own.
	Clocks func() Moment
	// Dial connects to a listener or a proxy, by default directly.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Proxy returns the proxy for a request to an HTTPS port, nil for none; a user
	// and password in its address are shown to it. The default goes by HTTPS_PROXY
	// and NO_PROXY, or knows none if Dial is set.
	Proxy func(*http.Request) (*url.URL, error)
	// RetryCarrier is the time between two tries of a better carrier than the one in
	// use, give or take a fifth. Default 15 minutes.
	RetryCarrier time.Duration
	// Location is the time zone of the machine, in which local maintenance windows
	// open; default [time.Local].
	Location *time.Location
	// Boot names the boot that the machine is in, in at most [MaxBoot] bytes; it is
	// called once. The default asks the system.
	Boot func() string
	// Users returns the names of the people who are signed in at the machine; the
	// default asks the system.
	Users func() ([]string, error)
	// Verbose is told that the log is to be detailed, or not any more.
	Verbose func(on bool)
	// OnEvent is told what happens, by several goroutines; it must not block.
	OnEvent func(Event)
	// Turn, if set, is called before an action runs; the action waits for it and
	// release is called when it has ended. Many agents in one process take turns
	// by it. Waiting counts as running.
	Turn func(ctx context.Context) (release func())
}

// Happening says what an [Event] tells.
type Happening uint8

// The happenings.
const (
	Connected     Happening = iota + 1 // signed in at Listener
	Disconnected                       // Detail says why
	TaskReceived                       // a genuine task for this device
	TaskRefused                        // one that is not, or that came too late
	StateReached                       // Operation is at State, on record
	PolicyApplied                      // another policy is in force; Detail is its ETag
)

func (h Happening) String() string {
	names := [...]string{"?", "connected", "disconnected", "task-received", "task-refused", "state-reached", "policy-applied"}
	if int(h) < len(names) {
		return names[h]
	}
	return names[0]
}

// An Event is told to [Config.OnEvent].
type Event struct {
	What      Happening
	Device    uint32
	At        time.Time // by this machine's clock
	Operation task.ID
	State     task.State
	Listener  string
	Detail    string
}

const (
	defaultWorkers    = 4
	defaultKeepAlive  = 15 * time.Minute
	defaultPolicyPoll = time.Hour
	maxHeld           = wire.MaxOpen // tasks that wait or run
	defaultRunTimeout = time.Hour
)

func (c Config) withDefaults() Config {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Workers <= 0 {
		c.Workers = defaultWorkers
	}
	if c.Clocks == nil {
		c.Clocks = systemClocks
	}
	if c.Location == nil {
		c.Location = time.Local
	}
	if c.Boot == nil {
		c.Boot = bootName
	}
	if c.Users == nil {
		c.Users = signedIn
	}
	if c.Proxy == nil && c.Dial == nil {
		c.Proxy = http.ProxyFromEnvironment
	}
	if c.RetryCarrier <= 0 {
		c.RetryCarrier = defaultRetry
	}
	if c.Dial == nil {
		c.Dial = new(net.Dialer).DialContext
	}
	return c
}

// cut returns s as UTF-8 of at most max bytes.
func cut(s string, max int) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) <= max {
		return s
	}
	for max > 0 && !utf8.RuneStart(s[max]) {
		max--
	}
	return s[:max]
}
