package admin

import (
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

const (
	patchNight = `{"name":"patch night","enabled":true,"kind":"updates","start":"2026-12-05T01:00","minutes":180,"every":{"unit":"month","n":1,"nth":"second","weekday":"tue","offset":2}}`
	weekly     = `{"name":"weekly","enabled":false,"kind":"general","utc":true,"start":"2026-11-28T22:00","minutes":60,"every":{"unit":"week","n":2,"on":["sat","sun"]}}`
)

var (
	patchReply = console.WindowReply{Collection: "P0100001", CollectionName: "Pilot", Window: json.RawMessage(patchNight), Changed: ptr(at("09:00:00")), Event: 41}
	weekReply  = console.WindowReply{Window: json.RawMessage(weekly), Event: 30}

	berlin  = time.FixedZone("CET", 3600)
	spanned = console.WindowSpan{Open: time.Date(2026, 12, 10, 1, 0, 0, 0, berlin), Close: time.Date(2026, 12, 10, 4, 0, 0, 0, berlin), Minutes: 180,
		Windows: []console.WindowRef{{Collection: "P0100001", CollectionName: "Pilot", Name: "patch night", Kind: "updates"}, {Name: "weekly", Kind: "general"}}}
	aboutPC = console.WindowsFor{Device: 1, DeviceName: "pc-0001", Zone: "Europe/Berlin", ZoneFrom: "reported by the device", LeftOut: 2, Event: 50}
)

// windowSite answers every call of the commands for windows.
func windowSite(t *testing.T) *fakeSite {
	next := console.WindowNext{WindowsFor: aboutPC, Now: at("12:00:00"), Span: &spanned}
	return newFakeSite(t, map[string]http.HandlerFunc{
		"GET " + console.PathWindows: answer(console.WindowList{Items: []console.WindowReply{weekReply, patchReply}, LeftOut: 2, Event: 50}),
		"GET " + console.PathWindow:  answer(patchReply),
		"PUT " + console.PathWindow: answer(console.WindowsReply{Event: 51, Changes: []console.WindowChange{{Collection: "P0100001", CollectionName: "Pilot", Name: "patch night",
			Before: json.RawMessage(weekly), After: json.RawMessage(patchNight), Advice: []string{"it is too short", "it overlaps"}}}}),
		"DELETE " + console.PathWindow: answer(console.WindowsReply{Event: 52, Changes: []console.WindowChange{{Collection: "P0100001", CollectionName: "Pilot", Name: "patch night", Before: json.RawMessage(patchNight)}}}),
		"POST " + console.PathWindowsApply: answer(console.WindowsReply{Event: 53, Unchanged: 1, DryRun: true, Changes: []console.WindowChange{
			{Collection: "P0100001", CollectionName: "Pilot", Name: "new", After: json.RawMessage(patchNight)}}}),
		"GET " + console.PathWindowNext:     answer(next),
		"GET " + console.PathWindowCalendar: answer(console.WindowCalendar{WindowsFor: aboutPC, From: at("12:00:00"), To: at("13:00:00"), Spans: []console.WindowSpan{spanned}}),
		"GET " + console.PathWindowWhy: answer(console.WindowWhy{WindowsFor: aboutPC, Kind: "updates", Minutes: 60, Needs: 65, Now: at("12:00:00"), Why: "opens Sat 01:00 for 60 min; needs 65",
			Next: &spanned, Windows: spanned.Windows, OtherKinds: 1, SwitchedOff: 3}),
	})
}

func TestWindowCommandsInEveryFormat(t *testing.T) {
	for _, c := range []struct {
		name string
		args []string
	}{
		{"windows-list", []string{"list"}},
		{"windows-show", []string{"show", "Pilot", "patch night"}},
		{"windows-set", []string{"set", "Pilot", "patch night", "--minutes", "180", "--reason", "ticket 1"}},
		{"windows-delete", []string{"delete", "Pilot", "patch night"}},
		{"windows-apply", []string{"apply", "-", "--dry-run"}},
		{"windows-next", []string{"next", "pc-0001"}},
		{"windows-calendar", []string{"calendar", "Pilot", "--weeks", "2"}},
		{"windows-why", []string{"why", "pc-0001"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var all strings.Builder
			for _, format := range append(formats, "quiet") {
				s := windowSite(t)
				args := append(append([]string{"windows"}, c.args...), "-o", format)
				if format == "quiet" {
					args = append(append([]string{"windows"}, c.args...), "--quiet")
				}
				r := run{stdin: "windows:\n  - collection: Pilot\n    name: w\n    start: 2026-12-05T01:00\n    minutes: 60\n"}.on(s, args...)
				fmt.Fprintf(&all, "$ bugle %s\n%s\n", strings.Join(args, " "), r.text(s))
			}
			golden(t, c.name, all.String())
		})
	}
}

func TestCallsOfWindowCommands(t *testing.T) {
	var all strings.Builder
	for _, args := range [][]string{
		{"list", "--collection", "Pilot", "--at", "17"},
		{"list", "--device", "1"},
		{"show", "Pilot", "a/b"},
		{"set", "Pilot", "patch night"},
		{"set", "Pilot", "patch night", "--disabled", "--utc", "--start", "2026-12-06 02:30", "--minutes", "240", "--every", "2 weeks on sun,sat", "--kind", "general", "--reason", "why"},
		{"set", "Pilot", "patch night", "--every", "month on last day", "--dry-run"},
		{"delete", "Pilot", "patch night", "--reason", "why", "--dry-run"},
		{"next", "Pilot", "--zone", "Europe/Berlin", "--kind", "updates", "--at", "17"},
		{"next", "--device", "pc-0001"},
		{"calendar", "pc-0001"},
		{"calendar", "--collection", "Pilot", "--from", "2026-12-01", "--to", "2027-01-01"},
		{"why", "pc-0001", "--kind", "general", "--minutes", "30", "--zone", "+02:00"},
	} {
		s := windowSite(t)
		r := run{}.on(s, append([]string{"windows"}, args...)...)
		if r.code != 0 {
			t.Errorf("bugle windows %s: %v", args, r.err)
		}
		fmt.Fprintf(&all, "$ bugle windows %s\n%s\n\n", strings.Join(args, " "), strings.Join(s.called(), "\n"))
	}
	golden(t, "windows-calls", all.String())
}

func TestWindowCommandsThatAreWrong(t *testing.T) {
	for want, args := range map[string][]string{
		"exclude each other":                      {"list", "--collection", "a", "--device", "b"},
		"NAME is missing":                         {"show", "Pilot"},
		`--start: "tomorrow" is no date and time`: {"set", "Pilot", "w", "--start", "tomorrow"},
		`--every "fortnight": it is one of`:       {"set", "Pilot", "w", "--every", "fortnight"},
		"length 4m0s":                             {"set", "Pilot", "w", "--minutes", "4"},
		"length -1h0m0s":                          {"set", "Pilot", "w", "--minutes", "-60"},
		`kind "nights"`:                           {"set", "Pilot", "w", "--kind", "nights"},
		"Give a DEVICE or a COLLECTION":           {"next"},
		"whose windows?":                          {"next", "a", "--device", "b"},
		`--kind: "x" is none of`:                  {"calendar", "a", "--kind", "x"},
		"--weeks: 0 is not from 1 to 57":          {"calendar", "a", "--weeks", "0"},
		"--minutes: 0 is not":                     {"why", "a", "--minutes", "0"},
		"is neither the number":                   {"why", "a", "--at", "never"},
		"'bugle windows' has no command":          {"frobnicate"},
	} {
		s := windowSite(t)
		r := run{}.on(s, append([]string{"windows"}, args...)...)
		if r.code != codeUsage || !strings.Contains(fmt.Sprint(r.err), want) {
			t.Errorf("%v: code %d, %v, want %q", args, r.code, r.err, want)
		}
		for _, call := range s.called() {
			if !strings.HasPrefix(call, "GET ") {
				t.Errorf("%v made the call %s", args, call)
			}
		}
	}
}

// A window that is not there is made, for which its start and length are needed.
func TestWindowsSetMakesANewOne(t *testing.T) {
	s := newFakeSite(t, map[string]http.HandlerFunc{
		"GET " + console.PathWindow: refuse(404, "There is no such thing", "Collection Pilot has no window w."),
		"PUT " + console.PathWindow: answer(console.WindowsReply{Event: 7}),
	})
	if r := (run{}).on(s, "windows", "set", "Pilot", "w", "--minutes", "60"); r.code != codeUsage || !strings.Contains(r.err.Error(), "give --start and --minutes") {
		t.Errorf("code %d, %v", r.code, r.err)
	}
	if r := (run{}).on(s, "windows", "set", "Pilot", "w", "--minutes", "60", "--start", "2026-12-05T01:00"); r.code != 0 {
		t.Fatal(r.err)
	}
	want := `PUT /api/v1/windows/Pilot/w {"window":{"name":"w","enabled":true,"kind":"general","start":"2026-12-05T01:00","minutes":60}}`
	if calls := s.called(); calls[len(calls)-1] != want {
		t.Errorf("the call is %s", calls[len(calls)-1])
	}
}

// If somebody else was faster the window is read and changed again.
func TestWindowsSetTriesAgain(t *testing.T) {
	changed := refuse(412, "The window was changed meanwhile", "Read it again.")
	s := newFakeSite(t, map[string]http.HandlerFunc{
		"GET " + console.PathWindow: answer(patchReply),
		"PUT " + console.PathWindow: inOrder(changed, changed, answer(console.WindowsReply{Event: 7})),
	})
	if r := (run{}).on(s, "windows", "set", "Pilot", "patch night", "--minutes", "60"); r.code != 0 || len(s.called()) != 6 {
		t.Errorf("%v, calls %q", r.err, s.called())
	}
	s = newFakeSite(t, map[string]http.HandlerFunc{"GET " + console.PathWindow: answer(patchReply), "PUT " + console.PathWindow: changed})
	if r := (run{}).on(s, "windows", "set", "Pilot", "patch night", "--minutes", "60"); r.code != codeFailed || len(s.called()) != 2*policyTries {
		t.Errorf("%v, %d calls", r.err, len(s.called()))
	}
}

const window1 = "- collection: Pilot\n  name: a\n  start: 2026-12-05T01:00\n  minutes: 60\n  every: {unit: week, on: [sat]}\n"

func TestWindowsApplyReadsFiles(t *testing.T) {
	file := func(text string) string {
		name := filepath.Join(t.TempDir(), "windows.yaml")
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	sent := `"windows":[{"collection":"Pilot","windows":[{"every":{"on":["sat"],"unit":"week"},"minutes":60,"name":"a","start":"2026-12-05T01:00"}]}]`
	for _, text := range []string{window1, "# windows\n\n" + window1, "windows:\n" + window1, "---\nwindows:\n" + window1,
		"# windows\n" + `[{"collection":"Pilot","name":"a",` + "\n" + `"start":"2026-12-05T01:00","minutes":60,"every":{"unit":"week","on":["sat"]}}` + "\n]\n"} {
		s := windowSite(t)
		r := run{}.on(s, "windows", "apply", file(text), "--prune", "--reason", "why")
		if calls := s.called(); r.code != 0 || len(calls) != 1 || !strings.Contains(calls[0], sent) || !strings.Contains(calls[0], `"prune":true,"reason":"why"`) {
			t.Errorf("%s\n%v, calls %q", text, r.err, calls)
		}
	}
	for text, want := range map[string]string{
		"": "it has no windows",
		"windows:\n- name: a\n  start: 2026-12-05T01:00\n  minutes: 60\n":            "line 2, column 3: a window names its collection",
		"- name: a\n  start: 2026-12-05T01:00\n  minutes: 60\n":                      "line 1, column 3: a window names its collection",
		window1 + strings.Replace(window1, "minutes: 60", "minutes: 0", 1):           `line 6, column 3: "a": minutes 0: 5 to 44640 are taken`,
		"windows:\n" + strings.Replace(window1, "minutes:", "hours:", 1):             `line 2, column 3: not a window: json: unknown field "hours"`,
		"collections: [{name: x}]\n":                                                 "use 'bugle collections apply'",
		"windows: [\n":                                                               "no YAML",
		`[{"collection":"Pilot","name":"a",` + "\n" + `"start":"2026-12-05T01:00"}]`: `"a": minutes 0`,
		"- [x\n": "no YAML",
		"windows:\n" + strings.Replace(window1, "[sat]", "[saturday]", 1):    `weekday "saturday"`,
		strings.Replace(window1, "unit: week", "unit: day", 1):               "on: only weeks have it",
		strings.Replace(window1, "{unit: week, on: [sat]}", "every week", 1): "not a window",
	} {
		s := windowSite(t)
		r := run{}.on(s, "windows", "apply", file(text))
		if r.code != codeFailed || !strings.Contains(fmt.Sprint(r.err), want) || len(s.called()) != 0 {
			t.Errorf("%s\ncode %d, %v, want %q", text, r.code, r.err, want)
		}
	}
	if r := (run{}).on(windowSite(t), "windows", "apply", "/no/such/file"); r.code != codeFailed {
		t.Errorf("code %d, %v", r.code, r.err)
	}
}
