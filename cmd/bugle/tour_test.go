package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestTour is the README's five minutes, in processes of their own.
func TestTour(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for i := range 3 {
		w.agent(fmt.Sprint("pc", i+1))
	}
	w.until("three agents are online", func() bool { return w.online() == 3 })

	var pushed struct {
		Operation       string
		Targets, Online int
	}
	w.object(&pushed, "push", "policy.machine", "--all", "--yes")
	if pushed.Targets != 3 || pushed.Online != 3 {
		t.Fatalf("push answered %+v, want 3 targets, 3 online", pushed)
	}
	w.until("all three succeeded", func() bool { return w.show(pushed.Operation).States["succeeded"] == 3 })

	if out, code, stderr := w.try("push", "discovery.collect", "--all", "--yes", "--watch"); code != 0 {
		t.Fatalf("push --watch: exit %d\n%s%s", code, out, stderr)
	}
	for _, args := range [][]string{
		{"ops", "list"}, {"ops", "show", pushed.Operation}, {"ops", "devices", pushed.Operation},
		{"journal", "tail"}, {"journal", "show", "1"}, {"trace", pushed.Operation}, {"devices", "show", "pc1"},
		{"views", "list"}, {"views", "digest"}, {"inbox", "status"}, {"status", "components"}, {"status", "messages"},
		{"policy", "show"},
	} {
		if out := w.text(args...); strings.TrimSpace(out) == "" {
			t.Errorf("bugle %s printed nothing", strings.Join(args, " "))
		}
	}
	if out := w.text("trace", pushed.Operation); !strings.Contains(out, "succeeded") || !strings.Contains(out, "requested") {
		t.Errorf("trace tells neither of the request nor of the result:\n%s", out)
	}
	w.site.stop()
}

// TestOffAtThePush has a device that is off: one push waits for it, another ends
// before it returns.
func TestOffAtThePush(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	pc := w.agent("pc1")
	w.until("the agent is online", func() bool { return w.online() == 1 })
	pc.stop()
	w.until("the agent is offline", func() bool { return w.online() == 0 })
	if d := w.devices()[0]; d.Reason != "signed-out" {
		t.Errorf("the device is off because %q, want signed-out", d.Reason)
	}

	var stays, expires struct{ Operation string }
	w.object(&stays, "push", "scan.quick", "--device", "pc1", "--deliver-by", "1h")
	w.object(&expires, "push", "scan.quick", "--device", "pc1", "--deliver-by", "2s")
	w.until("the short push expired", func() bool { return w.show(expires.Operation).States["expired"] == 1 })

	w.agent("pc1")
	w.until("the long push succeeded", func() bool { return w.show(stays.Operation).States["succeeded"] == 1 })
	if s := w.show(expires.Operation).States; s["expired"] != 1 {
		t.Errorf("the push that expired is at %v", s)
	}
}

// TestKillNine kills the site at any moment and starts it again: what was
// acknowledged is there once, agents come back, open tasks are sent again.
func TestKillNine(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const agents = 4
	for i := range agents {
		w.agent(fmt.Sprint("pc", i+1))
	}
	w.until("all agents are online", func() bool { return w.online() == agents })

	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	rounds := 5
	if testing.Short() {
		rounds = 2
	}
	var acknowledged []string
	for range rounds {
		for range 3 {
			if id := tryPush(t, w); id != "" {
				acknowledged = append(acknowledged, id)
			}
		}
		time.Sleep(time.Duration(random.IntN(40)) * time.Millisecond) // where the kill falls is the test's subject
		w.site.kill()
		w.serve()
	}
	if len(acknowledged) == 0 {
		t.Fatal("no push was acknowledged")
	}
	for _, id := range acknowledged {
		w.until("operation "+id+" succeeded everywhere", func() bool { return w.show(id).States["succeeded"] == agents })
	}
	checkHistory(t, w, acknowledged, agents)

	rebuildAll(t, w)

	w.site.stop()
	if err := os.RemoveAll(filepath.Join(w.data(), "views")); err != nil {
		t.Fatal(err)
	}
	w.serve()
	for _, id := range acknowledged {
		if s := w.show(id).States; s["succeeded"] != agents {
			t.Errorf("after the views were deleted operation %s is at %v", id, s)
		}
	}
}

// rebuildAll rebuilds every view beside the serving one: the digests must be the
// same.
func rebuildAll(t *testing.T, w *world) {
	t.Helper()
	for _, view := range []string{"device", "presence", "operation", "status"} {
		var rebuilt struct {
			Digest string
			Same   bool
		}
		w.object(&rebuilt, "views", "rebuild", view)
		if !rebuilt.Same || rebuilt.Digest == "" {
			t.Errorf("view %s, rebuilt from the journal, differs from the one that served: %+v", view, rebuilt)
		}
	}
}

// tryPush pushes while the site may be anywhere in its life, and returns the id
// if the push was acknowledged.
func tryPush(t *testing.T, w *world) string {
	t.Helper()
	out, code, stderr := w.try("push", "policy.machine", "--all", "--yes", "-o", "json")
	if code != 0 {
		t.Logf("push refused: %s", stderr)
		return ""
	}
	var pushed struct{ Operation string }
	if err := json.Unmarshal([]byte(out), &pushed); err != nil {
		t.Fatalf("push printed %q", out)
	}
	return pushed.Operation
}

// checkHistory reads the whole journal: each acknowledged request is there once,
// and so is each final result of each device.
func checkHistory(t *testing.T, w *world, operations []string, agents int) {
	t.Helper()
	requested := map[string]int{}
	final := map[string]int{}
	last := uint64(0)
	for line := range strings.Lines(w.text("journal", "tail", "--from", "1", "--limit", "100000", "-o", "jsonl")) {
		var e struct {
			Number  uint64
			Kind    string
			Payload struct {
				Task struct{ Operation string }
				Rows []struct {
					Operation, State string
					Device           int
				}
			}
		}
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("journal tail printed %q: %v", line, err)
		}
		if e.Number != last+1 {
			t.Fatalf("event %d follows event %d", e.Number, last)
		}
		last = e.Number
		if e.Kind == "operation.requested" {
			requested[e.Payload.Task.Operation]++
		}
		for _, r := range e.Payload.Rows {
			if r.State == "succeeded" {
				final[fmt.Sprint(r.Operation, " ", r.Device)]++
			}
		}
	}
	for _, id := range operations {
		if requested[id] != 1 {
			t.Errorf("operation %s is requested %d times in the journal", id, requested[id])
		}
		for device := 1; device <= agents; device++ {
			if n := final[fmt.Sprint(id, " ", device)]; n < 1 {
				t.Errorf("operation %s has %d final results of device %d", id, n, device)
			}
		}
	}
}
