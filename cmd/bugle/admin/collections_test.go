package admin

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/bugle-fleet/bugle/agent/window"
	"github.com/bugle-fleet/bugle/console"
	"github.com/bugle-fleet/bugle/console/definitions"
)

var rootInfo = console.CollectionInfo{ID: "SMS00001", Name: "All Systems", Comment: "Every device of the site.", Members: 3}

var laptopsInfo = console.CollectionInfo{ID: "P0100001", Name: "Laptops", Comment: "=what people carry", Limit: "SMS00001", LimitName: "All Systems", Members: 2, Direct: 12,
	Queries: 2, Include: 1, Exclude: 1, Schedule: "0 4 * * *", Incremental: true,
	Evaluated: &console.EvaluationRun{Queue: "incremental", Cause: "devices", Basis: 40, Event: 41, Done: at("10:00:00"), TookMS: 0.25, Members: 2, Added: 1},
	Changed:   &console.EventMark{Event: 41, At: at("10:00:00")}, Created: &console.EventMark{Event: 20, At: at("09:00:00")}, Defined: &console.EventMark{Event: 30, At: at("09:30:00")}}

var pilotInfo = console.CollectionInfo{ID: "P0100002", Name: "pilot\x1b[31m", Limit: "P0100001", LimitName: "Laptops", Defined: &console.EventMark{Event: 31, At: at("09:31:00")}}

var lostInfo = console.CollectionInfo{ID: "P0100003", Name: "lost", Limit: "P01000FF", Defined: &console.EventMark{Event: 32, At: at("09:32:00")}}

func laptopsDefinition() definitions.Collection {
	windows := []json.RawMessage{json.RawMessage(`{"name":"night","start":"2026-01-03T01:00","minutes":120}`)}
	return definitions.Collection{ID: "P0100001", Name: "Laptops", Comment: "=what people carry", Limit: "All Systems", Direct: []string{"pc-0001", "pc-0002", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12"},
		Queries: []definitions.Query{{Name: "ring", WQL: "select * from SMS_R_System\nwhere Name like 'NB%'"}, {WQL: "select * from SMS_R_System where ResourceID in (select ResourceID from SMS_CM_RES_COLL_P0100003)"}},
		Include: []string{"Tablets"}, Exclude: []string{"Kiosks"}, Schedule: "0 4 * * *", Incremental: true, Windows: &windows}
}

var appliedAnswer = console.ApplyReply{
	Changes: []console.DefinitionChange{
		{Action: "create", Of: "class", Name: "SMS_G_System_BADGE", Diff: []definitions.Difference{{Field: "properties", Added: []string{"Number text"}}}, Event: 50},
		{Action: "create", Of: "collection", ID: "P0100004", Name: "Tablets", Diff: []definitions.Difference{{Field: "limit", After: "All Systems"}, {Field: "direct", Added: []string{"pc-0001"}, More: 99}}, Event: 51},
		{Action: "change", Of: "collection", ID: "P0100001", Name: "Laptops", Diff: []definitions.Difference{{Field: "comment", Before: "a"}, {Field: "limit", Before: "All Systems", After: "Clients\x1b"}}, Event: 52},
		{Action: "delete", Of: "collection", ID: "P0100002", Name: "Pilot", Event: 53},
	},
	Unchanged: 2, Version: 53, Event: 53,
}

// appliesFor answers dry runs with an impact that needs force or not, and what is
// to be done with appliedAnswer.
func appliesFor(force bool) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var in console.ApplyRequest
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
			panic(err)
		}
		reply := appliedAnswer
		if in.DryRun {
			reply.Event, reply.Version, reply.DryRun = 0, 49, true
			reply.Impact = &console.Impact{Devices: 11, Force: force, More: 3,
				Collections: []console.CollectionImpact{{ID: "P0100001", Name: "Laptops", Before: 12, After: 3, Entered: 1, Left: 10}}}
			if force {
				reply.Impact.Why = []string{`In "Laptops" 1 devices would enter and 10 leave, of 12.`}
			}
		}
		answer(reply)(w, r)
	}
}

