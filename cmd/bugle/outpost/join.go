package outpost

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"time"

	"github.com/bugle-fleet/bugle/listener"
	"github.com/bugle-fleet/bugle/listener/relay"
	"github.com/bugle-fleet/bugle/listener/wire"
)

func spki(cert *x509.Certificate) [32]byte { return sha256.Sum256(cert.RawSubjectPublicKeyInfo) }

// ErrNotJoined says that a listener without a token has not joined a site.
var ErrNotJoined = errors.New("this listener has not joined a site: give it a token with --join-file or --join (bugle token create --listener NAME)")

// token reads the token from wherever it is.
func (c *Config) token() (wire.Token, error) {
	text := c.Token
	if c.TokenFile != "" {
		b, err := os.ReadFile(c.TokenFile)
		if err != nil {
			return wire.Token{}, fmt.Errorf("read the token: %w", err)
		}
		text = string(b)
	}
	if text == "" {
		return wire.Token{}, ErrNotJoined
	}
	return wire.ParseToken(text)
}

const (
	againAfter    = time.Second
	maxAgainAfter = 30 * time.Second
)

// insist asks again while the site is away, until it answers or ctx ends.
func (o *Outpost) insist(ctx context.Context, what string, ask func() error) error {
	for wait := againAfter; ; wait = min(2*wait, maxAgainAfter) {
		err := ask()
		if !errors.Is(err, relay.ErrAway) {
			return err
		}
		o.log.Warn("waiting for the site to "+what, "again", wait, "error", err)
		if !sleep(ctx, wait) {
			return fmt.Errorf("%s: %w", what, err)
		}
	}
}

// join makes this listener one of the site's, unless it is.
func (o *Outpost) join(ctx context.Context) error {
	if o.id.joined() {
		return nil
	}
	token, err := o.cfg.token()
	if err != nil {
		return err
	}
	q := wire.ListenerJoinRequest{Token: token.String(), BoxKey: o.id.box.Public().(ed25519.PublicKey)}
	if q.CSR, err = o.id.request(); err != nil {
		return err
	}
	if q.TCP, err = o.cfg.reachable(o.tcp); err != nil {
		return err
	}
	if q.HTTPS, err = o.cfg.reachable(o.http); err != nil {
		return err
	}
	client := relay.NewClient(o.cfg.SiteURL, pinned(token.CA, o.cfg.siteHost()), o.log)
	return o.insist(ctx, "join", func() error {
		reply, err := client.JoinListener(ctx, q)
		if err != nil {
			return plain(err)
		}
		o.log.Info("joined", "site", reply.Site, "listener", reply.Name, "epoch", reply.Epoch)
		return o.id.change(func(k *known) { *k = known{Joined: reply} })
	})
}

// joinDevice hands a device's request on. Who joins here is told of this listener
// first: the site may be out of its reach.
func (o *Outpost) joinDevice(ctx context.Context, q wire.JoinRequest, address string) (wire.JoinReply, error) {
	a, err := o.client.Join(ctx, q, address)
	if err != nil {
		return a, err
	}
	for _, own := range []struct {
		socket net.Listener
		list   *[]string
	}{{o.tcp, &a.Listeners}, {o.http, &a.HTTPS}} {
		here, err := o.cfg.reachable(own.socket)
		if err != nil {
			return a, err
		}
		for _, other := range *own.list {
			if !slices.Contains(here, other) {
				here = append(here, other)
			}
		}
		*own.list = here
	}
	return a, nil
}

// plain is what a person is told of a refusal.
func plain(err error) error {
	if no, ok := errors.AsType[*listener.JoinRefused](err); ok {
		return fmt.Errorf("%s: %s", no.Title, no.Detail)
	}
	return err
}

// describe asks what must be known of the site; what it said last will do.
func (o *Outpost) describe(ctx context.Context) error {
	return o.insist(ctx, "say what it is", func() error {
		s, err := o.client.Site(ctx)
		switch {
		case err != nil && len(o.id.get().Site.History) > 0:
			o.log.Warn("the site does not say what it is; what it said last counts", "error", err)
			return nil
		case err != nil:
			return plain(err)
		}
		return o.id.change(func(k *known) { k.Site = s })
	})
}

// openBox opens the box under the epoch that was granted, or under the next one
// if the counter is gone.
func (o *Outpost) openBox(ctx context.Context) error {
	for range 2 {
		k := o.id.get()
		if !k.Counted {
			if err := o.id.change(func(k *known) { k.Counted = true }); err != nil {
				return err
			}
		}
		var err error
		o.forwarder, err = relay.OpenForwarder(relay.ForwarderConfig{
			Dir: o.boxDir(), Site: k.Joined.Site, Listener: k.Joined.Name, Epoch: k.Joined.Epoch, Key: o.id.box,
			Quota: o.cfg.Quota, Send: o.client.Send, Log: o.log,
		}, !k.Counted)
		if !errors.Is(err, relay.ErrNoCounter) {
			return err
		}
		if err := o.nextEpoch(ctx); err != nil {
			return err
		}
	}
	return relay.ErrNoCounter
}

func (o *Outpost) nextEpoch(ctx context.Context) error {
	return o.insist(ctx, "grant another epoch", func() error {
		epoch, err := o.client.NextEpoch(ctx, o.id.box.Public().(ed25519.PublicKey))
		if err != nil {
			return plain(err)
		}
		o.log.Info("the counter of files was gone; the site granted another epoch", "epoch", epoch)
		return o.id.change(func(k *known) { k.Joined.Epoch, k.Counted = epoch, false })
	})
}

// renew renews the certificate when its time comes, until ctx ends.
func (o *Outpost) renew(ctx context.Context) error {
	for {
		t := time.NewTimer(max(time.Until(o.id.renewAt()), againAfter))
		select {
		case <-t.C:
		case <-o.learnt:
			t.Stop()
			continue // it may be time now
		case <-ctx.Done():
			t.Stop()
			return nil
		}
		if err := o.renewOnce(ctx); err != nil && ctx.Err() == nil {
			o.log.Error("the certificate is not renewed", "error", err)
			if !sleep(ctx, maxAgainAfter) {
				return nil
			}
		}
	}
}

func (o *Outpost) renewOnce(ctx context.Context) error {
	csr, err := o.id.request()
	if err != nil {
		return err
	}
	ring := o.id.get().Joined.Keyring
	reply, err := o.client.RenewListener(ctx, csr)
	if err != nil {
		return plain(err)
	}
	o.changing.Lock()
	defer o.changing.Unlock()
	err = o.id.renewed(&reply, ring)
	if err == nil {
		o.client.Trust(o.id.trust(o.cfg.siteHost()))
		o.log.Info("the certificate is renewed", "next", o.id.renewAt())
	}
	return err
}

// sleep waits for d; false means that ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
