package outpost_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/agent"
	"github.com/bugle-fleet/bugle/console"
)

// A machine that gets out by a proxy only renews its certificate there: over its
// session when two thirds of it are over, and with POST /renew when it was off until
// the end of it. The site is behind a listener that runs apart.
func TestRenewalByProxy(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	east := w.listener("EAST01")
	through := newProxy(t)
	const day = 24 * time.Hour
	for _, c := range []struct {
		name        string
		from, until time.Duration // of the certificate, from now
	}{
		{"due", -6 * day, day},
		{"ended", -7 * day, -time.Minute},
	} {
		p := w.proxied(c.name, through, east)
		p.age(w, c.from, c.until)
		end := p.run()
		s := p.awaits(w, "renewed", func(s agent.Status) bool { return s.Connected && s.Certificate.After(time.Now().Add(6*day)) })
		if s.Carrier != "websocket" || s.Listener != "EAST01" {
			t.Errorf("%s: signed in at %s by %s", c.name, s.Listener, s.Carrier)
		}
		end()
		// The new one is what the next process shows: the listener takes no other.
		p.age(w, -30*day, -29*day)
		end = p.run()
		again := p.awaits(w, "signed in with it", func(s agent.Status) bool { return s.Connected })
		end()
		if !again.Certificate.Equal(s.Certificate) {
			t.Errorf("%s: the next process has a certificate until %s, not %s", c.name, again.Certificate, s.Certificate)
		}
	}
}

// A proxied machine reaches nothing but a proxy.
type proxied struct {
	*machine
	w     *world
	proxy *proxy
}

// proxied makes a machine that has joined by the proxy.
func (w *world) proxied(name string, through *proxy, at *post) *proxied {
	w.t.Helper()
	p := &proxied{machine: &machine{name: name, dir: filepath.Join(w.dir, name)}, w: w, proxy: through}
	_, err := agent.Join(w.t.Context(), agent.JoinConfig{Dir: p.dir, Site: at.cfg.ListenHTTP, Name: name, Version: "1",
		Token: w.token(console.TokenRequest{Uses: 1}), Dial: p.dial, Proxy: through.use})
	if err != nil {
		w.t.Fatal(err)
	}
	return p
}

func (p *proxied) dial(ctx context.Context, network, address string) (net.Conn, error) {
	if address == p.proxy.url.Host {
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}
	return nil, errNotReached
}

// run runs an agent; end ends it.
func (p *proxied) run() (end func()) {
	p.w.t.Helper()
	a, err := agent.Open(p.dir, agent.Config{Version: "1", Log: p.w.log(p.name), Scanner: "builtin", Dial: p.dial, Proxy: p.proxy.use,
		Users: func() ([]string, error) { return nil, nil }})
	if err != nil {
		p.w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- errors.Join(a.Run(ctx), a.Close()) }()
	end = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			p.w.t.Errorf("%s: %v", p.name, err)
		}
	})
	p.w.t.Cleanup(end)
	return end
}

// age gives the machine the certificate that it joined with once more, good at
// another time: so it looks for who was off. The site's key is at hand here.
func (p *proxied) age(w *world, from, until time.Duration) {
	w.t.Helper()
	file := filepath.Join(p.dir, "identity.json")
	var known map[string]any
	var der []byte
	b, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(b, &known)
	}
	if err == nil {
		der, err = base64.StdEncoding.DecodeString(known["certificate"].(string))
	}
	if err != nil {
		w.t.Fatal(err)
	}
	ca, key := w.authority()
	joined, err := x509.ParseCertificate(der)
	if err != nil {
		w.t.Fatal(err)
	}
	joined.NotBefore, joined.NotAfter = time.Now().Add(from), time.Now().Add(until)
	if der, err = x509.CreateCertificate(rand.Reader, joined, ca, joined.PublicKey, key); err != nil {
		w.t.Fatal(err)
	}
	known["certificate"] = der
	if b, err = json.Marshal(known); err == nil {
		err = os.WriteFile(file, b, 0o600)
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

// authority is the site's, from its folder of keys.
func (w *world) authority() (*x509.Certificate, *ecdsa.PrivateKey) {
	w.t.Helper()
	read := func(name string) []byte {
		b, err := os.ReadFile(filepath.Join(w.cfg.Data, "keys", name))
		if err != nil {
			w.t.Fatal(err)
		}
		block, _ := pem.Decode(b)
		return block.Bytes
	}
	ca, err := x509.ParseCertificate(read("ca.crt"))
	if err != nil {
		w.t.Fatal(err)
	}
	key, err := x509.ParsePKCS8PrivateKey(read("ca.key"))
	if err != nil {
		w.t.Fatal(err)
	}
	return ca, key.(*ecdsa.PrivateKey)
}

// A proxy lets CONNECT through and nothing else.
type proxy struct{ url *url.URL }

func newProxy(t *testing.T) *proxy {
	t.Helper()
	socket, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{url: &url.URL{Scheme: "http", Host: socket.Addr().String()}}
	ctx, cancel := context.WithCancel(context.Background())
	var open sync.WaitGroup
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		open.Add(1)
		defer open.Done()
		p.serve(ctx, w, r)
	})}
	go server.Serve(socket)
	t.Cleanup(func() {
		cancel()
		server.Close()
		open.Wait()
	})
	return p
}

func (p *proxy) use(*http.Request) (*url.URL, error) { return p.url, nil }

func (p *proxy) serve(ctx context.Context, w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodConnect {
		w.WriteHeader(http.StatusForbidden)
		return
	}
	far, err := net.Dial("tcp", r.Host)
	if err != nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	near, from, err := http.NewResponseController(w).Hijack()
	if err != nil {
		far.Close()
		return
	}
	hangUp := func() { near.Close(); far.Close() }
	defer context.AfterFunc(ctx, hangUp)()
	io.WriteString(near, "HTTP/1.1 200 Connection established\r\n\r\n")
	var both sync.WaitGroup
	both.Go(func() { io.Copy(far, from); hangUp() })
	both.Go(func() { io.Copy(near, far); hangUp() })
	both.Wait()
}
