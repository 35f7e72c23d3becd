package main

import (
	"bytes"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/console"
)

// Keys change in a fleet whose agents sign in at a listener that runs apart, all in
// processes of their own: who was away while a key was changed is led on when it is
// back, what a key signed is worth nothing once it is retired, and nobody is locked
// out.
func TestKeysChange(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	east := w.listener("EAST01")
	pc1, pc2 := w.agentAt("pc1"), w.agentAt("pc2")
	w.everywhere("EAST01", 2)
	w.succeeds(w.pushed(), 2)

	// Task key: pc2 is off for the change and for the end of the old key, the listener
	// too.
	pc2.stop()
	w.text("keys", "rotate", "task", "--yes")
	w.succeeds(w.pushed(), 1)
	east.stop()
	w.text("keys", "retire", "task", "--yes")
	w.succeeds(w.pushed(), 1) // pc1 is at the site meanwhile
	east = w.listener("EAST01")
	pc2 = w.agentAt("pc2")
	w.everywhere("", 2)
	w.succeeds(w.pushed(), 2)

	// What is open holds its key up; by force, agents refuse it.
	pc2.stop()
	open := w.pushed()
	w.succeeds(open, 1)
	w.text("keys", "rotate", "task", "--yes")
	w.refuses("signed by a key that would go", "keys", "retire", "task", "--yes")
	w.text("keys", "retire", "task", "--yes", "--force")
	pc2 = w.agentAt("pc2")
	w.until("pc2 refuses what the old key signed", func() bool { return w.show(open).States["refused"] == 1 })
	w.succeeds(w.pushed(), 2)
	w.authorityChanges(east, pc1, pc2)
}

// authorityChanges changes the authority while the listener and pc2 are off. The
// machines renew their certificates, as they do after days, before the old one ends.
func (w *world) authorityChanges(east, pc1, pc2 *process) {
	w.t.Helper()
	pc2.stop()
	east.stop()
	w.until("the last that the listener said is in the views", func() bool {
		var all []console.Component
		w.object(&all, "status", "components")
		return slices.ContainsFunc(all, func(c console.Component) bool { return c.Name == "EAST01" && c.State == "stopped" })
	})
	w.text("keys", "rotate", "ca", "--yes")
	w.succeeds(w.pushed(), 1)
	w.refuses("2 devices have a certificate of the old authority", "keys", "retire", "ca", "--yes")
	pc1.stop()
	for _, name := range []string{"pc1", "pc2"} {
		w.age(name)
	}
	pc1, pc2 = w.agentAt("pc1"), w.agentAt("pc2")
	w.until("all certificates are by the new authority", func() bool {
		var keys console.KeyList
		w.object(&keys, "keys", "list")
		return keys.OldCA == 0
	})
	w.refuses("EAST01", "keys", "retire", "ca", "--yes") // it would not know the site again
	east = w.listener("EAST01")
	w.until("the site has heard of the listener, and retires the authority", func() bool {
		_, code, _ := w.try("keys", "retire", "ca", "--yes")
		return code == 0
	})
	w.succeeds(w.pushed(), 2)
	for _, p := range []*process{pc1, pc2, east} {
		p.stop()
	}
	w.site.stop()
	w.serve()
	w.listener("EAST01")
	w.agentAt("pc1")
	w.agentAt("pc2")
	w.everywhere("", 2)
	w.succeeds(w.pushed(), 2)
	w.createToken() // that of before names an authority that is trusted no more
	w.agent("pc3")
	w.everywhere("", 3)
	w.succeeds(w.pushed(), 3)
}

// listener starts a listener that runs apart; it joins if it has not.
func (w *world) listener(name string) *process {
	w.t.Helper()
	args := []string{"listener", "--data", filepath.Join(w.dir, name), "--site-url", "https://" + w.ip + ":10443",
		"--listen-tcp", w.ip + ":20123", "--listen-http", w.ip + ":20443", "--spread", "100ms"}
	if _, err := os.Stat(filepath.Join(w.dir, name)); err != nil {
		var made console.TokenReply
		w.object(&made, "token", "create", "--listener", name)
		args = append(args, "--join", made.Token)
	}
	p := start(w.t, "bugle", args...)
	p.await("listener is ready")
	return p
}

// agentAt starts an agent; it joins at the listener, if it has not joined.
func (w *world) agentAt(name string) *process {
	w.t.Helper()
	p := start(w.t, "bugle-agent", "run", "--dir", filepath.Join(w.dir, name), "--name", name,
		"--site", w.ip+":20443", "--token", w.token, "--scanner", "builtin")
	p.await("connected")
	return p
}

func (w *world) createToken() {
	w.t.Helper()
	var made console.TokenReply
	w.object(&made, "token", "create")
	w.token = made.Token
}

// everywhere waits until n devices are online, all at the listener if one is named.
func (w *world) everywhere(listener string, n int) {
	w.t.Helper()
	w.until("all are signed in", func() bool {
		var all []console.Device
		w.object(&all, "devices", "list")
		online := 0
		for _, d := range all {
			if d.Online && (listener == "" || d.Listener == listener) {
				online++
			}
		}
		return online == n
	})
}

// pushed pushes to everybody, for an hour.
func (w *world) pushed() string {
	w.t.Helper()
	var reply console.PushReply
	w.object(&reply, "push", "policy.machine", "--all", "--yes")
	return reply.Operation
}

func (w *world) succeeds(id string, n int) {
	w.t.Helper()
	w.until("the push has succeeded", func() bool { return w.show(id).States["succeeded"] == n })
}

// refuses expects that a command fails, and says why.
func (w *world) refuses(why string, args ...string) {
	w.t.Helper()
	if _, code, said := w.try(args...); code == 0 || !strings.Contains(said, why) {
		w.t.Errorf("bugle %s: exit %d, it says %q, want %q", strings.Join(args, " "), code, said, why)
	}
}

// age lets the certificate of a machine be six of its seven days old: it is to be
// renewed at once. The site's first authority signs it, whose key is at hand here.
func (w *world) age(name string) {
	w.t.Helper()
	check := func(err error) {
		w.t.Helper()
		if err != nil {
			w.t.Fatal(err)
		}
	}
	inPEM := func(file string) []byte {
		w.t.Helper()
		b, err := os.ReadFile(filepath.Join(w.data(), "keys", file))
		check(err)
		block, _ := pem.Decode(b)
		return block.Bytes
	}
	file := filepath.Join(w.dir, name, "identity.json")
	b, err := os.ReadFile(file)
	check(err)
	var identity struct{ Certificate []byte }
	check(json.Unmarshal(b, &identity))
	was, err := x509.ParseCertificate(identity.Certificate)
	check(err)
	ca, err := x509.ParseCertificate(inPEM("ca.crt"))
	check(err)
	key, err := x509.ParsePKCS8PrivateKey(inPEM("ca.key"))
	check(err)
	was.NotBefore, was.NotAfter = was.NotBefore.Add(-6*24*time.Hour), was.NotAfter.Add(-6*24*time.Hour)
	older, err := x509.CreateCertificate(rand.Reader, was, ca, was.PublicKey, key)
	check(err)
	text := func(der []byte) []byte { return []byte(base64.StdEncoding.EncodeToString(der)) }
	check(os.WriteFile(file, bytes.Replace(b, text(identity.Certificate), text(older), 1), 0o600))
}
