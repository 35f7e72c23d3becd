package listener_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"time"

	"github.com/bugle-fleet/bugle/inbox/box"
	"github.com/bugle-fleet/bugle/listener"
)

// nothingOpen is the feed of a site that has no open operations.
type nothingOpen struct{ told bool }

func (f *nothingOpen) Next(ctx context.Context) (listener.Update, error) {
	if !f.told {
		f.told = true
		return listener.Whole{}, nil
	}
	<-ctx.Done()
	return nil, ctx.Err()
}

// selfSigned stands for a certificate of the site's CA.
func selfSigned() (tls.Certificate, *x509.CertPool) {
	key, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	t := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, _ := x509.CreateCertificate(rand.Reader, t, t, &key.PublicKey, key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, x509.NewCertPool()
}

// A listener serves until its context ends, and has said that it stopped when
// Serve returns.
func Example() {
	stopped := false
	cert, pool := selfSigned()
	l, err := listener.New(listener.Config{
		Site: "P01", Name: "LSN1", Epoch: 1, Certificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &cert, nil }, ClientCAs: func() *x509.CertPool { return pool }, Feed: &nothingOpen{},
		Drop: func(c box.Contents, from, to time.Time) error {
			if s, ok := c.(*box.Status); ok && s.Records[s.Len()-1].Type == box.Stopped {
				stopped = true
			}
			return nil
		},
		Beacon: func([16]byte) ([]byte, error) { return nil, nil },
		Policy: func(uint32, string) (listener.Policy, error) { return listener.Policy{}, nil },
		Log:    slog.New(slog.DiscardHandler),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	fmt.Println(l.Serve(ctx, tcp, nil), stopped)
	// Output: <nil> true
}