// collectionSite is a console that answers all about collections.
func collectionSite(t *testing.T) *fakeSite {
	infos := []console.CollectionInfo{rootInfo, laptopsInfo, lostInfo, pilotInfo}
	tablets := definitions.Collection{ID: "P0100003", Name: "Tablets"}
	s := newFakeSite(t, map[string]http.HandlerFunc{
		"GET " + console.PathCollections: answer(console.CollectionList{Items: infos, Definitions: []definitions.Collection{laptopsDefinition(), tablets}, Event: 50}),
		"GET " + console.PathCollection: answer(console.CollectionReply{CollectionInfo: laptopsInfo, Definition: laptopsDefinition(), Event: 50,
			Inputs:     []console.CollectionRef{{ID: "SMS00001", Name: "All Systems", How: "is limited by"}},
			Dependants: []console.CollectionRef{{ID: "P0100002", Name: "pilot", How: "is limited by"}}}),
		"GET " + console.PathCollectionMembers: answer(console.MemberPage{Collection: "P0100001", Name: "Laptops", Total: 2, Event: 50,
			Items: []console.Member{{Device: 1, Name: "pc-0001", ID: fleet[0].ID, Online: true}, {Device: 2, Name: "=cmd\x1b[31m"}}}),
		"GET " + console.PathDeviceCollections: answer(console.DeviceCollections{Device: 1, Name: "pc-0001", Items: []console.CollectionInfo{rootInfo, laptopsInfo}, Event: 50}),
		"GET " + console.PathClasses: answer(console.ClassList{Items: []definitions.Class{
			{Name: "SMS_R_System", Properties: []definitions.Property{{Name: "Name", Type: "text"}, {Name: "IPSubnets", Type: "text", List: true}}},
			{Name: "SMS_G_System_LOGICAL_DISK", Properties: []definitions.Property{{Name: "DeviceID", Type: "text", Key: true}, {Name: "FreeSpace", Type: "number"}}}}}),
		"POST " + console.PathCollections:         appliesFor(false),
		"POST " + console.PathCollectionsEvaluate: answer(console.EvaluateReply{Collections: []console.CollectionRef{{ID: "P0100001", Name: "Laptops"}}, Event: 40}),
		"POST " + console.PathOperations:          pushOf(25, answer(pushAnswer)),
		"GET " + console.PathEvents:               eventList(history(3)),
		"GET " + console.PathJournal:              answer(console.JournalReply{Events: 3, Pages: 1, Head: "c0ffee"}),
	})
	s.write("rings.yaml", "collections:\n- name: Laptops\n  limit: Clients\n- name: Tablets\n  queries:\n  - select * from SMS_R_Sistem\n")
	s.write("bad.yaml", "collections:\n- name: Laptops\n  limited: Clients\n")
	return s
}

func TestCollectionsInEveryFormat(t *testing.T) {
	for name, args := range map[string]string{
		"collections-list":       "collections list",
		"collections-tree":       "collections list --tree",
		"collections-show":       "collections show Laptops",
		"collections-members":    "collections members Laptops",
		"devices-collections":    "devices collections pc-0001",
		"collections-classes":    "collections classes",
		"collections-apply":      "collections apply DATA/rings.yaml --yes --reason why",
		"collections-apply-dry":  "collections apply DATA/rings.yaml --dry-run",
		"collections-export":     "collections export --all",
		"collections-export-one": "collections export laptops --ids",
		"collections-create":     "collections create Tablets --device pc-0001",
		"collections-delete":     "collections delete Pilot --yes",
		"collections-evaluate":   "collections evaluate Laptops",
		"collections-evaluated":  "collections evaluate Laptops --watch",
	} {
		t.Run(name, func(t *testing.T) {
			var all strings.Builder
			for _, format := range append(formats, "quiet") {
				s := collectionSite(t)
				call := strings.Fields(strings.ReplaceAll(args, "DATA", s.data))
				if format == "quiet" {
					call = append(call, "--quiet")
				} else {
					call = append(call, "-o", format)
				}
				fmt.Fprintf(&all, "$ bugle %s\n%s\n", strings.ReplaceAll(strings.Join(call, " "), s.data, "DATA"), run{}.on(s, call...).text(s))
			}
			golden(t, name, all.String())
		})
	}
}

