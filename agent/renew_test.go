package agent

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bugle-fleet/bugle/listener/wire"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

const day = 24 * time.Hour

// renewal makes the certificate that a request asks for. Change may spoil it.
func (s *site) renewal(csr []byte, change func(*x509.Certificate)) []byte {
	s.t.Helper()
	r := must(x509.ParseCertificateRequest(csr))
	if err := r.CheckSignature(); err != nil {
		s.t.Fatal(err)
	}
	c := &x509.Certificate{URIs: []*url.URL{s.id.URI()}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	if change != nil {
		change(c)
	}
	return s.certify(c, r.PublicKey, s.ca).Raw
}

func publicOf(csr []byte) *ecdsa.PublicKey {
	return must(x509.ParseCertificateRequest(csr)).PublicKey.(*ecdsa.PublicKey)
}

func there(dir, name string) bool {
	_, err := os.Stat(filepath.Join(dir, name))
	return err == nil
}

// asked waits for the next request for a certificate.
func (p *peer) asked() []byte {
	p.s.t.Helper()
	return p.request().CSR
}

// request is asked, with the proof.
func (p *peer) request() *wire.Renew {
	p.s.t.Helper()
	select {
	case m := <-p.renews:
		return m
	case <-time.After(14 * day):
		p.s.t.Fatal("no certificate is asked for")
		return nil
	}
}

func TestRenewal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, 0)
		dir := s.device()
		s.start(dir, s.config())
		p := s.accept().welcome()
		begun, old := time.Now(), p.shown
		csr := p.asked()
		if d := time.Since(begun); d < 7*day*2/3-time.Hour || d > 7*day*3/4+2*time.Hour {
			t.Errorf("asked after %s", d)
		}
		if publicOf(csr).Equal(old.PublicKey) {
			t.Error("the new certificate is to be for the old key")
		}
		der := s.renewal(csr, nil)
		s.born = map[string]*x509.Certificate{string(must(x509.ParseCertificate(der)).RawSubjectPublicKeyInfo): old}
		p.send(&wire.Renewed{Certificate: der})
		synctest.Wait()
		if !there(dir, nextFile) || there(dir, ownFile) || there(dir, askedFile) {
			t.Error("what came is not what is stored")
		}
		// The old certificate serves until a connection has shown the new one.
		p.drop()
		p = s.accept().welcome()
		if !bytes.Equal(p.shown.Raw, der) {
			t.Error("the new certificate is not shown")
		}
		synctest.Wait()
		if there(dir, nextFile) || !there(dir, ownFile) {
			t.Error("the new certificate was taken and is not in its place")
		}
		// Results carry the code of the key that the device joined with.
		m := s.order("policy.machine", nil)
		p.send(m)
		p.expect(operationOf(m), task.Delivered, task.Running, task.Succeeded)
		p.asked() // and so on
	})
}

// As long as no answer comes the same key asks, on whatever connection and after
// whatever restart; a refusal changes nothing.
func TestRenewalAsksAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, 0)
		dir := s.device()
		a := s.start(dir, s.config())
		p := s.accept().welcome()
		first := publicOf(p.asked())
		p.send(&wire.Renewed{Reason: "not today"})
		same := func(p *peer, when string) {
			t.Helper()
			if !publicOf(p.asked()).Equal(first) {
				t.Error("another key asks " + when)
			}
		}
		same(p, "after a refusal")
		p.drop()
		p = s.accept().welcome()
		same(p, "on the next connection")
		a.halt()
		s.start(dir, s.config())
		p = s.accept().welcome()
		same(p, "after a restart")
	})
}

// provenBy waits for the next request and fails unless that key proves it.
func (p *peer) provenBy(key any, when string) *wire.Renew {
	p.s.t.Helper()
	m := p.request()
	if !m.ProvenBy(key.(*ecdsa.PublicKey), p.s.id.Site, p.s.id.Device) {
		p.s.t.Errorf("%s: not proven by the key that it should be", when)
	}
	return m
}

