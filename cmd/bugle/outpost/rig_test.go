package outpost_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/agent"
	"github.com/bugle-fleet/bugle/agent/action"
	"github.com/bugle-fleet/bugle/cmd/bugle/outpost"
	"github.com/bugle-fleet/bugle/cmd/bugle/site"
	"github.com/bugle-fleet/bugle/console"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// long bounds every wait of the tests; it is never waited out when all is well.
const long = 60 * time.Second

// A world is a site with listeners that run apart, and agents, in this process.
type world struct {
	t    *testing.T
	dir  string
	host string
	cfg  site.Config
	site *site.Site
	http *http.Client
	logs *logs
	vain string // what was waited for in vain
}

// logs keeps what the parts log, for a test that fails.
type logs struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logs) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, dir: t.TempDir(), logs: &logs{}}
	t.Cleanup(func() {
		w.logs.mu.Lock()
		defer w.logs.mu.Unlock()
		if t.Failed() {
			t.Log(w.logs.b.String(), w.vain) // here too, for of a long output the end is read
		}
	})
	w.cfg = site.Default()
	w.cfg.Data, w.cfg.Log = filepath.Join(w.dir, "site"), w.log("site")
	w.host = ownHost()
	any := net.JoinHostPort(w.host, "0")
	w.cfg.ListenTCP, w.cfg.ListenHTTP, w.cfg.ListenFeed, w.cfg.Console, w.cfg.Hosts = any, any, any, any, []string{w.host}
	w.start()
	t.Cleanup(w.stop)
	return w
}

// ownHost is a loopback address of this world's own, where there are many: what
// listens there finds its ports free when it starts again, for others do not bind
// there, and connections do not come from there.
func ownHost() string {
	for range 10 {
		host := fmt.Sprintf("127.%d.%d.%d", 1+rand.N(250), rand.N(250), 1+rand.N(250))
		if l, err := net.Listen("tcp", net.JoinHostPort(host, "0")); err == nil {
			l.Close()
			return host
		}
	}
	return "127.0.0.1"
}

func (w *world) log(name string) *slog.Logger {
	return slog.New(slog.NewTextHandler(w.logs, &slog.HandlerOptions{Level: slog.LevelInfo})).With("at", name)
}

// start starts the site, at the addresses that it had before.
func (w *world) start() {
	w.t.Helper()
	var err error
	if w.site, err = site.Open(w.t.Context(), w.cfg); err != nil {
		w.t.Fatal(err)
	}
	a := w.site.Addresses()
	w.cfg.ListenTCP, w.cfg.ListenHTTP, w.cfg.ListenFeed, w.cfg.Console = a.TCP, a.HTTP, a.Feed, a.Console
	pem, err := os.ReadFile(filepath.Join(w.cfg.Data, "keys", "ca.crt"))
	roots := x509.NewCertPool()
	if err != nil || !roots.AppendCertsFromPEM(pem) {
		w.t.Fatalf("read CA: %v", err)
	}
	w.http = &http.Client{Timeout: long, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}
}

func (w *world) stop() {
	w.t.Helper()
	if w.site != nil {
		if err := w.site.Close(); err != nil {
			w.t.Errorf("stop site: %v", err)
		}
		w.site = nil
	}
}

