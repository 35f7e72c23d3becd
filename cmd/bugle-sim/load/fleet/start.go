package fleet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/bugle-fleet/bugle/cmd/bugle-sim/load"
	"github.com/bugle-fleet/bugle/cmd/bugle-sim/site"
	"github.com/bugle-fleet/bugle/console"
)

const (
	readyTime = time.Minute // for a site or listener to serve
	readyLook = 20 * time.Millisecond
	tailBytes = 2 << 10 // of the log of one that ended, in the error
)

const anyPort = "127.0.0.1:0"

// FindBugle returns the program bugle: the one beside this program, or in PATH.
func FindBugle() (string, error) {
	if self, err := os.Executable(); err == nil {
		beside, err := exec.LookPath(filepath.Join(filepath.Dir(self), "bugle"))
		if err == nil {
			return beside, nil
		}
	}
	path, err := exec.LookPath("bugle")
	if err != nil {
		return "", fmt.Errorf("find bugle beside this program and in PATH: %w", err)
	}
	return path, nil
}

// A server is a site or a listener that was started here.
type server struct {
	name    string // of its folder
	data    string
	process *load.Process
}

// start starts bugle with some arguments and waits until it serves.
func (c *Config) start(ctx context.Context, name string, args ...string) (*server, error) {
	s := &server{name: name, data: filepath.Join(c.Dir, name)}
	// One that was killed has left its addresses.
	if err := os.Remove(site.AddressFile(s.data)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	logName := filepath.Join(c.Dir, name+".log")
	log, err := os.OpenFile(logName, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	defer log.Close()                                                                                // the child has its own
	cmd := exec.Command(c.Bugle, slices.Insert(args, 1, "--data", s.data, "--log-level", "warn")...) // what comes later wins
	cmd.Stdout, cmd.Stderr = log, log
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "BUGLE_") { // settings of somebody's own site
			cmd.Env = append(cmd.Env, v)
		}
	}
	if s.process, err = load.StartOn(cmd, c.CPU); err != nil {
		return nil, err
	}
	if err := s.serving(ctx); err != nil {
		err = fmt.Errorf("start %s: %w%s", name, err, tail(logName))
		return nil, errors.Join(err, s.process.Stop())
	}
	return s, nil
}

// serving waits until the server has told where it listens.
func (s *server) serving(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyTime)
	defer cancel()
	for {
		if _, err := os.Stat(site.AddressFile(s.data)); err == nil {
			return nil
		}
		select {
		case <-s.process.Ended():
			return errors.New("it ended")
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(readyLook):
		}
	}
}

// tail is the end of a log, for an error.
func tail(name string) string {
	f, err := os.Open(name)
	if err != nil {
		return ""
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil {
		_, _ = f.Seek(max(0, info.Size()-tailBytes), io.SeekStart)
	}
	b, _ := io.ReadAll(io.LimitReader(f, tailBytes))
	if b = bytes.TrimSpace(b); len(b) == 0 {
		return ""
	}
	return "; it says\n" + string(b)
}

// startSite starts the site.
func (f *Fleet) startSite(ctx context.Context) error {
	feed := ""
	if f.cfg.Listeners > 0 {
		feed = anyPort
	}
	args := append([]string{"serve", "--listen-tcp", anyPort, "--listen-http", anyPort, "--console", anyPort, "--listen-feed=" + feed}, f.cfg.Flags...)
	s, err := f.cfg.start(ctx, "site", args...)
	if err != nil {
		return err
	}
	f.servers = append(f.servers, s)
	f.place = site.Place{Data: s.data}
	f.site, err = site.Find(f.place)
	return err
}

// startListeners starts the listeners that run apart. The first time each joins with
// a token.
func (f *Fleet) startListeners(ctx context.Context) error {
	for i := range f.cfg.Listeners {
		name := fmt.Sprintf("listener-%d", i+1)
		args := append([]string{"listener", "--site-url", "https://" + f.site.Join, "--listen-tcp", anyPort, "--listen-http", anyPort,
			"--hosts", "127.0.0.1"}, f.cfg.ListenerFlags...)
		if _, err := os.Stat(filepath.Join(f.cfg.Dir, name)); errors.Is(err, os.ErrNotExist) {
			token, err := f.listenerToken(ctx, fmt.Sprintf("LIGHT%d", i+1))
			if err != nil {
				return err
			}
			defer os.Remove(token)
			args = append(args, "--join-file", token)
		}
		s, err := f.cfg.start(ctx, name, args...)
		if err != nil {
			return err
		}
		f.servers = append(f.servers, s)
		a, err := site.ReadAddresses(s.data)
		if err != nil {
			return err
		}
		f.listeners = append(f.listeners, a.TCP)
	}
	return nil
}

// listenerToken writes a token for a listener to a file.
func (f *Fleet) listenerToken(ctx context.Context, listener string) (name string, err error) {
	var reply console.TokenReply
	if err := f.site.Call(ctx, "POST", console.PathTokens, console.TokenRequest{Listener: listener}, &reply); err != nil {
		return "", err
	}
	name = filepath.Join(f.cfg.Dir, "listener.token")
	if err := os.WriteFile(name, []byte(reply.Token), 0o600); err != nil {
		return "", fmt.Errorf("write token: %w", err)
	}
	return name, nil
}

// stopServers ends what was started, in the order of the data: listeners first.
func (f *Fleet) stopServers() error {
	var errs []error
	for i := len(f.servers) - 1; i >= 0; i-- {
		if err := f.servers[i].process.Stop(); err != nil {
			errs = append(errs, fmt.Errorf("stop %s: %w", f.servers[i].name, err))
		}
	}
	f.servers = nil
	return errors.Join(errs...)
}
