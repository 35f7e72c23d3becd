package listener

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bugle-fleet/bugle/listener/wire"
)

var (
	errNoCAs        = errors.New("no CA vouches for devices")
	errProtocolName = errors.New("connection does not name the protocol " + wire.ALPN)
	errOtherSite    = errors.New("certificate is of another site")
)

// tlsConfig admits devices of the site that speak the protocol. VerifyConnection
// is called for resumed sessions too, so that a ticket is worth no more than the
// certificate in it is at that moment. Resumed counts them.
func tlsConfig(cfg *Config, known *verified, resumed *atomic.Uint64) *tls.Config {
	return withTickets(&tls.Config{
		MinVersion:     tls.VersionTLS13,
		GetCertificate: cfg.Certificate,
		ClientAuth:     tls.RequireAnyClientCert, // and the rest of the check is ours
		NextProtos:     []string{wire.ALPN},

		CurvePreferences: cfg.Curves,
		VerifyConnection: func(cs tls.ConnectionState) error {
			if cs.NegotiatedProtocol != wire.ALPN {
				return errProtocolName
			}
			if err := known.check(cs.PeerCertificates, time.Now()); err != nil {
				return err
			}
			id, err := wire.IdentityOf(cs.PeerCertificates[0])
			if err != nil {
				return err
			}
			if id.Site != cfg.Site {
				return errOtherSite
			}
			if cs.DidResume {
				resumed.Add(1)
			}
			return nil
		},
	})
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
	})
}

// ticketTime is how long after a full handshake a device may come with tickets: then
// it must prove again that it has the key of its certificate.
const ticketTime = 24 * time.Hour

// ticketMark begins what a ticket holds of ours; the moment of the full handshake
// follows, in Unix seconds.
var ticketMark = []byte("bugle1")

const preSharedKey = 41 // the extension that shows a ticket, RFC 8446, 4.2

// withTickets lets sessions of base be resumed for [ticketTime]. The keys of the
// tickets are base's, which crypto/tls makes and changes daily: they are in memory
// alone and end with the process.
func withTickets(base *tls.Config) *tls.Config {
	newResumption(base, base)
	plain := base.Clone()
	spare := &sync.Pool{New: func() any { return newResumption(plain.Clone(), base) }}
	base.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		if !slices.Contains(hello.Extensions, preSharedKey) {
			return nil, nil // base will do
		}
		r := spare.Get().(*resumption)
		if v, ok := hello.Conn.(visiting); ok {
			v.lend(func() { spare.Put(r) })
		}
		return r.config, nil
	}
	return base
}

// A resumption is the configuration of one handshake at a time that may resume a
// session. The connection keeps it, and asks it nothing about tickets any more: so
// the next handshake can have it too.
type resumption struct {
	config *tls.Config
	since  uint64 // of the ticket that was taken
}

// newResumption makes c give and take tickets by the keys of base, which itself takes
// none. If one is taken, the ticket that follows is as old.
func newResumption(c, base *tls.Config) *resumption {
	r := &resumption{config: c}
	c.WrapSession = func(cs tls.ConnectionState, s *tls.SessionState) ([]byte, error) {
		proven := uint64(time.Now().Unix())
		if cs.DidResume {
			proven = r.since
		}
		s.Extra = append(s.Extra, binary.BigEndian.AppendUint64(bytes.Clone(ticketMark), proven))
		return base.EncryptTicket(cs, s)
	}
	c.UnwrapSession = func(ticket []byte, cs tls.ConnectionState) (*tls.SessionState, error) {
		s, err := base.DecryptTicket(ticket, cs)
		if s == nil || err != nil {
			return nil, err
		}
		proven, ok := provenAt(s.Extra)
		if !ok || !isFresh(proven, time.Now()) || c == base {
			return nil, nil
		}
		r.since = proven
		return s, nil
	}
	return r
}

func provenAt(extra [][]byte) (at uint64, ok bool) {
	for _, e := range extra {
		if mark, ok := bytes.CutPrefix(e, ticketMark); ok && len(mark) == 8 {
			return binary.BigEndian.Uint64(mark), true
		}
	}
	return 0, false
}

func isFresh(proven uint64, now time.Time) bool {
	age := now.Unix() - int64(proven)
	return age >= 0 && age <= int64(ticketTime/time.Second)
}

// verified checks certificates, and remembers those of devices for which it has
// found that a CA vouches directly: the chain is built and its signature checked
// once, for as long as the CAs are the same and the certificates in it are valid.
// That a client has the key is proved in each handshake, by crypto/tls.
//
// It has two halves. Who is found in the old one moves to the young one; when that
// is full the old one is forgotten, and the young one is the old one from then on.
type verified struct {
	cas  func() *x509.CertPool
	most int // certificates in one half

	mu         sync.Mutex
	pool       *x509.CertPool // whose certificates vouch for all in here
	young, old map[fingerprint]window
	hits       uint64
}

// A fingerprint is the first 160 bits of the SHA-256 of a certificate: two with the
// same one cannot be made, least of all such as the CA signs.
type fingerprint [20]byte

func fingerprintOf(c *x509.Certificate) fingerprint {
	sum := sha256.Sum256(c.Raw)
	return fingerprint(sum[:len(fingerprint{})])
}

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
		return nil
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
	if !ok || !w.holds(now) {
		return false
	}
	k.hits++
	return true
}

func (k *verified) remember(print fingerprint, pool *x509.CertPool, w window) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.begin(pool)
	k.put(print, w)
}

// begin forgets all if pool is another one than before. With mu held.
func (k *verified) begin(pool *x509.CertPool) {
	if k.pool != pool || k.young == nil {
		k.pool, k.young, k.old = pool, make(map[fingerprint]window), nil
	}
}

// put adds to the young half. With mu held.
func (k *verified) put(print fingerprint, w window) {
	if _, ok := k.young[print]; !ok && len(k.young) >= k.most {
		k.young, k.old = make(map[fingerprint]window), k.young
	}
	k.young[print] = w
}

// found is how often a certificate was known.
func (k *verified) found() uint64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.hits
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
