package listener

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/listener/wire"
	"github.com/bugle-fleet/bugle/listener/wire/carrier"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// A shownCase is certificates that a client may show, the leaf first.
type shownCase struct {
	name  string
	shown []*x509.Certificate
	good  bool
}

// tampered is a certificate with one bit changed, that still can be parsed.
func tampered(t testing.TB, c *x509.Certificate, where []byte) *x509.Certificate {
	t.Helper()
	at := strings.Index(string(c.Raw), string(where))
	if at < 0 {
		t.Fatal("not there")
	}
	der := slices.Clone(c.Raw)
	der[at+len(where)-1] ^= 1
	changed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return changed
}

func deviceURI(device uint32) []*url.URL {
	return []*url.URL{wire.Identity{Site: "P01", Device: device}.URI()}
}

// shownCases is all that was ever refused, and what was not.
func shownCases(t testing.TB, p, other *pki) []shownCase {
	leafBy := func(by *pki, parent *x509.Certificate, edit func(*x509.Certificate)) *x509.Certificate {
		c := &x509.Certificate{URIs: deviceURI(7), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
		if edit != nil {
			edit(c)
		}
		return by.issue(c, parent, &by.device.PublicKey)
	}
	leaf := func(edit func(*x509.Certificate)) *x509.Certificate { return leafBy(p, p.cert, edit) }
	authority := func(name string, isCA bool) *x509.Certificate {
		return p.issue(&x509.Certificate{Subject: pkix.Name{CommonName: name}, IsCA: isCA, BasicConstraintsValid: true,
			KeyUsage: x509.KeyUsageCertSign}, p.cert, &p.key.PublicKey)
	}
	good, between, false1 := leaf(nil), authority("between", true), authority("no authority", false)
	below := leafBy(p, between, nil)
	one := func(c *x509.Certificate) []*x509.Certificate { return []*x509.Certificate{c} }
	return []shownCase{
		{"good", one(good), true},
		{"good, and more that has nothing to do with it", []*x509.Certificate{good, other.cert}, true},
		{"by way of another", []*x509.Certificate{below, between}, true},
		{"by way of another that is not shown", one(below), false},
		{"by way of one that is no authority", []*x509.Certificate{leafBy(p, false1, nil), false1}, false},
		{"of another authority", one(leafBy(other, other.cert, nil)), false},
		{"of another authority that is shown", []*x509.Certificate{leafBy(other, other.cert, nil), other.cert}, false},
		{"expired", one(leaf(func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })), false},
		{"not valid yet", one(leaf(func(c *x509.Certificate) { c.NotAfter = time.Now().Add(10_100 * time.Hour) })), false},
		{"for servers", one(leaf(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} })), false},
		{"signature changed", one(tampered(t, good, good.Signature)), false},
		{"serial changed", one(tampered(t, good, good.SerialNumber.Bytes())), false},
		{"with a critical extension that nobody knows", one(leaf(func(c *x509.Certificate) {
			c.ExtraExtensions = []pkix.Extension{{Id: []int{1, 2, 3, 4}, Critical: true, Value: []byte{5, 0}}}
		})), false},
	}
}

