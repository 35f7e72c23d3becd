package site

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"path/filepath"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/bugle-fleet/bugle/console/authority"
	"github.com/bugle-fleet/bugle/inbox/box"
	"github.com/bugle-fleet/bugle/listener"
	"github.com/bugle-fleet/bugle/listener/feed"
	"github.com/bugle-fleet/bugle/listener/relay"
	"github.com/bugle-fleet/bugle/listener/wire"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// Here is what listeners that run apart get of the site: the feed, which is
// published beside the one of the listener in this process, and the answers to
// their questions, which that listener's HTTPS port serves.

// openRelay makes the answers.
func (s *Site) openRelay() (err error) {
	s.relay, err = relay.NewServer(relay.ServerConfig{
		Site: s.cfg.Code, ClientCAs: s.authority.ListenerCAs, Admit: s.admitListener, SpeaksFor: s.speaksFor,
		Key: s.authority.ListenerKey, Describe: s.describe, Deliver: s.deliver, StoreLog: s.storeLog,
		Beacon: s.authority.Beacon, Policy: s.policy, KeepAlive: s.policies.KeepAlive,
		Join: s.join, Renew: s.renew,
		JoinListener: func(ctx context.Context, r wire.ListenerJoinRequest) (wire.ListenerJoinReply, error) {
			reply, err := s.authority.JoinListener(ctx, r)
			return reply, told(err)
		},
		RenewListener: s.renewListener,
		NextEpoch: func(ctx context.Context, name string, key []byte) (uint32, error) {
			epoch, err := s.authority.GrantEpoch(ctx, name, key)
			return epoch, told(err)
		},
		Log: s.cfg.Log.With("component", "relay"),
	})
	return err
}

// admitListener says which listener shows a certificate, or what it is told.
func (s *Site) admitListener(cert *x509.Certificate) (wire.ListenerIdentity, error) {
	id, err := s.authority.AdmitListener(cert)
	return id, told(err)
}

// outpost tells which listener shows a certificate on the HTTPS port. The relay
// asks again; this is for the place of the connection.
func (s *Site) outpost(chain []*x509.Certificate) (name string, ok bool) {
	id, err := s.authority.AdmitListener(chain[0])
	if err != nil {
		return "", false
	}
	_, err = chain[0].Verify(x509.VerifyOptions{Roots: s.authority.ListenerCAs(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	return id.Name, err == nil
}

// deliver puts files of listeners into the inbox. Those that the journal has need
// not go there again, whether the inbox still keeps them or not; and another one
// with the number of one that it has would only be put aside there.
func (s *Site) deliver(files []box.Raw) (done int, err error) {
	put := s.space.roomyDeliver(s.boxDir())
	for done < len(files) {
		n, have, other := done, false, false
		for ; n < len(files) && !have && !other; n++ {
			have, other = s.ledger.Have(files[n].Name, sha256.Sum256(files[n].Data))
		}
		if have || other {
			n--
		}
		if n > done {
			k, err := put(files[done:n])
			if done += k; err != nil {
				return done, err
			}
		}
		switch {
		case have:
			done++
		case other:
			return done, fmt.Errorf("deliver %s: %w", files[done].Name, box.ErrTaken)
		}
	}
	return done, nil
}

// told makes of a refusal by the authority one that the asker is told.
func told(err error) error {
	if refusal, ok := errors.AsType[*authority.Refusal](err); ok {
		return &listener.JoinRefused{Status: refusal.Status, Title: refusal.Title, Detail: refusal.Detail}
	}
	return err
}

func (s *Site) renew(ctx context.Context, device uint32, request wire.Renew) ([]byte, error) {
	certificate, err := s.authority.Renew(ctx, device, request)
	return certificate, told(err)
}

func (s *Site) renewListener(ctx context.Context, name string, csr []byte) (reply wire.ListenerRenewReply, err error) {
	if reply.Certificate, err = s.authority.RenewListener(ctx, name, csr); err != nil {
		return reply, told(err)
	}
	reply.Issuer, reply.CAs = s.authority.CACert().Raw, [][]byte{s.authority.CACert().Raw}
	if rings := s.authority.Keyrings(); len(rings) > 0 {
		newest, err := task.ReadKeyring(rings[len(rings)-1])
		if err != nil {
			return reply, err
		}
		reply.CAs = newest.CA
	}
	return reply, nil
}

// answered is who has answered operations finally, by now, and nil of those that
// are not open any more. One that the view does not know yet is left out.
func (s *Site) answered(told []task.ID) (map[task.ID]*task.Targets, error) {
	open, _, err := s.readers.operation.Open()
	if err != nil {
		return nil, err
	}
	all := make(map[task.ID]*task.Targets, len(open))
	for _, o := range open {
		if all[o.ID], err = task.NewTargets(roaring.Values(o.Final)); err != nil {
			return nil, err
		}
	}
	for _, id := range told {
		if _, listed := all[id]; listed {
			continue
		}
		o, known, err := s.readers.operation.Get(id)
		if err != nil {
			return nil, err
		}
		if known && !o.Open() { // asked later than the list was made, it may be open
			all[id] = nil
		}
	}
	return all, nil
}

// speaksFor tells whether a device is in the scope of a listener's newest epoch.
func (s *Site) speaksFor(name string, device uint32) bool {
	for _, l := range s.authority.Listeners() {
		if l.Name == name {
			scope := s.authority.ListenerScope(name, l.Epoch)
			return scope == nil || scope(device)
		}
	}
	return false
}

func (s *Site) describe() relay.Site {
	history := s.store.History()
	d := relay.Site{Site: s.cfg.Code, History: history[:], KeepAlive: s.cfg.KeepAlive, Snapshot: s.cfg.Snapshot}
	if s.publisher != nil {
		if _, port, err := net.SplitHostPort(s.publisher.Address()); err == nil {
			d.Feed = net.JoinHostPort("", port)
		}
	}
	return d
}

// openPublisher binds the port of the feed and begins to publish.
func (s *Site) openPublisher(context.Context) error {
	if s.cfg.ListenFeed == "" {
		return nil
	}
	certificate, err := s.authority.ServerCertificates(s.cfg.hosts())
	if err != nil {
		return err
	}
	s.publisher, err = feed.NewPublisher(feed.PublisherConfig{
		Dir: filepath.Join(s.cfg.Data, "run", "feed"), Address: s.cfg.ListenFeed,
		Certificate: certificate, ClientCAs: s.authority.ListenerCAs, Admit: s.authority.AdmitListener,
		Source:   func() (feed.Source, error) { return newFeed(s.journal, s.authority, s.readers.operation) },
		Answered: s.answered,
		Log:      s.cfg.Log.With("component", "feed"),
	})
	if err != nil {
		return fmt.Errorf("listen on %s (--listen-feed): %w", s.cfg.ListenFeed, err)
	}
	s.publisherStage.Start(s.failed, "feed", s.publisher.Run)
	return nil
}
