package listener

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bugle-fleet/bugle/listener/wire"
)

var (
	errUnknown       = errors.New("certificate is not known any more")
	errNoCAs         = errors.New("no CA vouches for devices")
	errNoCertificate = errors.New("client didn't provide a certificate") // as crypto/tls says it
	errProtocolName  = errors.New("connection does not name the protocol " + wire.ALPN)
	errOtherSite     = errors.New("certificate is of another site")
)

// tlsConfig admits devices of the site that speak the protocol. VerifyConnection
// is called for resumed sessions too, so that a ticket is worth no more than the
// certificate of the device is at that moment. Resumed counts them.
func tlsConfig(cfg *Config, known *verified, resumed *atomic.Uint64) *tls.Config {
	a := &admission{site: cfg.Site, known: known, resumed: resumed}
	return withTickets(&tls.Config{
		MinVersion:     tls.VersionTLS13,
		GetCertificate: cfg.Certificate,
		ClientAuth:     tls.RequireAnyClientCert, // and the rest of the check is ours
		NextProtos:     []string{wire.ALPN},

		CurvePreferences: cfg.Curves,
		VerifyConnection: a.check,

		DynamicRecordSizingDisabled: true, // nearly all are small, and an agent does nothing with the beginning of a policy
	}, a)
}

// An admission decides who is let in by a TLS connection.
type admission struct {
	site    string
	known   *verified
	resumed *atomic.Uint64 // how many came with a ticket
}

// check is for who has shown a certificate, in this handshake or that of the ticket.
func (a *admission) check(cs tls.ConnectionState) error {
	if cs.NegotiatedProtocol != wire.ALPN {
		return errProtocolName
	}
	if len(cs.PeerCertificates) == 0 {
		return errNoCertificate
	}
	if err := a.known.check(cs.PeerCertificates, time.Now()); err != nil {
		return err
	}
	id, err := wire.IdentityOf(cs.PeerCertificates[0])
	if err != nil {
		return err
	}
	if id.Site != a.site {
		return errOtherSite
	}
	if cs.DidResume {
		a.resumed.Add(1)
	}
	return nil
}

// checkKnown is for who has resumed a session with a certificate of that fingerprint.
func (a *admission) checkKnown(cs tls.ConnectionState, print fingerprint) error {
	if cs.NegotiatedProtocol != wire.ALPN {
		return errProtocolName
	}
	if !a.isKnown(print) {
		return errUnknown
	}
	a.known.hits.Add(1)
	a.resumed.Add(1)
	return nil
}

// isKnown tells whether the certificate is known, and good at this moment.
func (a *admission) isKnown(print fingerprint) bool {
	pool := a.known.cas()
	return pool != nil && a.known.knows(print, pool, time.Now())
}

// httpsConfig checks a client certificate if one is given: see [verified.shown].
func httpsConfig(cfg *Config, known *verified) *tls.Config {
	return withTickets(&tls.Config{
		MinVersion:     tls.VersionTLS13,
		GetCertificate: cfg.Certificate,
		ClientAuth:     tls.RequestClientCert,
		VerifyConnection: func(cs tls.ConnectionState) error {
			return known.shown(cs.PeerCertificates, time.Now())
		},
		NextProtos:       []string{"h2", "http/1.1"},
		CurvePreferences: cfg.Curves,
	}, nil)
}

// verified checks certificates, and remembers those of devices for which it has
// found that a CA vouches directly: the chain is built and its signature checked
// once, for as long as the CAs are the same and the certificates in it are valid; and
// not at all if the certificate is on record where it was issued. That a client has the
// key is proved in each handshake, by crypto/tls.
//
// It has two halves. Who is found in the old one moves to the young one; when that
// is full the old one is forgotten, and the young one is the old one from then on.
type verified struct {
	cas    func() *x509.CertPool
	issued func(*x509.Certificate) *x509.Certificate // [Config].Issued, or nil
	most   int                                       // certificates in one half

	mu         sync.Mutex
	pool       *x509.CertPool // whose certificates vouch for all in here
	young, old map[fingerprint]window

	hits atomic.Uint64 // how often a certificate was known, or that of a ticket
}

// A fingerprint is the SHA-256 of a certificate, all of it: of one that was issued, and
// not signed, whoever shows it may choose much.
type fingerprint [sha256.Size]byte

func fingerprintOf(c *x509.Certificate) fingerprint { return sha256.Sum256(c.Raw) }

// A window is from when until when all of a chain is valid, in Unix seconds.
type window struct{ from, until uint32 }

func newVerified(cas func() *x509.CertPool, most int) *verified {
	return &verified{cas: cas, most: most}
}

