package admin

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bugle-fleet/bugle/console"
	"github.com/bugle-fleet/bugle/console/definitions"
)

func statOf(id, name string, seconds float64, added, removed uint64, done string) console.EvaluationStat {
	return console.EvaluationStat{ID: id, Name: name, Runs: 7, Seconds: seconds, Share: seconds / 2, Started: at("09:59:00"), Done: at(done), Members: 12, Added: added,
		Removed: removed, MembersChange: &console.EventMark{Event: 40, At: at("08:00:00")}, Cycle: 9, Cause: "devices", By: 38, Basis: 39, Computed: 3, Reused: 4, Event: 41}
}

// statList answers as the kind says; with history each has three runs.
func statList(w http.ResponseWriter, r *http.Request) {
	items := []console.EvaluationStat{statOf("P0100001", "Laptops", 0.0125, 3, 1, "10:00:00"), statOf("P0100002", "=Servers", 1.5, 0, 0, "10:00:01"),
		statOf("P0100003", "all mobile", 0.0125, 9, 0, "09:58:00")}
	items[1].MembersChange = nil
	if r.URL.Query().Get("kind") == "full" {
		items[0].Next = ptr(at("23:00:00"))
	}
	if r.URL.Query().Get("history") != "" {
		for i := range items[:2] {
			items[i].Trend = ptr(1.25)
			for c := range 3 {
				items[i].History = append(items[i].History, console.EvaluationPoint{Cycle: uint64(9 - c), Event: uint64(41 - c), Started: at("09:59:00"), Done: at("10:00:00"),
					Seconds: 0.5 + float64(c), Cause: "schedule", Members: 12, Added: uint64(c)})
			}
		}
	}
	answer(console.EvaluationStats{Kind: r.URL.Query().Get("kind"), Items: items, TotalSeconds: 2, Event: 50})(w, r)
}

var estateGraph = console.CollectionGraph{Nodes: []console.GraphNode{{ID: "P0100001", Name: "Laptops", Members: 12}, {ID: "P0100002", Name: `Ser"vers`, Members: 3},
	{ID: "P0100003", Name: "Mobile", Members: 11}, {ID: "P0100004", Name: "Broken"}, {ID: "SMS00001", Name: "All Systems", Members: 25}},
	Edges: []console.GraphEdge{{From: "P0100001", To: "SMS00001", How: "limit"}, {From: "P0100002", To: "SMS00001", How: "limit"}, {From: "P0100003", To: "P0100001", How: "limit"},
		{From: "P0100003", To: "P0100002", How: "include"}, {From: "P0100003", To: "P0100004", How: "exclude"}, {From: "P0100004", To: "SMS00001", How: "limit"},
		{From: "P0100004", To: "P0100002", How: "query"}}, Event: 50}

// graphOf answers with the whole estate, or with what is around P0100002 or
// P0100003.
func graphOf(w http.ResponseWriter, r *http.Request) {
	g := estateGraph
	g.Nodes = append([]console.GraphNode{}, g.Nodes...)
	number := func(above, below map[string]int) {
		for i := range g.Nodes {
			g.Nodes[i].Above, g.Nodes[i].Below = above[g.Nodes[i].ID], below[g.Nodes[i].ID]
		}
	}
	switch g.Collection = r.URL.Query().Get("collection"); g.Collection {
	case "P0100002":
		g.Nodes = g.Nodes[1:]
		g.Edges = []console.GraphEdge{g.Edges[1], g.Edges[3], g.Edges[4], g.Edges[6]}
		number(map[string]int{"SMS00001": 1}, map[string]int{"P0100003": 1, "P0100004": 1})
	case "P0100003":
		number(map[string]int{"P0100001": 1, "P0100002": 1, "P0100004": 1, "SMS00001": 2}, nil)
	}
	answer(g)(w, r)
}

