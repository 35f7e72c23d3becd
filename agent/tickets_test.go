package agent

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/bugle-fleet/bugle/listener/wire"
	"github.com/bugle-fleet/bugle/listener/wire/carrier"
)

// resumable is a site whose listener gives tickets; refuse makes it refuse them.
func resumable(t *testing.T) (s *site, refuse *atomic.Bool) {
	s, refuse = newSite(t, 0), new(atomic.Bool)
	pool := x509.NewCertPool()
	pool.AddCert(s.ca)
	s.port = &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{s.server(nil)},
		NextProtos: []string{wire.ALPN}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool, Time: s.now,
		VerifyConnection: func(cs tls.ConnectionState) error {
			if cs.DidResume && refuse.Load() {
				return errors.New("not with a ticket")
			}
			return nil
		}}
	return s, refuse
}

// comes is the agent's next session, which must be resumed or not.
func (s *site) comes(resumed bool) *peer {
	s.t.Helper()
	p := s.accept().welcome()
	synctest.Wait() // the ticket has come
	if got := p.conn.ConnectionState().DidResume; got != resumed {
		s.t.Errorf("resumed: %t", got)
	}
	return p
}

func TestTickets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := resumable(t)
		dir := s.device()
		a := s.start(dir, s.config())
		s.comes(false).drop()
		s.comes(true).drop()
		s.comes(true)
		a.halt()
		s.start(dir, s.config())
		s.comes(false) // after a restart
	})
}

// A new certificate is shown, and so are both in turn while it is not taken.
func TestTicketsAndRenewal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := resumable(t)
		s.start(s.device(), s.config())
		p := s.comes(false)
		old := p.shown
		der := s.renewal(p.asked(), nil)
		s.born = map[string]*x509.Certificate{string(must(x509.ParseCertificate(der)).RawSubjectPublicKeyInfo): old}
		p.send(&wire.Renewed{Certificate: der})
		synctest.Wait()
		p.drop()
		p = s.comes(false)
		if !bytes.Equal(p.shown.Raw, der) {
			t.Error("the new certificate is not shown")
		}
		p.drop()
		if p = s.comes(true); !bytes.Equal(p.shown.Raw, der) {
			t.Error("the ticket is not for the new certificate")
		}
	})
}

// Whoever is not taken with a ticket comes without one.
func TestTicketIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, refuse := resumable(t)
		s.start(s.device(), s.config())
		s.comes(false).drop()
		refuse.Store(true)
		if _, err := s.handshake(<-s.conns, s.server(nil)); err == nil {
			t.Fatal("the ticket was not shown")
		}
		s.comes(false).drop()
	})
}

// New keys of the site are a reason to check the listener anew.
func TestTicketsAndKeyring(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := resumable(t)
		s.start(s.device(), s.config())
		p := s.comes(false)
		for _, r := range s.rings(2) {
			p.send(&wire.Keyring{Signed: r})
		}
		synctest.Wait()
		p.drop()
		p = s.comes(false)
		p.drop()
		s.comes(true)
	})
}

// A network that fails is no reason to come without a ticket; an answer that is not
// liked is.
func TestWhatForgetsTickets(t *testing.T) {
	cert, ring := new(x509.Certificate), new(keyring)
	for name, c := range map[string]struct {
		err   error
		after int // failures; 0: never
	}{
		"alert":           {&net.OpError{Op: "remote error", Err: errors.New("tls: bad certificate")}, 1},
		"server":          {fmt.Errorf("handshake: %w", ErrServer), 1},
		"local":           {errors.New("handshake: tls: invalid server finished hash"), 1},
		"no way there":    {&net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}, 0},
		"dropped packets": {errDropped, 0},
		"too slow":        {context.DeadlineExceeded, 3},
		"reset":           {&net.OpError{Op: "read", Err: os.NewSyscallError("read", syscall.ECONNRESET)}, 3},
		"end":             {fmt.Errorf("sign in: %w", io.EOF), 3},
		"half":            {io.ErrUnexpectedEOF, 3},
		"unknown here":    {&carrier.Refused{Status: 401, Want: 101}, 1},
		"overloaded":      {&carrier.Refused{Status: 503, Want: 101}, 0},
	} {
		var all tickets
		keep := func() {
			all.at("a:1", cert, ring).Put("x", new(tls.ClientSessionState))
		}
		there := func() bool {
			_, ok := all.at("a:1", cert, ring).Get("y")
			return ok
		}
		keep()
		for n := 1; n <= 4; n++ {
			all.failed(fmt.Errorf("connect: %w", c.err))
			if gone := !there(); gone != (c.after > 0 && n >= c.after) {
				t.Errorf("%s: forgotten after %d failures: %t", name, n, gone)
			}
		}
		keep()
		if _, ok := all.at("a:2", cert, ring).Get("x"); ok {
			t.Error("a ticket is shown at another port")
		}
		if _, ok := all.at("a:1", new(x509.Certificate), ring).Get("x"); ok {
			t.Error("a ticket is shown for another certificate")
		}
	}
}
