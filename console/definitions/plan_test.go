package definitions_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/bugle-fleet/bugle/console/definitions"
	"github.com/bugle-fleet/bugle/journal/event"
)

const office = `
collections:
- name: Pilot
  limit: Clients            # is defined further down
  queries:
  - name: ring
    wql: select * from SMS_R_System where Name like "%1"
  - select * from SMS_R_System where Client = 1
  exclude: [Kiosks]
  incremental: true
- name: Clients
  comment: all that people sit at
  schedule: '0 4 * * *'
  queries: [ 'select * from SMS_R_System where Client = 1' ]
- name: Kiosks
  include: [clients]
`

func TestApply(t *testing.T) {
	s := newSite(t)
	got := s.apply(office)
	want := `create collection Clients (P0100002)
  comment: "all that people sit at"
  limit: "All Systems"
  query: select * from SMS_R_System where Client = 1
  schedule: 0 4 * * *
create collection Kiosks (P0100003)
  limit: "All Systems"
  include: +"Clients"
create collection Pilot (P0100001)
  limit: "Clients"
  query "ring": select * from SMS_R_System where Name like "%1"
  query: select * from SMS_R_System where Client = 1
  exclude: +"Kiosks"
  incremental: true
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("first time (-want +got):\n%s", diff)
	}
	if got := s.apply(office); strings.Contains(got, "create") || strings.Contains(got, "change") || len(s.events) != 3 {
		t.Errorf("second time, with %d events:\n%s", len(s.events), got)
	}
	got = s.apply(`
collections:
- {name: PILOT, limit: P0100002, queries: [{name: ring, wql: select * from SMS_R_System where Name like "%2"}]}
- {name: People, rename-from: clients, queries: [select * from SMS_R_System where Client = 1]}
`)
	want = `change collection People (P0100002)
  name: "Clients" -> "People"
  comment: was "all that people sit at"
  schedule: was 0 4 * * *
change collection PILOT (P0100001)
  name: "Pilot" -> "PILOT"
  limit: "Clients" -> "People"
  query "ring": select * from SMS_R_System where Name like "%1" -> select * from SMS_R_System where Name like "%2"
  query: was select * from SMS_R_System where Client = 1
  exclude: -"Kiosks"
  incremental: true -> false
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("change (-want +got):\n%s", diff)
	}
	if p, _ := s.events[3].Payload.(*event.CollectionChanged); p.Before == nil || p.Before.Name != "Clients" || p.After.Name != "People" {
		t.Errorf("event %+v", s.events[3].Payload)
	}
}

// A limit that only its name changes stays the same collection: no difference is
// shown where there is none.
func TestRenameTwice(t *testing.T) {
	s := newSite(t)
	s.apply("collections: [{name: A}, {name: B, limit: A}]")
	rename := "collections: [{name: C, rename-from: A}]"
	if got := s.apply(rename); got != "change collection C (P0100001)\n  name: \"A\" -> \"C\"\n" {
		t.Error(got)
	}
	if got := s.apply(rename); got != "keep collection C (P0100001)\n" || s.id("c") != "P0100001" {
		t.Error(got)
	}
	// Two that take each other's names.
	s.apply("collections: [{name: B, rename-from: P0100001}, {name: C, id: P0100002, limit: P0100001}]")
	if s.id("B") != "P0100001" || s.id("C") != "P0100002" {
		t.Errorf("B is %s, C is %s", s.id("B"), s.id("C"))
	}
}

// COL-5: what would close a cycle is refused, and the cycle is printed.
func TestCOL5(t *testing.T) {
	for name, c := range map[string]struct{ before, text, want string }{
		"include": {"collections: [{name: A}, {name: B, include: [A]}]", "collections: [{name: A, include: [B]}]",
			`"A" includes "B", which includes "A"`},
		"limit by its own descendant": {"collections: [{name: A}, {name: B, limit: A}, {name: C, limit: B}]", "collections: [{name: A, limit: C}]",
			`"A" is limited by "C", which is limited by "B", which is limited by "A"`},
		"itself":     {"collections: [{name: A}]", "collections: [{name: A, exclude: [a]}]", `"A" excludes "A"`},
		"within one": {"", "collections: [{name: A, limit: B}, {name: B, exclude: [C]}, {name: C, include: [A]}]", `which excludes "C"`},
		"query": {"collections: [{name: A}, {name: B, limit: A}]",
			"collections: [{name: A, queries: ['select * from SMS_R_System where ResourceID in (select ResourceID from SMS_CM_RES_COLL_P0100002)']}]",
			`"A" asks in a query for "B", which is limited by "A"`},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			s.apply(c.before)
			n := len(s.events)
			errs := s.refuse(c.text, "this closes a cycle", c.want)
			if len(s.events) != n || errs[0].Path == "" {
				t.Errorf("%+v", errs)
			}
		})
	}
}