// check verifies the first of the certificates that were shown: it is for clients,
// and one of the CAs of this moment vouches for it, by way of the others that were
// shown if need be. The error is that of crypto/tls.
func (k *verified) check(shown []*x509.Certificate, now time.Time) error {
	pool := k.cas()
	if pool == nil {
		return errNoCAs // else those of the machine would count
	}
	print := fingerprintOf(shown[0])
	if k.knows(print, pool, now) {
		k.hits.Add(1)
		return nil
	}
	if w, ok := k.issuedFor(shown[0]); ok && w.holds(now) {
		return nil // remembered once the key is proved: see [verified.meet]
	}
	opts := x509.VerifyOptions{Roots: pool, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	if len(shown) > 1 {
		opts.Intermediates = x509.NewCertPool()
		for _, c := range shown[1:] {
			opts.Intermediates.AddCert(c)
		}
	}
	chains, err := shown[0].Verify(opts)
	if err != nil {
		return &tls.CertificateVerificationError{UnverifiedCertificates: shown, Err: err}
	}
	for _, chain := range chains {
		if len(chain) == 2 { // the same whatever else is shown
			k.remember(print, pool, windowOf(chain))
			break
		}
	}
	return nil
}

// issuedFor is from when until when a certificate is good that is on record where it
// was issued; false if it is not, or the CA that did so is not trusted any more.
func (k *verified) issuedFor(cert *x509.Certificate) (w window, ok bool) {
	if k.issued == nil {
		return w, false
	}
	by := k.issued(cert)
	if by == nil {
		return w, false
	}
	return windowOf([]*x509.Certificate{cert, by}), true
}

// meet is for a client that has proved to have the key of a certificate that was
// checked, and tells whether the certificate is known from then on. Before the proof one
// that was issued is not remembered: its signature was not checked, so that anybody who
// has seen it could show any number that differ in that alone, and others be forgotten.
func (k *verified) meet(cert *x509.Certificate, print fingerprint, now time.Time) bool {
	pool := k.cas()
	if pool == nil {
		return false
	}
	if k.knows(print, pool, now) {
		return true
	}
	w, ok := k.issuedFor(cert)
	if !ok || !w.holds(now) {
		return false
	}
	k.remember(print, pool, w)
	return true
}

// windowOf is when all of chain is valid. What does not fit is cut off.
func windowOf(chain []*x509.Certificate) window {
	from, until := int64(0), int64(math.MaxUint32)
	for _, c := range chain {
		from, until = max(from, c.NotBefore.Unix()), min(until, c.NotAfter.Unix())
	}
	return window{uint32(min(from, math.MaxUint32)), uint32(max(until, 0))}
}

// holds tells whether now is within w, to the nanosecond as crypto/x509 does.
func (w window) holds(now time.Time) bool {
	return !now.Before(time.Unix(int64(w.from), 0)) && !now.After(time.Unix(int64(w.until), 0))
}

func (k *verified) knows(print fingerprint, pool *x509.CertPool, now time.Time) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.begin(pool)
	w, ok := k.young[print]
	if !ok {
		if w, ok = k.old[print]; ok {
			k.put(print, w)
		}
	}
	return ok && w.holds(now)
}

func (k *verified) remember(print fingerprint, pool *x509.CertPool, w window) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.begin(pool)
	k.put(print, w)
}

// begin forgets all if there are other CAs in pool than before. With mu held.
func (k *verified) begin(pool *x509.CertPool) {
	if k.pool == pool && k.young != nil {
		return
	}
	if k.young == nil || !k.pool.Equal(pool) {
		k.young, k.old = make(map[fingerprint]window), nil
	}
	k.pool = pool
}

// put adds to the young half. With mu held.
func (k *verified) put(print fingerprint, w window) {
	if _, ok := k.young[print]; !ok && len(k.young) >= k.most {
		k.young, k.old = make(map[fingerprint]window), k.young
	}
	k.young[print] = w
}

// shown checks the certificate that a client of the HTTPS port has shown, if any;
// that it has the key is proved by the handshake. One that has ended passes for
// [reviveGrace], for the sake of [wire.RenewPath]: all others ask [verified.check].
// That of a listener is for [Config].Routes to check, which know more of it.
func (k *verified) shown(chain []*x509.Certificate, now time.Time) error {
	if k.cas() == nil {
		return errNoCAs
	}
	if len(chain) == 0 {
		return nil
	}
	if _, err := wire.ListenerOf(chain[0]); err == nil {
		return nil
	}
	return k.ended(chain[0], now)
}

// ended checks the certificate of a device, and takes one that has ended not
// longer ago than [reviveGrace], if it was good then.
func (k *verified) ended(cert *x509.Certificate, now time.Time) error {
	if !now.After(cert.NotAfter) {
		return k.check([]*x509.Certificate{cert}, now)
	}
	if now.Sub(cert.NotAfter) > reviveGrace {
		return errEnded
	}
	pool := k.cas()
	if pool == nil {
		return errNoCAs
	}
	_, err := cert.Verify(x509.VerifyOptions{Roots: pool, CurrentTime: cert.NotAfter, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	return err
}
