package listener

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/listener/wire"
)

func joinBench(t *testing.T, edit func(*Config)) (*bench, string, *http.Client) {
	t.Helper()
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	https, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := newBenchOn(t, tcp, https, nil, patient, edit)
	client := &http.Client{Timeout: patience, Transport: &http.Transport{ForceAttemptHTTP2: true,
		TLSClientConfig: &tls.Config{RootCAs: b.pki.pool, ServerName: "listener.test"}}}
	t.Cleanup(client.CloseIdleConnections)
	return b, "https://" + https.Addr().String(), client
}

func TestJoinOverHTTPS(t *testing.T) {
	var asked wire.JoinRequest
	var from string
	b, url, client := joinBench(t, func(c *Config) {
		c.Join = func(_ context.Context, req wire.JoinRequest, address string) (wire.JoinReply, error) {
			asked, from = req, address
			return wire.JoinReply{Site: "P01", Device: 12, ID: "x"}, nil
		}
	})
	body, _ := json.Marshal(wire.JoinRequest{Token: "a.b", CSR: []byte{1, 2}, Name: "host"})
	res, err := client.Post(url+wire.JoinPath, "application/json", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var reply wire.JoinReply
	if err := json.NewDecoder(res.Body).Decode(&reply); err != nil || res.StatusCode != 200 || reply.Device != 12 {
		t.Fatalf("status %d, reply %+v, %v", res.StatusCode, reply, err)
	}
	if asked.Token != "a.b" || asked.Name != "host" || !bytes.Equal(asked.CSR, []byte{1, 2}) || from != "127.0.0.1" {
		t.Fatalf("asked %+v from %s", asked, from)
	}
	if n := len(res.TLS.PeerCertificates); n != 2 || res.TLS.Version != tls.VersionTLS13 {
		t.Fatalf("chain of %d, TLS %x: a joining agent must see the CA", n, res.TLS.Version)
	}
	live, err := client.Get(url + "/livez")
	if err != nil {
		t.Fatal(err)
	}
	defer live.Body.Close()
	if text, _ := io.ReadAll(live.Body); live.StatusCode != 200 || string(text) != "ok\n" {
		t.Fatalf("livez: %d %q", live.StatusCode, text)
	}
	if err := b.stop(); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Get(url + "/livez"); err == nil {
		t.Fatal("port is still open")
	}
}

// A certificate is not needed on the HTTPS port, but one of a stranger is
// refused.
func TestHTTPSChecksCertificates(t *testing.T) {
	_, url, client := joinBench(t, nil)
	config := client.Transport.(*http.Transport).TLSClientConfig
	config.Certificates = []tls.Certificate{newPKI(t).certificate(7)}
	if res, err := client.Get(url + "/livez"); err == nil {
		res.Body.Close()
		t.Fatal("another CA's certificate was taken")
	}
}

func TestJoinProblems(t *testing.T) {
	refuse := func(_ context.Context, req wire.JoinRequest, _ string) (wire.JoinReply, error) {
		if req.Token == "spent" {
			return wire.JoinReply{}, fmt.Errorf("join: %w", &JoinRefused{http.StatusForbidden, "Token refused", "the token is used up"})
		}
		return wire.JoinReply{}, errors.New("secret cause")
	}
	long := `{"token":"` + strings.Repeat("x", wire.MaxJoin) + `"}`
	for _, c := range []struct {
		name, method, path, kind, body string
		status                         int
		detail                         string
	}{
		{"refused", "POST", "/join", "application/json", `{"token":"spent"}`, 403, "used up"},
		{"failed", "POST", "/join", "application/json; charset=utf-8", `{"token":"x"}`, 503, "at the moment"},
		{"too long", "POST", "/join", "application/json", long, 413, "65536"},
		{"not JSON", "POST", "/join", "application/json", `{"token":`, 400, "JSON"},
		{"two values", "POST", "/join", "application/json", `{} {}`, 400, "JSON"},
		{"a form", "POST", "/join", "application/x-www-form-urlencoded", `token=x`, 415, "application/json"},
		{"GET", "GET", "/join", "", "", 405, "POST"},
		{"elsewhere", "GET", "/secret", "", "", 404, "/secret"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := idle(t, func(cfg *Config) { cfg.Join = refuse })
			req := httptest.NewRequest(c.method, c.path, strings.NewReader(c.body))
			req.Header.Set("Content-Type", c.kind)
			w := httptest.NewRecorder()
			l.Handler().ServeHTTP(w, req)
			var p wire.JoinError
			if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil {
				t.Fatalf("body %q: %v", w.Body, err)
			}
			if w.Code != c.status || p.Status != c.status || p.Title == "" || !strings.Contains(p.Detail, c.detail) {
				t.Fatalf("status %d, problem %+v", w.Code, p)
			}
			if kind := w.Header().Get("Content-Type"); kind != "application/problem+json" {
				t.Fatalf("content type %q", kind)
			}
			if later := w.Header().Get("Retry-After"); (later != "") != (c.status == http.StatusServiceUnavailable) {
				t.Fatalf("status %d, retry after %q", w.Code, later)
			}
			if strings.Contains(w.Body.String(), "secret cause") {
				t.Fatal("the cause of a failure is told to a stranger")
			}
		})
	}
}

