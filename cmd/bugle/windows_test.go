package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/console"
)

// intrusiveKind is a folder with a kind command.touch that keeps to windows and
// harms nobody.
func intrusiveKind(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "kinds")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"touch": "#!/bin/sh\necho touched\n",
		"touch.json": `{"version":1,"about":"does nothing, in a maintenance window","class":"intrusive","timeoutSeconds":60}`} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// agentWith is agent, with a folder of kinds.
func (w *world) agentWith(name, kinds string) *process {
	w.t.Helper()
	p := start(w.t, "bugle-agent", "run", "--dir", filepath.Join(w.dir, name), "--name", name,
		"--site", w.ip+":10443", "--token", w.token, "--scanner", "builtin", "--kinds", kinds)
	p.await("connected")
	return p
}

// agentStatus is what an agent says of itself.
func (w *world) agentStatus(name string) string {
	w.t.Helper()
	out, err := exec.Command(binary(w.t, "bugle-agent"), "status", "--dir", filepath.Join(w.dir, name)).Output()
	if err != nil {
		w.t.Fatalf("bugle-agent status: %v", err)
	}
	return string(out)
}

// pilot makes a collection of one device.
func (w *world) pilot(device string) {
	w.t.Helper()
	file := filepath.Join(w.t.TempDir(), "pilot.yaml")
	if err := os.WriteFile(file, fmt.Appendf(nil, "collections:\n  - name: Pilot\n    direct: [%s]\n    incremental: true\n", device), 0o600); err != nil {
		w.t.Fatal(err)
	}
	w.text("collections", "apply", file, "--yes", "--force")
}

// windowsOf is how many windows a device has, by what the site knows.
func (w *world) windowsOf(device string) int {
	w.t.Helper()
	var all []console.WindowReply
	w.object(&all, "windows", "list", "--device", device)
	return len(all)
}

func (w *world) push(args ...string) (id string) {
	w.t.Helper()
	var pushed console.PushReply
	w.object(&pushed, append([]string{"push", "--yes"}, args...)...)
	return pushed.Operation
}

// TestWindowOfACollection has intrusive work wait on the members of a collection
// that has a window, and begin once the device has left it.
func TestWindowOfACollection(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("the kind of this test is a shell script")
	}
	t.Parallel()
	w := newWorld(t)
	kinds := intrusiveKind(t)
	for _, name := range []string{"pc1", "pc2"} {
		w.agentWith(name, kinds)
	}
	w.until("both agents are online", func() bool { return w.online() == 2 })
	w.pilot("pc1")
	opens := time.Now().UTC().Add(48 * time.Hour).Truncate(time.Minute)
	w.text("windows", "set", "Pilot", "night", "--utc", "--start", opens.Format("2006-01-02T15:04"), "--minutes", "120", "--every", "week", "--reason", "test")
	w.until("pc1 has the window", func() bool { return w.windowsOf("pc1") == 1 })
	fetched := w.push("policy.machine", "--collection", "Pilot")
	w.until("pc1 has fetched it", func() bool { return w.show(fetched).States["succeeded"] == 1 })
	if s := w.agentStatus("pc1"); !strings.Contains(s, "windows     night\n") || !strings.Contains(s, "the next opens") {
		t.Errorf("pc1 says\n%s", s)
	}

	touched := w.push("command.touch", "--all", "--deliver-by", "7d", "--run-timeout", "1m")
	w.until("pc2 has run it, pc1 waits", func() bool {
		s := w.show(touched).States
		return s["succeeded"] == 1 && s["deferred"] == 1
	})
	why := "opens " + opens.Local().Format("Mon 15:04") + " for 120 min; needs 6"
	var waits []console.Target
	w.object(&waits, "ops", "devices", touched, "--state", "deferred")
	if len(waits) != 1 || waits[0].Name != "pc1" || waits[0].Detail != why {
		t.Errorf("%+v, want pc1 to wait: %s", waits, why)
	}
	if s := w.agentStatus("pc1"); !strings.Contains(s, why) {
		t.Errorf("pc1 does not say why it waits:\n%s", s)
	}
	if out := w.text("windows", "why", "pc1", "--kind", "general", "--minutes", "1"); !strings.Contains(out, "needs 6") || !strings.Contains(out, "night (Pilot)") {
		t.Errorf("windows why says\n%s", out)
	}
	// An update waits too; what it names is nowhere, should it run after all.
	update := w.push("update.install", "--device", "pc1", "--deliver-by", "7d", "--param", `packages=["no-such-update"]`)
	w.until("the update waits", func() bool { return w.show(update).States["deferred"] == 1 })
	w.text("ops", "cancel", update, "--reason", "it waited")
	w.until("the update is cancelled", func() bool { return w.show(update).States["cancelled"] == 1 })

	w.pilot("pc2")
	w.until("pc1 has no window any more", func() bool { return w.windowsOf("pc1") == 0 && w.windowsOf("pc2") == 1 })
	w.push("policy.machine", "--device", "pc1")
	w.until("pc1 has run it", func() bool { return w.show(touched).States["succeeded"] == 2 })
	if s := w.agentStatus("pc1"); strings.Contains(s, "night") {
		t.Errorf("pc1 has the window still:\n%s", s)
	}
}