// The newest certificate's key proves who asks; if that is refused the key of the
// join does, and in turn, until a certificate comes.
func TestRenewalIsProven(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, 0)
		s.ca = s.certify(&x509.Certificate{Subject: s.ca.Subject, IsCA: true, BasicConstraintsValid: true,
			KeyUsage: x509.KeyUsageCertSign, NotAfter: s.now().Add(365 * day)}, &s.caKey.PublicKey, nil)
		dir := s.device()
		s.start(dir, s.config())
		p := s.accept().welcome()
		joined := p.shown
		m := p.provenBy(joined.PublicKey, "at first")
		der := s.renewal(m.CSR, nil)
		renewed := must(x509.ParseCertificate(der))
		s.born = map[string]*x509.Certificate{string(renewed.RawSubjectPublicKeyInfo): joined}
		p.send(&wire.Renewed{Certificate: der})
		p.provenBy(renewed.PublicKey, "before the new certificate was shown")
		p.drop()
		p = s.accept().welcome()
		p.provenBy(renewed.PublicKey, "when the answer was lost")
		p.send(&wire.Renewed{Reason: "the site does not know the key"})
		p.provenBy(joined.PublicKey, "after a refusal")
		p.provenBy(joined.PublicKey, "without an answer to that")
		p.send(&wire.Renewed{Reason: "the device is blocked"})
		p.provenBy(renewed.PublicKey, "after another refusal")
		p.send(&wire.Renewed{Reason: "the site does not know the key"})
		m = p.provenBy(joined.PublicKey, "after a third")
		der = s.renewal(m.CSR, nil)
		p.send(&wire.Renewed{Certificate: der})
		p.provenBy(must(x509.ParseCertificate(der)).PublicKey, "after the next certificate")
	})
}

func TestRenewalThatIsNotOurs(t *testing.T) {
	for name, spoil := range map[string]func(s *site, csr []byte) []byte{
		"for another key": func(s *site, _ []byte) []byte {
			other := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
			return s.renewal(must(x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, other)), nil)
		},
		"of another site's authority": func(s *site, csr []byte) []byte { return newSite(s.t, 0).renewal(csr, nil) },
		"for another device": func(s *site, csr []byte) []byte {
			return s.renewal(csr, func(c *x509.Certificate) {
				c.URIs = []*url.URL{wire.Identity{Site: "P01", Device: 301, ID: s.id.ID}.URI()}
			})
		},
		"garbage": func(*site, []byte) []byte { return []byte("certificate") },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSite(t, 0)
				dir := s.device()
				s.start(dir, s.config())
				p := s.accept().welcome()
				csr := p.asked()
				p.send(&wire.Renewed{Certificate: spoil(s, csr)})
				again := p.asked() // the session goes on
				if there(dir, nextFile) || !publicOf(again).Equal(publicOf(csr)) {
					t.Error("it is stored, or another key asks")
				}
				p.send(&wire.Renewed{Certificate: s.renewal(again, nil)})
				synctest.Wait()
				if !there(dir, nextFile) {
					t.Error("the right one is not stored")
				}
			})
		})
	}
}

// A new certificate that no listener takes does not lock the device out: the old
// one is shown in turn.
func TestRenewalThatNobodyTakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, 0)
		dir := s.device()
		s.start(dir, s.config())
		p := s.accept().welcome()
		old := p.shown
		der := s.renewal(p.asked(), nil)
		p.send(&wire.Renewed{Certificate: der})
		synctest.Wait()
		p.drop()
		for _, want := range [][]byte{der, old.Raw, der} {
			if p = s.accept(); !bytes.Equal(p.shown.Raw, want) {
				t.Error("not in turn")
			}
			p.drop()
		}
		p = s.accept().welcome()
		synctest.Wait()
		if !bytes.Equal(p.shown.Raw, old.Raw) || !there(dir, nextFile) {
			t.Error("the old one was taken, and the new one is gone")
		}
		p.drop()
		if p = s.accept().welcome(); !bytes.Equal(p.shown.Raw, der) {
			t.Error("the new one is not tried again")
		}
	})
}

