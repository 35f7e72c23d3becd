package demo

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"

	"github.com/bugle-fleet/bugle/agent"
)

// A fleet is the agents of the demo. Each runs in goroutines of this process and
// shares nothing with the others but the machine.
type fleet struct {
	dir     string
	site    string // host:port of the HTTPS port
	version string
	log     *slog.Logger
	members []*member
}

type member struct {
	name string
	dir  string

	// Set by start, cleared by stop; the demo's goroutine owns them.
	cancel context.CancelFunc
	ended  chan error
}

func newFleet(dir, site, version string, n int, log *slog.Logger) *fleet {
	f := &fleet{dir: dir, site: site, version: version, log: log}
	for i := range n {
		name := fmt.Sprintf("demo-%02d", i+1)
		f.members = append(f.members, &member{name: name, dir: filepath.Join(dir, name)})
	}
	return f
}

// join makes every member one of the site's devices, several at a time.
func (f *fleet) join(ctx context.Context, token string) error {
	var wg sync.WaitGroup
	errs := make([]error, len(f.members))
	places := make(chan struct{}, 8)
	for i, m := range f.members {
		wg.Go(func() {
			places <- struct{}{}
			defer func() { <-places }()
			_, errs[i] = agent.Join(ctx, agent.JoinConfig{Dir: m.dir, Site: f.site, Token: token, Name: m.name, Version: f.version})
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// start runs a member until stop.
func (f *fleet) start(ctx context.Context, m *member) error {
	a, err := agent.Open(m.dir, agent.Config{Version: f.version, Scanner: "builtin", Log: f.log.With("agent", m.name),
		Users: func() ([]string, error) { return nil, nil }})
	if err != nil {
		return fmt.Errorf("start agent %s: %w", m.name, err)
	}
	ctx, m.cancel = context.WithCancel(ctx)
	m.ended = make(chan error, 1)
	go func() {
		err := a.Run(ctx)
		if errors.Is(err, context.Canceled) {
			err = nil
		}
		m.ended <- errors.Join(err, a.Close())
	}()
	return nil
}

func (f *fleet) startAll(ctx context.Context, members []*member) error {
	for _, m := range members {
		if err := f.start(ctx, m); err != nil {
			return err
		}
	}
	return nil
}

// stop ends a member in good order, as a machine that is switched off would.
func (f *fleet) stop(m *member) error {
	if m.cancel == nil {
		return nil
	}
	m.cancel()
	m.cancel = nil
	if err := <-m.ended; err != nil {
		return fmt.Errorf("stop agent %s: %w", m.name, err)
	}
	return nil
}

func (f *fleet) stopAll(members []*member) error {
	errs := make([]error, len(members))
	var wg sync.WaitGroup
	for i, m := range members {
		wg.Go(func() { errs[i] = f.stop(m) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// plant puts a file where the agent's scanner looks.
func (f *fleet) plant(m *member, contents []byte) error {
	watch := filepath.Join(m.dir, "watch")
	if err := os.MkdirAll(watch, 0o700); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(watch, "harmless.bin"), contents, 0o600)
}