// The calls that the commands make, and what is printed of them.
func TestCollectionCalls(t *testing.T) {
	var all strings.Builder
	for _, args := range [][]string{
		{"collections", "create", "Tablets", "--limit", "Clients", "--comment", "small", "--query", "select 1", "--query-name", "q", "--include", "a", "--include", "b, c", "--exclude", "d", "--schedule", "0 4 * * *", "--incremental", "--reason", "why", "--force"},
		{"collections", "create", "Tablets", "--query", "@DATA/keys/ca.crt.none"},
		{"collections", "set", "Laptops", "--schedule", "", "--incremental=false", "--dry-run"},
		{"collections", "add-rule", "Laptops", "--device", "pc-3,pc-4", "--query", "select 2", "--query-name", "RING", "--exclude", "x"},
		{"collections", "remove-rule", "Laptops", "--device", "PC-0001", "--query", "2", "--query-name", "ring", "--include", "tablets", "--exclude", "kiosks"},
		{"collections", "remove-rule", "Laptops", "--include", "nothing"},
		{"collections", "remove-rule", "Laptops", "--query", "7"},
		{"collections", "rename", "Laptops", "Notebooks"},
		{"collections", "copy", "Laptops", "Second ring"},
		{"collections", "delete", "a", "b", "--yes", "--force", "--reason", "over"},
		{"collections", "apply", "-", "--yes"},
		{"collections", "evaluate", "a", "b", "--dependants", "--reason", "why"},
		{"collections", "members", "a/b", "--limit", "7", "--at", "2h"},
		{"collections", "export", "All Systems"},
		{"collections", "classes", "DISK"},
		{"collections", "classes", "name"},
		{"push", "scan.quick", "--collection", "Laptops", "--yes"},
		{"push", "scan.quick", "--collection", "Laptops", "--dry-run"},
		{"journal", "tail", "--from", "1", "--collection", "Laptops"},
	} {
		s := collectionSite(t)
		call := make([]string, len(args))
		for i := range args {
			call[i] = strings.Replace(args[i], "DATA", s.data, 1)
		}
		r := run{stdin: "collections: [{name: from stdin, direct: [1]}]"}.on(s, call...)
		fmt.Fprintf(&all, "$ bugle %q\n%s\n%s\n", args, strings.Join(s.called(), "\n"), r.text(s))
	}
	golden(t, "collections-calls-of-verbs", all.String())
}

func TestCollectionWrongCalls(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"collections apply", "FILE is missing"},
		{"collections apply DATA/none.yaml --yes", "no such file"},
		{"collections apply DATA/bad.yaml --yes", `DATA/bad.yaml: line 3, column 3: a collection has no field "limited"`},
		{"collections export", "give --all"},
		{"collections export a --all", "give --all"},
		{"collections create", "NAME is missing"},
		{"collections create a --query-name q", "--query-name is for one --query"},
		{"collections set a", "nothing to set"},
		{"collections add-rule a", "no rule"},
		{"collections remove-rule a", "no rule"},
		{"collections rename a", "NAME is missing"},
		{"collections copy a", "NAME is missing"},
		{"collections delete", "COLLECTION is missing"},
		{"collections evaluate a --timeout 1s", "--timeout is for --watch"},
		{"collections members a --limit -1", "less than 0"},
		{"collections list --at never", "--at"},
		{"push scan.quick --collection a --all", "--collection excludes"},
		{"push scan.quick", "--collection"},
	} {
		s := collectionSite(t)
		r := run{}.on(s, strings.Fields(strings.ReplaceAll(c.args, "DATA", s.data))...)
		if r.code != codeUsage || !strings.Contains(r.text(s), c.want) || len(s.called()) > 0 && !strings.Contains(c.args, "-rule") {
			t.Errorf("%s: code %d, %v, called %q", c.args, r.code, r.err, s.called())
		}
	}
}

