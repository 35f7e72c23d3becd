package console_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/bugle-fleet/bugle/console"
	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/projectors"
)

// every is each call of the API with a path that names something.
var every = []struct{ method, path string }{
	{"GET", console.PathWindows}, {"GET", console.PathWindow}, {"PUT", console.PathWindow}, {"DELETE", console.PathWindow}, {"POST", console.PathWindowsApply},
	{"GET", console.PathCollections}, {"POST", console.PathCollections}, {"GET", console.PathCollection}, {"DELETE", console.PathCollection},
	{"GET", console.PathCollectionMembers}, {"POST", console.PathCollectionsEvaluate}, {"GET", console.PathDeviceCollections},
	{"GET", console.PathClasses}, {"POST", console.PathClasses},
	{"GET", console.PathEvaluationQueues}, {"GET", console.PathEvaluationStats}, {"GET", console.PathEvaluationCycles}, {"GET", console.PathCollectionGraph},
	{"GET", console.PathAdvice}, {"GET", console.PathCollectionExplain}, {"POST", console.PathWhatIf}, {"POST", console.PathQuery},
	{"GET", console.PathWindowNext}, {"GET", console.PathWindowCalendar}, {"GET", console.PathWindowWhy},
	{"POST", console.PathTokens}, {"GET", console.PathTokens}, {"GET", console.PathKeys}, {"POST", console.PathKeyRotate}, {"POST", console.PathKeyRetire},
	{"GET", console.PathListeners}, {"POST", console.PathListenerRevoke}, {"DELETE", console.PathToken}, {"GET", console.PathDevices}, {"GET", console.PathDevice},
	{"POST", console.PathDeviceBlock}, {"POST", console.PathDeviceUnblock}, {"POST", console.PathDevicesImport}, {"POST", console.PathDeviceRemove}, {"GET", console.PathKinds}, {"GET", console.PathOperationLogs}, {"GET", console.PathOperationLog}, {"POST", console.PathOperations},
	{"GET", console.PathOperations}, {"GET", console.PathOperation}, {"GET", console.PathOperationDevices}, {"POST", console.PathOperationCancel}, {"POST", console.PathOperationRetry},
	{"GET", console.PathOperationHistory}, {"GET", console.PathOperationTrace}, {"GET", console.PathEvents}, {"GET", console.PathEventStream},
	{"GET", console.PathEvent}, {"GET", console.PathJournal}, {"GET", console.PathCheckpoint}, {"GET", console.PathProof}, {"GET", console.PathInbox}, {"POST", console.PathInboxRequeue},
	{"GET", console.PathViews}, {"POST", console.PathViewRebuild}, {"GET", console.PathViewDigest}, {"GET", console.PathComponents},
	{"POST", console.PathExports}, {"GET", console.PathConsistency}, {"POST", console.PathViewRollback}, {"GET", console.PathArchive}, {"GET", console.PathMessages}, {"GET", console.PathPolicy}, {"PUT", console.PathPolicy}, {"GET", console.PathUserPolicies}, {"GET", console.PathCatalogue}, {"GET", console.PathDeviceHistory}, {"GET", console.PathUserPolicy}, {"PUT", console.PathUserPolicy}, {"DELETE", console.PathUserPolicy},
}

func TestOpenAPI(t *testing.T) {
	r := newRig(t)
	p := r.send("", "GET", console.PathOpenAPI, nil)
	if p.status != 200 || p.header.Get("Content-Type") != "application/openapi+json" {
		t.Fatalf("answer %d of type %s", p.status, p.header.Get("Content-Type"))
	}
	var doc struct {
		OpenAPI    string
		Paths      map[string]map[string]struct{ OperationID, Summary string }
		Components struct {
			SecuritySchemes map[string]any
			Schemas         map[string]any
		}
		Security []map[string][]string
	}
	if err := json.Unmarshal(p.body, &doc); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(doc.OpenAPI, "3.1") || len(doc.Security) != 1 || len(doc.Components.SecuritySchemes) != 1 {
		t.Errorf("document of version %s, security %v", doc.OpenAPI, doc.Security)
	}
	ids := map[string]bool{}
	for _, c := range every {
		op := doc.Paths[c.path][strings.ToLower(c.method)]
		if op.OperationID == "" || op.Summary == "" || ids[op.OperationID] {
			t.Errorf("%s %s is described as %+v", c.method, c.path, op)
		}
		ids[op.OperationID] = true
		delete(doc.Paths[c.path], strings.ToLower(c.method))
	}
	for path, ops := range doc.Paths {
		for method := range ops {
			t.Errorf("%s %s is described and not in the test's list", method, path)
		}
	}
	if strings.Contains(string(p.body), `"$schema"`) {
		t.Error("answers are described with $schema")
	}
}

