package agent

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"
)

// clockSkew is how wrong the machine's clock may be before it cannot judge the
// validity of certificates. Of tasks it never judges anything.
const clockSkew = 24 * time.Hour

// ErrServer is wrapped by the error of [Join] if the certificate of whoever
// answers has expired, names another host, or is not by the site's authority.
// Nothing has been sent to it.
var ErrServer = errors.New("server cannot be trusted")

// ErrPin is wrapped by the error of [Join] if whoever answers is not the site
// that the token names. Nothing has been sent to it.
var ErrPin = errors.New("this is not the site that the token names")

// pinned returns the TLS settings for a server that must present the CA with
// this hash, and a certificate for host from it.
func pinned(hash [32]byte, host string) *tls.Config {
	return clientTLS(func(cs tls.ConnectionState) error {
		for _, c := range cs.PeerCertificates {
			if c.IsCA && sha256.Sum256(c.RawSubjectPublicKeyInfo) == hash {
				return verifyServer(cs.PeerCertificates, c, host, time.Now())
			}
		}
		return fmt.Errorf("%w: it does not present the certificate authority whose hash is in the token", ErrPin)
	})
}

// keyExchanges are a hybrid one that withstands quantum computers, and a plain one for
// listeners that do not know it. Both are over P-256: for that crypto/tls has assembly,
// so a handshake costs a listener about 35 µs less than over X25519, a tenth of a
// session that is resumed (BENCHMARKS.md, "The listener at scale").
var keyExchanges = []tls.CurveID{tls.SecP256r1MLKEM768, tls.CurveP256}

// clientTLS leaves all checks of the server to verify, which crypto/tls calls at
// the end of every handshake and before any byte of ours is sent. Its own check
// is off because it knows neither the pin nor how to allow for a wrong clock.
func clientTLS(verify func(tls.ConnectionState) error) *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS13,
		CurvePreferences:   keyExchanges,
		InsecureSkipVerify: true,
		VerifyConnection:   verify,
	}
}

// verifyServer checks that certs, leaf first, lead to ca and name host, at now
// give or take clockSkew.
func verifyServer(certs []*x509.Certificate, ca *x509.Certificate, host string, now time.Time) error {
	if len(certs) == 0 {
		return fmt.Errorf("%w: it presents no certificate", ErrServer)
	}
	opts := x509.VerifyOptions{
		Roots:         x509.NewCertPool(),
		Intermediates: x509.NewCertPool(),
		DNSName:       host,
		CurrentTime:   within(now, certs[0], ca),
	}
	opts.Roots.AddCert(ca)
	for _, c := range certs[1:] {
		opts.Intermediates.AddCert(c)
	}
	if _, err := certs[0].Verify(opts); err != nil {
		return fmt.Errorf("%w: %w", ErrServer, err)
	}
	return nil
}

// within returns the moment nearest to now at which certs are valid, but not
// one more than clockSkew away from now.
func within(now time.Time, certs ...*x509.Certificate) time.Time {
	t := now
	for _, c := range certs {
		if t.Before(c.NotBefore) {
			t = c.NotBefore
		}
	}
	for _, c := range certs {
		if t.After(c.NotAfter) {
			t = c.NotAfter
		}
	}
	if d := t.Sub(now); d > clockSkew || d < -clockSkew {
		return now
	}
	return t
}

// hostOf returns the host of host:port, which is what a server's certificate
// must name.
func hostOf(address string) (string, error) {
	host, port, err := net.SplitHostPort(address)
	if n, perr := strconv.ParseUint(port, 10, 16); err != nil || perr != nil || n == 0 || host == "" {
		return "", fmt.Errorf("address %q: not host:port", address)
	}
	return host, nil
}
