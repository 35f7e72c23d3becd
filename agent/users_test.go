package agent

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bugle-fleet/bugle/agent/action"
	"github.com/bugle-fleet/bugle/listener/wire"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// personal is a signed policy of a person.
func (s *site) personal(user, setting string) []byte {
	doc := &task.Policy{Site: s.id.Site, Body: fmt.Appendf(nil, `{"version":1,"user":%q,"settings":{"wallpaper":%q}}`, user, setting)}
	return must(doc.Sign(s.policy))
}

func (p *peer) publishPeople(set map[string][]byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.people = set
}

// roll is who is signed in at a machine under test.
type roll struct {
	mu    sync.Mutex
	names []string
}

func (r *roll) set(names ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.names = names
}

func (r *roll) read() ([]string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.names, nil
}

func kept(dir string) (names []string) {
	entries, _ := os.ReadDir(filepath.Join(dir, usersFolder))
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestPoliciesOfPeople(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, who := newSite(t, 0), &roll{}
		cfg := s.config()
		cfg.Users = who.read
		who.set("ann", `CORP\Bob/..`, "carl", "ann", "")
		dir := s.device()
		a := s.start(dir, cfg)
		p := s.accept()
		p.publishPeople(map[string][]byte{"ann": s.personal("ann", "blue"), `CORP\Bob/..`: s.personal("*", "grey")})
		p.welcome()
		settle()
		if got := kept(dir); !slices.Equal(got, []string{"%43%4f%52%50%5c%42ob%2f%2e%2e.policy", "ann.policy"}) {
			t.Fatalf("kept %v", got)
		}
		if st := must(ReadStatus(dir)); !slices.Equal(st.Users, []string{`CORP\Bob/..`, "ann"}) {
			t.Errorf("status %v", st.Users)
		}
		if b := must(os.ReadFile(filepath.Join(dir, usersFolder, "ann.policy"))); !strings.Contains(string(b), "blue") {
			t.Errorf("kept %q", b)
		}
		// Another one comes with the kind policy.user, and with every poll.
		p.publishPeople(map[string][]byte{"ann": s.personal("ann", "red"), `CORP\Bob/..`: s.personal("*", "grey")})
		detail, err := host{a.Agent}.FetchUserPolicy(t.Context(), "")
		if err != nil || detail != "3 people signed in, 1 policies changed, 1 have none" {
			t.Errorf("%q, %v", detail, err)
		}
		if b := must(os.ReadFile(filepath.Join(dir, usersFolder, "ann.policy"))); !strings.Contains(string(b), "red") {
			t.Errorf("kept %q", b)
		}
		if detail, err := (host{a.Agent}).FetchUserPolicy(t.Context(), "dora"); err != nil || detail != "dora is not signed in here" {
			t.Errorf("%q, %v", detail, err)
		}
		p.publishPeople(map[string][]byte{"ann": s.personal("ann", "green")})
		time.Sleep(2 * time.Hour)
		settle()
		if b := must(os.ReadFile(filepath.Join(dir, usersFolder, "ann.policy"))); !strings.Contains(string(b), "green") {
			t.Errorf("kept %q", b)
		}
		if got := kept(dir); !slices.Equal(got, []string{"ann.policy"}) {
			t.Errorf("one that is no more is kept: %v", got)
		}
		who.set("carl")
		time.Sleep(29 * 24 * time.Hour)
		settle()
		if got := kept(dir); len(got) != 1 {
			t.Errorf("dropped after 29 days: %v", got)
		}
		time.Sleep(2 * 24 * time.Hour)
		settle()
		if got := kept(dir); len(got) != 0 {
			t.Errorf("kept after 31 days: %v", got)
		}
	})
}

func TestPoliciesOfPeopleThatAreNotTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, who := newSite(t, 0), &roll{}
		cfg := s.config()
		cfg.Users = who.read
		who.set("ann")
		dir := s.device()
		a := s.start(dir, cfg)
		p := s.accept().welcome()
		other := newSite(t, 0)
		for name, signed := range map[string][]byte{
			"of somebody else": s.personal("bob", "blue"),
			"of the machine":   must((&task.Policy{Site: "P01", Body: []byte(`{"version":1}`)}).Sign(s.policy)),
			"a later version":  must((&task.Policy{Site: "P01", Body: []byte(`{"version":2,"user":"ann"}`)}).Sign(s.policy)),
			"not JSON":         must((&task.Policy{Site: "P01", Body: []byte(`{`)}).Sign(s.policy)),
		} {
			p.publishPeople(map[string][]byte{"ann": signed})
			if _, err := (host{a.Agent}).FetchUserPolicy(t.Context(), ""); err == nil || len(kept(dir)) != 0 {
				t.Errorf("one %s was taken: %v", name, err)
			}
		}
		forged := &task.Policy{Site: "P01", Body: []byte(`{"version":1,"user":"ann"}`)}
		if _, err := a.checkUser(must(forged.Sign(other.policy)), "ann"); err == nil {
			t.Error("one of another site was taken")
		}
	})
}

