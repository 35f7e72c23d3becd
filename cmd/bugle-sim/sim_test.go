package main

import (
	"bytes"
	"context"
	"encoding/json"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/cmd/bugle-sim/site"
	"github.com/bugle-fleet/bugle/console"
)

// sim runs the command and returns its lines.
func sim(t *testing.T, wantCode int, args ...string) (lines []map[string]any, log string) {
	t.Helper()
	var out, errs bytes.Buffer
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	if code := run(ctx, args, &out, &errs); code != wantCode {
		t.Fatalf("bugle-sim %s: code %d, want %d; it says\n%s%s", strings.Join(args, " "), code, wantCode, out.String(), errs.String())
	}
	for dec := json.NewDecoder(&out); dec.More(); {
		var line map[string]any
		if err := dec.Decode(&line); err != nil {
			t.Fatalf("standard output is not lines of JSON: %v", err)
		}
		lines = append(lines, line)
	}
	return lines, errs.String()
}

var quickly = []string{"--pause", "0", "--poll", "1ms", "--gather", "0", "--agents", "3", "--pushes", "2"}

func args(more ...string) []string { return append(slices.Clone(quickly), more...) }

func TestThreeAgentsAgainstAFakeSite(t *testing.T) {
	f := newFakeSite(t)
	dir := filepath.Join(t.TempDir(), "fleet")
	lines, _ := sim(t, 0, args("--data", f.data, "--dir", dir, "--phases", "results,push")...)
	if len(lines) != 3 {
		t.Fatalf("%d lines, want one for each phase: %v", len(lines), lines)
	}
	for i, phase := range allPhases {
		if lines[i]["phase"] != phase || lines[i]["agents"] != 3.0 || lines[i]["missing"] != 0.0 || lines[i]["rssBytes"].(float64) < 1<<20 {
			t.Errorf("line %d: %v", i, lines[i])
		}
	}
	if lines[0]["joined"] != 3.0 || lines[0]["connected"] != 3.0 {
		t.Errorf("connect: %v", lines[0])
	}
	pushes := lines[1]["pushes"].([]any)
	if len(pushes) != 2 {
		t.Fatalf("%d pushes, want 2", len(pushes))
	}
	for _, p := range pushes {
		p := p.(map[string]any)
		since, _ := p["sinceRequest"].(map[string]any)
		if p["received"] != 3.0 || p["unended"] != 0.0 || since["maxMs"].(float64) <= 0 || p["recordSyncs"].(float64) < 1 {
			t.Errorf("push: %v", p)
		}
	}
	for _, p := range lines[2]["pushes"].([]any) {
		p := p.(map[string]any)
		if p["visible"] != 3.0 || p["states"].(map[string]any)["succeeded"] != 3.0 {
			t.Errorf("results: %v", p)
		}
	}

	again, _ := sim(t, 0, args("--data", f.data, "--dir", dir, "--phases", "connect")...)
	if len(again) != 1 || again[0]["joined"] != 0.0 || again[0]["connected"] != 3.0 {
		t.Errorf("second run with the same folder: %v", again)
	}
	if f.devices != 3 || f.revoked != 1 {
		t.Errorf("site has %d devices and revoked %d tokens, want 3, and 1: that of the second run", f.devices, f.revoked)
	}
}

func TestTheSiteByItsAddresses(t *testing.T) {
	f := newFakeSite(t)
	keys := filepath.Join(f.data, "keys")
	lines, _ := sim(t, 0, args("--site", f.join, "--console", "https://"+f.api+"/", "--token-file", filepath.Join(keys, "admin.token"),
		"--ca-file", filepath.Join(keys, "ca.crt"), "--noop-actions", "--pushes", "1")...)
	p := lines[1]["pushes"].([]any)[0].(map[string]any)
	if _, ok := p["sinceRequest"]; ok {
		t.Error("figures by the clock of a site that may be on another machine")
	}
	if lines[1]["noopActions"] != true {
		t.Errorf("the figures do not say that actions are empty: %v", lines[1])
	}
}

func TestAnAgentThatReceivesNothingIsMissed(t *testing.T) {
	f := newFakeSite(t)
	f.deaf = 2
	for phase, says := range map[string]string{"push": "did not receive", "results": "are not visible"} {
		lines, log := sim(t, 1, args("--data", f.data, "--phases", phase, "--pushes", "1", "--timeout", "1s")...)
		if len(lines) != 2 || lines[1]["missing"].(float64) < 1 {
			t.Errorf("phase %s: %v", phase, lines)
		}
		if !strings.Contains(log, says) {
			t.Errorf("phase %s: the error does not say %q: %s", phase, says, log)
		}
		f.deaf = f.devices + 2 // one of the next fleet
	}
}

func TestAgentsThatCannotSignInSayWhy(t *testing.T) {
	f := newFakeSite(t)
	f.full = true
	lines, log := sim(t, 1, args("--data", f.data, "--phases", "connect", "--timeout", "1s")...)
	if len(lines) != 1 || lines[0]["connected"] != 0.0 || lines[0]["missing"] != 3.0 || lines[0]["signInsPerSecond"] != 0.0 {
		t.Errorf("connect: %v", lines)
	}
	if !strings.Contains(log, "3 of 3 agents did not sign in (sim-") || !strings.Contains(log, "the fake site is full") {
		t.Errorf("the error does not say why: %s", log)
	}
}

func TestAPushThatIsRefused(t *testing.T) {
	f := newFakeSite(t)
	lines, log := sim(t, 1, args("--data", f.data, "--kind", strings.Repeat("x", 65))...)
	if len(lines) != 1 || !strings.Contains(log, "phase push: ask site: POST "+console.PathOperations) {
		t.Errorf("lines %v, error %s", lines, log)
	}
}

func TestJoinsThatAreToldToComeLaterComeLater(t *testing.T) {
	f := newFakeSite(t)
	f.busyJoins = 4
	o := defaults()
	o.data, o.agents = f.data, 3
	s, err := site.Find(o.place())
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	fleet := newFleet(o, t.TempDir(), &log)
	fleet.joinAgain = time.Millisecond
	joined, err := fleet.join(t.Context(), s, f.token.String())
	if err != nil || joined != 3 || f.devices != 3 || f.busyJoins != 0 {
		t.Errorf("%d joined (%v), the site has %d devices and would refuse %d more", joined, err, f.devices, f.busyJoins)
	}
}

func TestAJoinThatIsRefusedEndsTheRun(t *testing.T) {
	f := newFakeSite(t)
	f.silentJoin = true
	lines, log := sim(t, 1, args("--data", f.data)...)
	if len(lines) != 0 || !strings.Contains(log, "Token was revoked: says the fake site") {
		t.Errorf("lines %v, error %s", lines, log)
	}
	if f.revoked != 1 {
		t.Errorf("%d tokens were revoked, want that of the run", f.revoked)
	}
}

func TestCancelEndsTheRun(t *testing.T) {
	f := newFakeSite(t)
	ctx, cancel := context.WithCancel(t.Context())
	out := &cancelWriter{cancel: cancel}
	var log bytes.Buffer
	if code := run(ctx, args("--data", f.data, "--pause", "1h"), out, &log); code != 1 || !strings.Contains(log.String(), "context canceled") {
		t.Errorf("code %d, error %s", code, log.String())
	}
}

// cancelWriter cancels at the first line.
type cancelWriter struct{ cancel func() }

func (w *cancelWriter) Write(b []byte) (int, error) {
	w.cancel()
	return len(b), nil
}
