package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/listener/wire"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

const patience = 30 * time.Second

// site takes every agent: it lets it join, welcomes it, and hears its bye.
type site struct {
	tb      testing.TB
	key     *ecdsa.PrivateKey
	ca      *x509.Certificate
	server  tls.Certificate
	tasks   ed25519.PrivateKey
	result  *ecdh.PrivateKey
	id      wire.Identity
	https   string
	tcp     string
	joined  chan wire.JoinRequest
	signed  chan *wire.SignIn
	policed chan struct{} // the agent asked for its policy
	bye     chan struct{}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func newSite(tb testing.TB) *site {
	s := &site{tb: tb, key: must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)), result: must(ecdh.P256().GenerateKey(rand.Reader)),
		id:     wire.Identity{Site: "P01", Device: 7, ID: task.NewRandomID()},
		joined: make(chan wire.JoinRequest, 8), signed: make(chan *wire.SignIn, 8), policed: make(chan struct{}, 8), bye: make(chan struct{}, 8)}
	s.ca = s.certify(&x509.Certificate{IsCA: true, BasicConstraintsValid: true}, &s.key.PublicKey)
	leaf := s.certify(&x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}, &s.key.PublicKey)
	s.server = tls.Certificate{Certificate: [][]byte{leaf.Raw, s.ca.Raw}, PrivateKey: s.key}
	_, s.tasks, _ = ed25519.GenerateKey(rand.Reader)
	s.tcp = s.listen(&tls.Config{Certificates: []tls.Certificate{s.server}, NextProtos: []string{wire.ALPN},
		ClientAuth: tls.RequireAnyClientCert}, func(ln net.Listener) {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go s.serve(c)
		}
	})
	srv := &http.Server{Handler: http.HandlerFunc(s.join), ErrorLog: log.New(io.Discard, "", 0)}
	s.https = s.listen(&tls.Config{Certificates: []tls.Certificate{s.server}}, func(ln net.Listener) { srv.Serve(ln) })
	return s
}

func (s *site) listen(cfg *tls.Config, serve func(net.Listener)) string {
	ln := must(tls.Listen("tcp", "127.0.0.1:0", cfg))
	s.tb.Cleanup(func() { ln.Close() })
	go serve(ln)
	return ln.Addr().String()
}

func (s *site) certify(c *x509.Certificate, public any) *x509.Certificate {
	c.SerialNumber = big.NewInt(time.Now().UnixNano())
	c.NotBefore, c.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent := s.ca
	if parent == nil {
		parent = c
	}
	return must(x509.ParseCertificate(must(x509.CreateCertificate(rand.Reader, c, parent, public, s.key))))
}

func (s *site) token() string {
	return wire.Token{ID: "0123456789abcdef", Secret: "00112233445566778899aabbccddeeff",
		CA: sha256.Sum256(s.ca.RawSubjectPublicKeyInfo)}.String()
}

func (s *site) join(w http.ResponseWriter, r *http.Request) {
	var req wire.JoinRequest
	json.NewDecoder(r.Body).Decode(&req)
	csr, err := x509.ParseCertificateRequest(req.CSR)
	if err != nil {
		http.Error(w, "no", http.StatusBadRequest)
		return
	}
	cert := s.certify(&x509.Certificate{URIs: []*url.URL{s.id.URI()}}, csr.PublicKey)
	signer := []byte(s.tasks.Public().(ed25519.PublicKey))
	json.NewEncoder(w).Encode(wire.JoinReply{Site: s.id.Site, Device: s.id.Device, ID: s.id.ID.String(), Certificate: cert.Raw,
		CA: s.ca.Raw, TaskKeys: [][]byte{signer}, PolicyKeys: [][]byte{signer},
		ResultKey: s.result.PublicKey().Bytes(), Listeners: []string{s.tcp}})
	s.joined <- req
}

func (s *site) serve(c net.Conn) {
	defer c.Close()
	in := bufio.NewReader(c)
	for {
		m, _, err := wire.ReadFrom(in, nil)
		if err != nil {
			return
		}
		switch m := m.(type) {
		case *wire.SignIn:
			b := task.Beacon{Site: s.id.Site, Time: time.Now(), Nonce: m.Nonce}
			c.Write(must(wire.Append(nil, &wire.Welcome{Version: 1, Listener: "LSN01", KeepAlive: 15 * time.Minute, Beacon: b.Sign(s.tasks)})))
			s.signed <- m
		case *wire.PolicyRequest:
			c.Write(must(wire.Append(nil, &wire.Policy{})))
			s.policed <- struct{}{}
		case *wire.Bye:
			s.bye <- struct{}{}
			return
		}
	}
}

func receive[T any](tb testing.TB, c <-chan T) (v T) {
	tb.Helper()
	select {
	case v = <-c:
	case <-time.After(patience):
		tb.Fatal("it did not come")
	}
	return v
}

