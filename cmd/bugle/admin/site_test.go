package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"flag"
	"fmt"
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"

	"github.com/bugle-fleet/bugle/console"
)

var update = flag.Bool("update", false, "write the golden files anew")

const (
	adminToken = "5e1f0000000000000000000000000000000000000000000000000000000000ff"
	opID       = "019cabcd-0000-7000-8000-0123456789ab"
)

// TestMain keeps the caller's environment out of the tests.
func TestMain(m *testing.M) {
	for _, name := range []string{"BUGLE_DATA", "BUGLE_URL", "BUGLE_TOKEN_FILE", "BUGLE_CA_FILE", "BUGLE_OUTPUT", "NO_COLOR", "TERM"} {
		os.Unsetenv(name)
	}
	os.Exit(m.Run())
}

// A fakeSite is a console with canned answers, and the folder that leads to it.
type fakeSite struct {
	t      *testing.T
	mux    *http.ServeMux
	server *httptest.Server
	data   string

	mu    sync.Mutex
	calls []string // method, path and body, in order
}

// newFakeSite serves what answers says, by the pattern of a mux. Anything else
// fails the test.
func newFakeSite(t *testing.T, answers map[string]http.HandlerFunc) *fakeSite {
	t.Helper()
	s := &fakeSite{t: t, mux: http.NewServeMux(), data: t.TempDir()}
	for pattern, f := range answers {
		s.mux.HandleFunc(pattern, f)
	}
	s.server = httptest.NewUnstartedServer(http.HandlerFunc(s.serve))
	s.server.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.server.StartTLS()
	t.Cleanup(s.server.Close)
	s.write("keys/admin.token", adminToken+"\n")
	s.write("keys/ca.crt", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.server.Certificate().Raw})))
	s.write("run/addresses.json", fmt.Sprintf(`{"tcp":"127.0.0.1:1","http":"127.0.0.1:2","console":%q}`, s.host()))
	return s
}

func (s *fakeSite) host() string { return s.server.Listener.Addr().String() }

func (s *fakeSite) write(name, text string) {
	s.t.Helper()
	name = filepath.Join(s.data, name)
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

func (s *fakeSite) serve(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Authorization") != "Bearer "+adminToken {
		answerProblem(w, http.StatusUnauthorized, "The call does not show the right token", "Send the token.")
		return
	}
	body, _ := io.ReadAll(r.Body)
	r.Body = io.NopCloser(bytes.NewReader(body))
	call := strings.TrimSpace(r.Method + " " + r.URL.RequestURI() + " " + string(body))
	s.mu.Lock()
	s.calls = append(s.calls, call)
	s.mu.Unlock()
	h, pattern := s.mux.Handler(r)
	if pattern == "" {
		s.t.Errorf("the site has no answer for %s", call)
	}
	_ = h
	if at := r.URL.Query().Get(console.QueryAt); at != "" {
		w.Header().Set(console.HeaderEvent, "17")
	}
	s.mux.ServeHTTP(w, r)
}

func (s *fakeSite) called() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.calls)
}

func answer(v any) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(v)
	}
}

func answerProblem(w http.ResponseWriter, status int, title, detail string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(problem{Status: status, Title: title, Detail: detail})
}

func refuse(status int, title, detail string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { answerProblem(w, status, title, detail) }
}

// inOrder answers each call with the next of the handlers, and the last one for
// ever.
func inOrder(handlers ...http.HandlerFunc) http.HandlerFunc {
	var mu sync.Mutex
	n := 0
	return func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		h := handlers[min(n, len(handlers)-1)]
		n++
		mu.Unlock()
		h(w, r)
	}
}

// hangUp ends the connection without an answer.
func hangUp(w http.ResponseWriter, _ *http.Request) { panic(http.ErrAbortHandler) }

// A run is one call of the command in a test.
type run struct {
	terminal bool // stdin, stdout and stderr are one
	stdin    string
	ctx      context.Context
	clock    func() time.Time
}

type result struct {
	stdout, stderr string
	code           int
	err            error
}

func (r run) bugle(args ...string) result {
	var stdout, stderr bytes.Buffer
	o := &Options{
		terminal: func(any) bool { return r.terminal },
		wait:     func(ctx context.Context, _ time.Duration) error { return ctx.Err() },
		zone:     time.UTC,
		clock:    r.clock,
	}
	root := &cobra.Command{Use: "bugle", SilenceErrors: true}
	o.AddFlags(root.PersistentFlags())
	root.AddCommand(Commands(o)...)
	root.SetArgs(args)
	root.SetOut(&stdout)
	root.SetErr(&stderr)
	root.SetIn(strings.NewReader(r.stdin))
	if r.ctx == nil {
		r.ctx = context.Background()
	}
	err := root.ExecuteContext(r.ctx)
	return result{stdout.String(), stderr.String(), ExitCode(err), err}
}