func FuzzUserFile(f *testing.F) {
	for _, name := range []string{"ann", "", `CORP\ann`, "..", "a/b", "Ann", "ä", "%41", "nul"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		file := userFile(name)
		if strings.Trim(file, "abcdefghijklmnopqrstuvwxyz0123456789-_%") != "" {
			t.Errorf("%q becomes the file %q", name, file)
		}
		if back, ok := userName(file); !ok || back != name {
			t.Errorf("%q becomes %q, %t", name, back, ok)
		}
		if back, ok := userName(name); ok && userFile(back) != name {
			t.Errorf("the file %q is of %q, whose file is %q", name, back, userFile(back))
		}
	})
}

func FuzzProofs(f *testing.F) {
	f.Add(appendProofs(&wire.PolicyProofs{ETag: "tag", Proofs: [][]byte{make([]byte, 32), make([]byte, 64)}}))
	f.Add(appendProofs(&wire.PolicyProofs{}))
	f.Add([]byte(proofsHeader))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := parseProofs(b)
		if err == nil && string(appendProofs(m)) != string(b) {
			t.Errorf("%x is read and written as %x", b, appendProofs(m))
		}
	})
}

// Listeners of policy take the place of those that joining brought; the agent goes
// on to the next one if the one that serves it says so.
func TestListenersFromPolicy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, 0)
		cfg := s.config()
		var mu sync.Mutex
		var dialled []string
		cfg.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
			mu.Lock()
			dialled = append(dialled, address)
			mu.Unlock()
			return s.dial(ctx, network, address)
		}
		last := func() string {
			mu.Lock()
			defer mu.Unlock()
			return dialled[len(dialled)-1]
		}
		dir := s.device()
		a := s.start(dir, cfg)
		p := s.accept().publishAll(document{Listeners: []listener{
			{Name: "LSN02", TCP: []string{"listener.test:1002"}}, {Name: "LSN03", TCP: []string{"listener.test:1003"}}}}).welcome()
		hasPolicy(t, p)
		if last() != "listener.test:10123" {
			t.Errorf("first at %s", last())
		}
		p.send(&wire.Close{Code: wire.Redirect, Reason: "LSN02 serves you"})
		p = s.accept().welcome()
		if last() != "listener.test:1002" {
			t.Errorf("then at %s", last())
		}
		p.send(&wire.Close{Code: wire.Redirect})
		s.accept().welcome()
		if last() != "listener.test:1003" {
			t.Errorf("redirected to %s", last())
		}
		settle()
		a.halt()
		a = s.start(dir, cfg) // they are known at the next start, and what joining brought is last
		s.accept().welcome()
		if last() != "listener.test:1002" {
			t.Errorf("after a restart at %s", last())
		}
		if got := a.addresses(); !slices.Equal(got, []string{"listener.test:1002", "listener.test:1003", "listener.test:10123"}) {
			t.Errorf("addresses %v", got)
		}
	})
}

