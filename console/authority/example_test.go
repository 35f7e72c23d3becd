package authority_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"fmt"
	"os"
	"time"

	"github.com/bugle-fleet/bugle/console/authority"
	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/journal/journaltest"
	"github.com/bugle-fleet/bugle/listener/wire"
)

func Example() {
	dir, err := os.MkdirTemp("", "bugle-keys-")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)

	// The authority is a fold of the journal, and appends to it.
	a, err := authority.Open(dir, "P01")
	if err != nil {
		fmt.Println(err)
		return
	}
	j := journaltest.NewMemory(journal.Options{Folds: []journal.Fold{a}})
	defer j.Close()
	a.Attach(j)

	// An administrator makes a token for one device.
	ctx := context.Background()
	token, _, err := a.CreateToken(ctx, event.Actor{Issuer: "local", Subject: "admin"}, 1, time.Hour)
	if err != nil {
		fmt.Println(err)
		return
	}

	// The device makes a key and a certificate request, and shows the token.
	key, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	csr, _ := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	join := wire.JoinRequest{Token: token.String(), CSR: csr, Name: "pc-1", OS: "linux", Arch: "amd64", Agent: "0.1.0"}
	reply, err := a.Join(ctx, join, "192.0.2.7")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("device", reply.Device, "of site", reply.Site)

	// The token had one use.
	other, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	join.CSR, _ = x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, other)
	_, err = a.Join(ctx, join, "192.0.2.8")
	fmt.Println(err)
	// Output:
	// device 1 of site P01
	// The device cannot join: The token was used as often as it may be; ask for a new one.
}
