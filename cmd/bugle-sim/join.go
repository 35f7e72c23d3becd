package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/bugle-fleet/bugle/agent"
	"github.com/bugle-fleet/bugle/cmd/bugle-sim/site"
	"github.com/bugle-fleet/bugle/listener/wire"
)

const (
	maxJoining = 64  // joins under way at once
	joinTries  = 100 // of one agent that is told to come later
	// joinAgain is what a listener names as Retry-After to those beyond its cap.
	joinAgain = 5 * time.Second
)

// join makes every member a device of the site, as fast as the listener allows.
// Members that are devices already stay what they are. It returns how many
// joined.
func (f *fleet) join(ctx context.Context, s *site.Client, token string) (joined int, err error) {
	var fresh, done atomic.Int64
	defer f.say(ctx, func() string { return fmt.Sprintf("joined %d of %d agents", done.Load(), len(f.members)) })()
	p := newPace(f.o.joinRate, f.o.joinBurst, f.joinAgain)
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(min(maxJoining, max(1, int(f.o.joinRate))))
	for _, m := range f.members {
		g.Go(func() error {
			asked, err := m.join(ctx, s.Join, token, p)
			if err != nil {
				return fmt.Errorf("agent %s: %w", m.name, err)
			}
			if done.Add(1); asked {
				fresh.Add(1)
			}
			return nil
		})
	}
	err = g.Wait()
	return int(fresh.Load()), err
}

// join makes m a device; asked is false if it was one.
func (m *member) join(ctx context.Context, address, token string, p *pace) (asked bool, err error) {
	var dialled atomic.Bool // a dial may outlive the join that gave up on it
	cfg := agent.JoinConfig{Dir: m.dir, Site: address, Token: token, Name: m.name, Version: version,
		Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			dialled.Store(true)
			if err := p.wait(ctx); err != nil {
				return nil, err
			}
			return new(net.Dialer).DialContext(ctx, network, address)
		}}
	for range joinTries {
		var id wire.Identity
		if id, err = agent.Join(ctx, cfg); err == nil {
			m.device = id.Device
			return dialled.Load(), nil
		}
		if !comeLater(err) {
			break
		}
		p.later()
	}
	return dialled.Load(), err
}

// comeLater tells whether err is a listener's way to say so.
func comeLater(err error) bool {
	var no *wire.JoinError
	return errors.As(err, &no) && (no.Status == http.StatusTooManyRequests || no.Status == http.StatusServiceUnavailable)
}
