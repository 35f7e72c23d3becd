package fleet

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/cmd/bugle-sim/load"
	"github.com/bugle-fleet/bugle/cmd/bugle-sim/site"
)

// patience is how long a test waits for what comes at once.
const patience = 30 * time.Second

// An api answers as a site does, until it is broken or held.
type api struct {
	place       site.Place
	connections atomic.Int32
	questions   atomic.Int32
	asked       chan struct{} // holds one for each question
	broken      atomic.Bool
	held        atomic.Bool
	holding     chan struct{} // holds one for each question that is held
	release     chan struct{} // closed when those that are held get their answer
}

func openAPI(t *testing.T) *api {
	t.Helper()
	a := &api{asked: make(chan struct{}, 1<<16), holding: make(chan struct{}, 1<<16), release: make(chan struct{})}
	s := httptest.NewUnstartedServer(a)
	s.EnableHTTP2 = true
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			a.connections.Add(1)
		}
	}
	s.StartTLS()
	t.Cleanup(s.Close)
	dir := t.TempDir()
	a.place = site.Place{API: s.URL, TokenFile: filepath.Join(dir, "admin.token"), CAFile: filepath.Join(dir, "ca.crt")}
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	if err := errors.Join(os.WriteFile(a.place.TokenFile, []byte("secret\n"), 0o600), os.WriteFile(a.place.CAFile, ca, 0o600)); err != nil {
		t.Fatal(err)
	}
	return a
}

func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.questions.Add(1)
	a.asked <- struct{}{}
	if a.held.Load() {
		a.holding <- struct{}{}
		select {
		case <-a.release:
		case <-r.Context().Done():
		}
	}
	if r.Header.Get("Authorization") != "Bearer secret" || a.broken.Load() {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	_, _ = io.WriteString(w, `{"items":[]}`)
}

// await waits for n more questions.
func (a *api) await(t *testing.T, n int) {
	t.Helper()
	for range n {
		receive(t, a.asked, "a question")
	}
}

func receive[T any](t *testing.T, from <-chan T, what string) (v T) {
	t.Helper()
	select {
	case v = <-from:
	case <-time.After(patience):
		t.Fatal(what, "does not come")
	}
	return v
}

// prober is a fleet that has a site and nothing else.
func (a *api) prober(t *testing.T, command ...string) *Fleet {
	t.Helper()
	if len(command) == 0 {
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		command = []string{self, "probe"}
	}
	f := newFleet(Config{Dir: t.TempDir(), ProbeCommand: command, Log: io.Discard})
	f.place = a.place
	return f
}

// said sends on what is written.
type said chan string

func (s said) Write(b []byte) (int, error) { s <- string(b); return len(b), nil }

func TestProbe(t *testing.T) {
	a := openAPI(t)
	f := a.prober(t)
	log := make(said, 1)
	f.cfg.Log = log
	stop, err := f.Probe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	a.await(t, 4)
	a.broken.Store(true)
	if s := receive(t, log, "a failure"); !strings.Contains(s, "503") {
		t.Errorf("it says %q", s)
	}
	p, err := stop()
	if err != nil {
		t.Fatal(err)
	}
	if all := int(a.questions.Load()); len(p.Took) < 2 || p.Failed < 1 || 1+len(p.Took)+p.Failed != all {
		t.Errorf("%d good answers and %d bad ones beside the first, to %d questions", len(p.Took), p.Failed, all)
	}
	for _, took := range p.Took {
		if took <= 0 {
			t.Errorf("an answer took %v", took)
		}
	}
	if n := a.connections.Load(); n != 1 {
		t.Errorf("%d connections, want one", n)
	}
}

