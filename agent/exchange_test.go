package agent

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"testing"
	"time"
)

// TestKeyExchange shakes hands with listeners of this version of Go and of those that
// do not know the exchange that agents like best.
func TestKeyExchange(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	form := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, form, form, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		listener []tls.CurveID
		want     tls.CurveID
	}{
		"this version":     {nil, tls.SecP256r1MLKEM768},
		"an older one":     {[]tls.CurveID{tls.X25519MLKEM768, tls.X25519, tls.CurveP256}, tls.CurveP256},
		"without a hybrid": {[]tls.CurveID{tls.CurveP256}, tls.CurveP256},
	} {
		t.Run(name, func(t *testing.T) {
			near, far := net.Pipe()
			server := tls.Server(far, &tls.Config{MinVersion: tls.VersionTLS13, CurvePreferences: c.listener,
				Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}})
			go server.Handshake()
			client := tls.Client(near, clientTLS(func(tls.ConnectionState) error { return nil }))
			defer near.Close()
			if err := client.Handshake(); err != nil {
				t.Fatal(err)
			}
			if got := client.ConnectionState().CurveID; got != c.want {
				t.Errorf("keys were exchanged by %s, want %s", got, c.want)
			}
		})
	}
}