// idle is a listener that does not serve.
func idle(t *testing.T, edit func(*Config)) *Listener {
	t.Helper()
	p := newPKI(t)
	cfg := Config{Site: "P01", Name: "BENCH", Certificate: always(p.server), ClientCAs: p.clientCAs, Log: quiet(),
		Drop: (&spoolFolder{changed: make(chan struct{})}).drop, Feed: make(script),
		Beacon: func([16]byte) ([]byte, error) { return nil, nil },
		Policy: func(uint32, string) (Policy, error) { return Policy{}, nil }}
	edit(&cfg)
	l, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestJoinRate(t *testing.T) {
	l := idle(t, func(c *Config) {
		c.Limits.JoinBurst = 2
		c.Limits.JoinRate = 1e-9
		c.Join = func(context.Context, wire.JoinRequest, string) (wire.JoinReply, error) { return wire.JoinReply{}, nil }
	})
	ask := func(address string) int {
		req := httptest.NewRequest("POST", "/join", strings.NewReader("{}"))
		req.Header.Set("Content-Type", "application/json")
		req.RemoteAddr = address
		w := httptest.NewRecorder()
		l.Handler().ServeHTTP(w, req)
		if w.Code == http.StatusTooManyRequests && w.Header().Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
		return w.Code
	}
	got := []int{ask("192.0.2.1:1"), ask("192.0.2.1:2"), ask("192.0.2.1:3"), ask("192.0.2.2:1")}
	if !equal(got, []int{200, 200, 429, 200}) {
		t.Fatalf("got %v", got)
	}
}

func TestJoinAddressesAreBounded(t *testing.T) {
	j := joins{every: 1, burst: 2}
	now := time.Now()
	for i := range maxJoinAddresses {
		if !j.allow(fmt.Sprint(i), now) {
			t.Fatal("refused")
		}
	}
	if j.allow("one more", now) {
		t.Fatal("more addresses are held than may be")
	}
	if !j.allow("one more", now.Add(2*time.Second)) || len(j.addresses) != 1 {
		t.Fatalf("quiet addresses are not forgotten: %d are held", len(j.addresses))
	}
}

func TestConfigIsChecked(t *testing.T) {
	p := newPKI(t)
	for name, edit := range map[string]func(*Config){
		"site": func(c *Config) { c.Site = "" }, "certificate": func(c *Config) { c.Certificate = nil },
		"client CAs": func(c *Config) { c.ClientCAs = nil }, "drop": func(c *Config) { c.Drop = nil }, "feed": func(c *Config) { c.Feed = nil },
		"a park that exists": func(c *Config) { c.Park = "all" },
	} {
		cfg := idle(t, func(*Config) {}).cfg
		cfg.Certificate, cfg.ClientCAs = always(p.server), p.clientCAs
		edit(&cfg)
		if _, err := New(cfg); err == nil {
			t.Errorf("without %s it is taken", name)
		}
	}
}