// What crypto/x509 refuses is refused whatever was verified before, and when it is
// shown again; unless it is on record.
func TestWhatIsVerified(t *testing.T) {
	p, other := newPKI(t), newPKI(t)
	k := newVerified(p.clientCAs, 100)
	now := time.Now()
	for range 2 {
		for _, c := range shownCases(t, p, other) {
			between := x509.NewCertPool()
			for _, i := range c.shown[1:] {
				between.AddCert(i)
			}
			_, want := c.shown[0].Verify(x509.VerifyOptions{Roots: p.pool, Intermediates: between, CurrentTime: now,
				KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
			if (want == nil) != c.good {
				t.Fatalf("%s: the case is wrong: %v", c.name, want)
			}
			for n := range 3 {
				if err := k.check(c.shown, now); (err == nil) != c.good {
					t.Errorf("%s, shown %d times before: %v", c.name, n, err)
				}
			}
		}
	}
	if k.hits.Load() == 0 {
		t.Error("nothing was known")
	}
}

// Validity is looked at each time, that of the authority too.
func TestKnownCertificateEnds(t *testing.T) {
	p := newPKI(t)
	for name, c := range map[string]struct{ leaf, ca time.Duration }{
		"certificate first": {time.Hour, 2 * time.Hour}, "authority first": {2 * time.Hour, time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			now := time.Now().Truncate(time.Second)
			template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
				KeyUsage: x509.KeyUsageCertSign, NotAfter: now.Add(c.ca)}
			ca := p.issue(template, template, &p.key.PublicKey)
			leaf := p.issue(&x509.Certificate{URIs: deviceURI(7), NotAfter: now.Add(c.leaf),
				ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}, ca, &p.device.PublicKey)
			pool := x509.NewCertPool()
			pool.AddCert(ca)
			k := newVerified(func() *x509.CertPool { return pool }, 10)
			begins := ca.NotBefore
			if leaf.NotBefore.After(begins) {
				begins = leaf.NotBefore
			}
			for _, at := range []struct {
				when time.Time
				good bool
			}{{now, true}, {now.Add(time.Hour), true}, {now.Add(time.Hour + 1), false}, {now, true}, {begins, true}, {begins.Add(-1), false}} {
				if err := k.check([]*x509.Certificate{leaf}, at.when); (err == nil) != at.good {
					t.Errorf("%s from now: %v", at.when.Sub(now), err)
				}
			}
			if k.hits.Load() != 3 {
				t.Errorf("known %d times", k.hits.Load())
			}
		})
	}
}

// A certificate that is on record needs no signature. When it ends is looked at all the
// same, and of what is not on record the signature counts.
func TestIssuedCertificates(t *testing.T) {
	p, other := newPKI(t), newPKI(t)
	now := time.Now().Truncate(time.Second)
	cases := shownCases(t, p, other)
	good := cases[0].shown[0]
	changed := tampered(t, good, good.Signature[:20])
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ends first"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotAfter: now.Add(time.Hour)}
	brief := p.issue(template, template, &p.key.PublicKey)
	pool, by := p.pool, p.cert
	k := newVerified(func() *x509.CertPool { return pool }, 100)
	k.issued = func(c *x509.Certificate) *x509.Certificate {
		if c == changed {
			return by
		}
		return nil
	}
	check := func(step string, at time.Time, good bool) {
		t.Helper()
		for range 2 {
			if err := k.check([]*x509.Certificate{changed}, at); (err == nil) != good {
				t.Errorf("%s: %v", step, err)
			}
		}
	}
	check("issued", now, true)
	check("ended", changed.NotAfter.Add(1), false)
	check("not begun", changed.NotBefore.Add(-1), false)
	if k.hits.Load() != 0 || len(k.young) != 0 {
		t.Error("it is remembered before its key is proved")
	}
	by = brief
	check("before its authority ends", brief.NotAfter, true)
	check("after its authority has ended", brief.NotAfter.Add(1), false)
	print := fingerprintOf(changed)
	if k.meet(changed, print, brief.NotAfter.Add(1)) || !k.meet(changed, print, now) {
		t.Error("it is not remembered when its key is proved, for as long as it is good")
	}
	by = nil
	check("remembered", now, true)
	check("remembered, after its authority has ended", brief.NotAfter.Add(1), false)
	if k.hits.Load() != 2 {
		t.Errorf("known %d times", k.hits.Load())
	}
	pool = p.pool.Clone()
	pool.AddCert(newPKI(t).cert)
	check("with other authorities, and on record no more", now, false)
	for _, c := range cases {
		if err := k.check(c.shown, now); (err == nil) != c.good || c.shown[0] != good && k.meet(c.shown[0], fingerprintOf(c.shown[0]), now) {
			t.Errorf("%s, not on record: %v", c.name, err)
		}
	}
}