// on runs the command at a site on this machine.
func (r run) on(s *fakeSite, args ...string) result {
	return r.bugle(append([]string{"--data", s.data}, args...)...)
}

// text is the whole outcome, without what differs from run to run.
func (r result) text(s *fakeSite) string {
	var b strings.Builder
	b.WriteString(r.stdout)
	if r.stderr != "" {
		b.WriteString("-- stderr --\n" + r.stderr)
	}
	if r.err != nil {
		b.WriteString("-- error --\n" + r.err.Error() + "\n")
	}
	fmt.Fprintf(&b, "-- code %d --\n", r.code)
	return strings.NewReplacer(s.data, "DATA", s.host(), "HOST").Replace(b.String())
}

// golden compares with a file in testdata, or writes it with -update.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", file, diff)
	}
}

// Canned answers.

func at(s string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, "2026-03-01T"+s+"Z")
	if err != nil {
		panic(err)
	}
	return t
}

func ptr[T any](v T) *T { return &v }

var fleet = []console.Device{
	{ID: "0b3c6f6e-1111-4111-8111-111111111111", Number: 1, Name: "pc-0001", OS: "linux", Arch: "amd64", Agent: "1.0.0", Online: true,
		Reason: "signed-in", Since: ptr(at("10:00:00")), Listener: "BGB", Carrier: "tcp", Joined: at("09:00:00"), LastEvent: 12},
	{ID: "0b3c6f6e-2222-4222-8222-222222222222", Number: 2, Name: "=cmd\x1b[31m", OS: "windows", Arch: "arm64", Agent: "1.0.0",
		Reason: "timed-out", Since: ptr(at("10:30:00.25")), Listener: "BGB", Carrier: "tcp", Blocked: true, Joined: at("09:01:00"), LastEvent: 19},
	{ID: "0b3c6f6e-3333-4333-8333-333333333333", Number: 300, Name: "büro-3", OS: "darwin", Arch: "arm64", Agent: "1.0.0",
		Reason: "never-seen", Joined: at("09:02:00"), LastEvent: 4},
}

// deviceList serves the fleet in pages of two.
func deviceList(w http.ResponseWriter, r *http.Request) {
	after, _ := strconv.Atoi(r.URL.Query().Get("after"))
	page := console.DevicePage{Total: len(fleet), Event: 20}
	for _, d := range fleet {
		if int(d.Number) <= after || !strings.Contains(d.Name, r.URL.Query().Get("name")) {
			continue
		}
		if len(page.Items) == 2 {
			page.Next = page.Items[1].Number
			break
		}
		page.Items = append(page.Items, d)
	}
	answer(page)(w, r)
}

func operationWith(states map[string]uint32) console.OperationReply {
	o := console.OperationReply{
		Operation: console.Operation{
			Operation: opID, Kind: "scan.quick", Target: "all", Reason: "ticket 4711", Actor: "local/admin",
			Targets: 25, Online: 20, States: states, Requested: at("10:00:00"), NotBefore: at("10:00:00"), DeliverBy: at("11:00:00"),
			First: 40, Columns: console.Columns{Total: 25, Completed: states["succeeded"], Failed: states["failed"], Offline: states["waiting"]},
		},
		Params:            map[string]any{"sha256": []string{"ab"}},
		RunTimeoutSeconds: 3600,
		Latency: map[string]console.Hop{
			console.HopRequestedSent: {Count: 20, P50: 1.25, P99: 8, Max: 9.5},
			console.HopSentDelivered: {Count: 20, P50: 3, P99: 12.06, Max: 100},
		},
	}
	var final uint32
	for _, s := range []string{"succeeded", "failed", "refused", "timed-out", "not-applicable", "expired", "cancelled", "lost"} {
		final += states[s]
	}
	o.Done = final == o.Targets
	for _, name := range slices.Sorted(maps.Keys(states)) {
		o.Event = o.Event*31 + uint64(states[name]) // changes with the counts
	}
	return o
}

var (
	halfDone = operationWith(map[string]uint32{"waiting": 5, "running": 8, "succeeded": 12})
	allGood  = operationWith(map[string]uint32{"succeeded": 24, "not-applicable": 1})
	someBad  = operationWith(map[string]uint32{"succeeded": 22, "failed": 2, "expired": 1})
)

var pushAnswer = console.PushReply{Operation: opID, Kind: "scan.quick", Targets: 25, Online: 20, Event: 40,
	NotBefore: at("10:00:00"), DeliverBy: at("11:00:00")}

