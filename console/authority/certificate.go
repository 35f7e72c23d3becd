package authority

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/listener/wire"
)

const (
	caValidity     = 10 * 365 * 24 * time.Hour
	serverValidity = 90 * 24 * time.Hour
	// skew is how far in the past certificates begin, for devices whose clock is
	// behind.
	skew = 5 * time.Minute
)

// A certificate is what the journal has of one: enough to make it again.
type certificate struct {
	public  []byte // uncompressed point
	serial  []byte
	issued  time.Time // when the journal took it
	expires time.Time
	ring    uint32 // the newest ring then, which says the authority that signs it
	event   uint64
}

// newCertificate is what is to be on record before a certificate is signed.
func (a *Authority) newCertificate(public []byte, validity time.Duration) *event.CertificateIssued {
	return &event.CertificateIssued{PublicKey: public, Serial: newSerial().Bytes(), Expires: a.now().UTC().Add(validity).Truncate(time.Second)}
}

func (a *Authority) applyIssued(p *event.CertificateIssued, e *event.Event) {
	c := certificate{p.PublicKey, p.Serial, e.Accepted, p.Expires, a.ring().Number, e.Number}
	if l := a.listeners[p.Listener]; p.Device == 0 && l != nil {
		l.before, l.cert = l.cert, c
	}
	if d := a.device(p.Device); p.Device != 0 && d != nil {
		if !bytes.Equal(d.newest.public, c.public) {
			d.before = d.newest
		}
		d.newest = c
	}
}

// answers tells whether c answers a request for public at now: it is for that
// key, and new enough to be what got lost on the way.
func (c *certificate) answers(public []byte, now time.Time) bool {
	return bytes.Equal(c.public, public) && now.Before(c.issued.Add(c.expires.Sub(c.issued)/2))
}

// An issuer is an authority's certificate and its key.
type issuer struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func selfSigned(site string, key *ecdsa.PrivateKey, now time.Time) ([]byte, error) {
	t := &x509.Certificate{
		SerialNumber:          newSerial(),
		Subject:               pkix.Name{CommonName: "bugle site " + site},
		NotBefore:             now.Add(-skew),
		NotAfter:              now.Add(caValidity),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
	}
	return x509.CreateCertificate(rand.Reader, t, t, &key.PublicKey, key)
}

// newSerial is a positive number of 127 random bits.
func newSerial() *big.Int {
	var b [16]byte
	rand.Read(b[:])
	b[0] &= 0x7f
	b[15] |= 1
	return new(big.Int).SetBytes(b[:])
}

// issue signs a certificate of a device; the same arguments give the same
// certificate but for the randomness of the signature.
func (a *Authority) issue(number uint32, d device, c certificate) ([]byte, error) {
	id := wire.Identity{Site: a.site, Device: number, ID: d.id}
	t := &x509.Certificate{
		Subject:     pkix.Name{CommonName: d.id.String()},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		URIs:        []*url.URL{id.URI()},
	}
	ca, err := a.deviceIssuer(c.ring)
	if err != nil {
		return nil, fmt.Errorf("issue certificate of device %d: %w", number, err)
	}
	der, err := ca.sign(t, c)
	if err != nil {
		return nil, fmt.Errorf("issue certificate of device %d: %w", number, err)
	}
	return der, nil
}

// sign completes t by c and signs it.
func (i issuer) sign(t *x509.Certificate, c certificate) ([]byte, error) {
	public, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), c.public)
	if err != nil {
		return nil, err
	}
	t.SerialNumber = new(big.Int).SetBytes(c.serial)
	t.NotBefore, t.NotAfter = c.issued.Add(-skew), c.expires
	t.KeyUsage = x509.KeyUsageDigitalSignature
	return x509.CreateCertificate(rand.Reader, t, i.cert, public, i.key)
}

// Issued returns the authority that has issued a device's certificate, if that is
// trusted now and the journal has what counts of the certificate: device, id, key, serial
// number and times. Nothing else in it is looked at, the signature neither, so nothing
// else may be believed; whoever shows it must prove to have the key, as always. Nil says
// nothing against it.
func (a *Authority) Issued(cert *x509.Certificate) *x509.Certificate {
	id, err := wire.IdentityOf(cert)
	if err != nil || id.Site != a.site {
		return nil
	}
	public, err := publicPoint(cert)
	if err != nil {
		return nil
	}
	a.mu.RLock()
	defer a.mu.RUnlock()
	d := a.device(id.Device)
	if d == nil || d.id != id.ID {
		return nil
	}
	for _, c := range []*certificate{&d.newest, &d.first, &d.before} {
		if c.is(cert, public) {
			return a.issuedBy(c)
		}
	}
	return nil
}

