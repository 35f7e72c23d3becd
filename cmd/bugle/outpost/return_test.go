package outpost_test

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/cmd/bugle/outpost"
	"github.com/bugle-fleet/bugle/console"
)

// The logs of devices reach the site through the listener that serves them.
func TestLogsThroughAListener(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	east := w.listener("EAST01")
	f := w.agents(2, east)
	w.awaitFleet(2, "EAST01")
	for _, m := range f.agents {
		logs := filepath.Join(m.dir, "logs")
		if err := errors.Join(os.MkdirAll(logs, 0o700), os.WriteFile(filepath.Join(logs, "agent.log"), bytes.Repeat([]byte(m.name+" is well\n"), 10_000), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	id := w.push("logs.collect")
	w.until("both have sent their logs", func() bool { return w.operation(id).States["succeeded"] == uint32(len(f.agents)) })
	var kept console.LogList
	w.call("GET", console.Path(console.PathOperationLogs, id), nil, &kept)
	if len(kept.Items) != len(f.agents) {
		t.Fatalf("the site keeps %+v", kept.Items)
	}
	for _, l := range kept.Items {
		file := filepath.Join(w.cfg.Data, "logs-collected", id, fmt.Sprintf("%d-%s.tar.gz", l.Device, l.SHA256))
		if b, err := os.ReadFile(file); err != nil || int64(len(b)) != l.Bytes || fmt.Sprintf("%x", sha256.Sum256(b)) != l.SHA256 || l.Bytes == 0 {
			t.Errorf("device %d: %d bytes, %v", l.Device, len(b), err)
		}
	}
}

// A listener that was restored from an older copy gives numbers that the site has.
// It says so, begins again under the next epoch, and what agents were told is safe
// is not lost.
func TestRestoredFromAnOlderCopy(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	east := w.listener("EAST01")
	f := w.agents(agents, east)
	w.awaitFleet(agents, "EAST01")
	east.stop()
	box, copied := filepath.Join(east.cfg.Data, "box"), filepath.Join(w.dir, "copy")
	if err := os.CopyFS(copied, os.DirFS(box)); err != nil {
		t.Fatal(err)
	}
	east.start()
	w.succeeds(f, w.push("scan.quick"))
	east.stop()
	if err := errors.Join(os.RemoveAll(box), os.Rename(copied, box)); err != nil {
		t.Fatal(err)
	}
	w.forgetArchive() // that the site keeps the files no longer makes no difference
	east.start()
	select {
	case err := <-east.o.Failed():
		if !errors.Is(err, outpost.ErrAgain) {
			t.Fatal(err)
		}
	case <-time.After(long):
		t.Fatal("the listener does not notice that its numbers were given before")
	}
	if err := east.o.Close(); !errors.Is(err, outpost.ErrAgain) {
		t.Errorf("close: %v", err)
	}
	east.start()
	w.succeeds(f, w.push("scan.quick"))
	w.until("no file waits", func() bool { return east.waiting() == 0 })
	w.epochs("EAST01", 2)
	if bad, err := os.ReadDir(filepath.Join(box, "bad")); err != nil || len(bad) > 0 {
		t.Errorf("%d files are put aside, %v", len(bad), err)
	}
	renumbered := false
	for _, m := range w.messages() {
		if m.Component == "inbox" {
			t.Errorf("the inbox says %q", m.Text)
		}
		renumbered = renumbered || m.Component == "relay" && m.Message == 3102
	}
	if !renumbered {
		t.Error("nobody is told that files got new numbers")
	}
}

// A listener whose key for files is lost makes another one, and asks for an epoch
// in which that counts.
func TestBoxKeyIsLost(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	east := w.listener("EAST01")
	east.stop()
	if err := os.Remove(filepath.Join(east.cfg.Data, "keys", "box.key")); err != nil {
		t.Fatal(err)
	}
	east.start()
	f := w.agents(agents, east)
	w.succeeds(f, w.push("scan.quick"))
	w.epochs("EAST01", 2)
}

// A listener that was off until its certificate had ended renews it before it
// serves. If that was too long ago it says how to join again, does with a new
// token, and what waited in its box is sent.
func TestOffForLong(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	east := w.listener("EAST01")
	f := w.agents(agents, east)
	w.awaitFleet(agents, "EAST01")
	east.stop()
	east.age(-time.Millisecond)
	east.start()
	if at := east.o.Status().Expires; at.Before(time.Now()) {
		t.Errorf("it serves with a certificate that ended at %s", at)
	}
	w.succeeds(f, w.push("scan.quick"))
	w.epochs("EAST01", 1)

	letGo := f.holdUp()
	id := w.push("scan.quick")
	w.until("all run", func() bool { all, _ := f.runs(id); return all == agents })
	w.stop()
	letGo()
	w.until("all have succeeded", func() bool { return f.succeeded(id) == agents })
	w.until("files wait for the site", func() bool { return east.waiting() > 0 })
	east.stop()
	east.age(-91 * 24 * time.Hour)
	w.start()
	if _, err := outpost.Open(t.Context(), east.cfg); !errors.Is(err, outpost.ErrExpired) || !strings.Contains(err.Error(), "bugle token create --listener EAST01") {
		t.Fatalf("without a token: %v", err)
	}
	east.cfg.Token = w.token(console.TokenRequest{Listener: "EAST01"})
	east.start()
	w.succeeds(f, id)
	w.succeeds(f, w.push("scan.quick"))
	w.epochs("EAST01", 2)
	w.until("no file waits", func() bool { return east.waiting() == 0 })
}

// While the site is away a listener whose certificate has ended waits for it, for
// agents would refuse it.
func TestExpiredWhileTheSiteIsAway(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	east := w.listener("EAST01")
	east.stop()
	east.age(-time.Millisecond)
	w.stop()
	opened := make(chan error, 1)
	go func() {
		o, err := outpost.Open(t.Context(), east.cfg)
		east.o = o
		opened <- err
	}()
	w.until("it has asked", func() bool {
		w.logs.mu.Lock()
		defer w.logs.mu.Unlock()
		return strings.Contains(w.logs.b.String(), "waiting for the site to renew the certificate")
	})
	w.start()
	select {
	case err := <-opened:
		if err != nil || east.o.Status().Expires.Before(time.Now()) {
			t.Errorf("opened: %v", err)
		}
	case <-time.After(long):
		t.Fatal("it does not come up when the site is back")
	}
}

// age gives the listener a certificate that ended at that time from now.
func (p *post) age(ended time.Duration) {
	p.w.t.Helper()
	file := filepath.Join(p.cfg.Data, "keys", "listener.json")
	var known map[string]any
	var joined struct {
		Joined struct{ Certificate []byte }
	}
	b, err := os.ReadFile(file)
	if err = errors.Join(err, json.Unmarshal(b, &known), json.Unmarshal(b, &joined)); err != nil {
		p.w.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(joined.Joined.Certificate)
	if err != nil {
		p.w.t.Fatal(err)
	}
	ca, key := p.w.authority()
	cert.NotBefore, cert.NotAfter = time.Now().Add(ended-30*24*time.Hour), time.Now().Add(ended)
	if ended > -time.Minute {
		cert.NotBefore = time.Now() // the authority is no older
	}
	der, err := x509.CreateCertificate(rand.Reader, cert, ca, cert.PublicKey, key)
	if err != nil {
		p.w.t.Fatal(err)
	}
	known["joined"].(map[string]any)["certificate"] = der
	if b, err = json.Marshal(known); err == nil {
		err = os.WriteFile(file, b, 0o600)
	}
	if err != nil {
		p.w.t.Fatal(err)
	}
}

// forgetArchive removes the files that the site's inbox has archived.
func (w *world) forgetArchive() {
	w.t.Helper()
	days, err := filepath.Glob(filepath.Join(w.cfg.Data, "inboxes", "bgb.box", "archive", "*"))
	if err != nil || len(days) == 0 {
		w.t.Fatalf("%d days are in the archive, %v", len(days), err)
	}
	w.until("the archive is empty", func() bool { // while the inbox may still put files there
		for _, day := range days {
			if os.RemoveAll(day) != nil {
				return false
			}
		}
		return true
	})
}

func (w *world) epochs(name string, want uint32) {
	w.t.Helper()
	for _, l := range w.listeners() {
		if l.Name == name && l.Epoch != want {
			w.t.Errorf("%s is in epoch %d, want %d", name, l.Epoch, want)
		}
	}
}

func (w *world) messages() []console.Message {
	w.t.Helper()
	var said console.MessagePage
	w.call("GET", console.PathMessages+"?limit=1000", nil, &said)
	return said.Items
}
