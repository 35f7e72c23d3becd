package outpost

import (
	"bytes"
	"context"
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
	return o.joinWith(ctx, token)
}

// joinWith joins with a token, be it for the first time or because the certificate
// serves for nothing any more. Files of earlier epochs stay what they are.
func (o *Outpost) joinWith(ctx context.Context, token wire.Token) (err error) {
	q := wire.ListenerJoinRequest{Token: token.String(), BoxKey: o.id.boxKey()}
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
		return o.id.change(func(k *known) {
			counted := k.Counted && reply.Epoch == k.Joined.Epoch // the answer to an earlier join
			*k = known{Joined: reply, Counted: counted, BoxKey: q.BoxKey, Behind: k.Behind, Renumbered: k.Renumbered}
		})
	})
}

// ErrExpired is wrapped by the error of a listener that was off for so long that
// its certificate serves for nothing any more.
var ErrExpired = errors.New("its certificate has expired, and the site does not renew it")

// revive renews a certificate that has ended, before anything else is asked: agents
// would refuse it, and so would the site, but for this. If the site does not renew
// it, a token lets the listener join again.
func (o *Outpost) revive(ctx context.Context) error {
	ended := o.id.expired(time.Now())
	if ended.IsZero() {
		return nil
	}
	o.log.Warn("the certificate has expired; the site is asked for another one", "ended", ended)
	err := o.insist(ctx, "renew the certificate", func() error { return o.renewOnce(ctx) })
	if err == nil || errors.Is(err, relay.ErrAway) || ctx.Err() != nil {
		return err
	}
	k := o.id.get()
	token, noToken := o.cfg.token()
	if noToken == nil {
		o.log.Warn("the certificate is not renewed; the listener joins again", "listener", k.Joined.Name, "error", err)
		if err = o.joinWith(ctx, token); err == nil && !o.id.expired(time.Now()).IsZero() {
			err = errors.New("the token is the one that it joined with before")
		}
		if err == nil {
			o.client.Trust(o.id.trust(o.cfg.siteHost()))
			return nil
		}
	}
	return fmt.Errorf("%w (it ended at %s): %w: let it join again with a new token for its name (\"bugle token create --listener %s\" at the site, then --join-file here); what waits in %s is kept",
		ErrExpired, ended.Format(time.RFC3339), err, k.Joined.Name, o.boxDir())
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
// if the counter is gone, is behind what the site has, or another key signs.
func (o *Outpost) openBox(ctx context.Context) error {
	if err := o.adoptKey(ctx); err != nil {
		return err
	}
	if k := o.id.get(); k.Behind >= k.Joined.Epoch {
		if err := o.nextEpoch(ctx, "the counter of files is behind what the site has"); err != nil {
			return err
		}
	}
	for range 2 {
		err := o.openForwarder()
		if !errors.Is(err, relay.ErrNoCounter) {
			return errors.Join(err, o.renumber())
		}
		if err := o.nextEpoch(ctx, "the counter of files is gone"); err != nil {
			return err
		}
	}
	return relay.ErrNoCounter
}

func (o *Outpost) openForwarder() (err error) {
	k := o.id.get()
	if !k.Counted {
		if err := o.id.change(func(k *known) { k.Counted = true }); err != nil {
			return err
		}
	}
	o.forwarder, err = relay.OpenForwarder(relay.ForwarderConfig{
		Dir: o.boxDir(), Site: k.Joined.Site, Listener: k.Joined.Name, Epoch: k.Joined.Epoch, Key: o.id.box,
		Quota: o.cfg.Quota, Send: o.client.Send, Renumber: o.mayRenumber, Log: o.log,
	}, !k.Counted)
	return err
}

// adoptKey asks for another epoch if the key that signs files is not the one that
// this epoch was granted for, as when its file was lost: with it the site would
// take none.
func (o *Outpost) adoptKey(ctx context.Context) error {
	k := o.id.get()
	switch {
	case len(k.BoxKey) == 0: // it joined before this was kept
		return o.id.change(func(k *known) { k.BoxKey = o.id.boxKey() })
	case bytes.Equal(k.BoxKey, o.id.boxKey()):
		return nil
	}
	return o.nextEpoch(ctx, "another key signs files")
}

// renumberAgain is the least time between two renumberings: if one does not help,
// something else is wrong, and files are put aside.
const renumberAgain = 10 * time.Minute

func (o *Outpost) mayRenumber() bool {
	return time.Since(o.id.get().Renumbered) > renumberAgain
}

// renumber gives the files of an epoch that is behind their new numbers.
func (o *Outpost) renumber() error {
	if o.forwarder == nil || o.id.get().Behind == 0 {
		return nil
	}
	if err := o.forwarder.Renumber(); err != nil {
		return err
	}
	return o.id.change(func(k *known) { k.Behind, k.Renumbered = 0, time.Now().UTC() })
}

func (o *Outpost) nextEpoch(ctx context.Context, why string) error {
	return o.insist(ctx, "grant another epoch", func() error {
		epoch, err := o.client.NextEpoch(ctx, o.id.boxKey())
		if err != nil {
			return plain(err)
		}
		o.log.Warn("the site granted another epoch", "why", why, "epoch", epoch)
		return o.id.change(func(k *known) { k.Joined.Epoch, k.Counted, k.BoxKey = epoch, false, o.id.boxKey() })
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