// A storm that is over before the second question still has a figure, and one whose
// last answer is late has that too.
func TestTheLastAnswerCounts(t *testing.T) {
	a := openAPI(t)
	stop, err := a.prober(t).Probe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	a.await(t, 2)
	a.held.Store(true)
	receive(t, a.holding, "a question that is held")
	done := make(chan load.Probes)
	go func() {
		p, err := stop()
		if err != nil {
			t.Error(err)
		}
		done <- p
	}()
	time.Sleep(2 * probeEvery) // for what would not wait for the answer
	close(a.release)
	p := receive(t, done, "the end")
	if all := int(a.questions.Load()); 1+len(p.Took) != all || p.Failed != 0 {
		t.Errorf("%d answers beside the first, and %d bad ones, to %d questions", len(p.Took), p.Failed, all)
	}
	if stop, err = a.prober(t).Probe(t.Context()); err != nil {
		t.Fatal(err)
	}
	if p, err := stop(); err != nil || len(p.Took) < 1 {
		t.Errorf("%d answers: %v", len(p.Took), err)
	}
}

func TestProbingEndsWithItsContext(t *testing.T) {
	a := openAPI(t)
	ctx, cancel := context.WithCancel(t.Context())
	stop, err := a.prober(t).Probe(ctx)
	if err != nil {
		t.Fatal(err)
	}
	a.held.Store(true)
	receive(t, a.holding, "a question that is held")
	cancel()
	done := make(chan struct{})
	go func() { defer close(done); _, _ = stop() }()
	receive(t, done, "the end of one that waits for an answer")
	if _, err := a.prober(t).Probe(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("begins: %v", err)
	}
}

func TestProbesThatDoNotWork(t *testing.T) {
	a := openAPI(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	nowhere := &api{place: site.Place{Data: t.TempDir()}}
	for _, c := range []struct {
		name, says string
		fleet      *Fleet
	}{
		{"no program", "no-such-program", a.prober(t, filepath.Join(t.TempDir(), "no-such-program"))},
		{"a program that does something else", "probe API: read answers", a.prober(t, self, "-test.run", "^$")},
		{"one that dies", "died as the test wants it", a.prober(t, self, "dies")},
		{"no site", "none runs with this folder", nowhere.prober(t)},
	} {
		stop, err := c.fleet.Probe(t.Context())
		if err == nil {
			_, err = stop()
		}
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	a.broken.Store(true)
	if _, err := a.prober(t).Probe(t.Context()); err == nil || !strings.Contains(err.Error(), "503") {
		t.Errorf("an API that is broken from the start: %v", err)
	}
	stop, err := newFleet(Config{}).Probe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if p, err := stop(); err != nil || len(p.Took)+p.Failed > 0 {
		t.Errorf("without a command: %+v, %v", p, err)
	}
}

func TestServeProbe(t *testing.T) {
	a := openAPI(t)
	place, err := json.Marshal(a.place)
	if err != nil {
		t.Fatal(err)
	}
	serve := func(ctx context.Context) (in *io.PipeWriter, out *io.PipeReader, ended chan error) {
		inOf, in := io.Pipe()
		out, outOf := io.Pipe()
		ended = make(chan error, 1)
		go func() { ended <- ServeProbe(ctx, inOf, outOf); outOf.Close() }()
		if _, err := in.Write(place); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { in.Close(); out.Close() })
		return in, out, ended
	}
	in, out, ended := serve(t.Context())
	lines := bufio.NewScanner(out)
	for range 3 {
		var p probed
		if !lines.Scan() || json.Unmarshal(lines.Bytes(), &p) != nil || p.Took <= 0 || p.Error != "" {
			t.Fatalf("line %q: %v", lines.Bytes(), lines.Err())
		}
	}
	in.Close()
	go io.Copy(io.Discard, out)
	if err := receive(t, ended, "the end after that of its input"); err != nil {
		t.Error(err)
	}
	_, out, ended = serve(t.Context())
	out.Close()
	if err := receive(t, ended, "the end after that of its output"); err == nil {
		t.Error("nobody hears it and it is content")
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	a.held.Store(true)
	_, _, ended = serve(ctx)
	receive(t, a.holding, "a question that is held")
	cancel()
	if err := receive(t, ended, "the end with its context"); err != nil {
		t.Error(err)
	}
	if err := ServeProbe(t.Context(), bytes.NewReader([]byte("what")), io.Discard); err == nil {
		t.Error("what is no place is one")
	}
}
