package admin

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/console"
)

// exportSite serves a history of n events and takes exports of it.
func exportSite(t *testing.T, n int, events http.HandlerFunc) *fakeSite {
	return newFakeSite(t, map[string]http.HandlerFunc{
		"POST " + console.PathExports: exportOf(uint64(n)), "GET " + console.PathEvents: events,
		"GET " + console.PathJournal: answer(console.JournalReply{Events: uint64(n)}),
	})
}

func TestExport(t *testing.T) {
	s := exportSite(t, 25, eventList(history(25)))
	var all strings.Builder
	for _, args := range []string{
		"--to 4", "--format csv --to 9 --kind device.,results.reported", "--format csv --from 1 --to 1 --changes", "--from 1 --to 1 --changes",
		"--format csv --kind token.created", "--kind token.created", "--from 26 --format csv",
	} {
		fmt.Fprintf(&all, "$ bugle journal export %s\n%s\n", args, run{}.on(s, append([]string{"journal", "export"}, strings.Fields(args)...)...).text(s))
	}
	golden(t, "journal-export", all.String())
}

// What a program reads is what the site said, in full, also if it takes many calls.
func TestExportIsWhole(t *testing.T) {
	s := exportSite(t, 137, eventList(history(137)))
	file := filepath.Join(t.TempDir(), "history.csv")
	if r := (run{}).on(s, "journal", "export", "--format", "csv", "--output", file, "--reason", "audit"); r.code != 0 || r.stdout != "" || !strings.Contains(r.stderr, "Of the events 1 to 137, 137 are exported (event 138 says so)") {
		t.Fatalf("code %d, %q, %v", r.code, r.stdout+r.stderr, r.err)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(b, []byte("\r\n")); n != 138 || bytes.Count(b, []byte("\n")) != n {
		t.Errorf("%d lines, not all of which end with CR LF", n)
	}
	rows, err := csv.NewReader(bytes.NewReader(b)).ReadAll()
	if err != nil || len(rows) != 138 {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	for i, row := range rows[1:] {
		if row[0] != fmt.Sprint(i+1) {
			t.Fatalf("row %d is of event %s", i+1, row[0])
		}
		for _, cell := range row {
			if cell != "" && strings.ContainsRune("=+-@", rune(cell[0])) {
				t.Errorf("a spreadsheet would take %q for a formula", cell)
			}
		}
	}
	if left, _ := filepath.Glob(file + "*"); len(left) != 1 {
		t.Errorf("files %v", left)
	}
	if calls := s.called(); !strings.HasPrefix(calls[0], "POST "+console.PathExports) || !strings.Contains(calls[0], `"reason":"audit"`) {
		t.Errorf("the first call is %s", calls[0])
	}
	if r := (run{}).on(s, "journal", "export", "--output", file); r.code != codeUsage || !strings.Contains(r.err.Error(), "is there already") {
		t.Errorf("an earlier export: code %d, %v", r.code, r.err)
	}
	if r := (run{}).on(s, "journal", "export", "--output", file, "--force"); r.code != 0 {
		t.Errorf("code %d, %v", r.code, r.err)
	}
	b, err = os.ReadFile(file)
	if n := bytes.Count(b, []byte("\n")); err != nil || n != 137 || !bytes.HasPrefix(b, []byte(`{"number":1,`)) {
		t.Errorf("%d lines, %v", n, err)
	}
}

// Numbers that a float does not hold come out as they went in.
func TestExportKeepsNumbers(t *testing.T) {
	const large = "18446744073709551615"
	s := exportSite(t, 1, answer(console.EventPage{From: 1, To: 1, Items: []console.Event{{Number: 1, Payload: json.RawMessage(`{"position":` + large + `}`)}}}))
	if r := (run{}).on(s, "journal", "export"); !strings.Contains(r.stdout, `"position":`+large) {
		t.Errorf("exported %s", r.stdout)
	}
}

func TestExportThatBreaksOff(t *testing.T) {
	list := eventList(history(25))
	broken := func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("from") == "21" {
			answerProblem(w, 500, "The server failed", "See its log.")
			return
		}
		list(w, r)
	}
	s := exportSite(t, 25, broken)
	file := filepath.Join(t.TempDir(), "history.jsonl")
	r := run{}.on(s, "journal", "export", "--output", file)
	if want := "the events up to 20 are written in " + file + ".part, which stays if you take another file: go on with --from 21 --to 25"; r.code != codeFailed || !strings.Contains(r.err.Error(), want) || !strings.Contains(r.err.Error(), "See its log") {
		t.Errorf("code %d, %v", r.code, r.err)
	}
	if b, err := os.ReadFile(file + ".part"); err != nil || bytes.Count(b, []byte("\n")) != 20 {
		t.Errorf("%d bytes, %v", len(b), err)
	}
	if _, err := os.Stat(file); err == nil {
		t.Error("an export that broke off has the name of a whole one")
	}
	r = run{}.on(s, "journal", "export", "--from", "21", "--output", file)
	if b, err := os.ReadFile(file + ".part"); r.code != codeUsage || err != nil || bytes.Count(b, []byte("\n")) != 20 {
		t.Errorf("what was exported is lost: code %d, %v, %d bytes, %v", r.code, r.err, len(b), err)
	}
	file = filepath.Join(t.TempDir(), "rest.jsonl")
	r = run{}.on(s, "journal", "export", "--from", "21", "--output", file)
	if left, _ := filepath.Glob(file + "*"); r.code != codeFailed || len(left) != 0 || strings.Contains(r.err.Error(), "go on") {
		t.Errorf("an export that never began: code %d, %v, files %v", r.code, r.err, left)
	}
	r = run{}.on(s, "journal", "export", "--to", "22")
	if r.code != codeFailed || strings.Count(r.stdout, "\n") != 20 || !strings.Contains(r.err.Error(), "the events up to 20 are written: go on with --from 21 --to 22") {
		t.Errorf("code %d, %v", r.code, r.err)
	}
	if r := (run{}).on(s, "journal", "export", "--output", filepath.Join(t.TempDir(), "no", "folder")); r.code != codeFailed {
		t.Errorf("code %d, %v", r.code, r.err)
	}
}

// A refused filter is told before any file is made, and takes nothing away.
func TestExportThatIsRefused(t *testing.T) {
	s := newFakeSite(t, map[string]http.HandlerFunc{"POST " + console.PathExports: refuse(422, "There is no such event", "to: there is no event 99 yet.")})
	file := filepath.Join(t.TempDir(), "x")
	r := run{}.on(s, "journal", "export", "--to", "99", "--output", file)
	if left, _ := filepath.Glob(file + "*"); r.code != codeUsage || len(left) != 0 {
		t.Errorf("code %d, %v, files %v", r.code, r.err, left)
	}
}

// What asks for a device or a kind that is not there is no copy that somebody took.
func TestExportOfNothingIsNotAnnounced(t *testing.T) {
	s := newFakeSite(t, map[string]http.HandlerFunc{
		"POST " + console.PathExports: exportOf(25),
		"GET " + console.PathEvents:   refuse(404, "There is no such thing", "There is no device."),
	})
	file := filepath.Join(t.TempDir(), "x")
	r := run{}.on(s, "journal", "export", "--device", "pc", "--output", file)
	if left, _ := filepath.Glob(file + "*"); r.code != codeFailed || len(left) != 0 || strings.Contains(fmt.Sprint(s.called()), "POST") {
		t.Errorf("code %d, %v, files %v, calls %q", r.code, r.err, left, s.called())
	}
}

// An archive takes the place of a file only with --force, and the site is asked
// for it only if there is a file to write it to.
func TestExportArchiveToFile(t *testing.T) {
	_, f := storedSite(t)
	_, text := f.CheckpointOf(t, 30)
	s := givesAway(t, f, archiveOf(t, f, text))
	name := put(t, filepath.Join(t.TempDir(), "a.bga"), []byte("x"))
	export := []string{"journal", "export", "--format", "archive", "--output"}
	if r := (run{}).on(s, append(export, name)...); r.code != codeUsage || read(t, name) != "x" {
		t.Errorf("code %d, %v", r.code, r.err)
	}
	if r := (run{}).on(s, append(export, name, "--force")...); r.code != 0 || !strings.Contains(r.stdout, "whole") {
		t.Errorf("code %d, %v", r.code, r.err)
	}
	if r := (run{}).on(s, "journal", "verify", "--archive", name, "--key", keyOf(t, f)); r.code != 0 || !strings.Contains(r.stdout, "events 1 to") {
		t.Errorf("what was written: code %d, %v", r.code, r.err)
	}
	nowhere := givesAway(t, f, nil)
	if r := (run{}).on(nowhere, append(export, filepath.Join(name, "b.bga"))...); r.code == 0 || strings.Contains(fmt.Sprint(nowhere.called()), console.PathArchive) {
		t.Errorf("code %d, %v, calls %q", r.code, r.err, nowhere.called())
	}
	refuses := newFakeSite(t, map[string]http.HandlerFunc{
		"GET " + console.PathArchive: refuse(422, "The archive cannot be made", "x"), "GET " + console.PathCheckpoint: answer(console.CheckpointReply{Key: keyOf(t, f)})})
	other := filepath.Join(t.TempDir(), "c.bga")
	r := run{}.on(refuses, append(export, other)...)
	if left, _ := filepath.Glob(other + "*"); r.code != codeUsage || len(left) != 0 {
		t.Errorf("code %d, %v, files %v", r.code, r.err, left)
	}
}

// A long scan that finds nothing says how far it is, and follows the site to the end.
func TestLongScan(t *testing.T) {
	all := history(60)
	for i := range all {
		all[i].Kind = "presence.delta"
	}
	s := exportSite(t, 60, func(w http.ResponseWriter, r *http.Request) {
		page := console.EventPage{Items: []console.Event{}, From: 1, To: 60}
		fmt.Sscan(r.URL.Query().Get("from"), &page.From)
		if page.From < 51 {
			page.Next = page.From + 10
		} else {
			page.Items = all[59:]
		}
		answer(page)(w, r)
	})
	now := at("10:00:00")
	tick := func() time.Time { now = now.Add(3 * time.Second); return now }
	r := run{clock: tick}.on(s, "journal", "tail", "--from", "1", "--device", "1", "-o", "csv")
	if r.code != 0 || !strings.Contains(r.stdout, "\n60,") || len(s.called()) != 7 {
		t.Fatalf("code %d, %q, calls %q", r.code, r.stdout, s.called())
	}
	// Where it is not a terminal there is a line every five seconds at most.
	if want := "10 of 60 events done: looked at up to event 10\n30 of 60 events done: looked at up to event 30\n50 of 60 events done: looked at up to event 50\n"; r.stderr != want {
		t.Errorf("progress %q, want %q", r.stderr, want)
	}
	terminal := run{clock: tick, terminal: true}.on(s, "journal", "tail", "--from", "1", "--device", "1")
	if !strings.Contains(terminal.stderr, " 10/60  looked at") || !strings.HasSuffix(terminal.stderr, "\r\x1b[K") {
		t.Errorf("progress %q", terminal.stderr)
	}
	if quiet := (run{clock: tick}).on(s, "journal", "tail", "--from", "1", "--quiet"); quiet.stderr != "" {
		t.Errorf("progress %q", quiet.stderr)
	}
}