func TestDelete(t *testing.T) {
	s := newSite(t)
	s.apply("collections: [{name: A}, {name: B, limit: A}, {name: C, include: [B]}, {name: D, exclude: [B]}]")
	s.refuseAll(&definitions.Request{Delete: []string{"a"}}, `collection "A" is needed: "B" is limited by it`)
	s.refuseAll(&definitions.Request{Delete: []string{"B"}}, `"C" includes it, "D" excludes it`)
	s.refuseAll(&definitions.Request{Delete: []string{"all systems"}}, "always there")
	s.refuseAll(&definitions.Request{Delete: []string{"E"}}, `there is no collection "E"`)
	s.refuseAll(&definitions.Request{Delete: []string{"C"}, Document: *s.parse("collections: [{name: D, include: [C]}]")}, `collection "C" is to be deleted`)
	// All at once, the dependants first; and what is changed lets go of what goes.
	got := s.apply("collections: [{name: D}]", "A", "P0100002", "C", "c")
	if want := "change collection D (P0100004)\n  exclude: -\"B\"\ndelete collection C (P0100003)\ndelete collection B (P0100002)\ndelete collection A (P0100001)\n"; got != want {
		t.Error(got)
	}
	if all := s.Now().All(); len(all) != 1 || all[0].Name != "D" {
		t.Errorf("left %+v", all)
	}
	// Numbers are not given again by themselves, only to bring one back.
	s.apply("collections: [{name: E}, {name: B, id: p0100002}]")
	if s.id("E") != "P0100005" || s.id("B") != "P0100002" {
		t.Errorf("E is %s, B is %s", s.id("E"), s.id("B"))
	}
}

// One bad of a hundred: nothing is planned, and all that is bad is told.
func TestAllOrNothing(t *testing.T) {
	s := newSite(t)
	var b strings.Builder
	b.WriteString("collections:\n")
	for i := range 100 {
		limit := "All Systems"
		if i%40 == 37 {
			limit = fmt.Sprintf("none %d", i)
		}
		fmt.Fprintf(&b, "- {name: c%d, limit: %s}\n", i, limit)
	}
	errs := s.refuse(b.String(), `collections[37].limit: there is no collection "none 37"`, `collections[77].limit: there is no collection "none 77"`)
	if len(errs) != 2 || len(s.Now().All()) != 0 {
		t.Errorf("%d errors: %+v", len(errs), errs)
	}
}

