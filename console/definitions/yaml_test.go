package definitions_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/bugle-fleet/bugle/console/definitions"
)

func TestParse(t *testing.T) {
	text := `
classes:
- name: SMS_G_System_BADGE
  properties: [{name: Number, type: text, key: true}, {name: Doors, type: text, list: true}]
collections:
- name: 2024
  id: P0100001
  rename-from: old
  comment: |
    two
    lines
  limit: All Systems
  direct: [42, PC-1]
  queries:
  - select * from SMS_R_System
  - name: q
    wql: >
      select *
      from SMS_R_System
  include: [a]
  exclude: [b]
  schedule: '0 4 * * *'
  incremental: true
  windows:
  - {name: night, start: "2026-01-03T01:00", minutes: 120, enabled: true, every: {days: 7}}
---
---
collections: [{name: second, windows: []}]
windows:
- collection: second
  name: day
  start: 2026-01-03T01:00
`
	doc, places, err := definitions.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	none := []json.RawMessage{}
	some := []json.RawMessage{json.RawMessage(`{"enabled":true,"every":{"days":7},"minutes":120,"name":"night","start":"2026-01-03T01:00"}`)}
	want := &definitions.Document{
		Classes: []definitions.Class{{Name: "SMS_G_System_BADGE", Properties: []definitions.Property{{Name: "Number", Type: "text", Key: true}, {Name: "Doors", Type: "text", List: true}}}},
		Collections: []definitions.Collection{{
			Name: "2024", ID: "P0100001", RenameFrom: "old", Comment: "two\nlines\n", Limit: "All Systems", Direct: []string{"42", "PC-1"},
			Queries: []definitions.Query{{WQL: "select * from SMS_R_System"}, {Name: "q", WQL: "select * from SMS_R_System\n"}},
			Include: []string{"a"}, Exclude: []string{"b"}, Schedule: "0 4 * * *", Incremental: true, Windows: &some,
		}, {Name: "second", Windows: &none}},
		Windows: []definitions.Windows{{Collection: "second", Windows: []json.RawMessage{json.RawMessage(`{"name":"day","start":"2026-01-03T01:00"}`)}}},
	}
	if diff := cmp.Diff(want, doc); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for path, want := range map[string]definitions.Place{
		"collections[0].queries[0].wql": {15, 5}, "collections[0].queries[1].wql": {17, 10}, "collections[0].direct[1]": {13, 16},
		"collections[1].limit": {28, 15}, "collections[1]": {28, 15}, "windows[0].windows[0].start": {30, 3},
	} {
		if got, ok := places.Find(path); !ok || got != want {
			t.Errorf("%s is at %v, want %v", path, got, want)
		}
	}
	if _, ok := places.Find("nowhere"); ok {
		t.Error("a place for nothing")
	}
}

// JSON is YAML, whatever its indentation; what the API takes can be applied.
func TestParseJSON(t *testing.T) {
	want := &definitions.Document{Collections: []definitions.Collection{{Name: "ä\n\"", RenameFrom: "b", Incremental: true, Queries: []definitions.Query{{WQL: "q"}}}}}
	for _, indent := range []string{"", "\t"} {
		raw, err := json.MarshalIndent(want, "", indent)
		if err != nil {
			t.Fatal(err)
		}
		doc, _, err := definitions.Parse(raw)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, doc); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	bomb := "a: &a [x,x,x,x,x,x,x,x]\n"
	for i := 'b'; i < 'k'; i++ {
		bomb += fmt.Sprintf("%c: &%c [*%c,*%c,*%c,*%c,*%c,*%c,*%c,*%c]\n", i, i, i-1, i-1, i-1, i-1, i-1, i-1, i-1, i-1)
	}
	for name, c := range map[string]struct{ text, want string }{
		"unknown":        {"collections:\n- name: a\n  querys: []", `line 3, column 3: a collection has no field "querys", only comment, direct`},
		"unknown on top": {"collection: []", `line 1, column 1: a document has no field "collection"`},
		"twice":          {"collections:\n- {name: a, name: b}", "line 2, column 13: name is there twice"},
		"no name":        {"collections:\n- limit: a", "line 2, column 3: a collection needs name"},
		"no wql":         {"collections: [{name: a, queries: [{name: b}]}]", "a query needs wql"},
		"a text":         {"collections: [{name: [a]}]", "line 1, column 22: this is a text, not a list"},
		"nothing":        {"collections: [{name: }]", "this is a text, not nothing"},
		"a list":         {"collections: {name: a}", "this is a list, not a list of fields"},
		"a bool":         {"collections: [{name: a, incremental: yes}]", `this is true or false, not "yes"`},
		"not a mapping":  {"collections: [a]", `a collection is a list of fields and their values, this is "a"`},
		"text":           {"hello", "a document is a list of fields"},
		"no YAML":        {"collections:\n  - name: a\n name: b", "line 2: it is no YAML"},
		"alias":          {"collections: [{name: &x a}, {name: b, comment: *x}]", "line 1, column 48: this is a text, not an alias"},
		"merged":         {"collections: [&x {name: a}, {<<: *x}]", `a collection has no field "<<"`},
		"bomb":           {bomb, `a document has no field "a"`},
		"bomb in window": {"windows:\n- collection: a\n  x: &x [1]\n  y: [*x, *x]", "not an alias"},
		"deep":           {"windows: [{collection: a, x: " + strings.Repeat("[", 100) + strings.Repeat("]", 100) + "}]", "more than 16 deep"},
		"very deep":      {strings.Repeat("[", 100_000), "it is no YAML"},
		"nobody's":       {"windows: [{name: w}]", "a window names its collection"},
		"binary":         {"collections: [{name: !!binary aGk=}]", "this is a text"},
		"large":          {strings.Repeat(" ", definitions.MaxDocument+1), "at most 4194304"},
		"many":           {"collections: [" + strings.Repeat("{name: a},", 1001) + "]", "1001 items, at most 1000"},
		"bytes":          {"name: \xff\xff", "it is no YAML"},
	} {
		t.Run(name, func(t *testing.T) {
			doc, _, err := definitions.Parse([]byte(c.text))
			if e, ok := errors.AsType[*definitions.SyntaxError](err); !ok || !strings.Contains(err.Error(), c.want) || len(err.Error()) > 500 {
				t.Errorf("%v (%+v, %+v), want %q", err, e, doc, c.want)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(office))
	f.Add([]byte("windows: [{collection: a, name: w, every: {days: 1}}]\n---\nclasses: [{name: a, properties: [{name: b, type: text}]}]"))
	f.Add([]byte(`{"collections":[{"name":"a","windows":[{"x":[1,null,true,1.5]}]}]}`))
	s := definitions.New("P01")
	f.Fuzz(func(t *testing.T, text []byte) {
		doc, places, err := definitions.Parse(text)
		if err != nil {
			if _, ok := errors.AsType[*definitions.SyntaxError](err); !ok {
				t.Fatalf("%T: %v", err, err)
			}
			return
		}
		// What is printed reads the same.
		printed := definitions.Print(doc)
		again, _, err := definitions.Parse(printed)
		if err != nil {
			t.Fatalf("%v in\n%s", err, printed)
		}
		if diff := cmp.Diff(doc, again); diff != "" {
			t.Fatalf("(-read +printed):\n%s\n%s", diff, printed)
		}
		_, err = s.Now().Plan(&definitions.Request{Document: *doc})
		if refusal, ok := errors.AsType[*definitions.Refusal](err); ok {
			for _, e := range refusal.Errors {
				places.Find(e.Path)
			}
		} else if err != nil {
			t.Fatalf("%T: %v", err, err)
		}
	})
}