// is tells whether cert, whose key is public, is what c is on record of.
func (c *certificate) is(cert *x509.Certificate, public []byte) bool {
	return c.public != nil && bytes.Equal(c.public, public) && bytes.Equal(c.serial, cert.SerialNumber.Bytes()) &&
		c.issued.Add(-skew).Unix() == cert.NotBefore.Unix() && c.expires.Unix() == cert.NotAfter.Unix()
}

// issueListener signs the certificate of a listener that runs apart, for the
// hosts of its addresses.
func (a *Authority) issueListener(name string, l listener) (der []byte, by *x509.Certificate, err error) {
	ca, err := a.serverIssuer(l.cert.ring)
	if err != nil {
		return nil, nil, fmt.Errorf("issue certificate of listener %s: %w", name, err)
	}
	t := &x509.Certificate{
		Subject:     pkix.Name{CommonName: "bugle listener " + name + " of site " + a.site},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
		URIs:        []*url.URL{wire.ListenerIdentity{Site: a.site, Name: name}.URI()},
	}
	var hosts []string
	for _, address := range slices.Concat(l.tcp, l.https) {
		if host, _, err := net.SplitHostPort(address); err == nil && !slices.Contains(hosts, host) {
			hosts = append(hosts, host)
		}
	}
	addHosts(t, hosts)
	if der, err = ca.sign(t, l.cert); err != nil {
		return nil, nil, fmt.Errorf("issue certificate of listener %s: %w", name, err)
	}
	return der, ca.cert, nil
}

func addHosts(t *x509.Certificate, hosts []string) {
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else {
			t.DNSNames = append(t.DNSNames, h)
		}
	}
}

// publicPoint is the key of a certificate as the journal has it.
func publicPoint(cert *x509.Certificate) ([]byte, error) {
	key, ok := cert.PublicKey.(*ecdsa.PublicKey)
	if !ok || key.Curve != elliptic.P256() {
		return nil, errors.New("its key is not ECDSA P-256")
	}
	return key.Bytes()
}

// ServerCertificate makes a key and a certificate for the site's own ports, good
// for 90 days under the given host names and IP addresses, with the CA in its
// chain.
func (a *Authority) ServerCertificate(hosts []string) (tls.Certificate, error) {
	if len(hosts) == 0 {
		return tls.Certificate{}, errors.New("issue server certificate: no host name or address to put into it")
	}
	key, err := newECDSA()
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("issue server certificate: %w", err)
	}
	ca, err := a.serverIssuer(0)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("issue server certificate: %w", err)
	}
	now := a.now()
	t := &x509.Certificate{
		SerialNumber: newSerial(),
		Subject:      pkix.Name{CommonName: "bugle server of site " + a.site},
		NotBefore:    now.Add(-skew),
		NotAfter:     now.Add(serverValidity),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	addHosts(t, hosts)
	der, err := x509.CreateCertificate(rand.Reader, t, ca.cert, &key.PublicKey, ca.key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("issue server certificate: %w", err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("issue server certificate: %w", err)
	}
	return tls.Certificate{Certificate: [][]byte{der, ca.cert.Raw}, PrivateKey: key, Leaf: leaf}, nil
}

// ServerCertificates is [Authority.ServerCertificate] for a server that outlives
// one certificate: the function, for tls.Config.GetCertificate, makes a new one
// when two thirds of the time are over, and when the authority of the old one has
// gone.
func (a *Authority) ServerCertificates(hosts []string) (func(*tls.ClientHelloInfo) (*tls.Certificate, error), error) {
	hosts = slices.Clone(hosts)
	current, err := a.ServerCertificate(hosts)
	if err != nil {
		return nil, err
	}
	var mu sync.Mutex
	return func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		mu.Lock()
		defer mu.Unlock()
		if current.Leaf.NotAfter.Sub(a.now()) < serverValidity/3 || !bytes.Equal(current.Certificate[1], a.CACert().Raw) {
			next, err := a.ServerCertificate(hosts)
			if err != nil {
				return nil, err
			}
			current = next
		}
		c := current
		return &c, nil
	}, nil
}

// ClientCAs is the pool that verifies certificates of devices: the authorities
// that are trusted now. Nobody changes it; it is asked for at each handshake.
func (a *Authority) ClientCAs() *x509.CertPool {
	a.mu.RLock()
	defer a.mu.RUnlock()
	return a.pool
}

// CACert is the authority that vouches for the site's own ports, the oldest one
// that is trusted; nobody changes it.
func (a *Authority) CACert() *x509.Certificate {
	a.mu.RLock()
	defer a.mu.RUnlock()
	ring := a.ring()
	return a.keys.cas[string(ring.CA[len(ring.CA)-1])].cert
}

// CAHash is the SHA-256 of the public key of [Authority.CACert] (its
// SubjectPublicKeyInfo in DER), which tokens carry.
func (a *Authority) CAHash() [32]byte { return caHash(a.CACert()) }

func caHash(cert *x509.Certificate) [32]byte { return sha256.Sum256(cert.RawSubjectPublicKeyInfo) }
