package listener

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/url"
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/inbox/box"
	"github.com/bugle-fleet/bugle/listener/wire"
)

// deaf is an agent that writes and never reads.
func deaf(t testing.TB, raw net.Conn, config *tls.Config) *agent {
	t.Helper()
	conn := tls.Client(raw, config)
	if err := conn.Handshake(); err != nil {
		t.Fatal(err)
	}
	return &agent{t: t, conn: conn}
}

func (b *bench) refusedFor(t *testing.T, reason string) {
	t.Helper()
	if err := b.stop(); err != nil {
		t.Fatal(err)
	}
	var all []box.StatusRecord
	for _, r := range statusOf(b.box.all()) {
		if r.Type != box.Refused {
			continue
		}
		if all = append(all, r); r.Text == reason && r.Count == 1 && r.Where == "listener" && r.Address == "127.0.0.1" {
			return
		}
	}
	t.Fatalf("refused: %+v, want %q", all, reason)
}

func TestRefusedCertificates(t *testing.T) {
	other := newPKI(t)
	for _, c := range []struct {
		name, reason string
		edit         func(p *pki, c *tls.Config)
	}{
		{"of another CA", "certificate is not valid here", func(p *pki, c *tls.Config) {
			c.Certificates = []tls.Certificate{other.certificate(7)}
		}},
		{"expired", "certificate is not valid here", func(p *pki, c *tls.Config) {
			c.Certificates = []tls.Certificate{p.certificate(7, func(x *x509.Certificate) { x.NotAfter = time.Now().Add(-time.Minute) })}
		}},
		{"for servers", "certificate is not valid here", func(p *pki, c *tls.Config) {
			c.Certificates = []tls.Certificate{p.certificate(7, func(x *x509.Certificate) {
				x.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
			})}
		}},
		{"none", "no certificate", func(p *pki, c *tls.Config) { c.Certificates = nil }},
		{"of another site", errOtherSite.Error(), func(p *pki, c *tls.Config) {
			c.Certificates = []tls.Certificate{p.certificate(7, func(x *x509.Certificate) { x.URIs[0].Host = "X99" })}
		}},
		{"of no device", wire.ErrNoIdentity.Error(), func(p *pki, c *tls.Config) {
			c.Certificates = []tls.Certificate{p.certificate(7, func(x *x509.Certificate) { x.URIs = []*url.URL{{Scheme: "https", Host: "P01"}} })}
		}},
		{"and no protocol", errProtocolName.Error(), func(p *pki, c *tls.Config) { c.NextProtos = nil }},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t, nil)
			config := b.pki.client(7)
			c.edit(b.pki, config)
			// In TLS 1.3 a client has shaken hands before the server looks at its
			// certificate.
			if a, err := b.connect(config); err == nil {
				if m := a.next(); m != nil {
					t.Fatalf("got %T", m)
				}
			}
			b.refusedFor(t, c.reason)
		})
	}
}

func TestRefusedProtocols(t *testing.T) {
	for name, edit := range map[string]func(c *tls.Config){
		"protocol of a later version": func(c *tls.Config) { c.NextProtos = []string{"bugle/2"} },
		"TLS 1.2":                     func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 },
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, nil)
			config := b.pki.client(7)
			edit(config)
			if a, err := b.connect(config); err == nil {
				t.Fatalf("handshake succeeded, got %v", a.next())
			}
			b.signIn(7).alone()
		})
	}
}

func TestGarbage(t *testing.T) {
	b := newBench(t, nil)
	raw, err := b.dial()
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	raw.Write([]byte("GET / HTTP/1.1\r\nHost: listener\r\n\r\n"))
	raw.SetReadDeadline(time.Now().Add(patience))
	io.Copy(io.Discard, raw)
	b.signIn(7).alone()
	b.refusedFor(t, "not TLS")
}

func TestVersionNotSpoken(t *testing.T) {
	b := newBench(t, nil)
	a := b.mustConnect(7)
	a.send(&wire.SignIn{Version: 0})
	a.expectClose(wire.BadVersion)
	later := b.mustConnect(7)
	later.send(&wire.SignIn{Version: 9})
	if w := expect[*wire.Welcome](later); w.Version != wire.Version || w.Listener != "BENCH" || w.KeepAlive != 15*time.Minute {
		t.Fatalf("got %+v", w)
	}
}

func TestFirstMessage(t *testing.T) {
	b := newBench(t, nil)
	a := b.mustConnect(7)
	a.send(&wire.KeepAlive{})
	a.expectClose(wire.Protocol)
}

// Who finds as many of its address shaking hands as may waits until one of them is gone.
func TestPerAddress(t *testing.T) {
	b := newBench(t, func(c *Config) { c.Limits.PerAddress = 1 })
	first, err := b.dial()
	if err != nil {
		t.Fatal(err)
	}
	second, err := b.dial()
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	b.awaitStats(func(s Stats) bool { return s.Waiting == 1 && s.Connections == 1 })
	first.Close()
	b.awaitStats(func(s Stats) bool { return s.Waiting == 0 && s.Connections == 1 && s.Refused == 0 })
}

func TestConnectionsCap(t *testing.T) {
	b := newBench(t, func(c *Config) { c.Limits.Sessions, c.Limits.Handshakes = 1, 1 })
	b.signIn(7)
	b.mustConnect(8) // and does not sign in
	third, err := b.dial()
	if err != nil {
		t.Fatal(err)
	}
	defer third.Close()
	third.SetReadDeadline(time.Now().Add(patience))
	if n, err := third.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Fatalf("read %d, %v", n, err)
	}
	b.refusedFor(t, "too many connections")
}

// Who has signed in is no stranger any more, and who has hung up is none either.
func TestStrangersLeave(t *testing.T) {
	b := newBench(t, func(c *Config) { c.Limits.PerAddress = 1 })
	for d := range uint32(3) {
		b.signIn(d + 1).alone()
	}
}

func TestSessionsCap(t *testing.T) {
	b := newBench(t, func(c *Config) { c.Limits.Sessions = 1 })
	a := b.signIn(7)
	full := b.mustConnect(8)
	full.send(&wire.SignIn{Version: 1})
	if c := full.expectClose(wire.Overloaded); c.RetryAfter < 2*time.Second {
		t.Fatalf("retry after %s", c.RetryAfter)
	}
	again := b.signIn(7) // who is in may come again
	a.expectClose(wire.Displaced)
	again.alone()
}

func TestAddressOf(t *testing.T) {
	for in, want := range map[string]string{
		"192.0.2.7:80": "192.0.2.7", "[::ffff:192.0.2.7]:80": "192.0.2.7", "[2001:db8:1:2:3::4]:80": "2001:db8:1:2::/64",
		"[fe80::1%eth0]:80": "fe80::/64", "[::1]:80": "::1",
	} {
		a, err := net.ResolveTCPAddr("tcp", in)
		if err != nil {
			t.Fatal(err)
		}
		if got := addressOf(a); got != want {
			t.Errorf("%s counts as %s, want %s", in, got, want)
		}
	}
}
