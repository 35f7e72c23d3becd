package main

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

type digestOf struct {
	View     string
	Position uint64
	Event    uint64
	Accepted string
	Digest   string
}

// TestReplay folds the history again, from the site, from its files and from an
// archive, and finds what the site's own views say.
func TestReplay(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	pc := w.agent("pc1")
	w.until("the agent is online", func() bool { return w.online() == 1 })
	var pushed struct{ Operation string }
	w.object(&pushed, "push", "policy.machine", "--all", "--yes")
	w.until("the push succeeded", func() bool { return w.show(pushed.Operation).States["succeeded"] == 1 })
	pc.stop()
	w.until("the agent is offline", func() bool { return w.online() == 0 })

	said := map[string]digestOf{}
	for _, view := range []string{"device", "presence", "operation", "status", "inventory", "window"} {
		var d digestOf
		w.object(&d, "views", "digest", view)
		said[view] = d
		w.replays(d, "replay", "--view", view, "--to", fmt.Sprint(d.Position))
	}
	// By a time between two events too, which the site knows and the copy that it
	// gives away ends before.
	var events []struct {
		Number   uint64
		Accepted time.Time
	}
	w.object(&events, "journal", "tail", "--from", "1")
	between := events[2].Accepted.Add(events[3].Accepted.Sub(events[2].Accepted) / 2)
	var third digestOf
	w.object(&third, "replay", "--view", "device", "--to", between.Format(time.RFC3339Nano))
	if third.Event != events[2].Number {
		t.Errorf("at %s it was event %d, want %d", between, third.Event, events[2].Number)
	}
	w.object(&third, "replay", "--view", "device", "--to", "0s")
	if third.Event < events[len(events)-1].Number {
		t.Errorf("now it is event %d", third.Event)
	}
	if _, code, stderr := w.try("replay", "--view", "device", "--to", "2999-01-01T00:00:00Z"); code != 2 || !strings.Contains(stderr, "in the future") {
		t.Errorf("exit %d, %s", code, stderr)
	}
	archived := filepath.Join(w.dir, "history.bga")
	w.text("journal", "export", "--format", "archive", "--output", archived)
	w.site.stop()
	for view, d := range said {
		w.replays(d, "replay", "--view", view, "--to", fmt.Sprint(d.Position), "--offline", w.data())
		w.replays(d, "replay", "--view", view, "--to", fmt.Sprint(d.Position), "--archive", archived)
	}

	// The same by its time, and with its rows.
	to := said["operation"].Position
	out := w.text("replay", "--view", "operation", "--to", fmt.Sprint(to), "--archive", archived, "-o", "json")
	var whole struct {
		digestOf
		Items []struct {
			Row, Operation, State, Kind string
			States                      map[string]int
		}
	}
	if err := json.Unmarshal([]byte(out), &whole); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	if n := len(whole.Items); n != 2 || whole.Items[0].States["succeeded"] != 1 || whole.Items[1].State != "succeeded" || whole.Items[1].Operation != pushed.Operation {
		t.Errorf("rows %+v", whole.Items)
	}
	var last digestOf
	lines := strings.Split(strings.TrimSpace(w.text("replay", "--view", "operation", "--to", whole.Accepted, "--offline", w.data(), "-o", "jsonl")), "\n")
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &last); err != nil || len(lines) != 3 || last.Event != to || last.Digest != whole.Digest {
		t.Errorf("by its time: %v, %v", lines, err)
	}
	w.replayBadInput(archived, to)
}

// replays checks that a replay comes to a digest.
func (w *world) replays(d digestOf, args ...string) {
	w.t.Helper()
	lines := strings.Split(strings.TrimSpace(w.text(append(args, "-o", "jsonl")...)), "\n")
	var got digestOf
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &got); err != nil || got.Event != d.Position || got.Digest != d.Digest || got.View != d.View {
		w.t.Errorf("bugle %s: %s, %v, want %+v", strings.Join(args, " "), lines[len(lines)-1], err, d)
	}
}

func (w *world) replayBadInput(archived string, to uint64) {
	w.t.Helper()
	part := filepath.Join(w.dir, "part.bga")
	w.text("journal", "export", "--format", "archive", "--output", part, "--from", "3", "--offline", w.data())
	for want, args := range map[string][]string{
		"2 events are numbered from 1":        {"--to", "0", "--view", "device", "--archive", archived},
		"2 --to: there is no event 99999999":  {"--to", "99999999", "--view", "device", "--offline", w.data()},
		"2 --to: the first event came after":  {"--to", "2001-01-01T00:00:00Z", "--view", "device", "--archive", archived},
		"2 is not known yet":                  {"--to", "2999-01-01T00:00:00Z", "--view", "device", "--archive", archived},
		"2 is neither the number of an event": {"--to", "yesterday", "--view", "device", "--archive", archived},
		"2 --view":                            {"--to", "1", "--view", "x", "--archive", archived},
		"2 --output":                          {"--to", "1", "--view", "device", "--archive", archived, "-o", "csv"},
		"2 give --offline or --archive":       {"--to", "1", "--view", "device", "--archive", archived, "--offline", w.data()},
		"1 to fold history takes all of it":   {"--to", fmt.Sprint(to), "--view", "device", "--archive", part},
		"1 archives do not make one history":  {"--to", "1", "--view", "device", "--archive", archived, "--archive", archived},
		"1 not an archive of a journal":       {"--to", "1", "--view", "device", "--archive", filepath.Join(w.data(), "keys", "head.key")},
		"1 no journal is there":               {"--to", "1", "--view", "device", "--offline", filepath.Join(w.dir, "nothing")},
	} {
		out, code, stderr := w.try(append([]string{"replay"}, args...)...)
		if wantCode, text, _ := strings.Cut(want, " "); fmt.Sprint(code) != wantCode || !strings.Contains(stderr, text) || out != "" {
			w.t.Errorf("bugle replay %s: exit %d\n%s%s\nwant exit %s and %q", strings.Join(args, " "), code, out, stderr, wantCode, text)
		}
	}
}
