package agent

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"

	"github.com/bugle-fleet/bugle/listener/wire/carrier"
)

// maxTickets is at how many addresses sessions can be resumed.
const maxTickets = 32

// tickets are what listeners gave this agent to come back with: it then shakes
// hands without showing its certificate. They are in memory alone, one of each
// address, and of use for one certificate and one ring of keys: when either is
// another one all are forgotten, so that a new certificate is shown, and whoever
// the agent does not trust any more is checked anew.
type tickets struct {
	mu      sync.Mutex
	cert    *x509.Certificate
	ring    *keyring
	cache   tls.ClientSessionCache
	unclear int // connections that did not come about, and nobody said why
}

// at returns the place for tickets of an address.
func (t *tickets) at(address string, shown *x509.Certificate, ring *keyring) tls.ClientSessionCache {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.cache == nil || t.cert != shown || t.ring != ring {
		t.cert, t.ring, t.cache = shown, ring, tls.NewLRUClientSessionCache(maxTickets)
	}
	return ticketsAt{address, t.cache}
}

// forget forgets all.
func (t *tickets) forget() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.cache = nil
}

// failed says that a connection did not come about. A network that fails is no
// reason to forget, or a fleet whose listener was away would come back without its
// tickets; an alert is one, and so is what we do not like of the listener. Of what
// may be either, such as a connection that just ends, every third is.
func (t *tickets) failed(err error) {
	var op *net.OpError
	var timeout net.Error
	var refused *carrier.Refused
	switch {
	case errors.As(err, &refused):
		if refused.Status != http.StatusUnauthorized {
			return
		}
	case errors.As(err, &op) && op.Op == "dial", errors.Is(err, errDropped):
		return
	case errors.As(err, &op) && op.Op != "remote error", errors.As(err, &timeout) && timeout.Timeout(),
		errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		t.mu.Lock()
		defer t.mu.Unlock()
		if t.unclear++; t.unclear%3 == 0 {
			t.cache = nil
		}
		return
	}
	t.forget()
}

// ticketsAt are the tickets of one address: crypto/tls would tell apart hosts
// alone, and a host has several ports.
type ticketsAt struct {
	address string
	all     tls.ClientSessionCache
}

// Get implements [tls.ClientSessionCache].
func (t ticketsAt) Get(string) (*tls.ClientSessionState, bool) { return t.all.Get(t.address) }

// Put implements [tls.ClientSessionCache].
func (t ticketsAt) Put(_ string, s *tls.ClientSessionState) { t.all.Put(t.address, s) }