// call makes a call of the API.
func (w *world) call(method, path string, body, out any) {
	w.t.Helper()
	token, err := os.ReadFile(filepath.Join(w.cfg.Data, "keys", "admin.token"))
	if err != nil {
		w.t.Fatal(err)
	}
	b, err := json.Marshal(body)
	if err != nil {
		w.t.Fatal(err)
	}
	r, err := http.NewRequestWithContext(w.t.Context(), method, "https://"+w.cfg.Console+path, bytes.NewReader(b))
	if err != nil {
		w.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	r.Header.Set("Content-Type", "application/json")
	resp, err := w.http.Do(r)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode/100 == 2 {
		err = json.Unmarshal(answer, out)
	} else if err == nil {
		err = fmt.Errorf("%s: %s", resp.Status, answer)
	}
	if err != nil {
		w.t.Fatalf("%s %s: %v", method, path, err)
	}
}

func (w *world) token(q console.TokenRequest) string {
	w.t.Helper()
	var a console.TokenReply
	w.call("POST", console.PathTokens, q, &a)
	return a.Token
}

func (w *world) push(kind string) string {
	w.t.Helper()
	var a console.PushReply
	w.call("POST", console.PathOperations, console.PushRequest{Kind: kind, All: true, Reason: "test"}, &a)
	return a.Operation
}

func (w *world) operation(id string) (o console.OperationReply) {
	w.t.Helper()
	w.call("GET", console.Path(console.PathOperation, id), nil, &o)
	return o
}

func (w *world) devices() []console.Device {
	w.t.Helper()
	var p console.DevicePage
	w.call("GET", console.PathDevices+"?limit=1000", nil, &p)
	return p.Items
}

func (w *world) listeners() []console.ListenerReply {
	w.t.Helper()
	var l console.ListenerList
	w.call("GET", console.Base+"/listeners", nil, &l)
	return l.Items
}

// onlineAt is how many devices are online at each listener.
func (w *world) onlineAt() map[string]int {
	w.t.Helper()
	n := map[string]int{}
	for _, d := range w.devices() {
		if d.Online {
			n[d.Listener]++
		}
	}
	return n
}

// until asks again until ok: for what shows only in a view.
func (w *world) until(what string, ok func() bool) {
	w.t.Helper()
	for limit := time.Now().Add(long); !ok(); {
		if time.Now().After(limit) {
			w.vain = fmt.Sprintf("not within %s: %s", long, what)
			w.t.Fatal(w.vain)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// A post is a listener that runs apart.
type post struct {
	w   *world
	cfg outpost.Config
	o   *outpost.Outpost
}

// listener makes a listener that has joined.
func (w *world) listener(name string) *post {
	w.t.Helper()
	p := &post{w: w, cfg: outpost.Default()}
	p.cfg.Data, p.cfg.Log, p.cfg.SiteURL = filepath.Join(w.dir, name), w.log(name), "https://"+w.cfg.ListenHTTP
	p.cfg.ListenTCP, p.cfg.ListenHTTP = net.JoinHostPort(w.host, "0"), net.JoinHostPort(w.host, "0")
	p.cfg.Token, p.cfg.Drain, p.cfg.Spread = w.token(console.TokenRequest{Listener: name}), 0, 100*time.Millisecond
	p.start()
	w.t.Cleanup(p.stop)
	return p
}

func (p *post) start() {
	p.w.t.Helper()
	var err error
	if p.o, err = outpost.Open(p.w.t.Context(), p.cfg); err != nil {
		p.w.t.Fatal(err)
	}
	p.cfg.Token = ""
	p.cfg.ListenTCP, p.cfg.ListenHTTP = p.o.Addresses().TCP, p.o.Addresses().HTTP
}

// waiting is how many files the site has not taken.
func (p *post) waiting() int64 { return p.o.Status().Waiting }

func (p *post) loseBox() {
	p.w.t.Helper()
	if err := os.RemoveAll(filepath.Join(p.cfg.Data, "box")); err != nil {
		p.w.t.Fatal(err)
	}
}

func (p *post) stop() {
	p.w.t.Helper()
	if p.o != nil {
		if err := p.o.Close(); err != nil {
			p.w.t.Errorf("stop listener: %v", err)
		}
		p.o = nil
	}
}

// A fleet is agents that never reach the site itself, and count how often they
// ran what.
type fleet struct {
	w      *world
	mu     sync.Mutex
	ran    map[string]int // by device and operation
	ended  map[string]int // by operation: devices that have succeeded
	hold   chan struct{}  // while it is not nil, actions wait for it to be closed
	agents []*machine
	closed []string // the site's addresses, which they do not reach
}

type machine struct {
	name   string
	dir    string
	cancel context.CancelFunc
	ended  chan error
}

var errNotReached = errors.New("the site is out of reach")

// agents starts n agents, which join by turns at each of the listeners.
func (w *world) agents(n int, at ...*post) *fleet {
	w.t.Helper()
	f := &fleet{w: w, closed: []string{w.cfg.ListenTCP, w.cfg.ListenHTTP}, ran: map[string]int{}, ended: map[string]int{}}
	token := w.token(console.TokenRequest{Uses: uint32(n)})
	for i := range n {
		m := &machine{name: fmt.Sprintf("pc%02d", i+1)}
		m.dir = filepath.Join(w.dir, m.name)
		_, err := agent.Join(w.t.Context(), agent.JoinConfig{Dir: m.dir, Site: at[i%len(at)].cfg.ListenHTTP, Token: token, Name: m.name, Version: "1"})
		if err != nil {
			w.t.Fatal(err)
		}
		f.start(m)
		f.agents = append(f.agents, m)
	}
	w.t.Cleanup(f.stop)
	return f
}

func (f *fleet) start(m *machine) {
	a, err := agent.Open(m.dir, agent.Config{Version: "1", Log: f.w.log(m.name), Scanner: "builtin", Dial: f.dial,
		Users: func() ([]string, error) { return nil, nil }, OnEvent: f.note,
		Actions: []action.Description{{Kind: "scan.quick", Timeout: time.Minute, Action: counting{f, m.name}}}})
	if err != nil {
		f.w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	m.cancel, m.ended = cancel, make(chan error, 1)
	go func() {
		err := a.Run(ctx)
		if errors.Is(err, context.Canceled) {
			err = nil
		}
		m.ended <- errors.Join(err, a.Close())
	}()
}

func (f *fleet) stop() { f.end(f.agents) }

func (f *fleet) end(machines []*machine) {
	for _, m := range machines {
		m.cancel()
	}
	for _, m := range machines {
		if err := <-m.ended; err != nil {
			f.w.t.Errorf("%s: %v", m.name, err)
		}
	}
}

// restart switches machines off and on.
func (f *fleet) restart(machines ...*machine) {
	f.end(machines)
	for _, m := range machines {
		f.start(m)
	}
}

func (f *fleet) note(e agent.Event) {
	if e.What == agent.StateReached && e.State == task.Succeeded {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.ended[e.Operation.String()]++
	}
}

// succeeded is how many devices have succeeded, as they know themselves.
func (f *fleet) succeeded(operation string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.ended[operation]
}

func (f *fleet) dial(ctx context.Context, network, address string) (net.Conn, error) {
	if slices.Contains(f.closed, address) {
		return nil, errNotReached
	}
	return (&net.Dialer{}).DialContext(ctx, network, address)
}

// holdUp makes actions wait until the function that it returns is called.
func (f *fleet) holdUp() (letGo func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	hold := make(chan struct{})
	f.hold = hold
	return sync.OnceFunc(func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.hold = nil
		close(hold)
	})
}

func (f *fleet) runs(operation string) (all, most int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for key, n := range f.ran {
		if strings.HasSuffix(key, operation) {
			all, most = all+n, max(most, n)
		}
	}
	return all, most
}

type counting struct {
	f    *fleet
	name string
}

func (c counting) Run(ctx context.Context, r action.Request) action.Outcome {
	c.f.mu.Lock()
	c.f.ran[c.name+" "+r.Operation.String()]++
	hold := c.f.hold
	c.f.mu.Unlock()
	if hold != nil {
		select {
		case <-hold:
		case <-ctx.Done():
		}
	}
	return action.Outcome{State: task.Succeeded}
}
