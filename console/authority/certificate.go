package authority

import (
	"crypto/ecdsa"
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

	"github.com/bugle-fleet/bugle/listener/wire"
)

const (
	caValidity     = 10 * 365 * 24 * time.Hour
	serverValidity = 90 * 24 * time.Hour
	// skew is how far in the past certificates begin, for devices whose clock is
	// behind.
	skew = 5 * time.Minute
)

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

// issue signs the certificate of a device; the same arguments give the same
// certificate but for the randomness of the signature.
func (a *Authority) issue(number uint32, d device) ([]byte, error) {
	id := wire.Identity{Site: a.site, Device: number, ID: d.id}
	public, err := ecdsa.ParseUncompressedPublicKey(a.keys.ca.Curve, d.public)
	if err != nil {
		return nil, fmt.Errorf("issue certificate of device %d: %w", number, err)
	}
	t := &x509.Certificate{
		SerialNumber: new(big.Int).SetBytes(d.serial),
		Subject:      pkix.Name{CommonName: d.id.String()},
		NotBefore:    d.joined.Add(-skew),
		NotAfter:     d.expires,
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		URIs:         []*url.URL{id.URI()},
	}
	der, err := x509.CreateCertificate(rand.Reader, t, a.keys.cert, public, a.keys.ca)
	if err != nil {
		return nil, fmt.Errorf("issue certificate of device %d: %w", number, err)
	}
	return der, nil
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
	now := a.now()
	t := &x509.Certificate{
		SerialNumber: newSerial(),
		Subject:      pkix.Name{CommonName: "bugle server of site " + a.site},
		NotBefore:    now.Add(-skew),
		NotAfter:     now.Add(serverValidity),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else {
			t.DNSNames = append(t.DNSNames, h)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, t, a.keys.cert, &key.PublicKey, a.keys.ca)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("issue server certificate: %w", err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("issue server certificate: %w", err)
	}
	return tls.Certificate{Certificate: [][]byte{der, a.keys.cert.Raw}, PrivateKey: key, Leaf: leaf}, nil
}

// ServerCertificates is [Authority.ServerCertificate] for a server that outlives
// one certificate: the function, for tls.Config.GetCertificate, makes a new one
// when two thirds of the time are over.
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
		if current.Leaf.NotAfter.Sub(a.now()) < serverValidity/3 {
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

// ClientCAs is the pool that verifies certificates of devices.
func (a *Authority) ClientCAs() *x509.CertPool { return a.pool.Clone() }

// CACert is the site's own certificate; nobody changes it.
func (a *Authority) CACert() *x509.Certificate { return a.keys.cert }

// CAHash is the SHA-256 of the CA's public key (its SubjectPublicKeyInfo in DER),
// which tokens carry.
func (a *Authority) CAHash() [32]byte { return sha256.Sum256(a.keys.cert.RawSubjectPublicKeyInfo) }