// What the site refuses is told with its place in the file.
func TestApplyRefused(t *testing.T) {
	s := collectionSite(t)
	refused := newFakeSite(t, map[string]http.HandlerFunc{"POST " + console.PathCollections: func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(http.StatusUnprocessableEntity)
		json.NewEncoder(w).Encode(map[string]any{"title": "The definitions cannot be taken", "status": 422, "detail": "…", "errors": []definitions.Error{
			{Path: "collections[1].queries[0].wql", Line: 1, Column: 15, Message: "there is no class SMS_R_Sistem"},
			{Path: "collections[0].limit", Message: "there is no collection \"Clients\""}, {Message: "too much"}}})
	}})
	r := run{}.on(refused, "collections", "apply", s.data+"/rings.yaml", "--yes")
	want := "The definitions cannot be taken: nothing was done\n" +
		"DATA/rings.yaml:6:5: collections[1].queries[0].wql: line 1, column 15: there is no class SMS_R_Sistem\n" +
		"DATA/rings.yaml:3:10: collections[0].limit: there is no collection \"Clients\"\n" +
		"DATA/rings.yaml: too much"
	if got := strings.ReplaceAll(fmt.Sprint(r.err), s.data, "DATA"); got != want || r.code != codeUsage {
		t.Errorf("code %d:\n%s\nwant\n%s", r.code, got, want)
	}
}

// The changes are shown, the answer counts, and what was shown is what is done.
func TestApplyAsks(t *testing.T) {
	for _, c := range []struct {
		run   run
		force bool
		flags []string
		code  int
		calls int
		want  string
	}{
		{run{terminal: true, stdin: "y\n"}, false, nil, 0, 2, "Make these changes? [y/N]"},
		{run{terminal: true, stdin: "n\n"}, false, nil, 1, 1, "nothing was done"},
		{run{}, false, nil, codeUsage, 1, "give --yes"},
		{run{terminal: true, stdin: "y\n"}, true, nil, codeUsage, 1, "of 12. Give --force"},
		{run{terminal: true, stdin: "y\n"}, true, []string{"--force"}, 0, 2, "10 leave, of 12."},
	} {
		s := newFakeSite(t, map[string]http.HandlerFunc{"POST " + console.PathCollections: appliesFor(c.force)})
		s.write("rings.yaml", "collections: [{name: Laptops}]")
		r := c.run.on(s, append([]string{"collections", "apply", s.data + "/rings.yaml"}, c.flags...)...)
		calls := s.called()
		if r.code != c.code || len(calls) != c.calls || !strings.Contains(r.text(s), c.want) || !strings.Contains(r.stderr, "~ collection Laptops (P0100001)") {
			t.Errorf("%+v: code %d, %d calls, %s", c, r.code, len(calls), r.text(s))
		}
		if c.calls == 2 && !strings.Contains(calls[1], `"ifVersion":49`) {
			t.Errorf("second call %s", calls[1])
		}
	}
}

// What was changed by somebody else at the same moment is read and changed again.
func TestEditAgain(t *testing.T) {
	s := newFakeSite(t, map[string]http.HandlerFunc{
		"GET " + console.PathCollection:   answer(console.CollectionReply{CollectionInfo: laptopsInfo, Definition: laptopsDefinition()}),
		"POST " + console.PathCollections: inOrder(refuse(http.StatusPreconditionFailed, "The definitions were changed meanwhile", "Read it again."), appliesFor(false)),
	})
	r := run{}.on(s, "collections", "rename", "Laptops", "Notebooks")
	if calls := s.called(); r.code != 0 || len(calls) != 4 {
		t.Errorf("%s after %q", r.text(s), calls)
	}
	s = newFakeSite(t, map[string]http.HandlerFunc{"GET " + console.PathCollection: answer(console.CollectionReply{CollectionInfo: rootInfo})})
	if r := (run{}).on(s, "collections", "rename", "All Systems", "X"); r.code != 1 || !strings.Contains(fmt.Sprint(r.err), "built in") {
		t.Errorf("%s", r.text(s))
	}
}