// Whatever is on disk after a power cut, the device can show a certificate and
// its key, and goes on where it was.
func TestRenewalAtEveryCut(t *testing.T) {
	s := newSite(t, 0)
	dir := s.device()
	load := func(dir string) *credentials { return must(loadCredentials(dir)) }
	c := load(dir)
	old := c.joined.cert.Raw
	csr := must(c.own.request())
	asking := folder(t, dir)
	der := s.renewal(csr, nil)
	must(c.own.put(der, c))
	stored := folder(t, dir)
	if err := c.own.taken(); err != nil {
		t.Fatal(err)
	}
	done := folder(t, dir)

	both := cloned(stored) // the file of the key had not gone yet
	both[askedFile] = asking[askedFile]
	renamed := cloned(done)
	renamed[askedFile] = asking[askedFile]
	half := cloned(asking)
	half[nextFile+".new"] = stored[nextFile][:40]
	halfKey := cloned(done)
	halfKey[askedFile+".new"] = []byte("-----BEGIN")
	for name, cut := range map[string]struct {
		files map[string][]byte
		show  [][]byte // in turn
		same  bool     // the same key asks again
	}{
		"a key was made":                                   {asking, [][]byte{old, old}, true},
		"the answer was being written":                     {half, [][]byte{old, old}, true},
		"the answer is stored, the key's file still there": {both, [][]byte{der, old}, false},
		"the answer is stored":                             {stored, [][]byte{der, old}, false},
		"it was taken, the key's file still there":         {renamed, [][]byte{der, der}, false},
		"it was taken":                                     {done, [][]byte{der, der}, false},
		"the next key was being written":                   {halfKey, [][]byte{der, der}, false},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for name, b := range cut.files {
				if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			c := load(dir)
			for i, want := range cut.show {
				shown := c.own.show()
				if !bytes.Equal(shown.Certificate[0], want) {
					t.Errorf("connection %d shows another certificate", i)
				}
				if !shown.PrivateKey.(*ecdsa.PrivateKey).PublicKey.Equal(shown.Leaf.PublicKey) {
					t.Error("not with its key")
				}
				c.own.refused()
			}
			if again := must(c.own.request()); publicOf(again).Equal(publicOf(csr)) != cut.same {
				t.Errorf("the same key asks: %v, want %v", !cut.same, cut.same)
			}
			if !bytes.Equal(c.resultKey, load(dir).resultKey) || len(c.resultKey) == 0 {
				t.Error("the result key is another one")
			}
		})
	}
}

// folder is what is in the files of a folder.
func folder(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	all := make(map[string][]byte)
	for _, e := range must(os.ReadDir(dir)) {
		if !e.IsDir() {
			all[e.Name()] = must(os.ReadFile(filepath.Join(dir, e.Name())))
		}
	}
	return all
}

func cloned(m map[string][]byte) map[string][]byte {
	c := make(map[string][]byte, len(m))
	for k, v := range m {
		c[k] = v
	}
	return c
}

// A stored certificate that cannot be read is said, not shown.
func TestStoredCertificateIsChecked(t *testing.T) {
	s := newSite(t, 0)
	for name, spoil := range map[string]func(t *testing.T, dir string, c *credentials){
		"cut": func(t *testing.T, dir string, _ *credentials) {
			b := must(os.ReadFile(filepath.Join(dir, nextFile)))
			os.WriteFile(filepath.Join(dir, nextFile), b[:len(b)-100], 0o600)
		},
		"of another device": func(t *testing.T, dir string, _ *credentials) {
			other := newSite(t, 0)
			d := other.device()
			c := must(loadCredentials(d))
			must(c.own.put(other.renewal(must(c.own.request()), nil), c))
			os.WriteFile(filepath.Join(dir, nextFile), must(os.ReadFile(filepath.Join(d, nextFile))), 0o600)
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := s.device()
			c := must(loadCredentials(dir))
			must(c.own.put(s.renewal(must(c.own.request()), nil), c))
			spoil(t, dir, c)
			if _, err := Open(dir, s.config()); err == nil {
				t.Error("opened")
			}
		})
	}
}

// handed is a net.Listener of connections that are handed in.
type handed chan net.Conn

func (h handed) Accept() (net.Conn, error) {
	c, ok := <-h
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}
func (h handed) Close() error   { return nil }
func (h handed) Addr() net.Addr { return &net.TCPAddr{} }

