package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestCollectionsCommand(t *testing.T) {
	var out, log bytes.Buffer
	if code := run(context.Background(), []string{"collections", "--devices", "300", "--collections", "60", "--seeds", "1,2", "--changed", "40", "--rounds", "2"}, &out, &log); code != 0 {
		t.Fatalf("code %d: %s", code, &log)
	}
	phases := map[string]int{}
	for line := range strings.Lines(out.String()) {
		var l collectionsLine
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if l.Target != ours || l.Devices != 300 || l.Collections != 60 || len(l.Figures) == 0 {
			t.Errorf("line %s", line)
		}
		phases[l.Phase]++
		if l.Phase == "full-cold" && l.Figures["members"] < 300 {
			t.Errorf("nobody is a member: %s", line)
		}
		if l.Phase == "incremental" && l.Figures["changes"] == 0 {
			t.Errorf("nothing changed: %s", line)
		}
	}
	for phase, want := range map[string]int{"load": 2, "define": 2, "full-cold": 2, "full-warm": 4, "apply": 4, "incremental": 4, "full-after": 4, "sizes": 2, "deltas": 2} {
		if phases[phase] != want {
			t.Errorf("%d lines of phase %s, want %d", phases[phase], phase, want)
		}
	}
}

func TestCollectionsOptions(t *testing.T) {
	for _, args := range [][]string{
		{"collections", "--peer", "oracle"}, {"collections", "--rounds", "0"}, {"collections", "--changed", "0"},
		{"collections", "--devices", "0"}, {"collections", "more"}, {"estate"}, {"estate", "--devices", "-1", "--inventory", "x"},
	} {
		var out, log bytes.Buffer
		if code := run(context.Background(), args, &out, &log); code != codeUsage {
			t.Errorf("%q: code %d: %s", args, code, &log)
		}
	}
}

func TestPeerThatIsNotThereIsLeftOut(t *testing.T) {
	var out, log bytes.Buffer
	args := []string{"collections", "--devices", "50", "--collections", "10", "--changed", "5", "--rounds", "1", "--peer", "duckdb", "--duckdb", t.TempDir()}
	if code := run(context.Background(), args, &out, &log); code != 0 || !strings.Contains(log.String(), "left out") {
		t.Errorf("code %d: %s", code, &log)
	}
}

func TestEstateCommand(t *testing.T) {
	dir := t.TempDir()
	inventory, definitions := filepath.Join(dir, "i"), filepath.Join(dir, "d")
	var out, log bytes.Buffer
	if code := run(context.Background(), []string{"estate", "--devices", "20", "--collections", "10", "--inventory", inventory, "--definitions", definitions}, &out, &log); code != 0 {
		t.Fatalf("code %d: %s", code, &log)
	}
	i, err := os.ReadFile(inventory)
	if err != nil || bytes.Count(i, []byte("\n")) != 20 {
		t.Errorf("inventory of %d lines: %v", bytes.Count(i, []byte("\n")), err)
	}
	d, err := os.ReadFile(definitions)
	if err != nil || bytes.Count(d, []byte("- id: ")) != 10 {
		t.Errorf("definitions of %d collections: %v", bytes.Count(d, []byte("- id: ")), err)
	}
}