// locked is a buffer for one writer and one reader.
type locked struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *locked) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// The life of an agent: it joins, serves, tells its status, and leaves in good
// order; the second time it has joined already.
func TestRun(t *testing.T) {
	s := newSite(t)
	dir := filepath.Join(t.TempDir(), "agent")
	env := map[string]string{"BUGLE_AGENT_DIR": dir, "BUGLE_AGENT_SCANNER": "builtin", "BUGLE_AGENT_LOG_FORMAT": "json"}
	for round := range 2 {
		ctx, stop := context.WithCancel(t.Context())
		var out, status bytes.Buffer
		var errs locked
		p := program{ctx: ctx, stdin: strings.NewReader(s.token()), stdout: &out, stderr: &errs, env: func(k string) string { return env[k] }}
		code := make(chan int, 1)
		args := []string{"run"}
		if round == 0 {
			args = append(args, "--site", s.https, "--token-file", "-", "--name", "pc-7")
		}
		go func() { code <- p.main(args) }()
		if round == 0 {
			if req := receive(t, s.joined); req.Name != "pc-7" || req.OS != runtime.GOOS {
				t.Errorf("joined as %+v", req)
			}
		}
		if m := receive(t, s.signed); m.Agent != version {
			t.Errorf("signed in as version %q", m.Agent)
		}
		receive(t, s.policed) // after that its status is written
		ask := program{ctx: ctx, stdout: &status, stderr: &errs, env: p.env}
		if n := ask.main([]string{"status"}); n != 0 || !strings.Contains(status.String(), "connection  to LSN01 ("+s.tcp+") by tcp since ") {
			t.Errorf("status %d:\n%s", n, status.String())
		}
		stop()
		if n := receive(t, code); n != 0 {
			t.Errorf("ended with %d:\n%s", n, errs.String())
		}
		receive(t, s.bye)
		if !strings.Contains(errs.String(), `"msg":"agent runs"`) || strings.Contains(errs.String(), s.token()) {
			t.Errorf("log:\n%s", errs.String())
		}
	}
	if len(s.joined) > 0 {
		t.Error("it joined twice")
	}
}

// stopWhen ends a program once it has logged text.
type stopWhen struct {
	locked
	text string
	stop context.CancelFunc
}

func (s *stopWhen) Write(p []byte) (int, error) {
	n, err := s.locked.Write(p)
	if strings.Contains(s.String(), s.text) {
		s.stop()
	}
	return n, err
}

// Who ends an agent that waits for its site is not told to give what was given.
func TestStoppedBeforeItJoined(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	ln := must(net.Listen("tcp", "127.0.0.1:0"))
	defer ln.Close()
	address := ln.Addr().String()
	go func() { // nobody answers there
		for c, err := ln.Accept(); err == nil; c, err = ln.Accept() {
			c.Close()
		}
	}()
	errs := &stopWhen{text: "cannot join yet", stop: stop}
	token := wire.Token{ID: "0123456789abcdef", Secret: "00112233445566778899aabbccddeeff"}.String()
	p := program{ctx: ctx, stdin: strings.NewReader(token), stdout: io.Discard, stderr: errs, env: func(string) string { return "" }}
	n := p.main([]string{"run", "--dir", t.TempDir(), "--site", address, "--token-file", "-"})
	if out := errs.String(); n != exitFailed || !strings.Contains(out, "bugle-agent: join "+address+": site cannot be reached") {
		t.Errorf("ended with %d:\n%s", n, out)
	}
}

// BenchmarkIdle reports the size of the stripped program and what one that is
// connected and idle holds in memory.
func BenchmarkIdle(b *testing.B) {
	if runtime.GOOS != "linux" {
		b.Fatal("this reads /proc")
	}
	bin := filepath.Join(b.TempDir(), "bugle-agent")
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", bin, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	s := newSite(b)
	cmd := exec.Command(bin, "run", "--dir", filepath.Join(b.TempDir(), "d"), "--site", s.https, "--token-file", "-")
	cmd.Stdin = strings.NewReader(s.token())
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Signal(os.Interrupt)
	receive(b, s.policed)
	time.Sleep(2 * time.Second)
	status := must(os.ReadFile("/proc/" + strconv.Itoa(cmd.Process.Pid) + "/status"))
	rss := regexp.MustCompile(`VmRSS:\s+(\d+) kB`).FindSubmatch(status)
	for b.Loop() {
	}
	b.ReportMetric(float64(must(os.Stat(bin)).Size())/(1<<20), "MiB-binary")
	b.ReportMetric(must(strconv.ParseFloat(string(rss[1]), 64))/1024, "MiB-idle-RSS")
	b.ReportMetric(0, "ns/op")
}
