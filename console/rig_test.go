package console_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/console"
	"github.com/bugle-fleet/bugle/console/authority"
	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/journal/journaltest"
	"github.com/bugle-fleet/bugle/journal/tree"
)

var start = time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)

// clock is a time that tests move.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// rig is a console on a journal in memory, behind a server.
type rig struct {
	*fleet
	t         testing.TB
	clock     *clock
	box       *box
	dir       string
	authority *authority.Authority
	policies  *console.Policies
	writes    *console.Writes
	journal   *journaltest.Memory
	console   *console.Console
	server    *httptest.Server
	token     string
}

func newRig(t testing.TB) *rig {
	t.Helper()
	r := &rig{t: t, fleet: newFleet(), clock: &clock{now: start}, box: &box{files: map[string]bool{}}, dir: t.TempDir()}
	r.folds()
	r.journal = journaltest.NewMemory(r.options())
	r.serve()
	return r
}

func (r *rig) folds() {
	r.t.Helper()
	var err error
	if r.authority, err = authority.Open(filepath.Join(r.dir, "keys"), "P01", authority.WithClock(r.clock.Now)); err != nil {
		r.t.Fatal(err)
	}
	r.policies, r.writes = console.NewPolicies(r.authority), console.NewWrites()
}

func (r *rig) options() journal.Options {
	return journal.Options{Folds: []journal.Fold{r.authority, r.policies, r.writes}, Now: r.clock.Now}
}

func (r *rig) config() console.Config {
	return console.Config{
		Site: "P01", Version: "0.1.0", Journal: r.journal, Authority: r.authority, Policies: r.policies, Writes: r.writes,
		Devices: deviceReader{r.fleet}, Presence: presenceReader{r.fleet}, Operations: operationReader{r.fleet}, Status: statusReader{r.fleet},
		Views: views{r.fleet}, Inbox: r.box, InboxStats: func() any { return struct{ BadFiles int }{7} },
		Checkpoints:    checkpoints{},
		AdminTokenFile: filepath.Join(r.dir, "run", "admin.token"), Now: r.clock.Now, Log: slog.New(slog.DiscardHandler),
	}
}

func (r *rig) serve() {
	r.t.Helper()
	r.authority.Attach(r.journal)
	cfg := r.config()
	var err error
	if r.console, err = console.New(cfg); err != nil {
		r.t.Fatal(err)
	}
	token, err := os.ReadFile(cfg.AdminTokenFile)
	if err != nil {
		r.t.Fatal(err)
	}
	r.token = strings.TrimSpace(string(token))
	r.server = httptest.NewServer(r.console.Handler())
	j, s := r.journal, r.server
	r.t.Cleanup(func() {
		s.Close()
		j.Close()
	})
}

// restart is a crash and a new start on the same journal and keys.
func (r *rig) restart() {
	r.t.Helper()
	r.server.Close()
	r.folds()
	var err error
	if r.journal, err = r.journal.Reopen(r.options()); err != nil {
		r.t.Fatal(err)
	}
	r.serve()
}

// join lets devices in, so that the authority and the views know them.
func (r *rig) join(names ...string) {
	r.t.Helper()
	for _, name := range names {
		n := uint32(len(r.devices) + 1)
		d := r.add(n, name, true)
		key := make([]byte, 65)
		key[0], key[1] = byte(n), byte(n>>8)
		e := &event.Event{Payload: &event.DeviceJoined{Device: n, ID: d.ID, Name: name, Token: "t", PublicKey: key, Expires: start.AddDate(1, 0, 0)}}
		if err := r.journal.Append(r.t.Context(), e); err != nil {
			r.t.Fatal(err)
		}
	}
}

// An answer is what a call got.
type reply struct {
	t      testing.TB
	status int
	header http.Header
	body   []byte
}

// do makes a call with the token; body is nil, text as it is, or becomes JSON.
func (r *rig) do(method, path string, body any, headers ...string) *reply {
	r.t.Helper()
	return r.send(r.token, method, path, body, headers...)
}