func TestEveryCallNeedsTheToken(t *testing.T) {
	r := newRig(t)
	for _, c := range every {
		path := strings.NewReplacer("{", "", "}", "").Replace(c.path)
		for _, token := range []string{"", "wrong", r.token + "0", r.token[:63]} {
			p := r.sendFrom(t, fmt.Sprintf("192.0.2.1:%d", 1000), token, c.method, path)
			if p.status != http.StatusUnauthorized && p.status != http.StatusTooManyRequests {
				t.Errorf("%s %s with token %q: %d", c.method, path, token, p.status)
			}
		}
	}
	for header, want := range map[string]int{"Basic " + r.token: 401, r.token: 401, "Bearer": 401, "bearer " + r.token: 200} {
		q := httptest.NewRequest("GET", console.PathKinds, nil)
		q.RemoteAddr = "192.0.2.9:1"
		q.Header.Set("Authorization", header)
		w := httptest.NewRecorder()
		r.console.Handler().ServeHTTP(w, q)
		if w.Code != want || want == 401 && w.Header().Get("WWW-Authenticate") == "" {
			t.Errorf("header %q: %d", strings.ReplaceAll(header, r.token, "TOKEN"), w.Code)
		}
	}
}

// sendFrom makes a call that seems to come from an address.
func (r *rig) sendFrom(t testing.TB, address, token, method, path string) *reply {
	t.Helper()
	q := httptest.NewRequest(method, path, nil)
	q.RemoteAddr = address
	if token != "" {
		q.Header.Set("Authorization", "Bearer "+token)
	}
	w := httptest.NewRecorder()
	r.console.Handler().ServeHTTP(w, q)
	return &reply{t, w.Code, w.Header(), w.Body.Bytes()}
}

func TestFailedLogins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.server.Close() // calls are made without it
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- r.console.Run(ctx) }()
		synctest.Wait()
		for i := range 30 {
			want := http.StatusUnauthorized
			if i >= console.MaxLoginFailures {
				want = http.StatusTooManyRequests
			}
			p := r.sendFrom(t, "192.0.2.1:1", "wrong", "GET", console.PathKinds)
			if p.problem(want); want == 429 && p.header.Get("Retry-After") == "" {
				t.Error("no Retry-After")
			}
		}
		if p := r.sendFrom(t, "192.0.2.1:1", r.token, "GET", console.PathKinds); p.status != 200 {
			t.Errorf("the right token is throttled: %d", p.status)
		}
		r.sendFrom(t, "[2001:db8::1]:1", "", "GET", console.PathKinds).problem(401)
		if r.journal.Head().Event != 0 {
			t.Error("a failed login is an event at once")
		}
		time.Sleep(time.Minute + time.Second)
		var got []event.LoginFailed
		for _, e := range r.events() {
			got = append(got, *e.Payload.(*event.LoginFailed))
		}
		want := []event.LoginFailed{
			{Where: "console", Address: "192.0.2.1", Reason: "wrong or missing token", Count: 30},
			{Where: "console", Address: "2001:db8::1", Reason: "wrong or missing token", Count: 1},
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("events %v", got)
		}
		r.sendFrom(t, "192.0.2.1:1", "wrong", "GET", console.PathKinds).problem(401) // a new minute
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if n := len(r.events()); n != 3 {
			t.Errorf("%d events after the end", n)
		}
	})
}