func TestListsInPolicyThatAreNotTaken(t *testing.T) {
	for text, want := range map[string]string{
		`{"version":1,"tasks":["!"]}`:                                                                                     "illegal base64",
		`{"version":1,"tasks":[` + strings.Repeat(`"",`, 64) + `""]}`:                                                     "65 tasks, at most 64",
		`{"version":1,"windows":[{"name":"a","start":"2026-01-01T00:00","minutes":1}]}`:                                   "minutes 1",
		`{"version":1,"listeners":[{"name":"A"}]}`:                                                                        `listener "A": 0 and 0 addresses`,
		`{"version":1,"listeners":[{"name":"A","tcp":["nowhere"]}]}`:                                                      "not host:port",
		`{"version":1,"listeners":[` + strings.Repeat(`{"name":"A","tcp":["a:1"]},`, 64) + `{"name":"A","tcp":["a:1"]}]}`: "65 listeners",
		`{"version":1,"logFiles":[` + strings.Repeat(`"",`, 256) + `""]}`:                                                 "257 log files",
	} {
		if _, err := parseSettings([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.80s: %v, want %q", text, err, want)
		}
	}
}

func FuzzSettings(f *testing.F) {
	f.Add([]byte(`{"version":1,"tasks":["AAAA"],"windows":[{"name":"a","start":"2026-01-01T00:00","minutes":60}],"listeners":[{"name":"A","tcp":["a:1"]}],"indicators":[]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := parseSettings(b)
		if err == nil && (s.Version != 1 || len(s.Tasks) > wire.MaxProofs || len(s.Listeners) > maxListeners) {
			t.Errorf("%q was taken", b)
		}
	})
}

// https serves h as the HTTPS port of a listener, and returns the address.
func (s *site) https(h http.Handler) string {
	pool := x509.NewCertPool()
	pool.AddCert(s.ca)
	ln := must(tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{s.server(nil)},
		ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool}))
	server := &http.Server{Handler: h}
	go server.Serve(ln)
	s.t.Cleanup(func() { server.Close() })
	return ln.Addr().String()
}

// logStore is the HTTPS port of a listener that takes logs.
type logStore struct {
	mu       sync.Mutex
	refuse   []int // status of the next answers
	got      map[string][]byte
	requests int
}

func (l *logStore) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.requests++
	if len(l.refuse) > 0 {
		status := l.refuse[0]
		l.refuse = l.refuse[1:]
		w.Header().Set("Content-Type", "application/problem+json")
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(status)
		fmt.Fprintf(w, `{"title":"no","status":%d,"detail":"not now"}`, status)
		return
	}
	b, _ := io.ReadAll(r.Body)
	if r.Method != http.MethodPut || r.TLS == nil || len(r.TLS.PeerCertificates) == 0 || r.ContentLength != int64(len(b)) ||
		r.Header.Get(wire.HeaderSHA256) != fmt.Sprintf("%x", sha256.Sum256(b)) {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	l.got[r.URL.Path] = b
	w.WriteHeader(http.StatusNoContent)
}

func TestUploadOfLogs(t *testing.T) {
	s := newSite(t, 0)
	store := &logStore{refuse: []int{http.StatusServiceUnavailable}, got: map[string][]byte{}}
	address := s.https(store)
	dir := s.device(s.listen())
	cfg := Config{Scanner: "builtin", Users: func() ([]string, error) { return nil, nil }}
	a := s.start(dir, cfg)
	p := s.accept().publishAll(document{Listeners: []listener{{Name: "OTHER", HTTPS: []string{"127.0.0.1:1"}},
		{Name: "LSN01", HTTPS: []string{address}}}, LogFiles: []string{"/var/log/x"}}).welcome()
	hasPolicy(t, p)
	if got := (host{a.Agent}).LogFiles(); !slices.Equal(got, []string{"/var/log/x"}) {
		t.Errorf("log files %v", got)
	}
	op, body := task.NewRandomID(), strings.Repeat("log ", 1000)
	up := func(text string) error {
		return host{a.Agent}.Upload(t.Context(), op, strings.NewReader(text), int64(len(text)), action.Digest(sha256.Sum256([]byte(text))))
	}
	if err := up(body); err != nil {
		t.Fatal(err)
	}
	if got := store.got[wire.LogsPath+op.String()]; string(got) != body || store.requests != 2 {
		t.Errorf("stored %v after %d requests", slices.Collect(maps.Keys(store.got)), store.requests)
	}
	if err := up(""); err != nil || len(store.got[wire.LogsPath+op.String()]) != 0 {
		t.Errorf("nothing: %v", err)
	}
	store.refuse = []int{http.StatusRequestEntityTooLarge}
	if err := up(body); err == nil || !strings.Contains(err.Error(), "not now") {
		t.Errorf("refused: %v", err)
	}
	if err := (host{a.Agent}).Upload(t.Context(), op, nil, wire.MaxLogs+1, action.Digest{}); err == nil {
		t.Error("more than an upload may have was sent")
	}
}

// A time of detailed logging ends by itself, or sooner, or later if it is begun
// anew.
func TestVerbose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, 0)
		var mu sync.Mutex
		on := false
		cfg := s.config()
		cfg.Verbose = func(b bool) { mu.Lock(); defer mu.Unlock(); on = b }
		a := must(Open(s.device(), cfg))
		defer a.Close()
		h := host{a}
		check := func(want bool, when string) {
			t.Helper()
			settle()
			mu.Lock()
			defer mu.Unlock()
			if on != want {
				t.Errorf("detailed is %t %s", on, when)
			}
		}
		h.Verbose(time.Hour)
		check(true, "at once")
		time.Sleep(50 * time.Minute)
		h.Verbose(time.Hour)
		time.Sleep(50 * time.Minute)
		check(true, "after it was begun anew")
		time.Sleep(11 * time.Minute)
		check(false, "when its time is over")
		h.Verbose(time.Hour)
		h.Verbose(0)
		check(false, "when it was ended")
		time.Sleep(2 * time.Hour)
	})
}

// What is wrong with the policy of one person is nothing to the others.
func TestOnePersonsPolicyDoesNotHoldUpOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, who := newSite(t, 0), &roll{}
		cfg := s.config()
		cfg.Users = who.read
		who.set("ann", "bob")
		dir := s.device()
		a := s.start(dir, cfg)
		p := s.accept()
		p.publishPeople(map[string][]byte{"ann": s.personal("eve", "red"), "bob": s.personal("bob", "blue")})
		p.welcome()
		if _, err := (host{a.Agent}).FetchUserPolicy(t.Context(), ""); err == nil || !strings.Contains(err.Error(), "policy of ann") {
			t.Errorf("error %v", err)
		}
		settle() // the fetch that followed the sign-in may still write
		if got := kept(dir); !slices.Equal(got, []string{"bob.policy"}) {
			t.Errorf("kept %v", got)
		}
	})
}