var whatIfAnswer = console.WhatIfReply{
	Changes: []console.DefinitionChange{{Action: "change", Of: "collection", ID: "P0100001", Name: "Laptops", Diff: []definitions.Difference{{Field: "limit", Before: "All Systems", After: "Büro"}}}},
	Collections: []console.WhatIfCollection{
		{ID: "P0100001", Name: "Laptops", How: "change", Before: 12, After: 3, Entered: 1, Left: 10, Enter: []console.Member{{Device: 7, Name: "pc-0007"}},
			Leave: []console.Member{{Device: 1, Name: "pc-0001"}, {Device: 2, Name: "=cmd\x1b[31m"}, {Device: 300}}},
		{ID: "P0100003", Name: "Mobile", How: "dependant", Before: 11, After: 10, Left: 1, Leave: []console.Member{{Device: 1, Name: "pc-0001"}}}},
	Devices: 11, Seconds: 0.004, Version: 40, Event: 50,
	Operations: []console.TouchedOperation{{Operation: opID, Kind: "scan.quick", Collection: "P0100001", AsOf: 44, Targets: 12, Leaving: 10, Entering: 1, DeliverBy: at("11:00:00")}},
	Windows:    []console.TouchedCollection{{ID: "P0100003", Name: "Mobile", Windows: []string{"patch night", "Sunday"}}},
}

var queuesAnswer = console.EvaluationQueues{Event: 50, Items: []console.EvaluationQueue{
	{Kind: "full", Waiting: []console.EvaluationWork{}, Cycles: 12, Dropped: 2, LastStarted: ptr(at("09:00:00")), LastSeconds: 0.07, MeanSeconds: 0.08, LongestSeconds: 0.2},
	{Kind: "manual", Running: &console.EvaluationWork{Collections: []console.CollectionRef{{ID: "P0100001", Name: "Laptops"}}, Count: 4, Dependants: true, Cause: "request", By: 47,
		Asked: at("10:00:00"), Started: ptr(at("10:00:01")), EstimatedSeconds: 0.25, EstimatedEnd: ptr(at("10:00:01.25"))},
		Waiting: []console.EvaluationWork{{Collections: []console.CollectionRef{{ID: "P0100002", Name: "=Servers"}, {ID: "P0100003"}, {ID: "P0100004", Name: "c"}, {ID: "P0100005", Name: "d"}},
			Count: 4, Cause: "definition", By: 48, Asked: at("10:00:02"), EstimatedSeconds: 61.5, EstimatedEnd: ptr(at("10:01:02"))}}},
	{Kind: "single", Waiting: []console.EvaluationWork{}},
	{Kind: "incremental", Waiting: []console.EvaluationWork{{Collections: []console.CollectionRef{}, Cause: "devices", By: 49, Asked: at("10:00:03")}}, Cycles: 1},
}}

var explainAnswer = console.ExplainReply{Collection: "P0100001", Name: "Laptops", Device: 2, DeviceName: "=cmd\x1b[31m", Member: true,
	Why: "no rule selects the device", Limits: []console.ExplainMember{{ID: "P0100009", Name: "Berlin", Member: true}, {ID: "SMS00001", Name: "All Systems", Member: true}}, Direct: true,
	Queries: []console.ExplainQuery{
		{Name: "chassis", WQL: "select * from SMS_R_System as S where S.Name like 'nb-%' and S.Client = 1", Truth: "false", Condition: &console.ExplainCondition{
			Text: "…", Truth: "false", Terms: []console.ExplainCondition{{Text: "S.Name like 'nb-%'", Truth: "false", Decides: true, Values: []string{`S.Name is "pc-1"`}},
				{Text: "(…)", Truth: "true", Terms: []console.ExplainCondition{{Text: "S.Client = 1", Truth: "true", Values: []string{"S.Client is 1"}}}}}}},
		{WQL: "select * from SMS_R_System", Truth: "unknown", Lacks: "SMS_G_System_BATTERY", Condition: nil}},
	Includes: []console.ExplainMember{{ID: "P0100003"}}, Excludes: []console.ExplainMember{{ID: "P0100004", Name: "Broken", Member: false}},
	Since: &console.MemberSince{Event: 41, At: ptr(at("10:00:00")), Cause: "devices", By: 38}, Event: 50}

// explained answers for Laptops, and in other ways for others.
func explained(w http.ResponseWriter, r *http.Request) {
	x := explainAnswer
	switch r.PathValue("collection") {
	case "broken":
		x = console.ExplainReply{Collection: "P0100002", Name: "Broken", DeviceName: "pc-0001", Why: "the collection cannot be evaluated", Broken: "no class X",
			Since: &console.MemberSince{Event: 7, At: ptr(at("09:00:00")), Never: true}}
	case "old":
		x = console.ExplainReply{Collection: "P0100005", Name: "Old", DeviceName: "pc-0001", ByRules: true, Why: "query 1 selects the device", Alone: true, Since: &console.MemberSince{Event: 7, Earlier: true}}
	case "root":
		x = console.ExplainReply{Collection: "SMS00001", Name: "All Systems", DeviceName: "pc-0001", Member: true, ByRules: true, Why: "every device is a member"}
	}
	answer(x)(w, r)
}