// Who shows certificates that are on record and has not their key is nobody, and makes
// the listener remember nothing.
func TestIssuedCertificateWithoutItsKey(t *testing.T) {
	var ca *x509.Certificate
	b := newBench(t, func(c *Config) { c.Issued = func(*x509.Certificate) *x509.Certificate { return ca } })
	ca = b.pki.cert
	remembered := func() int {
		b.l.verified.mu.Lock()
		defer b.l.verified.mu.Unlock()
		return len(b.l.verified.young)
	}
	thief := b.pki.client(7)
	thief.Certificates[0].PrivateKey = ecKey(t)
	if _, err := b.visit(thief); err == nil || remembered() != 0 {
		t.Fatalf("let in: %v, %d certificates are remembered", err, remembered())
	}
	if _, err := b.visit(b.pki.resumable(7)); err != nil || remembered() != 1 {
		t.Errorf("who has the key: %v, %d certificates are remembered", err, remembered())
	}
}

// A change of the authorities forgets all.
func TestKnownCertificatesAndNewAuthorities(t *testing.T) {
	p, next := newPKI(t), newPKI(t)
	pool := p.pool
	k := newVerified(func() *x509.CertPool { return pool }, 10)
	old, fresh := shownCases(t, p, next)[0].shown, shownCases(t, next, p)[0].shown
	now := time.Now()
	check := func(step string, shown []*x509.Certificate, good bool) {
		t.Helper()
		for range 2 {
			if err := k.check(shown, now); (err == nil) != good {
				t.Errorf("%s: %v", step, err)
			}
		}
	}
	check("first authority", old, true)
	check("first authority, next certificate", fresh, false)
	pool = p.pool.Clone()
	pool.AddCert(next.cert)
	check("both", old, true)
	check("both, next certificate", fresh, true)
	pool = next.pool
	check("retired", old, false)
	check("retired, next certificate", fresh, true)
	pool = nil
	check("none", fresh, false)
	pool = p.pool // the very one that was there before
	check("back", old, true)
}

// Those who came last are known; how many is bounded.
func TestKnownCertificatesAreBounded(t *testing.T) {
	k := newVerified(func() *x509.CertPool { return nil }, 100)
	pool, now := x509.NewCertPool(), time.Now()
	print := func(i uint64) (p fingerprint) { binary.BigEndian.PutUint64(p[:], i); return p }
	w := window{0, uint32(now.Add(time.Hour).Unix())}
	for i := range uint64(10_000) {
		k.remember(print(i), pool, w)
		if !k.knows(print(0), pool, now) {
			t.Fatalf("who comes again and again is not known after %d others", i)
		}
		if n := len(k.young) + len(k.old); n > 200 {
			t.Fatalf("%d are remembered", n)
		}
	}
	if !k.knows(print(9_950), pool, now) || k.knows(print(9_000), pool, now) {
		t.Error("it is not the newest that are known")
	}
}

// Who shows a certificate that is known and has not its key is nobody.
func TestKnownCertificateWithoutItsKey(t *testing.T) {
	b := newBench(t, nil)
	mine := b.pki.certificate(7)
	b.pki.fixed = &mine
	for range 2 {
		b.signIn(7)
	}
	if b.l.Stats().Known == 0 {
		t.Fatal("the certificate is not known")
	}
	thief := b.pki.client(7)
	thief.Certificates[0].PrivateKey = ecKey(t)
	if _, err := b.visit(thief); err == nil {
		t.Fatal("it is let in")
	}
	b.signIn(7)
}

// readAhead takes all that has come at once, as a socket does: a ticket comes behind
// what the client answers.
type readAhead struct {
	net.Conn
	r *bufio.Reader
}

func (c readAhead) Read(p []byte) (int, error) { return c.r.Read(p) }

// Tickets are taken for a day after the full handshake, and no longer than the certificate in it is valid.
func TestTicketsEnd(t *testing.T) {
	bubble(t, nil, func(t *testing.T, b *bench) {
		dial := b.dial
		b.dial = func() (net.Conn, error) {
			c, err := dial()
			return readAhead{c, bufio.NewReaderSize(c, 64<<10)}, err
		}
		short := b.pki.client(7, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(time.Hour) })
		long := b.pki.client(8)
		short.ClientSessionCache, long.ClientSessionCache = tls.NewLRUClientSessionCache(1), tls.NewLRUClientSessionCache(1)
		visit := func(step string, c *tls.Config, resumes, good bool) {
			t.Helper()
			if resumed, err := b.visit(c); (err == nil) != good || good && resumed != resumes {
				t.Errorf("%s: resumed %t, %v", step, resumed, err)
			}
			pass(time.Second)
		}
		visit("first", short, false, true)
		visit("first", long, false, true)
		pass(time.Hour - 10*time.Second)
		visit("before the end", short, true, true)
		visit("before the end", long, true, true)
		pass(10 * time.Second)
		visit("after the end of the certificate", short, false, false)
		pass(ticketTime - time.Hour - time.Minute)
		visit("within a day", long, true, true)
		pass(2 * time.Minute)
		visit("a day after the proof", long, false, true) // although the ticket is new
		pass(ticketTime - time.Minute)
		visit("within the next day", long, true, true)
		if n := b.l.Stats().Resumed; n != 4 {
			t.Errorf("%d were resumed", n)
		}
	})
}