func TestFailedLoginsAreBounded(t *testing.T) {
	r := newRig(t)
	for i := range 600 {
		r.sendFrom(t, fmt.Sprintf("10.0.%d.%d:1", i/256, i%256), "wrong", "GET", console.PathKinds)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.console.Run(ctx); err != nil {
		t.Fatal(err)
	}
	all := r.events()
	if p := all[len(all)-1].Payload.(*event.LoginFailed); len(all) != 501 || p.Address != "others" || p.Count != 100 {
		t.Errorf("%d events, the last %+v", len(all), p)
	}
}

// A fullJournal takes nothing while it is full.
type fullJournal struct {
	journal.Journal
	full atomic.Bool
}

func (j *fullJournal) Append(ctx context.Context, events ...*event.Event) error {
	if j.full.Load() {
		return fmt.Errorf("append: %w", journal.ErrUnavailable)
	}
	return j.Journal.Append(ctx, events...)
}

func TestFailedLoginsWaitForTheJournal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.server.Close() // calls are made without it
		full := &fullJournal{Journal: r.journal}
		full.full.Store(true)
		cfg := r.config()
		cfg.Journal = full
		var err error
		if r.console, err = console.New(cfg); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- r.console.Run(ctx) }()
		for range console.MaxLoginFailures {
			r.sendFrom(t, "192.0.2.1:1", "wrong", "GET", console.PathKinds).problem(401)
		}
		time.Sleep(time.Minute + time.Second)
		r.sendFrom(t, "192.0.2.1:1", "wrong", "GET", console.PathKinds).problem(401) // a new minute
		full.full.Store(false)
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if p, ok := r.last().Payload.(*event.LoginFailed); !ok || len(r.events()) != 1 || p.Count != console.MaxLoginFailures+1 {
			t.Errorf("%d events, the last %+v", len(r.events()), r.last().Payload)
		}
	})
}

