package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// A writer makes join tokens, one after the other, and keeps the ids of those
// that were acknowledged: what must never be lost.
type writer struct {
	client *http.Client
	url    string
	token  string

	mu    sync.Mutex
	acked []string
}

// write begins to write with so many callers, until stop is called.
func (w *world) write(callers int) (all *writer, stop func()) {
	w.t.Helper()
	ca, err := os.ReadFile(filepath.Join(w.data(), "keys", "ca.crt"))
	if err != nil {
		w.t.Fatal(err)
	}
	token, err := os.ReadFile(filepath.Join(w.data(), "keys", "admin.token"))
	if err != nil {
		w.t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	all = &writer{client: &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, MaxIdleConnsPerHost: callers}},
		url: "https://" + w.ip + ":8443/api/v1/tokens", token: strings.TrimSpace(string(token))}
	ctx, cancel := context.WithCancel(w.t.Context())
	var running sync.WaitGroup
	for range callers {
		running.Go(func() {
			for ctx.Err() == nil && all.one(ctx) == nil {
			}
		})
	}
	return all, func() {
		cancel()
		running.Wait()
		all.client.CloseIdleConnections()
	}
}

func (a *writer) one(ctx context.Context) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, a.url, strings.NewReader("{}"))
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", "Bearer "+a.token)
	r.Header.Set("Content-Type", "application/json")
	response, err := a.client.Do(r)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	var reply struct{ ID string }
	if err := json.NewDecoder(response.Body).Decode(&reply); err != nil || reply.ID == "" {
		return fmt.Errorf("answer %s: %w", response.Status, err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.acked = append(a.acked, reply.ID)
	return nil
}

func (a *writer) acknowledged() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]string(nil), a.acked...)
}

// TestBackupUnderLoad copies a site while it is written to, and kills some copies
// halfway. What is restored elsewhere is a prefix of the history that holds all
// that was acknowledged before the copy began; its views are what a rebuild makes
// of it.
func TestBackupUnderLoad(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.agent("pc1")
	w.until("the agent is online", func() bool { return w.online() == 1 })
	writes, stop := w.write(4)
	dir := filepath.Join(w.dir, "backup")

	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	killed := 0
	for range 4 {
		p := start(t, "bugle", "backup", dir, "--data", w.data())
		select {
		case <-p.done:
		case <-time.After(time.Duration(random.IntN(1200)) * time.Millisecond): // where the kill falls is the test's subject
			killed++
		}
		p.kill()
	}
	w.until("something was acknowledged", func() bool { return len(writes.acknowledged()) > 50 })
	before := writes.acknowledged()
	var made struct{ Events int }
	w.object(&made, "backup", dir)
	t.Logf("%d copies were killed; %d writes were acknowledged before the last one, which has %d events", killed, len(before), made.Events)
	stop()
	w.site.kill()

	restored := w.restore(dir)
	restored.holds(before, made.Events)
	rebuildAll(t, restored)
	restored.site.stop()
}

// restore makes a site of a backup, in a world of its own, and starts it.
func (w *world) restore(dir string) *world {
	w.t.Helper()
	w.text("backup", "check", dir)
	r := &world{t: w.t, dir: w.t.TempDir(), ip: w.ip, token: w.token}
	if out, code, stderr := w.try("restore", dir, "--data", r.data()); code != 0 {
		w.t.Fatalf("restore: exit %d\n%s%s", code, out, stderr)
	}
	r.serve()
	return r
}

// holds checks that the site has each token once, and that its history goes on
// behind so many events.
func (w *world) holds(ids []string, events int) {
	w.t.Helper()
	seen := map[string]int{}
	last := 0
	for line := range strings.Lines(w.text("journal", "tail", "--from", "1", "--limit", "1000000", "-o", "jsonl")) {
		var e struct {
			Number  int
			Kind    string
			Payload struct{ Token string }
		}
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			w.t.Fatalf("journal tail printed %q: %v", line, err)
		}
		if last++; e.Number != last {
			w.t.Fatalf("event %d in place %d", e.Number, last)
		}
		if e.Kind == "token.created" && e.Number <= events {
			seen[e.Payload.Token]++
		}
	}
	if last <= events {
		w.t.Errorf("the restored site has %d events, the backup had %d", last, events)
	}
	for _, id := range ids {
		if seen[id] != 1 {
			w.t.Errorf("token %s, which was acknowledged, is there %d times", id, seen[id])
		}
	}
}