// A machine that was off until its certificate had ended renews it over HTTPS,
// with rings that it missed, and connects. If the site does not know the key of its
// newest certificate, that of the join proves who asks.
func TestExpiredCertificateIsRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, 0)
		s.ca = s.certify(&x509.Certificate{Subject: s.ca.Subject, IsCA: true, BasicConstraintsValid: true,
			KeyUsage: x509.KeyUsageCertSign, NotAfter: s.now().Add(365 * day)}, &s.caKey.PublicKey, nil)
		dir := s.t.TempDir()
		key := must(keyIn(dir))
		reply := s.admit(&key.PublicKey)
		reply.HTTPS = []string{"listener.test:10443"}
		if err := storeIdentity(dir, reply); err != nil {
			t.Fatal(err)
		}
		c := must(loadCredentials(dir))
		ended := must(c.own.put(s.renewal(must(c.own.request()), nil), c))
		newest := ended.PublicKey.(*ecdsa.PublicKey)
		proves := []*ecdsa.PublicKey{newest, newest, &key.PublicKey}
		time.Sleep(30 * day)
		rings := s.rings(3)
		web := make(handed, 16)
		posts := 0
		mux := http.NewServeMux()
		mux.HandleFunc("POST "+wire.RenewPath, func(w http.ResponseWriter, r *http.Request) {
			if posts++; posts > len(proves) {
				t.Error("another request")
				return
			}
			var q wire.RenewRequest
			if err := json.NewDecoder(r.Body).Decode(&q); err != nil {
				t.Error(err)
			}
			if m := wire.Renew(q); !m.ProvenBy(proves[posts-1], s.id.Site, s.id.Device) {
				t.Errorf("request %d is not proven by the key that it should be", posts)
			}
			if shown := r.TLS.PeerCertificates[0].Raw; !bytes.Equal(shown, reply.Certificate) && !bytes.Equal(shown, ended.Raw) {
				t.Error("another certificate is shown")
			}
			switch posts {
			case 1:
				http.Error(w, "later", http.StatusServiceUnavailable)
				return
			case 2:
				http.Error(w, "no such key", http.StatusForbidden)
				return
			}
			json.NewEncoder(w).Encode(wire.RenewReply{Certificate: s.renewal(q.CSR, nil), Rings: rings})
		})
		srv := &http.Server{Handler: mux, ErrorLog: log.New(io.Discard, "", 0), TLSConfig: &tls.Config{MinVersion: tls.VersionTLS13, ClientAuth: tls.RequestClientCert,
			Certificates: []tls.Certificate{s.server(nil)}}}
		served := make(chan struct{})
		go func() { defer close(served); srv.ServeTLS(web, "", "") }()
		defer func() { close(web); srv.Close(); <-served }()
		cfg := s.config()
		cfg.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
			if address == "listener.test:10443" {
				ours, theirs := buffered()
				web <- theirs
				return ours, nil
			}
			return s.dial(ctx, network, address)
		}
		a := s.start(dir, cfg)
		var p *peer
		for tries := 0; p == nil; tries++ {
			conn := <-s.conns
			got, err := s.handshake(conn, s.server(nil))
			if err != nil { // it is the ended one
				conn.Close()
				if tries > 20 {
					t.Fatal("the device does not come back")
				}
				continue
			}
			p = got
		}
		if p.SignIn.Keyring != 3 || bytes.Equal(p.shown.Raw, reply.Certificate) || bytes.Equal(p.shown.Raw, ended.Raw) || posts != 3 {
			t.Errorf("came with ring %d after %d requests", p.SignIn.Keyring, posts)
		}
		p.welcome()
		synctest.Wait()
		if !there(dir, ownFile) {
			t.Error("the certificate is not stored")
		}
		a.halt()
	})
}

func TestRenewalIsRefusedByTheSite(t *testing.T) {
	for status, unreachable := range map[int]bool{403: false, 429: true, 503: true} {
		resp := &http.Response{StatusCode: status, Body: http.NoBody}
		if _, err := readJSON[wire.RenewReply](resp, 100); err == nil || errors.Is(err, ErrUnreachable) != unreachable {
			t.Errorf("status %d: %v", status, err)
		}
	}
}