// Watching ends when every collection was evaluated behind the request.
func TestWatchEvaluation(t *testing.T) {
	late := laptopsInfo
	late.Evaluated = &console.EvaluationRun{Queue: "single", Cause: "request", By: 60, Event: 61, Done: at("10:01:00"), TookMS: 3, Members: 9, Added: 7}
	s := newFakeSite(t, map[string]http.HandlerFunc{
		"POST " + console.PathCollectionsEvaluate: answer(console.EvaluateReply{Collections: []console.CollectionRef{{ID: "P0100001", Name: "Laptops"}}, Event: 60}),
		"GET " + console.PathCollections: inOrder(answer(console.CollectionList{Items: []console.CollectionInfo{laptopsInfo}}), answer(console.CollectionList{Items: []console.CollectionInfo{rootInfo, laptopsInfo}}),
			answer(console.CollectionList{Items: []console.CollectionInfo{rootInfo, late}})),
	})
	r := run{}.on(s, "collections", "evaluate", "Laptops", "--watch", "-o", "csv")
	if calls := s.called(); r.code != 0 || len(calls) != 4 || !strings.HasSuffix(r.stdout, "P0100001,Laptops,2,7,0,3,single,61\n") {
		t.Errorf("%s after %q", r.text(s), calls)
	}
}

// Watching ends when a collection is deleted, and says so without what a name may do
// to a terminal.
func TestWatchEvaluationOfADeletedCollection(t *testing.T) {
	s := newFakeSite(t, map[string]http.HandlerFunc{
		"POST " + console.PathCollectionsEvaluate: answer(console.EvaluateReply{Collections: []console.CollectionRef{{ID: "P0100001", Name: "Lap\u009b2Jtops"}}, Event: 60}),
		"GET " + console.PathCollections:          inOrder(answer(console.CollectionList{Items: []console.CollectionInfo{laptopsInfo}}), answer(console.CollectionList{Items: []console.CollectionInfo{rootInfo}})),
	})
	r := run{}.on(s, "collections", "evaluate", "Laptops", "--watch")
	if r.code != 1 || r.err == nil || !strings.Contains(r.err.Error(), "no collection Lap?2Jtops any more") {
		t.Errorf("%s", r.text(s))
	}
}

// What the help of apply shows can be applied.
func TestExampleOfApplyIsADocument(t *testing.T) {
	_, text, _ := strings.Cut(applyLong, "nothing. What is as it should be")
	_, text, _ = strings.Cut(text, "\n\n")
	text, _, _ = strings.Cut(text, "\n\n")
	doc, _, err := definitions.Parse([]byte(text))
	if err != nil || len(doc.Collections) != 2 || len(doc.Classes) != 1 {
		t.Fatalf("%v in\n%s", err, text)
	}
	for _, raw := range *doc.Collections[0].Windows {
		if _, err := window.Parse([]byte("[" + string(raw) + "]")); err != nil {
			t.Errorf("%v in %s", err, raw)
		}
	}
}

// What is pushed to a collection is what was shown when it was asked.
func TestPushToCollectionAsks(t *testing.T) {
	dry := pushAnswer
	dry.Operation, dry.DryRun, dry.Collection, dry.MembersAt, dry.LeftOut = "", true, "P0100001", 44, 3
	dry.Target = "collection Laptops (P0100001) as of event 44"
	s := newFakeSite(t, map[string]http.HandlerFunc{"POST " + console.PathOperations: inOrder(answer(dry), answer(pushAnswer))})
	r := run{terminal: true, stdin: "y\n"}.on(s, "push", "scan.quick", "--collection", "Laptops")
	calls := s.called()
	if r.code != 0 || len(calls) != 2 || !strings.Contains(calls[1], `"collection":"Laptops","membersAt":44`) ||
		!strings.Contains(r.stderr, "Push scan.quick to 25 devices in collection Laptops (P0100001) as of event 44, 20 of them online? [y/N]") {
		t.Errorf("%q: %s", calls, r.text(s))
	}
	s = newFakeSite(t, map[string]http.HandlerFunc{"POST " + console.PathOperations: answer(dry)})
	if r = (run{terminal: true, stdin: "n\n"}).on(s, "push", "scan.quick", "--collection", "Laptops"); r.code != 1 || len(s.called()) != 1 {
		t.Errorf("%s", r.text(s))
	}
	s = newFakeSite(t, map[string]http.HandlerFunc{"POST " + console.PathOperations: answer(dry)})
	if r = (run{}).on(s, "push", "scan.quick", "--collection", "Laptops", "--dry-run"); !strings.Contains(r.stdout, "collection Laptops (P0100001) as of event 44") || !strings.Contains(r.stdout, "Left out:    3") {
		t.Errorf("%s", r.text(s))
	}
}