func TestAdminToken(t *testing.T) {
	path := filepath.Join(t.TempDir(), "run", "admin.token")
	first, err := console.EnsureAdminToken(path)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := console.EnsureAdminToken(path); err != nil || again != first || len(first) != 64 {
		t.Errorf("tokens %q and %q, %v", first, again, err)
	}
	if info, _ := os.Stat(path); runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
	for name, text := range map[string]string{"empty": "", "cut": first[:40], "no digits": strings.Repeat("x", 64), "long": first + "00"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := console.EnsureAdminToken(path); err == nil || !strings.Contains(err.Error(), "delete it") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := os.WriteFile(path, []byte(first), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := console.EnsureAdminToken(path); runtime.GOOS != "windows" && (err == nil || !strings.Contains(err.Error(), "chmod 600")) {
		t.Errorf("others can read it: %v", err)
	}
	if _, err := console.EnsureAdminToken(filepath.Dir(path)); err == nil {
		t.Error("took a folder for a token")
	}
}

func TestNotServed(t *testing.T) {
	r := newRig(t)
	r.do("GET", "/", nil).problem(404, console.PathOpenAPI)
	r.do("GET", "/api/v1/nothing", nil).problem(404, "/api/v1/nothing")
	r.do("GET", "/docs", nil).problem(404)
	p := r.do("PATCH", console.PathDevices, nil)
	if p.problem(405, "PATCH", "GET"); p.header.Get("Allow") == "" {
		t.Error("no Allow")
	}
	r.do("POST", console.PathLive, nil).problem(405)
	r.do("POST", console.PathOperations, `{"kind":"scan.quick","all":true}`, "Content-Type", "text/plain").problem(415)
	r.do("POST", console.PathTokens, `{}`, "Sec-Fetch-Site", "cross-site").problem(403, "another origin")
	if r.journal.Head().Event != 0 {
		t.Error("a page of another site made a token")
	}
}

func TestHeaders(t *testing.T) {
	r := newRig(t)
	for _, path := range []string{console.PathDevices, console.PathLive, "/nothing"} {
		p := r.do("GET", path, nil)
		for name, want := range map[string]string{
			"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'", "Referrer-Policy": "no-referrer",
		} {
			if got := p.header.Get(name); got != want {
				t.Errorf("%s: %s is %q", path, name, got)
			}
		}
	}
}

func TestHealth(t *testing.T) {
	r := newRig(t)
	if p := r.send("", "GET", console.PathLive, nil); p.status != 200 || string(p.body) != "ok\n" {
		t.Errorf("%d %s", p.status, p.body)
	}
	if p := r.send("", "GET", console.PathReady, nil); p.status != 200 {
		t.Errorf("%d %s", p.status, p.body)
	}
	r.views = []projectors.Status{
		{Name: "device", Building: true, Lag: 9},
		{Name: "operation", Position: 5},
		{Name: "presence", Position: 3, Lag: 2, Behind: 31 * time.Second},
		{Name: "status", Position: 6, Err: errors.New("disk"), StoppedAt: 7, StoppedBy: event.KindStatusMessage, Since: start},
	}
	p := r.send("", "GET", console.PathReady, nil)
	want := console.Readiness{Reasons: []string{
		"view device is being built, 9 events to go", "view presence is at event 3, 2 events and 31s behind", "view status has stopped at event 7 (status.message): disk",
	}}
	if got := readiness(t, p, 503); !slices.Equal(got.Reasons, want.Reasons) || got.Ready || len(got.Views) != 3 {
		t.Errorf("%+v", got)
	} else if v := got.Views[2]; v.View != "status" || v.State != "stopped" || v.StoppedAt != 7 || v.StoppedBy != "status.message" || v.Error != "disk" || !v.Since.Equal(start) {
		t.Errorf("view %+v", v)
	}
	r.views = r.views[1:3] // one lags, and work is taken
	if got := readiness(t, r.send("", "GET", console.PathReady, nil), 200); !got.Ready || len(got.Reasons) != 1 || got.Views[0].State != "lagging" || got.Views[0].LagSeconds != 31 {
		t.Errorf("%+v", got)
	}
	cfg := r.config()
	r.views = nil
	cfg.Ready = func() error { return errors.New("disk is full") }
	cfg.Collectors = []prometheus.Collector{prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "bugle_test", Help: "h"}, func() float64 { return 42 })}
	c, err := console.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	r.console = c
	if p := r.sendFrom(t, "192.0.2.1:1", "", "GET", console.PathReady); !slices.Equal(readiness(t, p, 503).Reasons, []string{"disk is full"}) {
		t.Errorf("%s", p.body)
	}
	p = r.sendFrom(t, "192.0.2.1:1", "", "GET", console.PathMetrics)
	for _, want := range []string{"bugle_test 42", `bugle_console_calls_total{status="5xx"} 1`} {
		if !strings.Contains(string(p.body), want) {
			t.Errorf("%q is not in the metrics:\n%s", want, p.body)
		}
	}
	cfg.Collectors = append(cfg.Collectors, cfg.Collectors[0])
	if _, err := console.New(cfg); err == nil {
		t.Error("took a collector twice")
	}
}

func readiness(t *testing.T, p *reply, status int) (got console.Readiness) {
	t.Helper()
	if p.status != status || p.header.Get("Content-Type") != "application/json" {
		t.Errorf("answer %d, want %d: %s", p.status, status, p.body)
	}
	if err := json.Unmarshal(p.body, &got); err != nil {
		t.Error(err)
	}
	return got
}

func TestViewMetrics(t *testing.T) {
	r := newRig(t)
	r.views = []projectors.Status{
		{Name: "device", Generation: 2, Former: 3, Position: 3, Lag: 2, Behind: 1500 * time.Millisecond}, // rebuilt twice, rolled back
		{Name: "status", Generation: 1, Err: errors.New("gap")},
	}
	r.fleet.views[0].Generation, r.fleet.views[0].Former = 1, 0
	c, err := console.New(r.config())
	if err != nil {
		t.Fatal(err)
	}
	r.console = c
	r.fleet.views[0].Generation, r.fleet.views[0].Former = 2, 3
	body := string(r.sendFrom(t, "192.0.2.1:1", "", "GET", console.PathMetrics).body)
	for _, want := range []string{
		`bugle_view_lag_events{view="device"} 2`, `bugle_view_lag_seconds{view="device"} 1.5`, `bugle_view_stopped{view="device"} 0`,
		`bugle_view_stopped{view="status"} 1`, `bugle_view_rebuilds_total{view="device"} 2`, `bugle_view_rebuilds_total{view="status"} 0`,
	} {
		if !strings.Contains(body, want) {
			t.Errorf("%q is not in the metrics", want)
		}
	}
}