// A ticket that resumes is worth what its certificate is: the key that is kept of a
// session must not change that.
func TestTicketsWithEveryPark(t *testing.T) {
	for _, park := range []Park{ParkTLS, ParkKeys} {
		t.Run(string(park), func(t *testing.T) {
			var pool atomic.Pointer[x509.CertPool]
			b := newBench(t, func(c *Config) {
				pool.Store(c.ClientCAs())
				c.ClientCAs, c.Park = pool.Load, park
			})
			c := b.pki.resumable(7)
			for i := range 3 {
				if resumed, err := b.visit(c); err != nil || resumed != (i > 0) {
					t.Fatalf("visit %d: resumed %t, %v", i, resumed, err)
				}
			}
			shown := c.Certificates
			c.Certificates = nil
			if resumed, err := b.visit(c); err != nil || !resumed {
				t.Fatalf("the ticket alone: resumed %t, %v", resumed, err)
			}
			pool.Store(pool.Load().Clone())
			if resumed, err := b.visit(c); err != nil || !resumed {
				t.Fatalf("the ticket alone, by the same CAs in another pool: resumed %t, %v", resumed, err)
			}
			more := pool.Load().Clone()
			more.AddCert(newPKI(t).cert)
			pool.Store(more)
			if _, err := b.visit(c); err == nil {
				t.Fatal("the ticket alone is taken although nobody knows for whom the CAs of now vouch")
			}
			c.Certificates = shown
			if _, err := b.visit(c); err != nil {
				t.Fatal(err)
			}
			pool.Store(x509.NewCertPool())
			if _, err := b.visit(c); err == nil {
				t.Fatal("a ticket is taken whose authority is retired")
			}
		})
	}
}

// A keeper keeps the last ticket.
type keeper struct {
	tls.ClientSessionCache
	size int
}

func (k *keeper) Put(key string, s *tls.ClientSessionState) {
	if s != nil {
		ticket, _, _ := s.ResumptionState()
		k.size = len(ticket)
	}
	k.ClientSessionCache.Put(key, s)
}

// A ticket of one port is nothing at the other; that of the TCP port holds no
// certificate.
func TestTicketsOfOnePort(t *testing.T) {
	b, url := webBench(t, nil)
	c := b.pki.client(7)
	k := &keeper{ClientSessionCache: tls.NewLRUClientSessionCache(1)}
	c.ClientSessionCache = k
	if _, err := b.visit(c); err != nil {
		t.Fatal(err)
	}
	if k.size > 250 {
		t.Errorf("a ticket of %d bytes", k.size)
	}
	web := &http.Client{Transport: &http.Transport{TLSClientConfig: c.Clone(), DisableKeepAlives: true}}
	web.Transport.(*http.Transport).TLSClientConfig.NextProtos = []string{"http/1.1"}
	for i := range 2 {
		resp, err := web.Get(url + carrier.PollPath)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.TLS.DidResume != (i > 0) {
			t.Fatalf("request %d: resumed %t", i, resp.TLS.DidResume)
		}
	}
	if resumed, err := b.visit(c); err != nil || resumed {
		t.Fatalf("back over TCP: %t, %v", resumed, err)
	}
}

// TestTicketsOfChains resumes also where a ticket must hold the certificates: somebody
// else's vouches for that of the device.
func TestTicketsOfChains(t *testing.T) {
	b := newBench(t, nil)
	c := b.pki.resumable(7)
	c.Certificates[0].Certificate = append(c.Certificates[0].Certificate, b.pki.cert.Raw)
	for i := range 3 {
		if resumed, err := b.visit(c); err != nil || resumed != (i > 0) {
			t.Fatalf("visit %d: resumed %t, %v", i, resumed, err)
		}
	}
}

