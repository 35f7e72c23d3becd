package site

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"

	"github.com/bugle-fleet/bugle/cmd/bugle/ports"
)

// Addresses are where a site listens, as host:port; DATA/run/addresses.json has
// them while it runs.
type Addresses struct {
	TCP     string `json:"tcp"`            // agents
	HTTP    string `json:"http"`           // agents that join
	Feed    string `json:"feed,omitempty"` // listeners that run apart; empty if there are none
	Console string `json:"console"`        // administrators
}

type sockets struct{ tcp, http, console net.Listener }

func bind(cfg *Config) (s sockets, err error) {
	usual := func(address string) (net.Listener, error) { return net.Listen("tcp", address) }
	for _, b := range []struct {
		socket        *net.Listener
		flag, address string
		listen        func(address string) (net.Listener, error)
	}{{&s.tcp, "listen-tcp", cfg.ListenTCP, ports.Listen}, {&s.http, "listen-http", cfg.ListenHTTP, ports.Listen}, {&s.console, "console", cfg.Console, usual}} {
		if *b.socket, err = b.listen(b.address); err != nil {
			return s, errors.Join(fmt.Errorf("listen on %s (--%s): %w", b.address, b.flag, err), s.close())
		}
	}
	return s, nil
}

func (s *sockets) addresses() Addresses {
	return Addresses{TCP: s.tcp.Addr().String(), HTTP: s.http.Addr().String(), Console: s.console.Addr().String()}
}

// reachable are the addresses of a socket that a joining agent is told: the names
// that were set, or the address that is bound, or this machine's name if all are.
func reachable(socket net.Listener, cfg *Config) (all []string) {
	address := socket.Addr().(*net.TCPAddr)
	port := fmt.Sprint(address.Port)
	tell := func(a string) {
		if !slices.Contains(all, a) {
			all = append(all, a)
		}
	}
	for _, host := range cfg.Hosts {
		tell(net.JoinHostPort(host, port))
	}
	if !address.IP.IsUnspecified() {
		tell(address.String())
		return all
	}
	if name, err := os.Hostname(); err == nil && len(all) == 0 {
		tell(net.JoinHostPort(name, port))
	}
	tell(net.JoinHostPort("localhost", port))
	return all
}

// close closes what is bound; closing twice is no error.
func (s *sockets) close() error {
	var errs []error
	for _, l := range []net.Listener{s.tcp, s.http, s.console} {
		if l != nil {
			if err := l.Close(); !errors.Is(err, net.ErrClosed) {
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}

func addressFile(data string) string { return filepath.Join(data, "run", "addresses.json") }

// publish writes the addresses for the commands of an administrator on this
// machine. The file is a hint and is written anew at each start, so it is not
// fsynced.
func publish(data string, a Addresses) error {
	b, err := json.MarshalIndent(a, "", "  ")
	if err != nil {
		return err
	}
	name := addressFile(data)
	if err := os.WriteFile(name+".tmp", append(b, '\n'), 0o600); err != nil {
		return fmt.Errorf("publish addresses: %w", err)
	}
	return os.Rename(name+".tmp", name)
}

// withdraw removes the addresses of an earlier run.
func withdraw(data string) error {
	if err := os.MkdirAll(filepath.Dir(addressFile(data)), 0o700); err != nil {
		return fmt.Errorf("withdraw addresses: %w", err)
	}
	if err := os.Remove(addressFile(data)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("withdraw addresses: %w", err)
	}
	return nil
}