// evaluationSite is a console that answers all about evaluation.
func evaluationSite(t *testing.T) *fakeSite {
	s := newFakeSite(t, map[string]http.HandlerFunc{
		"GET " + console.PathEvaluationStats: statList,
		"GET " + console.PathEvaluationCycles: answer(console.CycleList{Items: []console.EvaluationCycle{
			{Cycle: 9, Kind: "full", Cause: "schedule", Basis: 39, Started: at("09:59:00.25"), Done: at("10:00:00"), Clock: at("09:59:00"), Seconds: 0.065, Devices: 100_000,
				Collections: 1000, Changed: 12, Added: 300, Removed: 20, Event: 41},
			{Cycle: 8, Kind: "incremental", Cause: "devices", By: 38, Basis: 38, Started: at("09:58:00"), Done: at("09:58:01"), Clock: at("09:58:00"), Seconds: 0.002, Devices: 3,
				Collections: 40, Event: 39}}, Event: 50}),
		"GET " + console.PathCollectionGraph: graphOf,
		"GET " + console.PathCollections:     answer(console.CollectionList{Items: []console.CollectionInfo{{ID: "P0100001", Name: "Laptops"}, {ID: "P0100002", Name: "Servers"}}}),
		"GET " + console.PathCollection: answer(console.CollectionReply{CollectionInfo: console.CollectionInfo{ID: "P0100001", Name: "Laptops"},
			Definition: definitions.Collection{ID: "P0100001", Name: "Laptops", Limit: "All Systems", Queries: []definitions.Query{{WQL: "old"}}}}),
		"POST " + console.PathWhatIf:           answer(whatIfAnswer),
		"POST " + console.PathQuery:            queryAnswer,
		"GET " + console.PathCollectionExplain: explained,
		"GET " + console.PathEvaluationQueues:  answer(queuesAnswer),
	})
	s.write("rings.yaml", "collections:\n- name: Laptops\n  limit: Büro\n")
	s.write("bad.yaml", "collections:\n- name: Laptops\n  limited: Büro\n")
	return s
}

// queryAnswer serves two devices of three, and refuses "bad".
func queryAnswer(w http.ResponseWriter, r *http.Request) {
	var q console.QueryRequest
	json.NewDecoder(r.Body).Decode(&q)
	if line, column := strings.Count(q.Query, "\n")+1, len(q.Query)-strings.LastIndex(q.Query, "\n")-len("bad"); strings.HasSuffix(q.Query, "bad") {
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(http.StatusUnprocessableEntity)
		json.NewEncoder(w).Encode(map[string]any{"title": "The query cannot be evaluated", "status": 422, "detail": fmt.Sprintf("line %d, column %d: there is no bad.", line, column),
			"errors": []definitions.Error{{Path: "query", Line: line, Column: column, Message: "there is no bad"}}})
		return
	}
	reply := console.QueryReply{Query: q.Query, Count: 3, Items: []console.Member{{Device: 1, Name: "pc-0001", ID: "0b3c6f6e-1111-4111-8111-111111111111", Online: true}, {Device: 2, Name: "=cmd\x1b[31m"}}, Seconds: 0.0042, Event: 50}
	answer(reply)(w, r)
}

func TestEvaluationInEveryFormat(t *testing.T) {
	for name, args := range map[string][]string{
		"collections-stats":             {"stats"},
		"collections-stats-incremental": {"stats", "--kind", "incremental", "--sort", "length"},
		"collections-stats-history":     {"stats", "--kind", "manual", "--sort", "name", "--history"},
		"collections-stats-cycles":      {"stats", "--cycles"},
		"collections-graph":             {"graph"},
		"collections-graph-one":         {"graph", "P0100003"},
		"collections-graph-needed":      {"graph", "P0100002", "--depth", "1"},
		"collections-whatif":            {"whatif", "--delete", "x"},
		"collections-explain":           {"explain", "Laptops", "2"},
		"collections-queue":             {"queue"},
		"collections-query":             {"query", "select 1", "--limit", "0"},
	} {
		t.Run(name, func(t *testing.T) {
			var all strings.Builder
			for _, format := range append(formats, "quiet") {
				s := evaluationSite(t)
				call := append([]string{"collections"}, args...)
				if format == "quiet" {
					call = append(call, "--quiet")
				} else {
					call = append(call, "-o", format)
				}
				fmt.Fprintf(&all, "$ bugle %s\n%s\n", strings.Join(call, " "), run{}.on(s, call...).text(s))
			}
			golden(t, name, all.String())
		})
	}
}