// Every way in which a definition can be wrong has a clear error with its place.
func TestBadDefinitions(t *testing.T) {
	s := newSite(t)
	s.apply("collections: [{name: A}, {name: B}]")
	deep := strings.Repeat("(", 10_000) + "Client = 1" + strings.Repeat(")", 10_000)
	long := "select * from SMS_R_System where Name = '" + strings.Repeat("x", 1<<20) + "'"
	query := func(wql string) string { return fmt.Sprintf("collections: [{name: X, queries: [{wql: %q}]}]", wql) }
	for name, c := range map[string]struct {
		text  string
		words []string
	}{
		"class":            {query("select * from SMS_R_Sistem"), []string{"collections[0].queries[0].wql: line 1, column 15", "SMS_R_System"}},
		"column":           {query("select * from SMS_R_System\nwhere Nome = 'x'"), []string{"line 2, column 7"}},
		"syntax":           {query("select * from SMS_R_System where"), []string{"line 1, column 33"}},
		"10,000 deep":      {query("select * from SMS_R_System where " + deep), []string{"line 1, column"}},
		"1 MB":             {query(long), []string{"collections[0].queries[0].wql: the query has 1048", "at most 32768"}},
		"collection":       {query("select * from SMS_R_System where ResourceID in (select ResourceID from SMS_CM_RES_COLL_XYZ00001)"), []string{"column 88: the query names collection XYZ00001, which is not there"}},
		"empty query":      {query(" \n"), []string{"collections[0].queries[0].wql"}},
		"never":            {"collections: [{name: X, schedule: 0 0 30 2 *}]", []string{`collections[0].schedule: schedule "0 0 30 2 *"`}},
		"no schedule":      {"collections: [{name: X, schedule: daily}]", []string{`collections[0].schedule`}},
		"limit":            {"collections: [{name: X, limit: Y}]", []string{`collections[0].limit: there is no collection "Y"`}},
		"include":          {"collections: [{name: X, include: [A, Y]}]", []string{`collections[0].include[1]: there is no collection "Y"`}},
		"root":             {"collections: [{name: all SYSTEMS, comment: x}]", []string{"built in"}},
		"root by id":       {"collections: [{name: X, id: sms00001}]", []string{"built in"}},
		"renamed to root":  {"collections: [{name: All Systems, rename-from: A}]", []string{"built in"}},
		"no id":            {"collections: [{name: X, id: P01}]", []string{`collections[0].id: "P01" is no id`}},
		"name twice":       {"collections: [{name: X}, {name: x, id: P0100099}]", []string{"2 collections would have the name"}},
		"same twice":       {"collections: [{name: A}, {name: C, rename-from: a}]", []string{`collections[1]: collection "C" is the same as that at collections[0]`}},
		"taken":            {"collections: [{name: B, id: P0100001}]", []string{"2 collections would have the name"}},
		"name is an id":    {"collections: [{name: p0100002, rename-from: A}]", []string{"is the id of another collection"}},
		"nothing renamed":  {"collections: [{name: X, rename-from: Y}]", []string{`collections[0].rename-from: there is no collection "Y" to rename`}},
		"long name":        {"collections: [{name: " + strings.Repeat("x", 300) + "}]", []string{"collections[0].name: the name has 300 bytes"}},
		"control":          {`collections: [{name: "a\tb"}]`, []string{"cannot be shown"}},
		"space":            {`collections: [{name: " a"}]`, []string{"begins or ends with a space"}},
		"long comment":     {"collections: [{name: X, comment: " + strings.Repeat("x", 5000) + "}]", []string{"collections[0].comment: the comment has 5000 bytes"}},
		"queries named":    {"collections: [{name: X, queries: [{name: a, wql: select * from SMS_R_System}, {name: A, wql: select * from SMS_R_System}]}]", []string{`queries[1].name: two queries have the name "A"`}},
		"many queries":     {"collections: [{name: X, queries: [" + strings.Repeat("select * from SMS_R_System, ", 65) + "]}]", []string{"65 queries, at most 64"}},
		"type":             {"classes: [{name: SMS_G_System_X, properties: [{name: A, type: blob}]}]", []string{`classes[0].properties[0].type: there is no type "blob"`}},
		"window":           {"collections: [{name: A, windows: [{name: w, start: 2026-01-01T00:00, minutes: 0}]}]", []string{"collections[0].windows[0]"}},
		"window of nobody": {"windows: [{collection: Y, name: w}]", []string{`windows[0].collection: there is no collection "Y"`}},
		"window of all":    {"windows: [{collection: All Systems, name: w}]", []string{"no maintenance windows"}},
	} {
		t.Run(name, func(t *testing.T) {
			n := s.Version()
			for _, e := range s.refuse(c.text, c.words...) {
				if len(e.Message) > 1000 {
					t.Errorf("error of %d bytes", len(e.Message))
				}
			}
			if s.Version() != n {
				t.Error("something was changed")
			}
		})
	}
}

// Classes and properties are only added; what is there already stays as it is.
func TestClasses(t *testing.T) {
	s := newSite(t)
	badge := "classes: [{name: SMS_G_System_BADGE, properties: [{name: Number, type: text, key: true}]}]"
	if got := s.apply(badge); got != "create class SMS_G_System_BADGE\n  properties: +Number text\n" {
		t.Error(got)
	}
	if got := s.apply(badge); got != "keep class SMS_G_System_BADGE\n" || len(s.events) != 1 {
		t.Error(got)
	}
	more := strings.Replace(badge, "properties: [", "properties: [{name: Doors, type: text, list: true}, ", 1)
	if got := s.apply(strings.Replace(more, "BADGE", "badge", 1)); got != "change class SMS_G_System_BADGE\n  properties: +Doors text\n" {
		t.Error(got)
	}
	if p := s.events[1].Payload.(*event.ClassesDefined); len(p.Classes) != 1 || len(p.Classes[0].Properties) != 1 || p.Classes[0].Properties[0].Name != "Doors" {
		t.Errorf("event %+v", p)
	}
	s.refuse(strings.Replace(badge, "type: text", "type: number", 1), "Number")
	s.refuse("classes: [{name: 'SMS_G_System_A B', properties: [{name: N, type: text}]}]", "classes")
	// A query may name what the same document defines.
	s.apply("classes: [{name: SMS_G_System_ROOM, properties: [{name: Floor, type: number}]}]\n" +
		"collections: [{name: up, queries: ['select * from SMS_R_System as S inner join SMS_G_System_ROOM as R on R.ResourceID = S.ResourceID where R.Floor > 3']}]")
	if c, _ := s.Now().Schema().Class("sms_g_system_room"); c == nil {
		t.Error("the class is not there")
	}
}