func dryRunFor(targets uint32) http.HandlerFunc {
	return answer(console.PushReply{Kind: "scan.quick", Targets: targets, Online: targets / 2, DryRun: true,
		NotBefore: at("10:00:00"), DeliverBy: at("11:00:00"), Devices: []string{"pc-0001", "pc-0002"}})
}

// pushOf answers dry runs for so many devices, and pushes with the handlers.
func pushOf(targets uint32, push ...http.HandlerFunc) http.HandlerFunc {
	next := inOrder(push...)
	return func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		var p console.PushRequest
		if json.Unmarshal(b, &p); p.DryRun {
			dryRunFor(targets)(w, r)
			return
		}
		next(w, r)
	}
}

func history(n int) []console.Event {
	events := make([]console.Event, n)
	for i := range events {
		e := console.Event{Number: uint64(i + 1), Accepted: at("10:00:00").Add(time.Duration(i) * time.Millisecond), Kind: "presence.delta",
			Who: "listener BGB", Where: "file F of listener BGB", Observed: ptr(at("09:59:00")), Delay: 60 + float64(i)/1000,
			Actor:   console.EventActor{Issuer: "listener", Subject: "BGB"},
			Source:  &console.EventSource{Listener: "BGB", Epoch: 1, File: "BOS", Number: uint64(i + 1), Part: 1, Of: 1, Digest: "00ff"},
			Payload: map[string]any{"entries": []any{map[string]any{"device": i}}}}
		if i%4 == 3 {
			e.Kind = "results.reported"
			e.Payload = map[string]any{"rows": []any{map[string]any{"state": "sent"}, map[string]any{"state": "failed"}, map[string]any{"state": "sent"}}}
		}
		if i%4 == 2 {
			e.Kind = "operation.requested"
			e.Payload = map[string]any{"count": 3, "retryOf": "00000000-0000-0000-0000-000000000000", "hash": strings.Repeat("0a", 32),
				"targets": map[string]any{"count": 3}, "task": map[string]any{"kind": "scan.quick", "site": "P01"}, "odd": map[string]any{}, "nothing": nil}
		}
		if i%4 == 0 {
			e.Kind, e.Source, e.Who, e.Where, e.Why = "device.blocked", nil, "administrator admin", "address 127.0.0.1", "=lost, \"it\""
			e.Observed, e.Delay = nil, 0
			e.Change = &console.Change{Of: "device 17", Before: map[string]any{"blocked": false}, After: map[string]any{"blocked": true}}
			e.Actor = console.EventActor{Issuer: "local", Subject: "admin", Address: "127.0.0.1"}
			e.Payload = map[string]any{"device": i, "reason": "lost <it>"}
		}
		events[i] = e
	}
	return events
}

// eventList serves a history as the console does, at most ten events a call. A
// moment that is no number stands for event 20.
func eventList(all []console.Event) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		number := func(name string, def uint64) uint64 {
			if q.Get(name) == "" {
				return def
			}
			if n, err := strconv.ParseUint(q.Get(name), 10, 64); err == nil {
				return n
			}
			return 20
		}
		page := console.EventPage{Items: []console.Event{}, Event: uint64(len(all)), From: number("from", 1), To: number("to", uint64(len(all)))}
		for _, e := range all {
			if e.Number < page.From || e.Number > page.To {
				continue
			}
			if len(page.Items) == 10 {
				page.Next = e.Number
				break
			}
			wanted := func(kind string) bool {
				return kind == e.Kind || strings.HasSuffix(kind, ".") && strings.HasPrefix(e.Kind, kind)
			}
			if kinds := q.Get("kind"); kinds != "" && !slices.ContainsFunc(strings.Split(kinds, ","), wanted) {
				continue
			}
			if q.Get("change") == "" {
				e.Change = nil
			}
			page.Items = append(page.Items, e)
		}
		answer(page)(w, r)
	}
}

// exportOf answers that a copy will be taken of a history of n events.
func exportOf(n uint64) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var in console.ExportRequest
		json.NewDecoder(r.Body).Decode(&in)
		reply := console.ExportReply{From: 1, To: n, Event: n + 1}
		if in.From != "" {
			reply.From, _ = strconv.ParseUint(in.From, 10, 64)
		}
		if in.To != "" {
			reply.To, _ = strconv.ParseUint(in.To, 10, 64)
		}
		answer(reply)(w, r)
	}
}

func serverSent(messages ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for _, m := range messages {
			io.WriteString(w, m+"\n\n")
		}
	}
}

func serverEvent(e console.Event) string {
	b, _ := json.Marshal(e)
	return fmt.Sprintf("id: %d\nevent: event\ndata: %s", e.Number, b)
}
