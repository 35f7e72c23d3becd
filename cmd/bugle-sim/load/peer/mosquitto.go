package peer

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"time"

	"github.com/bugle-fleet/bugle/cmd/bugle-sim/load"
)

// ErrNotInstalled is wrapped by Open's error if this machine has no mosquitto.
var ErrNotInstalled = errors.New("mosquitto is not installed: install Debian's package mosquitto (apt-get install mosquitto), or put the program into PATH")

// The topics.
const (
	topicAll     = "task"
	topicOne     = "a/"       // and the agent's number
	topicAnswer  = "answer/"  // and the agent's number
	topicAnswers = "answer/#" // all of them
)

// aliveSeconds is what clients promise; the broker waits half as long again.
const aliveSeconds = uint16(keepAlive / time.Second)

// mosquittoConfig is the broker's configuration. Nothing bounds how many messages wait
// for a client but the fleet's size, so that none is thrown away.
const mosquittoConfig = `listener %d 127.0.0.1
cafile %s
certfile %s
keyfile %s
require_certificate true
use_identity_as_username true
tls_version tlsv1.3
max_connections -1
set_tcp_nodelay true
persistence false
max_inflight_messages 0
max_queued_messages %d
sys_interval 0
connection_messages false
log_dest stderr
log_type error
log_type warning
`

// findMosquitto is where the program is.
func findMosquitto() (string, error) {
	for _, name := range []string{"mosquitto", "/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", ErrNotInstalled
}

// maxStarts is how often the broker is started if another program takes its port.
const maxStarts = 3

func startMosquitto(ctx context.Context, c Config) (started, error) {
	program, err := findMosquitto()
	if err != nil {
		return started{}, err
	}
	for n := 1; ; n++ {
		s, err := tryMosquitto(ctx, program, c)
		if err == nil || ctx.Err() != nil || n == maxStarts {
			return s, err
		}
		if s.process != nil {
			_ = s.process.Stop()
		}
	}
}

func tryMosquitto(ctx context.Context, program string, c Config) (started, error) {
	port, err := freePort()
	if err != nil {
		return started{}, err
	}
	in := func(name string) string { return filepath.Join(c.Dir, name) }
	text := fmt.Sprintf(mosquittoConfig, port, in(caFile), in(certFile), in(keyFile), max(1000, 4*c.Agents))
	if u, err := user.Current(); err == nil && u.Uid == "0" {
		text += "user " + u.Username + "\n" // it would give up the right to read its key
	}
	if err := os.WriteFile(in("mosquitto.conf"), []byte(text), 0o600); err != nil {
		return started{}, fmt.Errorf("write configuration of mosquitto: %w", err)
	}
	p, err := begin(exec.Command(program, "-c", in("mosquitto.conf")), c)
	if err != nil {
		return started{}, err
	}
	address := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	return started{process: p, address: address}, listens(ctx, p, address)
}

// freePort is a port of which nobody listens now.
func freePort() (int, error) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("find a free port: %w", err)
	}
	return l.Addr().(*net.TCPAddr).Port, l.Close()
}

// listens waits until a server that does not say when takes connections.
func listens(ctx context.Context, p *load.Process, address string) error {
	for {
		c, err := new(net.Dialer).DialContext(ctx, "tcp4", address)
		if err == nil {
			return c.Close()
		}
		select {
		case <-p.Ended():
			return errors.New("wait for mosquitto: it ended")
		case <-ctx.Done():
			return fmt.Errorf("wait for mosquitto: %w", err)
		case <-time.After(10 * time.Millisecond):
		}
	}
}