// TestWithoutCertificate takes out of a session what this version of Go has put into
// it of the client's certificate, and nothing else.
func TestWithoutCertificate(t *testing.T) {
	p := newPKI(t)
	shown := p.issue(&x509.Certificate{URIs: deviceURI(7)}, p.cert, &p.device.PublicKey)
	other := p.issue(&x509.Certificate{URIs: deviceURI(8)}, p.cert, &p.device.PublicKey)
	whole := slices.Concat([]byte{3, 4, 1, 0x13, 1}, make([]byte, 8), []byte{3}, []byte("key"), uint24(nil, 0), []byte{0, 0},
		certificateList(shown.Raw), uint24(nil, 0))
	s, err := tls.ParseSessionState(whole)
	if err != nil {
		t.Fatalf("sessions are encoded otherwise: %v", err)
	}
	slim, ok := withoutCertificate(s, shown)
	if !ok {
		t.Fatal("the certificate was not found")
	}
	got, err := slim.Bytes()
	if want := bytes.Replace(whole, certificateList(shown.Raw), uint24(nil, 0), 1); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%x, %v, want %x", got, err, want)
	}
	if _, ok := withoutCertificate(s, other); ok {
		t.Error("a certificate was found that is not in it")
	}
}

// What a ticket holds of ours is read as strictly as it is written.
func TestTicketOf(t *testing.T) {
	now := time.Now()
	at := func(d time.Duration) ticket { return ticket{proven: uint64(now.Add(d).Unix())} }
	slim := at(0)
	slim.print, slim.device, slim.id = fingerprint{1, 2}, 7, task.NewRandomID()
	nobody := slim.append(nil)
	clear(nobody[len(nobody)-len(slim.id)-4 : len(nobody)-len(slim.id)])
	whole := at(0)
	for name, c := range map[string]struct {
		extra []byte
		want  *ticket // nil: none that is taken
	}{
		"new": {whole.append(nil), &whole}, "slim": {slim.append(nil), &slim},
		"of a day": {new(at(-ticketTime)).append(nil), new(at(-ticketTime))}, "older": {new(at(-ticketTime - time.Second)).append(nil), nil},
		"of tomorrow": {new(at(time.Hour)).append(nil), nil}, "of nobody": {nobody, nil}, "none": {nil, nil}, "short": {ticketMark, nil},
		"long": {append(whole.append(nil), 0), nil}, "longer": {append(slim.append(nil), 0), nil}, "cut": {slim.append(nil)[:40], nil},
	} {
		got, ok := ticketOf([][]byte{[]byte("another's"), c.extra})
		if taken := ok && got.isFresh(now); taken != (c.want != nil) || taken && got != *c.want {
			t.Errorf("%s: taken %t, %+v", name, taken, got)
		}
	}
}

// BenchmarkVerify is what a certificate costs that is not known, and one that is;
// and what it takes to know one.
func BenchmarkVerify(b *testing.B) {
	p := newPKI(b)
	shown := []*x509.Certificate{p.issue(&x509.Certificate{URIs: deviceURI(7), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}, p.cert, &p.device.PublicKey)}
	for _, known := range []bool{false, true} {
		b.Run(map[bool]string{false: "unknown", true: "known"}[known], func(b *testing.B) {
			k := newVerified(p.clientCAs, 10)
			b.ReportAllocs()
			for b.Loop() {
				if !known {
					k.pool = nil
				}
				if err := k.check(shown, time.Now()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("memory", func(b *testing.B) {
		const most = 20_000
		for b.Loop() {
			k := newVerified(p.clientCAs, most)
			before := heapNow()
			for i := range uint64(2 * most) {
				var f fingerprint
				binary.BigEndian.PutUint64(f[:], i*0x9e3779b97f4a7c15)
				k.remember(f, p.pool, window{1, 2})
			}
			b.ReportMetric(float64(heapNow()-before)/(2*most), "B/certificate")
			runtime.KeepAlive(k)
		}
	})
}

func heapNow() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
