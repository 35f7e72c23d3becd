package listener

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"sync/atomic"
)

var errNoCAs = errors.New("no CA vouches for devices")

// withClientCAs makes every handshake with base check the client against the
// pool that cas returns at that moment. A resumed session is checked too: one
// whose certificate no pool of today vouches for shakes hands in full, and fails
// there. Tickets stay valid over a change, for their keys are base's.
func withClientCAs(cas func() *x509.CertPool, base *tls.Config) *tls.Config {
	plain := base.Clone()
	var current atomic.Pointer[tls.Config] // one per pool
	base.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		pool := cas()
		if pool == nil {
			return nil, errNoCAs // else those of the machine would count
		}
		if c := current.Load(); c != nil && c.ClientCAs == pool {
			return c, nil
		}
		c := plain.Clone()
		c.ClientCAs = pool
		current.Store(c)
		return c, nil
	}
	return base
}