// A window with a slip in it must not become another window: a field that is not
// known is an error with its place, and so is a window that is there twice.
func TestPlanRefusesSlipsInWindows(t *testing.T) {
	s := newSite(t)
	s.apply("collections: [{name: A}]")
	for text, path := range map[string]string{
		`collections: [{name: A, windows: [{name: n, start: 2026-01-03T01:00, minutes: 180, evry: {unit: day}}]}]`:                                                            "collections[0].windows[0]",
		`collections: [{name: A, windows: [{name: n, start: 2026-01-03T01:00, minutes: 180, every: {unit: day, nn: 2}}]}]`:                                                    "collections[0].windows[0]",
		`windows: [{collection: A, name: n, start: 2026-01-03T01:00, minutes: 180, enable: false}]`:                                                                           "windows[0].windows[0]",
		`collections: [{name: A, windows: [{name: n, start: 2026-01-03T01:00, minutes: 180}, {name: n, start: 2026-01-03T02:00, minutes: 180}]}]`:                             "collections[0].windows[1]",
		`windows: [{collection: A, name: n, start: 2026-01-03T01:00, minutes: 180}, {collection: P0100001, name: n, start: 2026-01-03T02:00, minutes: 180}, {collection: A}]`: "windows[1].windows[0]",
	} {
		if errors := s.refuse(text); errors[0].Path != path {
			t.Errorf("refused at %q and not at %q: %v", errors[0].Path, path, errors)
		}
	}
}

// Windows that stand by themselves and those of collections count together: the fold
// would not take what is one too many.
func TestPlanCountsAllWindows(t *testing.T) {
	s := newSite(t)
	for i := range definitions.MaxWindows/definitions.MaxCollectionWindows + 1 {
		id := fmt.Sprintf("P01%05X", i+1)
		s.tell(&event.CollectionChanged{ID: id, After: &event.Collection{ID: id, Name: fmt.Sprint("c ", i), Limit: event.RootCollection}})
		for j := range definitions.MaxCollectionWindows {
			if i*definitions.MaxCollectionWindows+j < definitions.MaxWindows-1 {
				name := fmt.Sprint("w ", j)
				s.tell(&event.WindowChanged{Collection: id, Name: name, After: fmt.Appendf(nil, `{"name":%q,"start":"2026-01-03T01:00","minutes":180}`, name)})
			}
		}
	}
	const one = "{name: n, start: 2026-01-03T01:00, minutes: 180}"
	s.refuse("collections: [{name: A, windows: ["+one+"]}, {name: B}]\nwindows: [{collection: B, name: n, start: 2026-01-03T01:00, minutes: 180}]", "would have 10001 windows")
	s.apply("collections: [{name: A, windows: [" + one + "]}]")
	if n := len(s.Now().AllWindows()); n != definitions.MaxWindows {
		t.Errorf("there are %d windows", n)
	}
}

// An id that a document gives takes nothing from others: neither their name, nor the
// ids that are to come.
func TestGivenIDsLeaveOthersAlone(t *testing.T) {
	s := newSite(t)
	s.apply("collections: [{name: P0100ABC}, {name: user, include: [P0100ABC]}]")
	if e := s.refuse("collections: [{name: Taker, id: P0100ABC}]", "is the name of another collection"); e[0].Path != "collections[0].id" {
		t.Errorf("refused at %q", e[0].Path)
	}
	s.refuse("collections: [{name: A, id: P01FFFFF}]", "leaves no ids", "P01EFFFF is the highest")
	s.refuse("collections: [{name: A, id: P01F0000}]", "leaves no ids")
	s.apply("collections: [{name: A, id: P01EFFFF}, {name: other site's, id: XYZFFFFF}]")
	s.apply("collections: [{name: B}]")
	if id := s.id("B"); id != "P01F0000" {
		t.Errorf("B has the id %s", id)
	}
}

// What a refusal quotes is short, whatever was sent, and no name steers a terminal.
func TestRefusalsAreShort(t *testing.T) {
	s := newSite(t)
	long := strings.Repeat("x", 1<<20)
	for _, r := range []*definitions.Request{
		{Delete: []string{long}},
		{Document: definitions.Document{Collections: []definitions.Collection{{Name: "A", ID: long}}}},
		{Document: definitions.Document{Collections: []definitions.Collection{{Name: "A", RenameFrom: long}}}},
	} {
		for _, e := range s.refuseAll(r) {
			if len(e.Error()) > 1000 {
				t.Errorf("an error of %d bytes", len(e.Error()))
			}
		}
	}
	s.refuseAll(&definitions.Request{Document: definitions.Document{Collections: []definitions.Collection{{Name: "a\u009b2J"}}}}, "cannot be shown")
}