// TestEvaluationCalls has the calls that the commands make, and what is printed of
// some.
func TestEvaluationCalls(t *testing.T) {
	var all strings.Builder
	for _, args := range [][]string{
		{"stats", "Laptops", "--kind", "single", "--at", "17"},
		{"stats", "--sort", "changes", "--limit", "1", "-o", "csv"},
		{"stats", "--sort", "last", "--limit", "1", "-o", "csv"},
		{"stats", "--history", "--limit", "1", "-o", "csv"},
		{"stats", "--cycles", "--kind", "manual", "--limit", "5"},
		{"graph", "--dot"},
		{"graph", "P0100002", "--dot", "--at", "2h"},
		{"whatif", "DATA/rings.yaml", "--all"},
		{"whatif", "--collection", "Laptops", "--wql", "select * from SMS_R_System"},
		{"explain", "broken", "pc-0001"},
		{"explain", "old", "pc/0001", "--at", "2h"},
		{"explain", "root", "pc-0001"},
		{"query", "select\n\t* bad"},
		{"query", strings.Repeat("x", 100) + "bad"},
		{"query", "select 1", "--limit", "3", "-o", "csv"},
	} {
		s := evaluationSite(t)
		call := append([]string{"collections"}, args...)
		for i := range call {
			call[i] = strings.Replace(call[i], "DATA", s.data, 1)
		}
		r := run{}.on(s, call...)
		fmt.Fprintf(&all, "$ bugle collections %q\n%s\n%s\n", args, strings.Join(s.called(), "\n"), r.text(s))
	}
	golden(t, "collections-calls", all.String())
}

func TestEvaluationWrongCalls(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"stats --kind odd", "none of full, incremental, manual, single"},
		{"stats --sort odd", "none of length, changes, name, last"},
		{"stats --cycles --history", "whole cycles"},
		{"stats x --cycles", "whole cycles"},
		{"stats a b", "too many"},
		{"stats --limit -1", "less than 0"},
		{"stats --at never", "--at"},
		{"graph --depth 2", "name one"},
		{"graph x --depth -1", "less than 0"},
		{"graph --dot -o json", "exclude each other"},
		{"whatif", "give one of"},
		{"whatif x --delete y", "give one of"},
		{"whatif --wql x", "go together"},
		{"whatif DATA/bad.yaml", "line 3"},
		{"whatif DATA/none.yaml", "no such file"},
		{"query", "QUERY is missing"},
		{"explain x", "DEVICE is missing"},
		{"explain x y --at never", "--at"},
		{"queue x", "too many"},
	} {
		s := evaluationSite(t)
		r := run{}.on(s, strings.Fields("collections "+strings.ReplaceAll(c.args, "DATA", s.data))...)
		if r.code != codeUsage || !strings.Contains(fmt.Sprint(r.err), c.want) || len(s.called()) > 0 {
			t.Errorf("%s: code %d, %v, called %q", c.args, r.code, r.err, s.called())
		}
	}
}

// TestWhatIfOfANewCollection asks about one that is not there.
func TestWhatIfOfANewCollection(t *testing.T) {
	s := newFakeSite(t, map[string]http.HandlerFunc{
		"GET " + console.PathCollection: refuse(404, "There is no such thing", "There is no collection."),
		"POST " + console.PathWhatIf:    answer(console.WhatIfReply{}),
	})
	r := run{}.on(s, "collections", "whatif", "--collection", "New", "--wql", "select *")
	if r.code != 0 || !strings.Contains(s.called()[1], `"collections":[{"name":"New","queries":[{"wql":"select *"}]}]`) || r.stdout != "No device would enter or leave a collection.\n" {
		t.Errorf("code %d, %q, called %q", r.code, r.stdout, s.called())
	}
}

func TestDefinitionsFromStandardInput(t *testing.T) {
	s := evaluationSite(t)
	text, err := os.ReadFile(filepath.Join(s.data, "rings.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	r := run{stdin: string(text)}.on(s, "collections", "whatif", "-")
	if r.code != 0 || !strings.Contains(s.called()[0], "Büro") {
		t.Errorf("code %d, %v, called %q", r.code, r.err, s.called())
	}
}
