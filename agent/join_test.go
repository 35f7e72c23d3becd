package agent

import (
	"context"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/listener/wire"
)

// door is the HTTPS port of a site.
type door struct {
	address  string
	requests atomic.Int32
	keys     chan *ecdsa.PublicKey // of the requests
}

// open serves answer to those who join.
func (s *site) open(cert tls.Certificate, answer func(http.ResponseWriter, *wire.JoinReply)) *door {
	ln := must(net.Listen("tcp", "127.0.0.1:0"))
	d := &door{address: ln.Addr().String(), keys: make(chan *ecdsa.PublicKey, 16)}
	srv := &http.Server{ErrorLog: nil, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		d.requests.Add(1)
		var req wire.JoinRequest
		b, _ := io.ReadAll(r.Body)
		if err := json.Unmarshal(b, &req); err != nil || r.Method != "POST" || r.URL.Path != wire.JoinPath {
			s.t.Errorf("request %s %s: %v", r.Method, r.URL, err)
		}
		if req.Token != s.token().String() {
			s.t.Errorf("token %q", req.Token)
		}
		csr, err := x509.ParseCertificateRequest(req.CSR)
		if err == nil {
			err = csr.CheckSignature()
		}
		if err != nil {
			s.t.Error(err)
			return
		}
		d.keys <- csr.PublicKey.(*ecdsa.PublicKey)
		answer(w, s.admit(csr.PublicKey))
	})}
	srv.ErrorLog = quiet
	tl := tls.NewListener(ln, &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{cert}})
	go srv.Serve(tl)
	s.t.Cleanup(func() { srv.Close() })
	return d
}

func ok(w http.ResponseWriter, r *wire.JoinReply) { json.NewEncoder(w).Encode(r) }

func (s *site) join(dir string, d *door, change func(*JoinConfig)) (wire.Identity, error) {
	cfg := JoinConfig{Dir: dir, Site: d.address, Token: s.token().String(), Name: "pc-1", Version: "test"}
	if change != nil {
		change(&cfg)
	}
	return Join(context.Background(), cfg)
}

func TestJoin(t *testing.T) {
	s := newSite(t, 0)
	d := s.open(s.server(nil), ok)
	dir := filepath.Join(t.TempDir(), "new", "folder")
	id, err := s.join(dir, d, nil)
	if err != nil || id != s.id {
		t.Fatal(id, err)
	}
	for _, name := range []string{keyFile, identityFile} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", name, info.Mode(), err)
		}
	}
	if id, err = s.join(dir, d, nil); err != nil || id != s.id || d.requests.Load() != 1 {
		t.Errorf("joined again: %v %v, %d requests", id, err, d.requests.Load())
	}
	other := newSite(t, 0)
	if _, err := other.join(dir, d, nil); !errors.Is(err, ErrOtherSite) {
		t.Errorf("other site: %v", err)
	}
	a, err := Open(dir, s.config())
	if err != nil || a.Identity() != s.id {
		t.Fatal(err)
	}
	defer a.Close()
	if _, err := s.join(dir, d, nil); !errors.Is(err, ErrInUse) {
		t.Errorf("folder in use: %v", err)
	}
	if _, err := Open(dir, s.config()); !errors.Is(err, ErrInUse) {
		t.Errorf("folder in use: %v", err)
	}
}

// Whoever answers and is not the site gets nothing, not even the token.
func TestJoinSendsNothingToStrangers(t *testing.T) {
	s, stranger := newSite(t, 0), newSite(t, 0)
	past := func(c *x509.Certificate) {
		c.NotBefore, c.NotAfter = time.Now().Add(-72*time.Hour), time.Now().Add(-48*time.Hour)
	}
	future := func(c *x509.Certificate) { c.NotBefore = time.Now().Add(48 * time.Hour) }
	noCA := s.server(nil)
	noCA.Certificate = noCA.Certificate[:1]
	mixed := stranger.server(nil) // a stranger's leaf, with our CA beside it
	mixed.Certificate[1] = s.ca.Raw
	for name, c := range map[string]struct {
		cert tls.Certificate
		want error
	}{
		"another site":           {stranger.server(nil), ErrPin},
		"no CA":                  {noCA, ErrPin},
		"a leaf by another CA":   {mixed, ErrServer},
		"expired":                {s.server(past), ErrServer},
		"not yet valid":          {s.server(future), ErrServer},
		"wrong host":             {s.server(func(c *x509.Certificate) { c.IPAddresses = nil }), ErrServer},
		"a device's certificate": {s.server(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }), ErrServer},
	} {
		t.Run(name, func(t *testing.T) {
			d := s.open(c.cert, ok)
			dir := t.TempDir()
			_, err := s.join(dir, d, nil)
			if !errors.Is(err, c.want) || errors.Is(err, ErrUnreachable) {
				t.Errorf("%v, want %v", err, c.want)
			}
			if d.requests.Load() != 0 {
				t.Error("something was sent")
			}
			if _, err := Open(dir, s.config()); !errors.Is(err, ErrNotJoined) {
				t.Errorf("open: %v", err)
			}
		})
	}
}