func (r *rig) send(token, method, path string, body any, headers ...string) *reply {
	r.t.Helper()
	var reader io.Reader
	switch b := body.(type) {
	case nil:
	case string:
		reader = strings.NewReader(b)
	default:
		raw, err := json.Marshal(b)
		if err != nil {
			r.t.Fatal(err)
		}
		reader = bytes.NewReader(raw)
	}
	q, err := http.NewRequestWithContext(r.t.Context(), method, r.server.URL+path, reader)
	if err != nil {
		r.t.Fatal(err)
	}
	if token != "" {
		q.Header.Set("Authorization", "Bearer "+token)
	}
	if reader != nil {
		q.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(headers); i += 2 {
		q.Header.Set(headers[i], headers[i+1])
	}
	p, err := r.server.Client().Do(q)
	if err != nil {
		r.t.Fatal(err)
	}
	defer p.Body.Close()
	raw, err := io.ReadAll(p.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return &reply{r.t, p.StatusCode, p.Header, raw}
}

// ok reads the answer into v, which it must be.
func (p *reply) ok(v any) {
	p.t.Helper()
	if p.status != http.StatusOK {
		p.t.Fatalf("answer %d: %s", p.status, p.body)
	}
	dec := json.NewDecoder(bytes.NewReader(p.body))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		p.t.Fatalf("%v in %s", err, p.body)
	}
}

// problem checks that the answer is a problem with that status, whose sentence
// has every word.
func (p *reply) problem(status int, words ...string) console.Problem {
	p.t.Helper()
	var got console.Problem
	if err := json.Unmarshal(p.body, &got); err != nil {
		p.t.Fatalf("answer %d is no problem: %s", p.status, p.body)
	}
	if ct := p.header.Get("Content-Type"); ct != "application/problem+json" {
		p.t.Errorf("problem is of type %q", ct)
	}
	if p.status != status || got.Status != status || got.Title == "" || got.Detail == "" {
		p.t.Fatalf("answer %d, want %d with title and detail: %s", p.status, status, p.body)
	}
	for _, w := range words {
		if !strings.Contains(got.Detail, w) {
			p.t.Errorf("says %q, want %q in it", got.Detail, w)
		}
	}
	return got
}

// last is the newest event of the journal.
func (r *rig) last() *event.Event {
	r.t.Helper()
	all := r.events()
	if len(all) == 0 {
		r.t.Fatal("the journal is empty")
	}
	return all[len(all)-1]
}

func (r *rig) events() (all []*event.Event) {
	r.t.Helper()
	reader, err := r.journal.Read(r.t.Context(), 1)
	if err != nil {
		r.t.Fatal(err)
	}
	defer reader.Close()
	for {
		p, err := reader.Next(r.t.Context())
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			r.t.Fatal(err)
		}
		for i := range p.Records {
			e, err := p.Records[i].Event()
			if err != nil {
				r.t.Fatal(err)
			}
			all = append(all, e)
		}
	}
}

// checkpoints is a tree that has signed ten events.
type checkpoints struct{}

func (checkpoints) Checkpoint() ([]byte, tree.Checkpoint) {
	return []byte("signed"), tree.Checkpoint{Origin: "bugle.P01/00", Events: 10, Pages: 4, Signed: start}
}

func (checkpoints) Wait(ctx context.Context, number uint64) error {
	if number > 10 {
		return context.DeadlineExceeded
	}
	return nil
}

func (checkpoints) Prove(_ context.Context, number uint64) ([]byte, error) {
	if number == 3 {
		return nil, tree.ErrCache
	}
	return fmt.Appendf(nil, "proof of event %d", number), nil
}

func (checkpoints) ConsistencyProof(_ context.Context, older tree.Checkpoint) (proof, newer []byte, err error) {
	if older.Events > 10 {
		return nil, nil, &tree.TamperError{Signed: older, Found: journal.Head{Event: 10, Pages: 4}, What: "length"}
	}
	return fmt.Appendf(nil, "proof from event %d", older.Events), []byte("signed"), nil
}