// A panic costs the call that met it, and no other.
func TestPanic(t *testing.T) {
	r := newRig(t)
	r.join("pc-1")
	r.onWait = func() error { panic("innards") }
	p := r.do("GET", console.PathDevices+"?min-event=1", nil).problem(500, "mistake in the server")
	if strings.Contains(p.Detail, "innards") {
		t.Errorf("tells %q", p.Detail)
	}
	if p := r.do("GET", console.PathDevices, nil); p.status != 200 {
		t.Errorf("the next call: %d %s", p.status, p.body)
	}
}

func TestConfigIsChecked(t *testing.T) {
	_, err := console.New(console.Config{})
	if err == nil || !strings.Contains(err.Error(), "AdminTokenFile, Authority, Checkpoints, Devices, Inbox, Journal") {
		t.Error(err)
	}
	cfg := newRig(t).config()
	cfg.AdminTokenFile = t.TempDir()
	if _, err := console.New(cfg); err == nil {
		t.Error("took a folder for a token")
	}
}

func TestServer(t *testing.T) {
	r := newRig(t)
	cert, err := r.authority.ServerCertificate([]string{"127.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	s := r.console.Server(&tls.Config{Certificates: []tls.Certificate{cert}})
	if s.ReadHeaderTimeout == 0 || s.ReadTimeout == 0 || s.WriteTimeout == 0 || s.IdleTimeout == 0 || s.MaxHeaderBytes == 0 {
		t.Errorf("a bound is missing: %+v", s)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.ServeTLS(l, "", "") }()
	pool := r.authority.ClientCAs()
	client := func(max uint16) *http.Client {
		return &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{ForceAttemptHTTP2: true,
			TLSClientConfig: &tls.Config{RootCAs: pool, MaxVersion: max, Time: r.clock.Now}}}
	}
	c := client(0)
	q, err := http.NewRequestWithContext(t.Context(), "GET", "https://"+l.Addr().String()+console.PathEventStream, nil)
	if err != nil {
		t.Fatal(err)
	}
	q.Header.Set("Authorization", "Bearer "+r.token)
	p, err := c.Do(q)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Body.Close()
	if p.StatusCode != 200 || p.TLS.Version != tls.VersionTLS13 || p.ProtoMajor != 2 {
		t.Errorf("answer %d over %s, TLS %x", p.StatusCode, p.Proto, p.TLS.Version)
	}
	if _, err := client(tls.VersionTLS12).Get("https://" + l.Addr().String() + console.PathLive); err == nil {
		t.Error("served TLS 1.2")
	}
	// The stream would hold up the end for ever.
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := s.Shutdown(ctx); err != nil {
		t.Error(err)
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		t.Error(err)
	}
}

// Calls at the same time are all answered, each with its own event.
func TestCallsInParallel(t *testing.T) {
	r := newRig(t)
	r.join("pc-1", "pc-2")
	var failed atomic.Int32
	done := make(chan struct{})
	for i := range 20 {
		go func() {
			defer func() { done <- struct{}{} }()
			for j := range 10 {
				if p := r.do("POST", console.PathOperations, `{"kind":"scan.quick","all":true}`, key, fmt.Sprint(i, "-", j)); p.status != 200 {
					failed.Add(1)
				}
				r.do("GET", console.PathDevices, nil)
				r.do("GET", console.PathOpenAPI, nil)
			}
		}()
	}
	for range 20 {
		<-done
	}
	if failed.Load() != 0 || r.journal.Head().Event != 2+200 {
		t.Errorf("%d failed, %d events", failed.Load(), r.journal.Head().Event)
	}
}