// The clock of a machine that joins may be hours wrong.
func TestJoinWithAWrongClock(t *testing.T) {
	for _, skew := range []time.Duration{3 * time.Hour, -3 * time.Hour} {
		s := newSite(t, skew)
		d := s.open(s.server(nil), ok)
		if _, err := s.join(t.TempDir(), d, nil); err != nil {
			t.Errorf("site ahead by %s: %v", skew, err)
		}
	}
}

func TestJoinRepliesThatAreNotTaken(t *testing.T) {
	s, stranger := newSite(t, 0), newSite(t, 0)
	strangerKey := stranger.server(nil).PrivateKey.(*ecdsa.PrivateKey)
	for name, c := range map[string]struct {
		answer func(http.ResponseWriter, *wire.JoinReply)
		want   string
		again  bool // ErrUnreachable
	}{
		"cut": {func(w http.ResponseWriter, r *wire.JoinReply) {
			b, _ := json.Marshal(r)
			w.Header().Set("Content-Length", "9999")
			w.Write(b[:len(b)/2])
		}, "unexpected EOF", true},
		"cut JSON": {func(w http.ResponseWriter, r *wire.JoinReply) {
			b, _ := json.Marshal(r)
			w.Write(b[:len(b)/2])
		}, "unexpected end of JSON", false},
		"too long": {func(w http.ResponseWriter, r *wire.JoinReply) {
			w.Write([]byte(`{"site":"` + strings.Repeat("x", wire.MaxJoin) + `"}`))
		}, "more than 65536 bytes", false},
		"nothing": {func(http.ResponseWriter, *wire.JoinReply) {}, "unexpected end", false},
		"refused": {func(w http.ResponseWriter, r *wire.JoinReply) {
			w.WriteHeader(http.StatusForbidden)
			json.NewEncoder(w).Encode(wire.JoinError{Title: "No entry", Status: 403, Detail: "The token has expired."})
		}, "No entry: The token has expired.", false},
		"refused without a reason": {func(w http.ResponseWriter, r *wire.JoinReply) {
			http.Error(w, "nope", http.StatusNotFound)
		}, "Not Found", false},
		"busy": {func(w http.ResponseWriter, r *wire.JoinReply) {
			http.Error(w, "later", http.StatusTooManyRequests)
		}, "Too Many Requests", true},
		"broken": {func(w http.ResponseWriter, r *wire.JoinReply) {
			http.Error(w, "oops", http.StatusBadGateway)
		}, "Bad Gateway", true},
		"sent elsewhere": {func(w http.ResponseWriter, r *wire.JoinReply) {
			w.Header().Set("Location", "https://127.0.0.1:1/")
			w.WriteHeader(http.StatusTemporaryRedirect)
		}, "Temporary Redirect", false},
		"by another CA": {func(w http.ResponseWriter, r *wire.JoinReply) {
			r.CA = stranger.ca.Raw
			ok(w, r)
		}, "not by the site's authority", false},
		"wholly of another site": {func(w http.ResponseWriter, r *wire.JoinReply) {
			ok(w, stranger.admit(must(x509.ParseCertificate(r.Certificate)).PublicKey))
		}, ErrPin.Error(), false},
		"for another key": {func(w http.ResponseWriter, r *wire.JoinReply) {
			ok(w, s.admit(&strangerKey.PublicKey))
		}, "not for this agent's key", false},
		"for another device": {func(w http.ResponseWriter, r *wire.JoinReply) {
			r.Device++
			ok(w, r)
		}, "names bugle://P01/device/300/", false},
		"no task keys":    {func(w http.ResponseWriter, r *wire.JoinReply) { r.TaskKeys = nil; ok(w, r) }, "task keys: 0 keys", false},
		"short key":       {func(w http.ResponseWriter, r *wire.JoinReply) { r.PolicyKeys[0] = r.PolicyKeys[0][:31]; ok(w, r) }, "policy keys: key of 31 bytes", false},
		"bad result key":  {func(w http.ResponseWriter, r *wire.JoinReply) { r.ResultKey[1] ^= 1; ok(w, r) }, "result key", false},
		"no listeners":    {func(w http.ResponseWriter, r *wire.JoinReply) { r.Listeners = nil; ok(w, r) }, "0 listeners", false},
		"bad listener":    {func(w http.ResponseWriter, r *wire.JoinReply) { r.Listeners = []string{"host"}; ok(w, r) }, "not host:port", false},
		"bad certificate": {func(w http.ResponseWriter, r *wire.JoinReply) { r.Certificate = r.Certificate[1:]; ok(w, r) }, "certificate: ", false},
	} {
		t.Run(name, func(t *testing.T) {
			d := s.open(s.server(nil), c.answer)
			dir := t.TempDir()
			_, err := s.join(dir, d, nil)
			if err == nil || !strings.Contains(err.Error(), c.want) || errors.Is(err, ErrUnreachable) != c.again {
				t.Fatalf("%v, want %q", err, c.want)
			}
			if _, err := Open(dir, s.config()); !errors.Is(err, ErrNotJoined) {
				t.Errorf("open: %v", err)
			}
			// A repeat uses the same key, so the site knows the device again.
			good := s.open(s.server(nil), ok)
			if _, err := s.join(dir, good, nil); err != nil {
				t.Fatal(err)
			}
			if first, second := <-d.keys, <-good.keys; !first.Equal(second) {
				t.Error("another key was used")
			}
		})
	}
}