// TestBackupOfACrash copies a site that was killed, from its files, and a second
// time into the same folder from the site that runs again; agents come back to
// what is restored.
func TestBackupOfACrash(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	pc := w.agent("pc1")
	w.until("the agent is online", func() bool { return w.online() == 1 })
	writes, stop := w.write(2)
	w.until("something was acknowledged", func() bool { return len(writes.acknowledged()) > 20 })
	w.site.kill()
	stop()
	acked := writes.acknowledged()
	dir := filepath.Join(w.dir, "backup")
	var first, second struct{ Events int }
	w.object(&first, "backup", dir)
	w.serve()
	w.text("token", "create")
	w.object(&second, "backup", dir)
	if second.Events <= first.Events {
		t.Errorf("the first copy has %d events, the second %d", first.Events, second.Events)
	}
	w.site.stop()
	restored := w.restore(dir)
	restored.holds(acked, second.Events)
	restored.until("the agent is online at the restored site", func() bool { return restored.online() == 1 })
	pc.stop()
	restored.site.stop()
}

// TestBackupBadInput has what cannot be done: each with a clear error, and nothing
// changed.
func TestBackupBadInput(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	other := newWorldIn(t, t.TempDir())
	dir := filepath.Join(w.dir, "backup")
	w.text("backup", dir)
	var checkpoint struct{ Key string }
	other.object(&checkpoint, "journal", "checkpoint")
	full := filepath.Join(w.dir, "full")
	if err := os.MkdirAll(full, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(full, "letters"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	to := filepath.Join(w.dir, "new")
	for want, args := range map[string][]string{
		"1 the folder is not a backup":        {"backup", full},
		"1 the backup is of another site":     {"backup", dir, "--data", other.data()},
		"1 the folder is not empty":           {"restore", dir, "--data", full},
		"1 the key does not match":            {"restore", dir, "--data", to, "--key", checkpoint.Key},
		"1 there is no such folder":           {"backup", "check", filepath.Join(w.dir, "none")},
		"1 has no file BACKUP":                {"restore", full, "--data", to},
		"1 no journal is there":               {"backup", to, "--data", filepath.Join(w.dir, "nothing")},
		"2 name the folder of the site to be": {"restore", dir},
		"2 a backup is taken on the site":     {"backup", to, "--url", "https://127.0.0.1:1"},
		"2 is not a public key":               {"restore", dir, "--data", to, "--key", "x"},
		"2 DIR is missing":                    {"backup"},
	} {
		out, code, stderr := w.try(args...)
		if wantCode, text, _ := strings.Cut(want, " "); fmt.Sprint(code) != wantCode || !strings.Contains(stderr, text) || out != "" {
			t.Errorf("bugle %s: exit %d\n%s%s\nwant exit %s and %q", strings.Join(args, " "), code, out, stderr, wantCode, text)
		}
		if _, err := os.Stat(to); !os.IsNotExist(err) {
			t.Fatalf("bugle %s made %s: %v", strings.Join(args, " "), to, err)
		}
	}
	if entries, err := os.ReadDir(full); err != nil || len(entries) != 1 {
		t.Errorf("the folder has %v, %v", entries, err)
	}
	w.text("backup", "check", dir)
}

// TestBackupDiskFull has files that cannot grow, as on a full disk: the backup
// that was there stays whole, a restore leaves no site, and both work later.
func TestBackupDiskFull(t *testing.T) {
	if runtime.GOOS == "windows" {
		return // which has no such limit
	}
	t.Parallel()
	w := newWorld(t)
	dir, to := filepath.Join(w.dir, "backup"), filepath.Join(w.dir, "new")
	w.text("backup", dir)
	writes, stop := w.write(4)
	w.until("there is more than fits", func() bool { return len(writes.acknowledged()) > 150 })
	stop()
	if code, stderr := w.limited(8, "backup", dir); code != 1 || !strings.Contains(stderr, "file too large") {
		t.Errorf("backup onto a full disk: exit %d, %s", code, stderr)
	}
	w.text("backup", "check", dir)
	w.text("backup", dir)
	if code, stderr := w.limited(8, "restore", dir, "--data", to); code != 1 {
		t.Errorf("restore onto a full disk: exit %d, %s", code, stderr)
	}
	if _, err := os.Stat(filepath.Join(to, "keys")); !os.IsNotExist(err) {
		t.Errorf("a site is there: %v", err)
	}
	w.site.stop()
	w.text("restore", dir, "--data", to)
}

// limited runs a command none of whose files gets larger than so many KiB.
func (w *world) limited(kib int, args ...string) (code int, stderr string) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	// In units of 512 bytes; the signal is ignored, so that writes fail.
	script := fmt.Sprintf(`trap "" XFSZ; ulimit -f %d; exec "$@"`, 2*kib)
	c := exec.CommandContext(ctx, "sh", append([]string{"-c", script, "sh", binary(w.t, "bugle")}, args...)...)
	c.Env = append(os.Environ(), "BUGLE_DATA="+w.data(), "BUGLE_URL=")
	var errs bytes.Buffer
	c.Stderr = &errs
	if err := c.Run(); err == nil {
		return 0, errs.String()
	}
	return c.ProcessState.ExitCode(), errs.String()
}
