package listener

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/listener/wire"
	"github.com/bugle-fleet/bugle/listener/wire/carrier"
)

const day = 24 * time.Hour

// endedFor lets a certificate have ended so long ago.
func endedFor(d time.Duration) func(*x509.Certificate) {
	return func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-d) }
}

// as is a client that shows a certificate, whatever authorities the server names.
func (b *bench) as(certificate tls.Certificate) *http.Client {
	cfg := &tls.Config{RootCAs: b.pki.pool, ServerName: "listener.test",
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &certificate, nil }}
	c := &http.Client{Timeout: patience, Transport: &http.Transport{TLSClientConfig: cfg}}
	b.t.Cleanup(c.CloseIdleConnections)
	return c
}

// A device whose certificate has ended gets a new one, and the rings; it gets
// nothing else.
func TestEndedCertificateIsRenewed(t *testing.T) {
	var asked uint32
	b, base, _ := joinBench(t, func(c *Config) {
		c.Renew = func(_ context.Context, device uint32, r wire.Renew) ([]byte, error) {
			asked = device
			return fmt.Appendf(nil, "for %s%s", r.CSR, r.Proof), nil
		}
	})
	u := b.pki.ring(2)
	b.tell(u)
	await(t, func() bool { return b.l.table.newestRing() == 2 })
	for name, ended := range map[string]time.Duration{"is good": -time.Hour, "has ended": 89 * day} {
		t.Run(name, func(t *testing.T) {
			client := b.as(b.pki.certificate(7, endedFor(ended)))
			status, body := postRenew(t, client, base)
			var reply wire.RenewReply
			if err := json.Unmarshal(body, &reply); err != nil || status != 200 || string(reply.Certificate) != "for csr, proven" || asked != 7 {
				t.Fatalf("status %d, %s, device %d: %v", status, body, asked, err)
			}
			if len(reply.Rings) != 1 || !bytes.Equal(reply.Rings[0], u.Ring) {
				t.Errorf("%d rings", len(reply.Rings))
			}
			res, err := client.Get(base + carrier.PollPath)
			if err != nil {
				t.Fatal(err)
			}
			res.Body.Close()
			if let := res.StatusCode != http.StatusUnauthorized; let != (ended < 0) {
				t.Errorf("a session: status %d", res.StatusCode)
			}
		})
	}
}

func postRenew(t *testing.T, client *http.Client, base string) (int, []byte) {
	t.Helper()
	body, _ := json.Marshal(wire.RenewRequest{CSR: []byte("csr"), Proof: []byte(", proven")})
	res, err := client.Post(base+wire.RenewPath, "application/json", bytes.NewReader(body))
	if err != nil {
		return 0, nil // the handshake failed
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, b
}

func TestEndedCertificateIsRefused(t *testing.T) {
	b, base, plain := joinBench(t, func(c *Config) {
		c.Renew = func(_ context.Context, device uint32, _ wire.Renew) ([]byte, error) {
			switch device {
			case 1:
				return nil, &JoinRefused{http.StatusForbidden, "Not renewed", "too late"}
			case 2:
				return nil, errors.New("the site is away")
			}
			return []byte("certificate"), nil
		}
	})
	b.tell(BlockDevice{3})
	await(t, func() bool { return b.l.table.isBlocked(3) })
	listenerNamed := func(c *x509.Certificate) {
		c.URIs = []*url.URL{wire.ListenerIdentity{Site: "P01", Name: "BGL01"}.URI()}
	}
	for name, c := range map[string]struct {
		client *http.Client
		status int
	}{
		"no certificate":           {plain, 401},
		"too long ago":             {b.as(b.pki.certificate(7, endedFor(91*day))), 0},
		"another authority's":      {b.as(newPKI(t).certificate(7, endedFor(day))), 0},
		"a server's":               {b.as(b.pki.server), 0},
		"a listener's":             {b.as(b.pki.certificate(7, listenerNamed)), 403},
		"refused by the site":      {b.as(b.pki.certificate(1, endedFor(day))), 403},
		"while the site is away":   {b.as(b.pki.certificate(2, endedFor(day))), 503},
		"blocked":                  {b.as(b.pki.certificate(3, endedFor(day))), 403},
		"blocked, and still good":  {b.as(b.pki.certificate(3)), 403},
		"of a device as it should": {b.as(b.pki.certificate(4, endedFor(day))), 200},
	} {
		t.Run(name, func(t *testing.T) {
			if status, body := postRenew(t, c.client, base); status != c.status {
				t.Errorf("status %d %s, want %d", status, body, c.status)
			}
		})
	}
	again := b.as(b.pki.certificate(5, endedFor(day)))
	last := 0
	for range renewsOfOne + 1 {
		last, _ = postRenew(t, again, base)
	}
	if last != http.StatusTooManyRequests {
		t.Errorf("again and again: status %d", last)
	}
	res, err := again.Get(base + wire.RenewPath)
	if err != nil || res.StatusCode != http.StatusMethodNotAllowed {
		t.Fatalf("GET: %v", err)
	}
	res.Body.Close()
}

// await waits until done says so.
func await(t *testing.T, done func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it does not happen")
		}
	}
}