func TestJoinCalledWrongly(t *testing.T) {
	s := newSite(t, 0)
	d := s.open(s.server(nil), ok)
	for name, c := range map[string]struct {
		change func(*JoinConfig)
		want   string
	}{
		"no token":    {func(c *JoinConfig) { c.Token = "" }, "not a join token"},
		"short token": {func(c *JoinConfig) { c.Token = c.Token[:len(c.Token)-1] }, "cut or mistyped"},
		"no port":     {func(c *JoinConfig) { c.Site = "site.example" }, "not host:port"},
		"a URL":       {func(c *JoinConfig) { c.Site = "https://site.example" }, "not host:port"},
		"no folder":   {func(c *JoinConfig) { c.Dir = filepath.Join("/dev/null", "x") }, "make agent folder"},
	} {
		if _, err := s.join(t.TempDir(), d, c.change); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	ln := must(net.Listen("tcp", "127.0.0.1:0"))
	ln.Close()
	_, err := s.join(t.TempDir(), &door{address: ln.Addr().String()}, nil)
	if !errors.Is(err, ErrUnreachable) {
		t.Errorf("nobody there: %v", err)
	}
}

func TestOpenOfABrokenFolder(t *testing.T) {
	s := newSite(t, 0)
	for name, c := range map[string]struct {
		spoil func(dir string) error
		want  string
	}{
		"no identity": {func(dir string) error { return os.Remove(filepath.Join(dir, identityFile)) }, "has not joined"},
		"no key":      {func(dir string) error { return os.Remove(filepath.Join(dir, keyFile)) }, "key of this agent is missing"},
		"empty":       {func(dir string) error { return os.Truncate(filepath.Join(dir, identityFile), 0) }, "unexpected end"},
		"later format": {func(dir string) error {
			return os.WriteFile(filepath.Join(dir, identityFile), []byte(`{"version":2}`), 0o600)
		}, "version 2"},
		"key not PEM": {func(dir string) error { return os.WriteFile(filepath.Join(dir, keyFile), []byte("x"), 0o600) }, "not PEM"},
		"another key": {func(dir string) error {
			os.Remove(filepath.Join(dir, keyFile))
			_, err := keyIn(dir)
			return err
		}, "not for this agent's key"},
	} {
		dir := s.device()
		if err := c.spoil(dir); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(dir, s.config()); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	cfg := s.config()
	cfg.Scanner = "/bin/sh"
	if _, err := Open(s.device(), cfg); err == nil || !strings.Contains(err.Error(), "bugle knows") {
		t.Errorf("unknown scanner: %v", err)
	}
}

func TestTokenPinsTheAuthority(t *testing.T) {
	s := newSite(t, 0)
	c := must(loadCredentials(s.device()))
	if c.caHash() != sha256.Sum256(s.ca.RawSubjectPublicKeyInfo) {
		t.Error("hash of the CA is not that of its public key")
	}
}
